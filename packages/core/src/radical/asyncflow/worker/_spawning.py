"""Start a process, and wait for room if the system has none just now."""

from __future__ import annotations

import errno
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext

from ._child import Child, start
from ._guard import guard

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.EAGAIN)
_PAUSE = 0.05  # seconds between two looks, if nobody tells of room
_PATIENCE = 5.0  # seconds of retries while no other execution runs that could make room

_room = threading.Condition()
_turn = threading.Lock()
_running = 0  # processes that were started and have not called `finished`
_waiting = 0


def spawn(
    args: Sequence[str],
    *,
    env: Mapping[bytes, bytes],
    cwd: str | None,
    feed: bool,
    stdout: int | None,
    stderr: int | None,
    give_up: Callable[[], bool],
) -> Child | None:
    """A process in a group of its own, watched by the guard; None if told to give up.

    While descriptors or process numbers are used up it waits for other executions to
    end.  Call `finished` when the process and its pipes are gone.
    """
    global _running, _waiting
    begun = time.monotonic()
    waited = False
    try:
        while True:
            try:
                guard().start()
                # Those that found no room try one after the other: all at once, each would
                # take some of the few descriptors and none would get as many as it needs.
                with _turn if waited else nullcontext():
                    process = start(args, env, cwd, feed=feed, stdout=stdout, stderr=stderr)
            except OSError as exc:
                if exc.errno not in _NO_ROOM or (
                    _running == 0 and time.monotonic() - begun > _PATIENCE
                ):
                    raise
            else:
                break
            with _room:
                _waiting += not waited
                waited = True
                if give_up():
                    return None
                if _running:
                    begun = time.monotonic()
                _room.wait(_PAUSE)
                if give_up():
                    return None
    finally:
        if waited:
            with _room:
                _waiting -= 1
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


def finished() -> None:
    """A process that `spawn` started is gone, and its descriptors are closed."""
    global _running
    with _room:
        _running -= 1
        if _waiting:
            _room.notify()
