"""Docstrings read alike: what a function does, in the third person; what a class is; what a module holds.

Commands are left out: their docstrings are the help that a terminal shows, which tells the user what to do.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("pace_core", "service", "worker", "dashboards")
COMMANDS = ("pace_core/commands.py", "service/client/cli/")
MODULES = [
    str(file.relative_to(ROOT))
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if "migrations/versions" not in str(file)
]
VERB = re.compile(r"[A-Z][a-z]+s,?$")
"""A verb in the third person. Plural nouns pass it too: the list below names those that stood there."""
NO_VERBS = ("Images", "Jobs", "Rows", "Files", "Bytes", "Events", "Labels", "Seconds", "Percentages")
NO_NOUN = re.compile(r"(What|Whether|Where|When|Who|How|Of|In|With|At|Is|Has|As)\b")
NO_MODULE_IS = re.compile(r"(What|Which|Whether|Where|When|Who|Why|How|From|In|At|Is|Has|As)\b")
NO_CLASS_IS = re.compile(
    "(Ask|Carrie|Count|Find|Give|Hand|Hold|Keep|Let|Make|Need|Put|Read|Return|Send|Show|Stand|Start|Take)s$"
)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_docstring_says_what_the_thing_is_or_does(package: str) -> None:
    modules = [module for module in MODULES if module.startswith(f"{package}/")]
    assert modules
    assert [fault for module in modules for fault in faults(module, (ROOT / module).read_text("utf-8"))] == []


def faults(module: str, source: str) -> list[str]:
    tree = ast.parse(source)
    said = _docstring(tree)
    found = [] if not source.strip() or said else [f"{module}: has no docstring"]
    first_sentence = re.split(r"(?<=[.?!])\s", said)[0]
    if NO_MODULE_IS.match(said) and not first_sentence.endswith("?"):  # the bundled tasks ask what they are about
        found.append(f"{module}: {said.splitlines()[0]}")
    for name, node in _public(tree):
        said = _docstring(node)
        first = said.split()[0] if said else ""
        if isinstance(node, ast.ClassDef):
            wrong = NO_CLASS_IS.match(first) or NO_NOUN.match(first)
        else:
            wrong = said and not module.startswith(COMMANDS) and (first in NO_VERBS or not VERB.match(first))
        if wrong:
            found.append(f"{module}:{node.lineno} {name}: {said.splitlines()[0]}")
    return found


def _docstring(node: ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    return ast.get_docstring(node) or ""


def _public(tree: ast.Module) -> Iterator[tuple[str, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Public functions and classes, with their methods; properties say what they are, as fields do."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_"):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if not any(word in decorator for decorator in decorators for word in ("property", "validator")):
                yield node.name, node


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ('"""A module."""\ndef f():\n    """The sum of it."""', "m.py:2 f: The sum of it."),
        ('"""A module."""\ndef f():\n    """Images of a folder."""', "m.py:2 f: Images of a folder."),
        ('"""A module."""\nclass C:\n    """What a method adds."""', "m.py:2 C: What a method adds."),
        ('"""A module."""\nclass C:\n    """Holds images."""', "m.py:2 C: Holds images."),
        ("x = 1", "m.py: has no docstring"),
        ('"""What a run says."""', "m.py: What a run says."),
        ('"""From rows to\nviews."""', "m.py: From rows to"),
    ],
)
def test_the_rule_finds_what_breaks_it(source: str, fault: str) -> None:
    assert faults("m.py", source) == [fault]


def test_the_rule_lets_good_ones_pass() -> None:
    source = '"""A module."""\nclass C:\n    """A layer."""\n    def f(self):\n        """Returns it."""'
    assert faults("m.py", source) == []
