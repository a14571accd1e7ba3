"""Names of a package that are imported when somebody first asks for them.

For the ``__init__`` of the core, of its rooms and of backends: a worker process or a
listing of backends then loads only what it uses.  Imports nothing but `importlib`,
because every program pays for it.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # not from typing, whose import takes longer than that of the package
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    package: str, homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of *package*.

    Write the same names as ordinary imports below ``if TYPE_CHECKING:``, so that type
    checkers and editors know them::

        __getattr__, __dir__ = lazy_names(__name__, {"MyBackend": "backend"})

    Args:
        homes: for each name the module below *package* that defines it.
    """

    def load(name: str) -> Any:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f".{home}", package), name)
        setattr(sys.modules[package], name, value)
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[package]), *homes})

    return load, names
