"""One command in a process group of its own, from its start to the end of its group."""

from __future__ import annotations

import errno
import logging
import os
import re
import secrets
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from .._public import public
from ..model import Command, ExecutableResult
from ._child import Child
from ._exchange import Exchange
from ._guard import guard, new_mark
from ._output import Output, Stream
from ._processes import (
    BETWEEN,
    LOOKS,
    STUBBORN,
    signal_group,
    signal_processes,
    survivors,
)
from ._shell import plain_words
from ._spawning import finished, spawn

_LINGER = 1.0  # seconds of silence after which a daemon's hold on our pipes is ignored
_LONGEST = 10.0  # seconds after which it is ignored although the daemon is not silent
_LIMIT = 16 * 1024 * 1024  # bytes of a stream that stay in memory

_log = logging.getLogger("radical.asyncflow.worker")


@public("radical.asyncflow.worker")
class Execution:
    """A command that `run` executes in the calling thread and `cancel` ends from any other.

    Attributes:
        command, name: what was given.
        cancelled: `cancel` came before the command had ended.
    """

    def __init__(
        self,
        command: Command,
        *,
        name: str = "",
        work_dir: Callable[[], Path],
        capture_stdio: bool = False,
        gpus: tuple[int, ...] = (),
        env: Mapping[str, str] | None = None,
        grace: float = 5.0,
        memory_limit: int = _LIMIT,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            name: of the task, for file names and messages.
            work_dir: gives the folder for files; called when one is needed.
            capture_stdio: write stdout and stderr to files, whose paths are the result.
            gpus: what the command sees as its GPUs.
            env: added to the worker's environment; the command's own goes on top.
            grace: seconds between SIGTERM and SIGKILL.
            memory_limit: bytes of each stream that are kept in memory; a longer one
                goes to a file and the result is an `Output`.
        """
        self.command = command
        self.name = name
        self.cancelled = False
        self._work_dir = work_dir
        self._capture_stdio = capture_stdio
        self._gpus = gpus
        self._env = env
        self._grace = grace
        self._memory_limit = memory_limit
        self._lock = threading.Lock()  # guards what follows
        self._pgid: int | None = None  # while it may be signalled
        self._ended = False
        self._exchange: Exchange | None = None

    def cancel(self) -> None:
        """SIGTERM to the whole group, SIGKILL after the grace to what remains of it.

        Returns at once; `run` returns when the group is gone, or without having
        started anything.  From any thread, at any moment, any number of times; does
        nothing once the command has ended.
        """
        with self._lock:
            if self._ended or self.cancelled:
                return
            self.cancelled = True
            if self._pgid is not None:
                signal_group(self._pgid, signal.SIGTERM)
            if self._exchange is not None:
                self._exchange.wake()

    def run(self) -> ExecutableResult:
        """Execute the command and wait for its end; once only.

        It ends when the process itself has ended and its output is closed.  A daemon
        that it leaves behind with our pipes open is not waited for beyond 1 s of
        silence, or 10 s in all; it lives on until the guard ends.

        Raises:
            OSError: there is no such working directory, the arguments are too long, or
                the system has no room for another process.  A program that cannot be
                executed is a result with exit code 126 or 127 instead, as in a shell.
        """
        stdin = self.command.stdin
        data = stdin.encode() if isinstance(stdin, str) else stdin
        with self._lock:
            if self.cancelled:
                self._ended = True
                return ExecutableResult(-signal.SIGTERM)
        keeper = guard()
        keeper.acquire()
        try:
            if self._capture_stdio:
                return self._run_to_files(data)
            return self._run_to_memory(data)
        finally:
            with self._lock:
                self._ended = True
            keeper.release()

    def _run_to_memory(self, data: bytes | None) -> ExecutableResult:
        streams = [
            Stream(self._memory_limit, lambda kind=kind: self._new_path(kind))  # type: ignore[misc]
            for kind in ("stdout", "stderr")
        ]
        try:
            outcome = self._execute(data, None, None, streams)
        finally:
            for stream in streams:
                stream.close()
        if isinstance(outcome, ExecutableResult):
            return outcome
        stdout, stderr = (stream.text() for stream in streams)
        for kind, text in (("stdout", stdout), ("stderr", stderr)):
            if isinstance(text, Output):
                _log.warning(
                    "task %r wrote %d bytes to %s, more than the %d that are kept in memory; "
                    "all of it is in %s",
                    *(self.name, text.size, kind, self._memory_limit, text.path),
                )
        return ExecutableResult(outcome, stdout, stderr)

    def _run_to_files(self, data: bytes | None) -> ExecutableResult:
        paths = [self._new_path(kind) for kind in ("stdout", "stderr")]
        with paths[0].open("xb") as stdout, paths[1].open("xb") as stderr:
            outcome = self._execute(data, stdout.fileno(), stderr.fileno(), [])
            if isinstance(outcome, ExecutableResult):
                stderr.write(outcome.stderr.encode())
                outcome = outcome.exit_code
        return ExecutableResult(outcome, str(paths[0]), str(paths[1]))

    def _new_path(self, kind: str) -> Path:
        stem = re.sub(r"[^\w.-]", "_", self.name)[:80] or "task"
        return self._work_dir().absolute() / f"{stem}.{secrets.token_hex(6)}.{kind}"

    def _execute(
        self,
        data: bytes | None,
        stdout: int | None,
        stderr: int | None,
        streams: list[Stream],
    ) -> int | ExecutableResult:
        """The exit code, or a whole result if the program could not be executed."""
        mark = new_mark()
        process = self._start(mark, data is not None, stdout, stderr)
        if isinstance(process, ExecutableResult):
            return process
        exchange = Exchange(process, data, streams)
        try:
            with self._lock:
                self._pgid = process.pid
                self._exchange = exchange
                if self.cancelled:
                    signal_group(process.pid, signal.SIGTERM)
            exchange.run(lambda: self.cancelled, _LINGER, _LONGEST)
            if self.cancelled:
                self._end_group(process.pid, mark, exchange)
        except BaseException:
            # Above all KeyboardInterrupt, and a full disk under a spilled stream.
            signal_group(process.pid, signal.SIGKILL)
            raise
        finally:
            with self._lock:
                self._pgid = None
                self._exchange = None
                self._ended = True
            guard().forget(process.pid)
            exchange.close()
            code = process.wait()
            finished()
        return code

    def _start(
        self, mark: bytes, feed: bool, stdout: int | None, stderr: int | None
    ) -> Child | ExecutableResult:
        env = self._environment(mark)
        args = self.command.args
        if isinstance(args, tuple):
            return self._try(args, env, feed, stdout, stderr)
        words = plain_words(args, env)
        if words is not None:
            started = self._try(tuple(words), self._with_pwd(env), feed, stdout, stderr)
            if not isinstance(started, ExecutableResult) or self.cancelled:
                return started
            # Let the shell say it in its own words, or run a file without "#!".
        # A line that begins with "-" would be an option of the shell.
        line = f" {args}" if args[0] in "-+" else args
        return self._try(("/bin/sh", "-c", line), env, feed, stdout, stderr)

    def _try(
        self,
        program: tuple[str, ...],
        env: dict[bytes, bytes],
        feed: bool,
        stdout: int | None,
        stderr: int | None,
    ) -> Child | ExecutableResult:
        """The process, or what a shell says if *program* cannot be executed."""
        try:
            process = spawn(
                program,
                env=env,
                cwd=self.command.cwd,
                feed=feed,
                stdout=stdout,
                stderr=stderr,
                give_up=lambda: self.cancelled,
            )
        except OSError as exc:
            self._raise_unless_exec(exc, program)
            missing = exc.errno in (errno.ENOENT, errno.ENOTDIR)
            reason = f"{program[0]}: {os.strerror(exc.errno or 0)}\n"
            return ExecutableResult(127 if missing else 126, "", reason)
        return process if process is not None else ExecutableResult(-signal.SIGTERM)

    def _raise_unless_exec(self, exc: OSError, program: tuple[str, ...]) -> None:
        """Raise unless *exc* says that the program cannot be executed."""
        if exc.errno == errno.E2BIG:
            size = sum(len(os.fsencode(word)) + 1 for word in program)
            raise OSError(
                errno.E2BIG,
                f"the command of task {self.name!r} is too long for the system ({size} bytes of "
                "arguments, beside the environment): pass the data by stdin or by a file",
            ) from exc
        if exc.filename is None or exc.errno in (errno.ENOMEM, errno.EAGAIN, *_NO_DESCRIPTORS):
            exc.add_note(f"while starting the command of task {self.name!r}")
            raise exc
        cwd = self.command.cwd
        if cwd is not None and (not Path(cwd).is_dir() or not os.access(cwd, os.X_OK)):
            raise type(exc)(
                exc.errno, f"{os.strerror(exc.errno or 0)}: working directory of {self.name!r}", cwd
            ) from exc

    def _environment(self, mark: bytes) -> dict[bytes, bytes]:
        env = _inherited()
        for key, value in (self._env or {}).items():
            env[os.fsencode(key)] = os.fsencode(value)
        if self._gpus:
            env[b"CUDA_VISIBLE_DEVICES"] = ",".join(map(str, self._gpus)).encode()
        for key, setting in (self.command.env or {}).items():
            if setting is None:
                env.pop(os.fsencode(key), None)
            else:
                env[os.fsencode(key)] = os.fsencode(setting)
        variable, _, own = mark.partition(b"=")
        env[variable] = own
        env[b"ASYNCFLOW_PROGRAM"] = guard().token.encode()
        return env

    def _with_pwd(self, env: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """What a shell would do: PWD names the working directory."""
        cwd = self.command.cwd
        try:
            here = os.fsencode(os.getcwd() if cwd is None else os.path.abspath(cwd))  # noqa: PTH100, PTH109
        except FileNotFoundError:
            return env  # our own folder is gone: there is nothing to name
        pwd = env.get(b"PWD")
        if pwd == here or (pwd and _same(pwd, here)):
            return env
        return {**env, b"PWD": here}

    def _end_group(self, pgid: int, mark: bytes, exchange: Exchange) -> None:
        """See to it that nobody of the group, or started by it, is left."""
        deadline = time.monotonic() + self._grace
        asked: frozenset[int] = frozenset()
        killing = False
        pause = 0.004
        clean = 0
        while True:
            left = survivors(pgid, mark)
            clean = 0 if left else clean + 1
            if clean == LOOKS:
                break
            now = time.monotonic()
            if left and now >= deadline:
                if killing:
                    _log.error("task %r: processes %s survive SIGKILL", self.name, sorted(left))
                    return
                killing = True
                deadline = now + STUBBORN
            if killing:
                signal_group(pgid, signal.SIGKILL)
                signal_processes(left, signal.SIGKILL)
            else:
                # The group has its signal; those who left it get theirs now.
                outside = frozenset(pid for pid in left if _group(pid) != pgid)
                signal_processes(outside - asked, signal.SIGTERM)
                asked |= outside
            if left:
                exchange.pump(min(pause, max(deadline - now, 0.0)))
                pause = min(pause * 1.5, 0.1)
            else:
                exchange.pump(BETWEEN)
        exchange.drain()


_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)


def _inherited() -> dict[bytes, bytes]:
    """A copy of the program's environment."""
    # os.environb decodes and encodes each name on the way, 30 µs in all for every command.
    return dict(getattr(os.environb, "_data", os.environb))


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


def _same(one: bytes, other: bytes) -> bool:
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - bytes
    except OSError:
        return False
