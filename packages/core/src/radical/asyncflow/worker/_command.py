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
from ..model import Command, ExecutableResult, TaskTrace, TaskUsage, Written
from ..model._command import DeathResult
from ._child import Child, candidates
from ._death import explain_death
from ._exchange import Exchange, Watch
from ._found_gpus import gpu_variable
from ._gpus import Gpu, gpu_list
from ._guard import guard, new_mark
from ._guardian import PROGRAM_VARIABLE
from ._outlets import FileOutlets, MemoryOutlets, Outlets
from ._processes import (
    EXECUTION_VARIABLE,
    STUBBORN_S,
    end_all,
    kill_in_group,
    signal_group,
    survivors,
)
from ._shell import plain_words
from ._spawning import MustWaitError, finished, spawn

__all__ = ["Execution", "file_stem"]

public("radical.asyncflow.worker")(file_stem)

# How long a daemon that holds our pipes keeps a command from ending:
_SILENCE_LIMIT_S = 1.0  # if it writes nothing
_OUTPUT_LIMIT_S = 10.0  # even if it does
_MEMORY_LIMIT_BYTES = 16 * 1024 * 1024  # of a stream
MOST_WRITTEN = 4000
"""The bytes of each stream that `Execution.written` returns."""

_FIRST_LINE_BYTES = 256  # of a script, which the system reads
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)

_EXECUTION = EXECUTION_VARIABLE.encode()

_log = logging.getLogger("radical.asyncflow.worker")


