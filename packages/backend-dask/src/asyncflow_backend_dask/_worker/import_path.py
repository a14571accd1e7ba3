"""The import path of a worker, which follows that of the program."""

from __future__ import annotations

import importlib
import sys

__all__ = ["use_path"]

_used: tuple[str, ...] | None = None
"""The path that was taken over last."""


def use_path(path: tuple[str, ...]) -> None:
    """Import by *path* from now on; what a task itself has added since then stays."""
    global _used
    if path != _used:
        sys.path[:] = _used = path
        importlib.invalidate_caches()  # a folder may not have been there when it was looked at
