"""The contract can be used where no torch is."""

import subprocess
import sys


def test_the_contract_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys, pace_core.spec as s; s.load_catalogue(); s.load_benchmarks(); s.load_recipes();"
        "print(sorted(sys.modules.keys() & {'torch', 'timm', 'numpy', 'ray', 'mlflow', 'fastapi', 'sqlalchemy'}))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
