"""The processes of a run."""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped]

__all__ = ["below"]


def below(folder: Path) -> list[psutil.Process]:
    """Return the live processes that work in *folder* or name it in their command."""
    found = []
    for process in psutil.process_iter():
        try:
            places = [process.cwd(), *process.cmdline()]
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in p for p in places):
                found.append(process)
        except (psutil.Error, OSError):  # it has just ended
            continue
    return found
