"""A spec on disk means what its writer meant."""

from pathlib import Path

import pytest

from pace_core.spec import SpecError
from pace_core.spec.spec_file import read_spec_file


def test_a_rate_such_as_1e_3_is_a_number(tmp_path: Path) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text("optimizer: {lr: 1e-3, weight_decay: 1E+2}\ntask: {name: 1e-3x}\n", "utf-8")
    assert read_spec_file(file) == {"optimizer": {"lr": 1e-3, "weight_decay": 100.0}, "task": {"name": "1e-3x"}}


@pytest.mark.parametrize(
    ("text", "says"), [(None, "No such file"), ("a: [", "no YAML"), ("- a\n- b\n", "no object of sections")]
)
def test_what_cannot_be_read_is_a_fault_that_names_the_file(tmp_path: Path, text: str | None, says: str) -> None:
    file = tmp_path / "spec.yaml"
    if text is not None:
        file.write_text(text, "utf-8")
    with pytest.raises(SpecError, match=says) as refused:
        read_spec_file(file)
    assert "spec.yaml" in str(refused.value)
