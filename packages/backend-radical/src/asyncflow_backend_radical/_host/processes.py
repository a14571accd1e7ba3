"""Processes by their ancestors and titles; found on Linux only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["descendants", "helpers", "titled"]


def helpers(folder: Path) -> list[int]:
    """Return the processes of RADICAL-Pilot that work in *folder*.

    They write their titles over their environment, so that their token is not found.
    """
    found = []
    folder = folder.resolve()  # as the kernel names it
    for pid in titled("rp.", [pid for pid, _ in _all()]):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cwd").readlink().is_relative_to(folder):
                found.append(pid)
    return found


def titled(beginning: str, pids: Iterable[int]) -> list[int]:
    """Return those of *pids* that are alive and have a title with this *beginning*."""
    start = beginning.encode()
    return [pid for pid in pids if _read(Path(f"/proc/{pid}/cmdline")).startswith(start)]


def descendants(root: int) -> set[int]:
    """Return the children of *root*, their children and so on, zombies included."""
    parents = {pid: _parent(_read(folder / "stat")) for pid, folder in _all()}
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _all() -> Iterator[tuple[int, Path]]:
    proc = Path("/proc")
    if proc.is_dir():
        for folder in proc.iterdir():
            if folder.name.isdigit():
                yield int(folder.name), folder


def _parent(stat: bytes) -> int:
    # The second field is the name in parentheses, which may hold any character.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else -1


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # the process has ended, or belongs to somebody else
        return b""
