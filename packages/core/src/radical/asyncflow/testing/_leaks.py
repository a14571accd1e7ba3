"""Find what a piece of code left behind: descriptors, threads, processes, tasks and files."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from .._files.work_dir import RUNS
from .._public import public

__all__ = ["LeakError", "LeakGuard"]

_INTERVAL = 0.01
# The threads of asyncio.to_thread end with their loop, and a test's timer ends with the
# test: neither belongs to the code under guard.
_FOREIGN_THREADS = ("asyncio_", "pytest_timeout")


@public("radical.asyncflow.testing")
class LeakError(AssertionError):
    """Something outlived the code under guard; the message lists all of it."""


class _Snapshot(NamedTuple):
    """Everything that can be left behind; each field maps an identity to its description."""

    descriptors: dict[object, str]
    threads: dict[object, str]
    processes: dict[object, str]
    tasks: dict[object, str]
    files: dict[object, str]

    @classmethod
    def take(cls, folder: Path, tasks: bool, before: _Snapshot | None = None) -> _Snapshot:
        loop = _tasks() if tasks else {}
        known = frozenset(() if before is None else before.processes)
        return cls(_descriptors(), _threads(), _processes(known), loop, _files(folder))

    def beyond(self, before: _Snapshot) -> list[str]:
        return [
            f"{kind}: {words}"
            for kind, old, new in zip(self._fields, before, self, strict=True)
            for identity, words in new.items()
            if identity not in old
        ]


@public("radical.asyncflow.testing")
class LeakGuard:
    """A guard that raises `LeakError` if the code in its ``with`` leaves anything behind.

    It watches the descriptors, threads and child processes (with their children) of this
    process, and the files in the folder that is current at the start, but not the folder
    ``asyncflow-runs``, which is kept on purpose; with ``async with`` it also watches the asyncio
    tasks of the running loop.  What is about to end has *grace* seconds, in which
    ``async with`` lets the loop run and ``with`` does not.

    It checks nothing if the code raised.  It does not count what the interpreter keeps
    until its end, which are the helper processes of multiprocessing and the threads of a
    loop's own executor.  Nor does it count what an earlier process starts, such as a
    cluster that others share.
    """

    def __init__(self, grace: float = 3.0) -> None:
        self._grace = grace
        self._folder = Path()
        self._before: _Snapshot | None = None

    def __enter__(self) -> Self:
        self._folder = Path.cwd()
        self._before = _Snapshot.take(self._folder, tasks=False)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            return
        deadline = time.monotonic() + self._grace
        while left := self._left(tasks=False):
            if time.monotonic() > deadline:
                raise LeakError(_message(left))
            time.sleep(_INTERVAL)

    async def __aenter__(self) -> Self:
        self._folder = Path.cwd()
        self._before = _Snapshot.take(self._folder, tasks=True)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if exc is not None:
            return
        deadline = time.monotonic() + self._grace
        while left := self._left(tasks=True):
            if time.monotonic() > deadline:
                raise LeakError(_message(left))
            await asyncio.sleep(_INTERVAL)

    def _left(self, tasks: bool) -> list[str]:
        if self._before is None:
            raise RuntimeError("the guard was not entered")
        left = _Snapshot.take(self._folder, tasks, self._before).beyond(self._before)
        if left:
            # What only a reference cycle still holds is not left behind.
            gc.collect()
            left = _Snapshot.take(self._folder, tasks, self._before).beyond(self._before)
        return left


def _message(left: list[str]) -> str:
    return f"{len(left)} left behind:\n" + "\n".join(f"  {words}" for words in left)


def _descriptors() -> dict[object, str]:
    folder = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    found: dict[object, str] = {}
    kept = _interpreter_descriptors()
    for number in [int(path.name) for path in folder.iterdir()]:
        try:
            status = os.fstat(number)
            if number not in kept:
                identity = (number, status.st_dev, status.st_ino)
                found[identity] = f"{number} -> {_target(folder, number)}"
        except FileNotFoundError:
            continue
        except OSError:
            # The descriptor of the listing itself: closed by now.
            continue
    return found


def _target(folder: Path, number: int) -> str:
    path = folder / str(number)
    return str(path.readlink()) if path.is_symlink() else "open"


def _interpreter_descriptors() -> set[int]:
    kept = set()
    for module, holder, name in (
        ("multiprocessing.resource_tracker", "_resource_tracker", "_fd"),
        ("multiprocessing.forkserver", "_forkserver", "_forkserver_alive_fd"),
    ):
        number = getattr(getattr(sys.modules.get(module), holder, None), name, None)
        if number is not None:
            kept.add(number)
    return kept


def _threads() -> dict[object, str]:
    return {
        thread: repr(thread)
        for thread in threading.enumerate()
        if not thread.name.startswith(_FOREIGN_THREADS)
    }


def _processes(known: frozenset[object]) -> dict[object, str]:
    """Describe the descendants of this process, but for those of *known* processes."""
    if not _has_children():
        return {}
    import psutil  # type: ignore[import-untyped]

    found: dict[object, str] = {}
    others: set[int] = set()
    for process in psutil.Process().children(recursive=True):  # parents before their children
        try:
            if process.ppid() in others:
                others.add(process.pid)
                continue
            if (process.pid, process.create_time()) in known:
                others.add(process.pid)
            with process.oneshot():
                line = " ".join(process.cmdline()) or process.name()
                identity = (process.pid, process.create_time())
                words = f"{process.pid} {process.status()} {line[:200]}"
        except psutil.ZombieProcess:
            identity, words = (process.pid, process.create_time()), f"{process.pid} zombie"
        except psutil.NoSuchProcess:
            continue
        if "multiprocessing.resource_tracker" in words or "multiprocessing.forkserver" in words:
            continue
        found[identity] = words
    return found


def _has_children() -> bool:
    """Return whether this process has children; False spares a look at all processes."""
    if not hasattr(os, "waitid"):
        return True
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _tasks() -> dict[object, str]:
    current = asyncio.current_task()
    return {task: repr(task) for task in asyncio.all_tasks() if task is not current}


def _files(folder: Path) -> dict[object, str]:
    # The folders of runs are kept on purpose.
    return {path.name: str(path) for path in folder.iterdir() if path.name != RUNS}
