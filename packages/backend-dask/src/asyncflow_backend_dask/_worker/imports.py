"""The imports of a worker, which follow those of the program."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Callable

__all__ = ["reload", "use_path"]

_used: tuple[str, ...] | None = None
"""The path that was taken over last."""


def use_path(path: tuple[str, ...]) -> None:
    """Import by *path* from now on; what a task itself has added since then stays."""
    global _used
    if path != _used:
        sys.path[:] = _used = path
        importlib.invalidate_caches()  # a folder may not have been there when it was looked at


_reloads: dict[str, int] = {}
"""How many reloads of each program were done here."""
_reloading = threading.Lock()


def reload(program: str, names: tuple[str, ...], forget: Callable[[], None]) -> None:
    """Load modules anew that are loaded here, as *program* has done; then call *forget*.

    Args:
        names: all modules that it has loaded anew so far, in order.

    Raises:
        BaseException: whatever a module raises; the next call tries it again.
    """
    with _reloading:
        done = _reloads.get(program, 0)
        if done >= len(names):
            return
        importlib.invalidate_caches()
        for name in names[done:]:
            if (module := sys.modules.get(name)) is not None:
                importlib.reload(module)
            done += 1
            _reloads[program] = done
        forget()
