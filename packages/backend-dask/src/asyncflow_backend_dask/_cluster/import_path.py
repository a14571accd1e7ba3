"""The program's import path, which the workers of a local cluster follow."""

from __future__ import annotations

import os
import sys
from operator import is_
from typing import Any

from radical.asyncflow.worker import import_path

__all__ = ["ImportPath"]


class ImportPath:
    """The program's ``sys.path`` when a cluster starts, and from then on.

    Attributes:
        at_start: the path with which the cluster starts.
    """

    def __init__(self) -> None:
        self._seen: list[Any] = list(sys.path)
        self._changed: tuple[str, ...] | None = None
        self.at_start = _absolute_path()

    def changed(self) -> tuple[str, ...] | None:
        """Return the path that the workers must have now; None if it never changed."""
        seen = self._seen
        # By identity, because an entry can be any object.
        if len(seen) != len(sys.path) or not all(map(is_, seen, sys.path)):
            self._seen = list(sys.path)
            self._changed = tuple(_absolute_path())
        return self._changed


def _absolute_path() -> list[str]:
    return [os.path.abspath(entry) for entry in import_path()]  # noqa: PTH100 - "" is the folder
