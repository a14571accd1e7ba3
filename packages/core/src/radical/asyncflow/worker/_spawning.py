"""Start a process, and wait while the system has no room for another one."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from ._child import Child, needs_helper, start
from ._guard import guard

__all__ = ["MustWaitError", "finished", "spawn"]

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.EAGAIN)
_RETRY_PAUSE_S = 0.05  # between two tries, if no execution ends meanwhile
_RETRY_LIMIT_S = 5.0  # while no other execution runs that could make room

_room = threading.Condition()
_turn = threading.Lock()
_running = 0  # processes that were started, and for which `finished` was not called yet
_waiting = 0  # calls of `spawn` that found no room


class MustWaitError(Exception):
    """The start of a process would have to wait."""


def spawn(
    args: Sequence[str],
    *,
    env: Mapping[bytes, bytes],
    mark: bytes,
    cwd: str | None,
    feed: bool,
    stdout: int | None,
    stderr: int | None,
    give_up: Callable[[], bool] | None,
) -> Child | None:
    """Start a process in a group of its own, watched by the guard.

    While descriptors or process numbers are used up, wait for other executions to end.
    Call `finished` when the process and its pipes are gone.

    Args:
        mark: as for `start`.
        give_up: asked while there is no room; None not to wait at all.

    Returns:
        The process; None if told to give up.

    Raises:
        MustWaitError: *give_up* is None, and there is no room, or a helper process would have to
            start it.
    """
    global _running
    if give_up is None and needs_helper():
        raise MustWaitError

    def attempt() -> Child:
        guard().start()
        return start(args, env, cwd, feed=feed, stdout=stdout, stderr=stderr, mark=mark)

    process: Child | None = None
    try:
        process = attempt()
    except OSError as exc:
        if exc.errno not in _NO_ROOM:
            raise
    if process is None:
        if give_up is None:
            raise MustWaitError
        process = _retry(attempt, give_up)
        if process is None:
            return None
    with _room:
        _running += 1
    try:
        guard().watch(process.pid)
    except BaseException:
        os.kill(process.pid, signal.SIGKILL)
        process.close()
        process.wait()
        finished()
        raise
    return process


def _retry(attempt: Callable[[], Child], give_up: Callable[[], bool]) -> Child | None:
    """Make further attempts at a start that found no room; return None if told to give up."""
    global _waiting
    with _room:
        _waiting += 1
    try:
        deadline = time.monotonic() + _RETRY_LIMIT_S
        while True:
            with _room:
                if give_up():
                    return None
                if _running:
                    deadline = time.monotonic() + _RETRY_LIMIT_S
                _room.wait(_RETRY_PAUSE_S)
                if give_up():
                    return None
            try:
                # One after the other: all at once, each would take some of the few
                # descriptors and none would get as many as it needs.
                with _turn:
                    return attempt()
            except OSError as exc:
                alone = _running == 0
                if exc.errno not in _NO_ROOM or (alone and time.monotonic() > deadline):
                    raise
    finally:
        with _room:
            _waiting -= 1


def finished() -> None:
    """Note that a process of `spawn` is gone, and its descriptors are closed."""
    global _running
    with _room:
        _running -= 1
        if _waiting:
            _room.notify()
