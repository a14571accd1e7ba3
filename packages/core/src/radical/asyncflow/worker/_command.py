"""A command in a process group of its own, from its start to the end of the group."""

from __future__ import annotations

import errno
import logging
import os
import secrets
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from .._public import public
from .._text import file_stem
from ..model import Command, ExecutableResult
from ._child import Child, candidates
from ._exchange import Exchange
from ._found_gpus import gpu_variable
from ._gpus import Gpu, gpu_list
from ._guard import guard, new_mark
from ._guardian import PROGRAM_VARIABLE
from ._output import Output, Stream
from ._processes import STUBBORN_S, end_all, kill_in_group, signal_group, survivors
from ._shell import plain_words
from ._spawning import finished, spawn

__all__ = ["Execution", "file_stem"]

public("radical.asyncflow.worker")(file_stem)

# How long a daemon that holds our pipes keeps a command from ending:
_SILENCE_LIMIT_S = 1.0  # if it writes nothing
_OUTPUT_LIMIT_S = 10.0  # even if it does
_MEMORY_LIMIT_BYTES = 16 * 1024 * 1024  # of a stream
_FIRST_LINE_BYTES = 256  # of a script, which the system reads
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

_log = logging.getLogger("radical.asyncflow.worker")


@public("radical.asyncflow.worker")
class Execution:
    """A command that `run` executes in the calling thread and `cancel` ends from any other.

    Attributes:
        command, name: as given.
        cancelled: whether `cancel` came before the command had ended.
    """

    def __init__(
        self,
        command: Command,
        *,
        name: str = "",
        work_dir: Callable[[], Path],
        capture_stdio: bool = False,
        gpus: tuple[Gpu, ...] = (),
        env: Mapping[str, str] | None = None,
        grace: float = 5.0,
        memory_limit: int = _MEMORY_LIMIT_BYTES,
    ) -> None:
        """Prepare the execution; nothing is started.

        Args:
            name: of the task, for file names and messages.
            work_dir: returns the folder for files; called when one is needed.
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
        """End the whole group: by SIGTERM, and what remains after the grace by SIGKILL.

        This returns at once; `run` returns when the group is gone, or without having
        started anything.  Call it from any thread, at any moment, any number of times;
        once the command has ended it does nothing.
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

        The command ends when the process itself has ended and its output is closed.  A
        daemon that it leaves behind with our pipes open delays this by up to 1 s of
        silence, or 10 s in all, and lives on until the guard ends.

        Raises:
            OSError: there is no such working directory, the arguments are too long, or
                the system has no room for another process.  A program that cannot be
                executed is no error but a result with exit code 126 or 127, as in a
                shell.
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
                    self.name,
                    text.size,
                    kind,
                    self._memory_limit,
                    text.path,
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
        unique = f"{file_stem(self.name)}.{secrets.token_hex(6)}.{kind}"
        return self._work_dir().absolute() / unique

    def _execute(
        self,
        data: bytes | None,
        stdout: int | None,
        stderr: int | None,
        streams: list[Stream],
    ) -> int | ExecutableResult:
        """Return the exit code, or a whole result if the program could not be executed."""
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
            exchange.run(lambda: self.cancelled, _SILENCE_LIMIT_S, _OUTPUT_LIMIT_S)
            if self.cancelled:
                self._end_group(process.pid, mark, exchange)
        except BaseException:
            # Above all KeyboardInterrupt, or a full disk under a stream's file.
            signal_group(process.pid, signal.SIGKILL)
            raise
        finally:
            with self._lock:
                self._pgid = None
                self._exchange = None
                self._ended = True
            guard().forget(process.pid)
            exchange.close()
            try:
                code = process.wait()
            except ChildProcessError:
                if not self.cancelled:
                    raise
                code = -signal.SIGTERM
            finally:
                finished()
        return code

    def _start(
        self, mark: bytes, feed: bool, stdout: int | None, stderr: int | None
    ) -> Child | ExecutableResult:
        env = self._environment(mark)
        args = self.command.args
        if isinstance(args, tuple):
            return self._start_program(args, env, feed, stdout, stderr)
        words = plain_words(args, env)
        if words is not None:
            started = self._start_program(tuple(words), self._with_pwd(env), feed, stdout, stderr)
            if not isinstance(started, ExecutableResult) or self.cancelled:
                return started
            if self._interpreter_fault(words[0], env):
                return started
            # The shell says why in its own words, or runs a file without "#!".
        # The shell would take a line that begins with "-" or "+" for an option.
        line = f" {args}" if args[0] in "-+" else args
        return self._start_program(("/bin/sh", "-c", line), env, feed, stdout, stderr)

    def _start_program(
        self,
        program: tuple[str, ...],
        env: dict[bytes, bytes],
        feed: bool,
        stdout: int | None,
        stderr: int | None,
    ) -> Child | ExecutableResult:
        """Start *program*; if it cannot be executed, return what a shell would say."""
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
            fault = self._interpreter_fault(program[0], env) if missing else ""
            reason = f"{program[0]}: {os.strerror(exc.errno or 0)}{fault}\n"
            return ExecutableResult(127 if missing else 126, "", reason)
        return process if process is not None else ExecutableResult(-signal.SIGTERM)

    def _interpreter_fault(self, program: str, env: dict[bytes, bytes]) -> str:
        """Return, as the end of a sentence, that a script is there but not its interpreter."""
        for place in candidates(os.fsencode(program), env):
            try:
                with Path(self.command.cwd or ".", os.fsdecode(place)).open("rb") as file:
                    line = file.read(_FIRST_LINE_BYTES).partition(b"\n")[0]
            except OSError:
                continue
            words = line[2:].split(None, 1)
            if line[:2] != b"#!" or not words:
                return ""
            interpreter = os.fsdecode(words[0])
            if line.endswith(b"\r"):
                return (
                    f" (the script is there, but its lines end as on Windows, so that its "
                    f"interpreter would be {interpreter + chr(13)!r})"
                )
            return f" (the script is there, but not its interpreter {interpreter!r})"
        return ""

    def _raise_unless_exec(self, exc: OSError, program: tuple[str, ...]) -> None:
        """Raise unless *exc* says that the program cannot be executed."""
        if exc.errno == errno.E2BIG:
            size = sum(len(os.fsencode(word)) + 1 for word in program)
            raise OSError(
                errno.E2BIG,
                f"the command of task {self.name!r} is too long for the system ({size} bytes of "
                "arguments, not counting the environment): pass the data by stdin or in a file",
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
            env[gpu_variable().encode()] = gpu_list(self._gpus).encode()
        for key, setting in (self.command.env or {}).items():
            if setting is None:
                env.pop(os.fsencode(key), None)
            else:
                env[os.fsencode(key)] = os.fsencode(setting)
        variable, _, own = mark.partition(b"=")
        env[variable] = own
        env[PROGRAM_VARIABLE.encode()] = guard().token.encode()
        return env

    def _with_pwd(self, env: dict[bytes, bytes]) -> dict[bytes, bytes]:
        """Return *env* with PWD as a shell would set it: the working directory."""
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
        """End everybody of the group, and everybody that it started."""
        asked: set[int] = set()

        def ask(pid: int) -> None:
            # The group has its signal; those who left it get theirs now.
            if pid not in asked and _group(pid) != pgid:
                asked.add(pid)
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)

        find = partial(survivors, pgid, mark)
        if end_all(find, seconds=self._grace, end=ask, pause=exchange.pump):
            # All at once: a shell that outlives its child would report the death of it.
            signal_group(pgid, signal.SIGKILL)
            kill = partial(kill_in_group, pgid=pgid)
            left = end_all(find, seconds=STUBBORN_S, end=kill, pause=exchange.pump)
            if left:
                _log.error("task %r: processes %s survive SIGKILL", self.name, sorted(left))
                return
        exchange.drain()


def _inherited() -> dict[bytes, bytes]:
    """Return a copy of the program's environment."""
    # os.environb decodes and encodes each name on the way: 30 µs for every command.
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
