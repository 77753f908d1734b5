"""The GPU's kernels, run on a CPU by Triton's interpreter: at sizes that fill no tile, forward and backward."""

import subprocess
import sys

import pytest

pytest.importorskip("triton")

PROGRAM = """
import torch
from pace_core.network import noised_kernels as kernels
rows, tokens, depth, out = {sizes}
torch.manual_seed(0)
x, w, d = torch.randn(rows, tokens, depth), torch.randn(out, depth), torch.randn(out, depth)
z, bias, grad = torch.randn(rows, out), torch.randn(rows, out), torch.randn(rows, tokens, out)
own = w.double() + z.double()[:, :, None] * d.double()
close = lambda found, right: torch.testing.assert_close(found.double(), right, rtol=1e-4, atol=1e-3)
close(kernels.product(x, w, d, z, bias), x.double() @ own.mT + bias.double()[:, None])
close(kernels.product_back(grad, w, d, z), grad.double() @ own)
scaled, total = kernels.scaled_and_summed(grad, z)
close(scaled, grad.double() * z.double()[:, None])
close(total, grad.double().sum(1))
"""


# interpreted, a kernel takes seconds a tile
LARGE = [pytest.param(sizes, marks=pytest.mark.slow) for sizes in ((2, 21, 64, 192), (3, 300, 64, 64))]


@pytest.mark.parametrize("sizes", [(1, 7, 128, 64), *LARGE], ids=str)
def test_kernels_agree_with_the_formula(sizes: tuple[int, ...]) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(sizes=sizes)],
        env={"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1", "PATH": "", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
