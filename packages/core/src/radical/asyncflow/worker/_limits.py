"""The part of its machine that this process may use: containers and batch jobs get less."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .._public import public

__all__ = ["CoreCount", "count_cores", "usable_cores", "usable_memory"]

_ROOT = Path("/")


@public("radical.asyncflow.worker")
class CoreCount(NamedTuple):
    """The number of processor cores that this process may use, and where it comes from.

    Attributes:
        origin: what sets the number, in words for a user.
    """

    cores: int
    origin: str


@public("radical.asyncflow.worker")
def usable_cores(root: Path = _ROOT) -> int:
    """Return how many processor cores this process may use, at least 1; see `count_cores`."""
    return count_cores(root).cores


@public("radical.asyncflow.worker")
def count_cores(root: Path = _ROOT) -> CoreCount:
    """Count the processor cores that this process may use, at least 1.

    The affinity of the process counts, and the CPU quota of its control groups and of those
    above them; a part of a core counts as one.

    Args:
        root: the folder that holds ``proc`` and ``sys``.
    """
    count = _own_cores()
    for group in _groups("cpu", root):
        quota, _, period = _read(group / "cpu.max").partition(" ")
        if not quota:
            quota, period = _read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period):  # not "max", and not -1
            cores = max(math.ceil(int(quota) / int(period)), 1)
            if cores < count.cores:
                time = f"{quota} of every {period} µs"
                count = CoreCount(cores, f"the CPU quota of the control group {group} ({time})")
    return count


def _own_cores() -> CoreCount:
    """Count the cores without the control groups."""
    all_cores = os.cpu_count() or 1
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else all_cores
    said = getattr(os, "process_cpu_count", lambda: affinity)() or 1
    if said != affinity:
        return CoreCount(said, "PYTHON_CPU_COUNT, or python -X cpu_count")
    if affinity < all_cores:
        return CoreCount(affinity, f"the affinity of this process, on {all_cores} cores")
    return CoreCount(affinity, "all cores of this machine")


@public("radical.asyncflow.worker")
def usable_memory(root: Path = _ROOT) -> int:
    """Return the bytes of memory that this process may use: the machine's, or its groups' limit.

    Args:
        root: the folder that holds ``proc`` and ``sys``.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    for group in memory_groups(root):
        limit = _read(group / "memory.max") or _read(group / "memory.limit_in_bytes")
        if limit.isdigit() and int(limit):
            memory = min(memory, int(limit))
    return memory


def memory_groups(root: Path = _ROOT) -> Iterator[Path]:
    """Yield the folders of the control groups that limit the memory of this process."""
    return _groups("memory", root)


def _groups(controller: str, root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that limit this process, of either version."""
    # ID:CONTROLLERS:PATH, without controllers for version 2
    paths = {}
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers or controller in controllers.split(","):
            paths[bool(controllers)] = PurePosixPath(path)
    # ID PARENT DEVICE ROOT MOUNT OPTIONS... - TYPE SOURCE OPTIONS
    for line in _read(root / "proc/self/mountinfo").splitlines():
        place, _, kind = line.partition(" - ")
        system, _, options = kind.split(" ", 2)
        first = system == "cgroup"
        if first not in paths or system not in ("cgroup", "cgroup2"):
            continue
        if first and controller not in options.split(","):
            continue
        above, mount = place.split(" ")[3:5]
        top = group = root / mount.lstrip("/")
        inside = paths[first]
        if inside.is_relative_to(above) and ".." not in inside.parts:
            group = top / inside.relative_to(above)
        # Else the mount shows another part of the groups, whose top is this container's own.
        yield group
        while group != top:
            group = group.parent
            yield group


def _read(path: Path) -> str:
    """Return the text of a small file; "" if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
