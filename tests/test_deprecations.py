"""What was announced to be removed is removed in time, and never too early."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.version import Version
from radical.asyncflow import __version__

ROOT = Path(__file__).parents[1]
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
ANNOUNCEMENTS = {"deprecated", "deprecated_parameter", "warn_deprecated"}
HOME = ROOT / "packages/core/src/radical/asyncflow/deprecation.py"


def problems(source: str, version: str) -> Iterator[str]:
    """What is wrong with the announcements in *source*, for the release of *version*."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name not in ANNOUNCEMENTS:
            continue
        given = {item.arg: item.value for item in node.keywords}
        since, removal = (
            value.value if isinstance(value := given.get(key), ast.Constant) else None
            for key in ("since", "removal")
        )
        if not isinstance(since, str) or not isinstance(removal, str):
            yield f"line {node.lineno}: since= and removal= must be plain texts"
            continue
        if Version(version).release >= Version(removal).release:
            yield f"line {node.lineno}: to be removed in {removal}, and this is {version}"
        if Version(removal).major <= Version(since).major or Version(removal).minor:
            yield f"line {node.lineno}: {removal} is no major version after {since}"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_is_overdue(path: Path) -> None:
    if path != HOME:
        assert list(problems(path.read_text(encoding="utf-8"), __version__)) == []


@pytest.mark.parametrize(
    ("announcement", "version", "problem"),
    [
        ('@deprecated(since="1.2", removal="2.0", instead="x")', "1.9.3", None),
        ('@deprecated(since="1.2", removal="2.0", instead="x")', "2.0.0", "this is 2.0.0"),
        ('@deprecated(since="1.2", removal="2.0", instead="x")', "2.0.0.dev3", "this is 2.0.0"),
        ('@deprecated(since="1.2", removal="2.0", instead="x")', "2.1", "to be removed in 2.0"),
        ('@deprecated_parameter("a", since="1.2", removal="1.4")', "1.3", "1.4 is no major"),
        ('@module.deprecated(since="2.1", removal="2.0")', "1.0", "2.0 is no major version after"),
        ("@deprecated(since=SINCE, removal='2.0')", "1.0", "must be plain texts"),
        ("@other(since='1.0', removal='1.1')", "3.0", None),
    ],
)
def test_what_is_announced_wrongly_or_overdue_is_found(
    announcement: str, version: str, problem: str | None
) -> None:
    found = list(problems(f"{announcement}\ndef old(): ...", version))
    assert len(found) == (problem is not None)
    assert problem is None or problem in found[0]


def test_an_overdue_warning_inside_of_a_function_is_found() -> None:
    body = "def f():\n    warn_deprecated('x', since='1.0', removal='2.0', instead='y')"
    assert list(problems(body, "2.0")) == ["line 2: to be removed in 2.0, and this is 2.0"]
