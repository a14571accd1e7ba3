"""The modules of the core that anybody may import."""

from __future__ import annotations

import pkgutil

import radical.asyncflow

__all__ = ["PUBLIC"]

PUBLIC = [
    "radical.asyncflow",
    *(
        f"radical.asyncflow.{module.name}"
        for module in pkgutil.iter_modules(radical.asyncflow.__path__)
        if not module.name.startswith("_") and module.name not in ("cli", "version")
    ),
]
"""Every module but the command line, which has a page of its own."""
