"""The guard: a small process that outlives the program and ends what it started.

A program that is killed cannot clean up.  The guard holds one end of a pipe whose
other end only the program has.  When that closes, the guard kills every process group
that it was told to watch and, on Linux, every process that carries the program's token
in its environment, which also finds those that left their group.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import secrets
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .._public import public
from ._death import expect_deaths
from ._guardian import PROGRAM_VARIABLE
from ._processes import EXECUTION_VARIABLE

__all__ = ["Guard", "bare_environment", "child_environment", "guard", "new_mark", "start_guarded"]

_END_LIMIT_S = 5.0  # for the guard to end what is left, and itself
_READ_LIMIT_S = 5.0  # for the guard to read more of a long line

_numbers = itertools.count()
_log = logging.getLogger("radical.asyncflow.worker")


@public("radical.asyncflow.worker")
class Guard:
    """Handle on the guard process; every method may be called from any thread.

    The first `start` or `watch` starts the process, and starts it again if it was killed.

    Attributes:
        token: what marks the program's children, and theirs, in their environment.
    """

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self.token = secrets.token_hex(16)
        self._lock = threading.Lock()
        self._holders = 0
        self._groups: set[int] = set()
        self._commands: list[bytes] = []
        self._at_end: set[Callable[[], object]] = set()
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe = -1

    @property
    def pid(self) -> int | None:
        """The id of the guard process; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def acquire(self) -> None:
        """Keep the guard from ending; each backend does this as long as it is up."""
        with self._lock:
            self._holders += 1

    def release(self) -> None:
        """Undo one `acquire`.

        The last one ends the guard, and the guard ends what is left of everything that
        was started.  That blocks for some 10 ms: do not call it in an event loop.

        Raises:
            RuntimeError: there was no such `acquire`.
        """
        with self._lock:
            if self._holders == 0:
                raise RuntimeError("the guard was released more often than acquired")
            self._holders -= 1
            if self._holders:
                return
            self._end()
        self._call_back()

    def call_at_end(self, step: Callable[[], object]) -> None:
        """Call *step* once, when the last holder has released the guard."""
        self._at_end.add(step)

    def _call_back(self) -> None:
        steps, self._at_end = self._at_end, set()
        for step in steps:
            step()

    def start(self) -> None:
        """Make sure that a guard process is there; call it before you start a child."""
        if self._process is None:
            with self._lock:
                if self._process is None:
                    expect_deaths()
                    self._begin()

    def watch(self, pgid: int) -> None:
        """Have the process group *pgid* die with the program."""
        with self._lock:
            self._groups.add(pgid)
            self._tell(b"+%d\n" % pgid)

    def forget(self, pgid: int) -> None:
        """Stop watching *pgid*; call it while its number cannot be given to another group."""
        with self._lock:
            self._groups.discard(pgid)
            if self._process is not None:
                self._tell(b"-%d\n" % pgid)

    def run_after_death(self, words: Sequence[str], environment: Mapping[str, str]) -> None:
        """Have the guard run a command if this program dies without releasing it.

        It runs when all that the guard ends has ended, and the guard waits for it.

        Args:
            environment: all that the command has.
        """
        import json  # few programs need it

        line = b"!" + json.dumps([list(words), dict(environment)]).encode() + b"\n"
        with self._lock:
            self._commands.append(line)
            self._tell(line)

    def _tell(self, line: bytes) -> None:
        if self._process is not None:
            try:
                _write(self._pipe, line)
                return
            except (BrokenPipeError, BlockingIOError) as exc:
                _log.warning("the guard process is lost (%s); starting another", exc)
                self._abandon()
        self._begin()

    def _begin(self) -> None:
        if not sys.executable:
            raise RuntimeError("cannot start the guard process: sys.executable is not set")
        script = str(Path(__file__).with_name("_guardian.py"))
        read, write = os.pipe()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", script, self.token, str(os.getpid())],
                stdin=read,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=bare_environment(),
                start_new_session=True,
            )
        except BaseException:
            os.close(write)
            raise
        finally:
            os.close(read)
        # A guard that is stopped must not stop us: a full pipe counts as its loss.
        os.set_blocking(write, False)
        self._pipe = write
        if self._groups or self._commands:
            lines = [b"+%d\n" % pgid for pgid in self._groups]
            _write(write, b"".join(lines + self._commands))

    def _abandon(self) -> None:
        process, self._process = self._process, None
        os.close(self._pipe)
        if process is not None:
            process.kill()
            process.wait()

    def _end(self) -> None:
        process, self._process = self._process, None
        self._groups.clear()
        self._commands.clear()
        if process is None:
            return
        try:
            os.write(self._pipe, b".\n")
        except (BrokenPipeError, BlockingIOError) as exc:
            _log.warning("the guard process was lost before its end (%s)", exc)
        os.close(self._pipe)
        try:
            process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            _log.warning("the guard process does not end; killing it")
            process.send_signal(signal.SIGKILL)
            process.wait()

    def _at_exit(self) -> None:
        with self._lock:
            self._end()
        self._call_back()

    def _in_fork(self) -> None:
        # The fork starts a guard of its own if it needs one.  This one is its parent's,
        # and must not take the fork for the program.
        process = self._process
        if process is not None:
            os.close(self._pipe)
            process.returncode = 0  # not a child of this process: nothing to wait for
        self._reset()


