"""What the README points at works as it stands."""

from pathlib import Path

import pytest
import yaml

from pace_core.spec import validate

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
YAML_IN_README = [block.split("```")[0] for block in (ROOT / "README.md").read_text("utf-8").split("```yaml\n")[1:]]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_a_valid_spec(example: Path) -> None:
    assert validate(yaml.safe_load(example.read_text("utf-8"))).task.name


def test_the_readmes_spec_is_valid() -> None:
    assert YAML_IN_README
    for text in YAML_IN_README:
        validate(yaml.safe_load(text))
