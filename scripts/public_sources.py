"""Let Sphinx find the source of public names, which are written in private modules.

autodoc takes the order of members, and the texts below attributes, from the source of the
module that a class names.  This extension adds to a public module what Sphinx reads in the
private modules whose names it offers.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from typing import Any

import radical.asyncflow
from radical.asyncflow._public import WRITTEN_IN
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer

__all__ = ["setup"]

PARTS = ("annotations", "attr_docs", "finals", "overloads", "tagorder", "tags")
"""The attributes in which an analyzer keeps what it read, which are mappings and one list."""


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect this extension to Sphinx, which calls this."""
    app.connect("builder-inited", lambda _: _merge_sources())
    return {"parallel_read_safe": True}


def _merge_sources() -> None:
    _import_public_names()
    for module, written_in in {
        (name.rpartition(".")[0], real) for name, real in WRITTEN_IN.items()
    }:
        public = ModuleAnalyzer.for_module(module)
        private = ModuleAnalyzer.for_module(written_in)
        public.analyze()
        private.analyze()
        for part in PARTS:
            known, more = getattr(public, part), getattr(private, part)
            if isinstance(known, dict):
                known.update(more)
            else:
                known.extend(more)


def _import_public_names() -> None:
    names = ["", *(found.name for found in pkgutil.iter_modules(radical.asyncflow.__path__))]
    for name in names:
        if not name.startswith("_"):
            module = import_module(f"radical.asyncflow.{name}".rstrip("."))
            for public in getattr(module, "__all__", ()):
                getattr(module, public)
