"""A leading underscore means private: no module with one is imported from outside the package that it is in."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("pace_core", "worker", "service", "dashboards", "perf")


def imported(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Yields the line and full name of everything that a file imports, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def owner_of_private(name: str) -> str | None:
    """Returns the package that the first underscored part of a dotted name is in; None where no part is private."""
    parts = name.split(".")
    for position, part in enumerate(parts):
        if part.startswith("_") and not part.startswith("__"):
            return ".".join(parts[:position])
    return None


def crossings(root: Path, packages: tuple[str, ...]) -> list[str]:
    """Lists `file:line name` of every import of another package's private part."""
    found: list[str] = []
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            place = ".".join(path.relative_to(root).parent.parts)
            for line, name in imported(ast.parse(path.read_text("utf-8"))):
                owner = owner_of_private(name) if name.partition(".")[0] in packages else None
                if owner is not None and place != owner and not place.startswith(f"{owner}."):
                    found.append(f"{path.relative_to(root)}:{line} {name}")
    return found


def test_no_package_imports_a_private_part_of_another() -> None:
    assert crossings(ROOT, PACKAGES) == []


def test_an_import_of_a_private_part_is_seen_wherever_it_is_written(tmp_path: Path) -> None:
    files = {
        "pace_core/methods/lora.py": "from pace_core.methods._low_rank import LowRank\n",
        "pace_core/methods/_mini/a.py": "from pace_core.methods import _low_rank\n",
        "pace_core/run.py": "from pace_core.methods._low_rank import LowRank\n\ndef f():\n    import perf._draw\n",
        "perf/step.py": "from pace_core.methods import _low_rank\nfrom os import _exit\n",
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert crossings(tmp_path, ("pace_core", "perf")) == [
        "pace_core/run.py:1 pace_core.methods._low_rank.LowRank",
        "pace_core/run.py:4 perf._draw",
        "perf/step.py:1 pace_core.methods._low_rank",
    ]