@public("radical.asyncflow.worker")
class Execution:
    """A command that `run` executes in the calling thread and `cancel` ends from any other.

    Or an `Attendant` executes it, together with others.

    Attributes:
        command, name: as given.
        cancelled: whether `cancel` came before the command had ended.
        usage: once it has ended, what it used, with the processes that it waited for; None if
            that was not measured.
        exchange: what is exchanged with the process while it runs; None otherwise.
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
        measure: bool = False,
        mark: bytes = b"",
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
            measure: find out what it uses.
            mark: the variable by which its processes are found; by default one of its own.
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
        self._measure = measure
        self.usage: TaskUsage | None = None
        self._lock = threading.Lock()  # guards what follows
        self._pgid: int | None = None  # while it may be signalled
        self._ended = False
        self.exchange: Exchange | None = None
        self._wake: Callable[[], object] | None = None  # wakes whoever attends to it
        self._mark = mark
        self._outlets: Outlets | None = None
        self._fault: BaseException | None = None  # of whoever attended to it
        self._holds_guard = False

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
            if self._wake is not None:
                self._wake()
            elif self.exchange is not None:
                self.exchange.wake()

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
        result = self.start()
        return self.finish() if result is None else result

    def start(
        self, watch: Watch | None = None, wake: Callable[[], object] | None = None
    ) -> ExecutableResult | None:
        """Start the command; return None if it runs, or its result if it could not be executed.

        Args:
            watch: for its pipes, if somebody else than `finish` exchanges with the process.
                Then this does not wait until the system has room for another process.
            wake: called by `cancel`, to wake that one.

        Raises:
            OSError: as `run` does.
            MustWaitError: it would have to wait; a later call may succeed.
        """
        with self._lock:
            if self.cancelled:
                self._ended = True
            self._wake = wake
        if self._ended:
            self._release()
            return ExecutableResult(-signal.SIGTERM)
        try:
            if self._outlets is None:
                guard().acquire()
                self._holds_guard = True
                self._outlets = self._open_outlets()
                self._mark = self._mark or new_mark()
            return self._start_exchange(self._outlets, watch)
        except MustWaitError:
            with self._lock:
                self._wake = None
            raise
        except BaseException:
            self._release()
            raise

    def _open_outlets(self) -> Outlets:
        if self._capture_stdio:
            return FileOutlets(self._new_path)
        return MemoryOutlets(self.name, self._memory_limit, self._new_path)

    def _start_exchange(self, outlets: Outlets, watch: Watch | None) -> ExecutableResult | None:
        stdin = self.command.stdin
        data = stdin.encode() if isinstance(stdin, str) else stdin
        stdout, stderr = outlets.descriptors
        process = self._start(data is not None, stdout, stderr, patient=watch is None)
        if isinstance(process, ExecutableResult):
            result = outlets.result(process)
            self._release()
            return result
        exchange = Exchange(process, data, outlets.streams, watch)
        with self._lock:
            self._pgid = process.pid
            self.exchange = exchange
            if self.cancelled:
                signal_group(process.pid, signal.SIGTERM)
        return None

    def leave(self, fault: BaseException | None = None) -> None:
        """Have `finish` do the rest, which raises *fault* if there is one."""
        with self._lock:
            self._wake = None
        self._fault = fault
        assert self.exchange is not None
        self.exchange.detach()

    def finish(self) -> ExecutableResult:
        """Wait for the end of the command, in this thread; call it after `start`, once.

        Raises:
            OSError: as `run` does.
        """
        exchange = self.exchange
        assert exchange is not None
        process = exchange.process
        try:
            if self._fault is not None:
                raise self._fault
            exchange.run(lambda: self.cancelled, _SILENCE_LIMIT_S, _OUTPUT_LIMIT_S)
            if self.cancelled or self._begin_end():
                self._end_group(process.pid, self._mark, exchange)
        except BaseException:
            # Above all KeyboardInterrupt, or a full disk under a stream's file.
            signal_group(process.pid, signal.SIGKILL)
            with suppress(ChildProcessError):
                self._settle(exchange)
            self._release()
            raise
        return self.collect()

    def written(self, most: int = MOST_WRITTEN) -> Written | None:
        """Return what it has written so far, at most *most* bytes of each stream, from any thread.

        That is the paths of its files where its output goes to files.  None if it has not begun.
        """
        outlets = self._outlets
        return None if outlets is None else outlets.written(most)

    def trace(self, *, output: bool) -> TaskTrace | None:
        """Return, once it has ended, what it left behind beside its result; None for nothing.

        That is what it used; and with *output*, if it was cancelled, the end of what it wrote,
        because nobody gets its result then.
        """
        written = self.written() if output and self.cancelled else None
        if written is None:
            return None if self.usage is None else TaskTrace(usage=self.usage)
        stdout, stderr = (text if isinstance(text, str) else "" for text in written[:2])
        return TaskTrace(stdout, stderr, (), (*written.before, 0), self.usage)

    def _begin_end(self) -> bool:
        """Return whether whoever the process left behind ends, too, and ask the group to."""
        return False

    def collect(self) -> ExecutableResult:
        """Return the result of a command that has ended; call it instead of `finish`.

        Raises:
            OSError: as `run` does.
        """
        assert self.exchange is not None
        assert self._outlets is not None
        process = self.exchange.process
        try:
            code = self._settle(self.exchange)
            result = self._outlets.result(code)
            if code and not self.cancelled:
                death = explain_death(process.pid, code, peak=process.peak)
                if death.evidence:
                    result = DeathResult.of(result, death.reason, death.evidence)
            return result
        finally:
            self._release()

    def _settle(self, exchange: Exchange) -> int:
        """Let go of the process and return its exit code."""
        process = exchange.process
        with self._lock:
            self._pgid = None
            self.exchange = None
            self._ended = True
        guard().forget(process.pid)
        exchange.close()
        process.is_measured = self._measure
        try:
            code = process.wait()
            self.usage = process.usage
            return code
        except ChildProcessError:
            if not self.cancelled:
                raise
            return -signal.SIGTERM
        finally:
            finished()

    def _release(self) -> None:
        with self._lock:
            self._ended = True
        if self._outlets is not None:
            self._outlets.close()
        if self._holds_guard:
            self._holds_guard = False
            guard().release()

    def _new_path(self, kind: str) -> Path:
        unique = f"{file_stem(self.name)}.{secrets.token_hex(6)}.{kind}"
        return self._work_dir().absolute() / unique

    def _start(
        self, feed: bool, stdout: int | None, stderr: int | None, *, patient: bool
    ) -> Child | ExecutableResult:
        env = self._environment()
        give_up = (lambda: self.cancelled) if patient else None
        start = partial(
            self._start_program, feed=feed, stdout=stdout, stderr=stderr, give_up=give_up
        )
        args = self.command.args
        if isinstance(args, tuple):
            return start(args, env)
        words = plain_words(args, env)
        if words is not None:
            started = start(tuple(words), self._with_pwd(env))
            if not isinstance(started, ExecutableResult) or self.cancelled:
                return started
            if self._interpreter_fault(words[0], env):
                return started
            # The shell says why in its own words, or runs a file without "#!".
        # The shell would take a line that begins with "-" or "+" for an option.
        line = f" {args}" if args[0] in "-+" else args
        return start(("/bin/sh", "-c", line), env)

    def _start_program(
        self,
        program: tuple[str, ...],
        env: dict[bytes, bytes],
        *,
        feed: bool,
        stdout: int | None,
        stderr: int | None,
        give_up: Callable[[], bool] | None,
    ) -> Child | ExecutableResult:
        """Start *program*; if it cannot be executed, return what a shell would say."""
        try:
            process = spawn(
                program,
                env=env,
                mark=self._mark,
                cwd=self.command.cwd,
                feed=feed,
                stdout=stdout,
                stderr=stderr,
                give_up=give_up,
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

    def _environment(self) -> dict[bytes, bytes]:
        """Return the environment of the command, without the mark."""
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
        env.pop(_EXECUTION, None)
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
