"""The network that ships was not pretrained on the benchmark's pictures: the two sides share no code."""

import ast
from pathlib import Path

import pace_core

CORE = Path(pace_core.__file__).parent


def trees(package: str) -> dict[Path, ast.Module]:
    return {file: ast.parse(file.read_text("utf-8")) for file in (CORE / package).rglob("*.py")}


def imported(tree: ast.Module) -> set[str]:
    nodes = list(ast.walk(tree))
    plain = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    joined = {
        f"{node.module}.{alias.name}" for node in nodes if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    return plain | joined


def test_data_and_backbones_do_not_import_each_other() -> None:
    for package, other in (("data", "backbones"), ("backbones", "data")):
        found = {file.name: names for file, tree in trees(package).items() if (names := imported(tree))}
        assert len(found) > 5
        assert not [f for f, names in found.items() if any(n.startswith(f"pace_core.{other}") for n in names)]


def test_data_and_backbones_have_no_function_in_common() -> None:
    def bodies(package: str) -> set[str]:
        functions = [n for tree in trees(package).values() for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
        return {body for f in functions if len(body := ast.dump(ast.Module(f.body, []))) > 400}

    assert bodies("data")
    assert not bodies("data") & bodies("backbones")
