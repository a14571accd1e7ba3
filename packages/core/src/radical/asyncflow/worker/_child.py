"""Start a program in a process group of its own, and hold the near ends of its pipes.

`subprocess.Popen` can do this, and does it where the C library lacks a part.  But it
holds the interpreter's lock until the program is loaded, so that two threads cannot
start programs at the same time, and costs twice as much itself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress

from ..model import TaskUsage
from ._meter import bytes_passed, peak_of, usage_of

__all__ = ["Child", "candidates", "needs_helper", "start"]


class Child:
    """A process that was started here and is waited for here, or by the launcher.

    Attributes:
        stdin, stdout, stderr: descriptors of pipes to it; -1 for none.
        peak: once it was waited for, the most memory that it had, in bytes; 0 if unknown.
        is_measured: whether `wait` finds out what it used.
        usage: once it was waited for, what it used, with all processes that it has waited for;
            None if nobody can tell.
    """

    __slots__ = ("_status", "is_measured", "peak", "pid", "stderr", "stdin", "stdout", "usage")

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int, status: int = -1) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.peak = 0
        self.is_measured = False
        self.usage: TaskUsage | None = None
        self._status = status  # where the launcher says how it ended

    def close_stdin(self) -> None:
        descriptor, self.stdin = self.stdin, -1
        _close(descriptor)

    def close(self) -> None:
        """Close all pipes to the process."""
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor >= 0:
                _close(descriptor)
        self.stdin = self.stdout = self.stderr = -1

    def has_ended(self) -> bool:
        """Return whether the process has ended; `wait` still has to collect it.

        Raises:
            ChildProcessError: nobody can tell how it ended.
        """
        if self._status >= 0:
            poll = select.poll()
            poll.register(self._status, select.POLLIN)
            return bool(poll.poll(0))
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        try:
            return os.waitid(os.P_PID, self.pid, flags) is not None
        except ChildProcessError:
            raise _exit_code_lost() from None

    def wait(self) -> int:
        """Wait for the end; return the exit code, or minus the signal's number.  Once only.

        Raises:
            ChildProcessError: nobody can tell how it ended.
        """
        if self._status >= 0:
            status, self._status = self._status, -1
            with os.fdopen(status, "rb") as file:
                said = file.read()
            if said[:1] != b"x":
                raise ChildProcessError(errno.ECHILD, "the helper process was killed that waits")
            return int(said[1:])
        passed = None
        try:
            if self.is_measured:
                passed = self._bytes_passed()
            _, status, usage = os.wait4(self.pid, 0)
        except ChildProcessError:
            raise _exit_code_lost() from None
        self.peak = peak_of(usage)
        if self.is_measured:
            self.usage = usage_of(usage, passed)
        return os.waitstatus_to_exitcode(status)

    def _bytes_passed(self) -> tuple[int, int] | None:
        """Return the bytes that it read and wrote, once it has ended."""
        os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        return bytes_passed(f"/proc/{self.pid}/io")


def _exit_code_lost() -> ChildProcessError:
    """Return the error of a process that something else collected, and beware from now on."""
    global _distrusted
    _distrusted = True
    return ChildProcessError(errno.ECHILD, _LOST)


def start(
    args: Sequence[str],
    env: Mapping[bytes, bytes],
    cwd: str | None,
    *,
    feed: bool,
    stdout: int | None,
    stderr: int | None,
    mark: bytes = b"",
) -> Child:
    """Start the program *args*, which sees no descriptors but its first three.

    Args:
        mark: a further variable, ``NAME=value``, which no other process gets.
        feed: make a pipe for stdin, which is empty otherwise.
        stdout, stderr: descriptors to write to; None for a pipe.

    Raises:
        OSError: with the program's name if that cannot be executed or *cwd* cannot be
            entered; without a name if the system has no room.
        ValueError: an argument or a variable holds a null byte.
    """
    mine: list[int] = []
    theirs: list[int] = []
    status = -1
    try:
        ends = [-1, -1, -1]
        if feed:
            end, ends[0] = _pipe()
            mine.append(ends[0])
            theirs.append(end)
        else:
            theirs.append(os.open(os.devnull, os.O_RDONLY))
        for number, given in ((1, stdout), (2, stderr)):
            if given is None:
                ends[number], end = _pipe()
                mine.append(ends[number])
                theirs.append(end)
        used = iter(theirs[1:])
        three = [theirs[0], *(next(used) if it is None else it for it in (stdout, stderr))]
        # If standard streams of ours are closed, the new ones get in each other's way.
        if needs_helper():
            pid, status = _launch(args, _with(env, mark), cwd, three)
        else:
            if _supported and min(three) > 2:
                pid = _spawn(args, env, mark, cwd, three)
            else:
                pid = _popen(args, _with(env, mark), cwd, three)
    except BaseException:
        for descriptor in mine:
            _close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            _close(descriptor)
    return Child(pid, ends[0], ends[1], ends[2], status)


def needs_helper() -> bool:
    """Return whether this program would not learn how a child of its own ended."""
    return _distrusted or signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN


def _pipe() -> tuple[int, int]:
    """Make a pipe that a fork of the program will not hold open."""
    with _forking:
        ends = os.pipe()
        _open.update(ends)
        return ends


def _close(descriptor: int) -> None:
    with _forking:
        _open.discard(descriptor)
        os.close(descriptor)


def _in_fork() -> None:
    # A fork that held them would keep commands from seeing the end of their input, and the
    # parent from seeing the end of their output.
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()
    _forking.release()


_forking = threading.Lock()  # while a pipe is made or closed, no thread forks
_open: set[int] = set()
_distrusted = False  # whether an exit code was lost
_LOST = (
    "the exit code of the command is lost, so it counts as failed: something in this program "
    "ignores SIGCHLD, or waits for any child (os.waitpid(-1, ...)).  From now on a helper "
    "process starts the commands of this program"
)
os.register_at_fork(
    before=_forking.acquire, after_in_parent=_forking.release, after_in_child=_in_fork
)


def _launch(
    args: Sequence[str], env: Mapping[bytes, bytes], cwd: str | None, three: Sequence[int]
) -> tuple[int, int]:
    """Start it as a child of the launcher; return its id, and where its end is told."""
    from ._launcher import launcher  # here, because few programs need it

    if "\0" in "".join(args):
        raise ValueError("embedded null byte")
    sys.audit("subprocess.Popen", args[0], args, cwd, env)
    read, write = _pipe()
    try:
        try:
            launcher().launch(args, env, cwd, three, write)
        finally:
            _close(write)
        line = b""
        while not line.endswith(b"\n"):  # byte by byte: the next line is for `Child`
            byte = os.read(read, 1)
            if not byte:
                raise OSError(errno.EAGAIN, "the helper process that starts commands was killed")
            line += byte
        if line[:1] == b"e":
            code, about_program = map(int, line[1:].split())
            raise OSError(code, os.strerror(code), *([args[0]] if about_program else []))
    except BaseException:
        _close(read)
        raise
    with _forking:
        _open.discard(read)
    return int(line[1:]), read


def _popen(
    args: Sequence[str], env: Mapping[bytes, bytes], cwd: str | None, three: Sequence[int]
) -> int:
    stdin, stdout, stderr = three
    # No preexec_fn and no change of user, so that subprocess uses vfork.
    process = subprocess.Popen(
        args,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        cwd=cwd,
        env=dict(env),
        process_group=0,
    )
    process.returncode = 0  # it is waited for by `Child`
    return process.pid


def _with(env: Mapping[bytes, bytes], mark: bytes) -> Mapping[bytes, bytes]:
    name, _, value = mark.partition(b"=")
    return {**env, name: value} if name else env


class _Block:
    """An environment as `posix_spawn` takes it, with a place for one variable more.

    Making one takes longer than all else that is done here to start a command, and most
    commands of a program have the same environment.
    """

    __slots__ = ("_array", "_env", "_variables")

    def __init__(self, env: Mapping[bytes, bytes]) -> None:
        """Make the block of *env*.

        Raises:
            ValueError: a variable holds a null byte.
        """
        self._env = dict(env)
        self._variables = [name + b"=" + value for name, value in env.items()]
        if b"\0" in b"".join(self._variables):
            raise ValueError("embedded null byte")
        self._array = (ctypes.c_char_p * (len(env) + 2))(*self._variables)

    def is_of(self, env: Mapping[bytes, bytes]) -> bool:
        return self._env == env

    def array(self, mark: bytes) -> ctypes.Array[ctypes.c_char_p]:
        """Return the array of *mark* and the other variables, valid as long as this block."""
        copy = type(self._array).from_buffer_copy(self._array)
        copy[len(self._variables)] = mark or None
        return copy


_block = _Block({})  # the latest


def _spawn(
    args: Sequence[str],
    env: Mapping[bytes, bytes],
    mark: bytes,
    cwd: str | None,
    three: Sequence[int],
) -> int:
    global _block
    words = [os.fsencode(word) for word in args]
    if b"\0" in b"".join(words):
        raise ValueError("embedded null byte")
    block = _block
    if not block.is_of(env):
        block = _block = _Block(env)
    programs = candidates(words[0], env)
    sys.audit("os.posix_spawn", args[0], args, env)
    actions = ctypes.create_string_buffer(_STRUCTURE_BYTES)
    _check(_libc.posix_spawn_file_actions_init(actions))
    try:
        for number, descriptor in enumerate(three):
            _check(_libc.posix_spawn_file_actions_adddup2(actions, descriptor, number))
        _check(_libc.posix_spawn_file_actions_addclosefrom_np(actions, 3))
        if cwd is not None:
            _check(_libc.posix_spawn_file_actions_addchdir_np(actions, os.fsencode(cwd)))
        argv = (ctypes.c_char_p * (len(words) + 1))(*words, None)
        envp = block.array(mark)
        pid = ctypes.c_int()
        problem = 0
        for program in programs:
            # ctypes releases the interpreter's lock until the program is loaded or refused.
            code = _libc.posix_spawn(ctypes.byref(pid), program, actions, _attributes(), argv, envp)
            if code == 0:
                return pid.value
            if problem in (0, errno.ENOENT, errno.ENOTDIR):
                problem = code
            if code in _NO_ROOM:
                raise OSError(code, os.strerror(code))
        problem = problem or errno.ENOENT
        raise OSError(problem, os.strerror(problem), args[0])
    finally:
        _libc.posix_spawn_file_actions_destroy(actions)


def candidates(name: bytes, env: Mapping[bytes, bytes]) -> list[bytes]:
    """Return where to look for a program, as its own environment says."""
    if b"/" in name:
        return [name]
    path = env.get(b"PATH", os.fsencode(os.defpath))
    places = [os.path.join(place, name) for place in path.split(b":")]  # noqa: PTH118
    # To look costs far less than to try.  A relative place counts from another folder.
    return [place for place in places if place[:1] != b"/" or os.path.exists(place)]  # noqa: PTH110


def _check(code: int) -> None:
    if code:
        raise OSError(code, os.strerror(code))


_NO_ROOM = (errno.EAGAIN, errno.ENOMEM)
_STRUCTURE_BYTES = 1024  # more than any C library needs for these structures
_SETPGROUP, _SETSIGDEF = 2, 4  # as Linux's C libraries define them
_libc = ctypes.CDLL(None)
_supported = sys.platform == "linux" and all(
    hasattr(_libc, f"posix_spawn_file_actions_{name}_np") for name in ("addclosefrom", "addchdir")
)
if _supported:
    _libc.posix_spawn.argtypes = (
        ctypes.c_void_p,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
        ctypes.c_void_p,
    )
_made: list[ctypes.Array[ctypes.c_char]] = []


def _attributes() -> ctypes.Array[ctypes.c_char]:
    """Return what asks for a group of its own, and for signals that this program ignores."""
    if not _made:
        attributes = ctypes.create_string_buffer(_STRUCTURE_BYTES)
        signals = ctypes.create_string_buffer(_STRUCTURE_BYTES)
        _check(_libc.posix_spawnattr_init(attributes))
        _libc.sigemptyset(signals)
        # Python ignores all but the last; with that one a command could not wait for its own.
        for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ", "SIGCHLD"):
            with suppress(AttributeError):
                _libc.sigaddset(signals, int(getattr(signal, name)))
        _check(_libc.posix_spawnattr_setsigdefault(attributes, signals))
        _check(_libc.posix_spawnattr_setpgroup(attributes, 0))
        flags = ctypes.c_short(_SETPGROUP | _SETSIGDEF)
        _check(_libc.posix_spawnattr_setflags(attributes, flags))
        _made.append(attributes)
    return _made[0]
