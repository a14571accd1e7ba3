"""Cores of this machine: their order, and work that is bound to some of them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection
from pathlib import Path

from .._public import public

__all__ = ["bind", "can_bind", "core_order"]

_ROOT = Path("/")


@public("radical.asyncflow.worker")
def can_bind() -> bool:
    """Tell whether this system can bind threads to cores; Linux can."""
    return hasattr(os, "sched_setaffinity")


@public("radical.asyncflow.worker")
def core_order(root: Path = _ROOT, usable: Collection[int] | None = None) -> list[int]:
    """Return the numbers of the cores that this process may use, neighbours side by side.

    The NUMA nodes come in their order, and so do the cores of each.  Where a core has several
    hardware threads, the first one of each core comes before all second ones.

    Args:
        root: the folder that holds ``sys``.
        usable: the numbers, by default those of the affinity of this thread.
    """
    chosen = set(os.sched_getaffinity(0) if usable is None else usable)
    devices = root / "sys/devices/system"
    nodes = {
        core: int(folder.name.removeprefix("node"))
        for folder in devices.glob("node/node[0-9]*")
        for core in _numbers(folder / "cpulist")
    }

    def place(core: int) -> tuple[int, int, int]:
        siblings = _numbers(devices / f"cpu/cpu{core}/topology/thread_siblings_list")
        before = sum(other < core for other in siblings if other in chosen)
        return before, nodes.get(core, 0), core

    return sorted(chosen, key=place)


@public("radical.asyncflow.worker")
def bind(cores: Collection[int], pid: int = 0) -> None:
    """Let all threads of process *pid* run on *cores* alone; for 0, the calling thread.

    Processes and threads that they start later inherit it.  A process that has ended is passed
    over.
    """
    if not pid:
        os.sched_setaffinity(0, cores)
        return
    with contextlib.suppress(ProcessLookupError):
        os.sched_setaffinity(pid, cores)
    with contextlib.suppress(FileNotFoundError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), cores)


def _numbers(file: Path) -> list[int]:
    """Return the numbers of a list such as ``0-3,8-11``; none if it cannot be read."""
    try:
        text = file.read_text(encoding="utf-8").strip()
    except OSError:
        return []
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found
