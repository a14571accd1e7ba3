"""Who was started by whom, as Linux tells; elsewhere nobody is found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

__all__ = ["descendants", "helpers", "marked", "titled"]


def marked(token: str) -> list[int]:
    """Processes that carry *token* in their first environment."""
    mark = f"ASYNCFLOW_PROGRAM={token}".encode()
    return [pid for pid, folder in _all() if mark in _read(folder / "environ").split(b"\0")]


def helpers(folder: Path) -> list[int]:
    """Processes of RADICAL-Pilot that work in *folder*: their titles hide the environment."""
    found = []
    folder = folder.resolve()  # as the kernel names it
    for pid in titled("rp.", [pid for pid, _ in _all()]):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cwd").readlink().is_relative_to(folder):
                found.append(pid)
    return found


def titled(beginning: str, pids: Iterable[int]) -> list[int]:
    """Those of *pids* that live and call themselves something with this *beginning*."""
    start = beginning.encode()
    return [pid for pid in pids if _read(Path(f"/proc/{pid}/cmdline")).startswith(start)]


def descendants(root: int) -> set[int]:
    """Children of *root*, and theirs, dead ones that nobody has collected included."""
    parents = {pid: _parent(_read(folder / "stat")) for pid, folder in _all()}
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def _all() -> Iterator[tuple[int, Path]]:
    proc = Path("/proc")
    if proc.is_dir():
        for entry in proc.iterdir():
            if entry.name.isdigit():
                yield int(entry.name), entry


def _parent(stat: bytes) -> int:
    # The name, which may hold anything, is in parentheses.
    fields = stat.rpartition(b")")[2].split()
    return int(fields[1]) if len(fields) > 1 else -1


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:  # it ended, or is somebody else's
        return b""
