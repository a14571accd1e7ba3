"""What may be imported is in the reference."""

from __future__ import annotations

import pkgutil
import re
from importlib import import_module
from pathlib import Path

import pytest
import radical.asyncflow

PAGES = Path(__file__).parents[1] / "docs/reference"
DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(\w+):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
EXCLUDED = re.compile(r":exclude-members: (.*)")
# Every module of the core but the command line, which has a page of its own.
PUBLIC = [
    "",
    *(
        module.name
        for module in pkgutil.iter_modules(radical.asyncflow.__path__)
        if not module.name.startswith("_") and module.name not in ("cli", "version")
    ),
]
BACKENDS = ("concurrent", "dask", "inference", "noop", "radical", "rhapsody")
# Modules, which have pages of their own, and the union of the events, each of which is shown.
NO_ENTRY = {"__version__", "errors", "factory", "registry", "Event"}


def shown() -> set[str]:
    """The last parts of all names that the pages of the reference show."""
    names: set[str] = set()
    for page in PAGES.glob("*.md"):
        for kind, target, options in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if kind == "module":
                left_out = [name for line in EXCLUDED.findall(options) for name in line.split(", ")]
                names |= set(import_module(target).__all__).difference(left_out)
            else:
                names.add(target.rpartition(".")[2])
    return names


@pytest.mark.parametrize("module", PUBLIC)
def test_every_public_name_of_the_core_is_in_the_reference(module: str) -> None:
    public = import_module(f"radical.asyncflow.{module}".rstrip(".")).__all__
    assert set(public) - shown() <= NO_ENTRY


@pytest.mark.parametrize("kind", BACKENDS)
def test_every_public_name_of_a_backend_is_in_the_reference(kind: str) -> None:
    source = f"packages/backend-{kind}/src/asyncflow_backend_{kind}/__init__.py"
    text = (PAGES.parents[1] / source).read_text(encoding="utf-8")
    public = re.search(r"^__all__ = \[(.*)\]$", text, re.MULTILINE)
    assert public
    assert set(re.findall(r'"(\w+)"', public[1])) - shown() <= NO_ENTRY