def _write(pipe: int, data: bytes) -> None:
    """Write all of *data* into a pipe, which takes much of it only as fast as the guard reads.

    Raises:
        BlockingIOError: the guard reads nothing.
    """
    while data := data[os.write(pipe, data) :]:
        poll = select.poll()
        poll.register(pipe, select.POLLOUT)
        if not poll.poll(1000 * _READ_LIMIT_S):
            raise BlockingIOError(f"the guard has read nothing for {_READ_LIMIT_S:g} s")


_guard = Guard()
atexit.register(_guard._at_exit)
os.register_at_fork(after_in_child=_guard._in_fork)


@public("radical.asyncflow.worker")
def guard() -> Guard:
    """Return the guard of this process."""
    return _guard


@public("radical.asyncflow.worker")
def start_guarded(
    args: Sequence[str], *, watched: bool = True, **options: Any
) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own; the guard ends it with the program.

    Call ``guard().forget`` with its id before you wait for it.

    Args:
        watched: False for a process that outlives the program, and ends by itself.
        options: as for `subprocess.Popen`; *env* holds a `child_environment`.
    """
    _guard.start()
    options.setdefault("cwd", _folder())
    process: subprocess.Popen[bytes] = subprocess.Popen(args, start_new_session=True, **options)
    if watched:
        try:
            _guard.watch(process.pid)
        except BaseException:
            process.kill()
            process.wait()
            raise
    return process


def _folder() -> str | None:
    """Return where to start a process: None, the current folder, unless that was deleted.

    In a folder that is gone no interpreter starts.
    """
    try:
        os.stat(os.getcwd())  # noqa: PTH109, PTH116
    except OSError:
        return "/"
    return None


def new_mark() -> bytes:
    """Return a variable of the environment, ``NAME=value``, that nobody else has."""
    return f"{EXECUTION_VARIABLE}={_guard.token}.{next(_numbers)}".encode()


@public("radical.asyncflow.worker")
def child_environment() -> dict[str, str]:
    """Return the variables that mark a new child; they differ from call to call.

    By the first the guard knows the child as the program's, by the second `kill_tree`
    knows what the child started.  They are not a whole environment:
    ``env={**os.environ, **child_environment()}``.
    """
    name, _, value = new_mark().decode().partition("=")
    return {PROGRAM_VARIABLE: _guard.token, name: value}


def bare_environment() -> dict[str, str]:
    """Return an environment that is enough for an interpreter to find its shared library."""
    names = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME")
    return {name: os.environ[name] for name in names if name in os.environ}
