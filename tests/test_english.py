"""The English of the docstrings: what a function does stands in its first word.

Ruff's D401 finds most first lines that are not imperative; this test finds the others, such as
"What ..." and "*name* ...", and applies a milder rule to modules, classes and properties, which
are described by noun phrases.  Of properties and attributes it also refuses "x: y", because
Sphinx takes the *x* for the type.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATTERNS = [
    *("packages/*/src/**/*.py", "packages/core/extras.py", "dev.py", "noxfile.py"),
    *("benchmarks/**/*.py", "examples/*.py", "scripts/*.py"),
]
SOURCES = sorted(path for pattern in PATTERNS for path in ROOT.glob(pattern))

CLAUSE = frozenset(["How", "It", "That", "There", "What", "When", "Where", "Whether"])
CLAUSE |= {"Which", "Who", "Whose", "Why"}
"""First words of a clause, which has to be read twice before it says anything."""

NO_VERB = CLAUSE | {"A", "All", "An", "Any", "As", "Called", "Each", "Every", "Everything", "For"}
NO_VERB |= {"From", "If", "Never", "Not", "Nothing", "Only", "The", "These", "This", "Those"}
NO_VERB |= {"To", "With"}
"""First words that are no imperative; D401 lets many of them pass."""

CODE = re.compile(r"`+[^`]+`+")

Definition = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def is_function(node: Definition) -> bool:
    """Tell whether *node* is a function that somebody calls, and so no property."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    decorators = [ast.unparse(one).split("(")[0] for one in node.decorator_list]
    return not any(one.endswith(("property", ".setter", ".deleter")) for one in decorators)


def fault(node: Definition, line: str) -> str:
    """Return why *line* is no first line of the docstring of *node*, or ""."""
    word = line.split()[0].rstrip(".,:;?!")
    if not is_function(node):
        if word in CLAUSE:
            return f"a noun phrase does not begin with {word!r}"
        return colon(line) if isinstance(node, ast.FunctionDef) else ""
    if word in NO_VERB:
        return f"{word!r} is no imperative verb"
    if not line[0].isupper():
        return f"a first line begins with a verb, not with {line[0]!r}"
    return ""


def colon(line: str) -> str:
    """Return why *line* cannot describe a property or an attribute, or ""."""
    return "Sphinx takes what is before the colon for a type" if ":" in CODE.sub("", line) else ""


def attribute_texts(node: ast.Module | ast.ClassDef) -> Iterator[tuple[int, str]]:
    """Yield the line numbers and the first lines of the texts below attributes."""
    for before, after in pairwise(node.body):
        if isinstance(before, ast.Assign | ast.AnnAssign) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield after.lineno, value.value.strip().splitlines()[0]


def faults(source: str) -> Iterator[tuple[int, str, str]]:
    """Yield the line number, the fault and the text of every bad first line in *source*."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, Definition) and (text := (ast.get_docstring(node) or "").strip()):
            line = text.splitlines()[0]
            if reason := fault(node, line):
                yield getattr(node, "lineno", 1), reason, line
        if isinstance(node, ast.Module | ast.ClassDef):
            for number, line in attribute_texts(node):
                if reason := colon(line):
                    yield number, reason, line


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_docstring_says_in_its_first_word_what_is_done(path: Path) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {reason}: {line}"
        for number, reason, line in faults(path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(["these first lines are hard to read:", *found])


@pytest.mark.parametrize(
    "line",
    [
        "What the backend declares.",
        "The hash of a value.",
        "Whether it is so.",
        "*value*, as text.",
        "``value`` as text.",
        "1 if it is so.",
        "bytes of a file.",
        "Every line of it.",
    ],
)
def test_a_bad_first_line_is_found(line: str) -> None:
    assert [found[2] for found in faults(f'def f():\n    """{line}"""\n')] == [line]


@pytest.mark.parametrize("line", ["Return the hash.", "Tell whether it is so.", "Do it; return x."])
def test_an_imperative_first_line_is_good(line: str) -> None:
    assert list(faults(f'async def f():\n    """{line}\n\n    What else?\n    """\n')) == []


def test_properties_and_classes_are_noun_phrases() -> None:
    head = '"""Why?"""\nclass C:\n    """Where it is."""\n'
    source = head + '    @property\n    def name(self):\n        """{}"""\n'
    assert [number for number, *_ in faults(source.format("The name."))] == [1, 2]
    assert [number for number, *_ in faults(source.format("Whether it is."))] == [1, 2, 5]


def test_what_sphinx_would_take_for_a_type_is_found() -> None:
    head = 'class C:\n    size = 1\n    """{}"""\n'
    source = head + '    @property\n    def name(self):\n        """{}"""\n'
    good, bad = "The size, as in ``C: 1``.", "The size: 1."
    assert list(faults(source.format(good, good))) == []
    assert sorted(number for number, *_ in faults(source.format(bad, bad))) == [3, 5]
