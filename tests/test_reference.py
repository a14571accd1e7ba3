"""What may be imported is in the reference."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
from public_modules import PUBLIC

PAGES = Path(__file__).parents[1] / "docs/reference"
DIRECTIVE = re.compile(r"^\.\. (?:auto|py:)(\w+):: (\S+)\n((?:   :.*\n)*)", re.MULTILINE)
EXCLUDED = re.compile(r":exclude-members: (.*)")
BACKENDS = ("concurrent", "dask", "inference", "noop", "parsl", "radical", "rhapsody")
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
    public = import_module(module).__all__
    assert set(public) - shown() <= NO_ENTRY


@pytest.mark.parametrize("kind", BACKENDS)
def test_every_public_name_of_a_backend_is_in_the_reference(kind: str) -> None:
    source = f"packages/backend-{kind}/src/asyncflow_backend_{kind}/__init__.py"
    text = (PAGES.parents[1] / source).read_text(encoding="utf-8")
    public = re.search(r"^__all__ = \[(.*)\]$", text, re.MULTILINE)
    assert public
    assert set(re.findall(r'"(\w+)"', public[1])) - shown() <= NO_ENTRY
