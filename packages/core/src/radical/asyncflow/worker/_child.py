"""Start a program in a process group of its own, and hold the near ends of its pipes.

`subprocess.Popen` can do this, and does it where the C library lacks a part.  But it
holds the interpreter's lock until the program is loaded, so that two threads cannot
start programs at the same time, and costs twice as much itself.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

__all__ = ["Child", "start"]


class Child:
    """A process that was started here and is waited for here.

    Attributes:
        stdin, stdout, stderr: descriptors of pipes to it; -1 for none.
    """

    __slots__ = ("pid", "stderr", "stdin", "stdout")

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr

    def close_stdin(self) -> None:
        descriptor, self.stdin = self.stdin, -1
        os.close(descriptor)

    def close(self) -> None:
        """Close all pipes."""
        for descriptor in (self.stdin, self.stdout, self.stderr):
            if descriptor >= 0:
                os.close(descriptor)
        self.stdin = self.stdout = self.stderr = -1

    def wait(self) -> int:
        """Wait for the end; return the exit code, or minus the signal's number.  Once only."""
        try:
            _, status = os.waitpid(self.pid, 0)
        except ChildProcessError:
            return 0  # something else in this program collected it
        return os.waitstatus_to_exitcode(status)


def start(
    args: Sequence[str],
    env: Mapping[bytes, bytes],
    cwd: str | None,
    *,
    feed: bool,
    stdout: int | None,
    stderr: int | None,
) -> Child:
    """Start the program *args*, which sees no descriptors but its first three.

    Args:
        feed: make a pipe for stdin, which is empty otherwise.
        stdout, stderr: descriptors to write to; None for a pipe.

    Raises:
        OSError: with the program's name if that cannot be executed or *cwd* cannot be
            entered; without a name if the system has no room.
        ValueError: an argument or a variable holds a null byte.
    """
    mine: list[int] = []
    theirs: list[int] = []
    try:
        ends = [-1, -1, -1]
        if feed:
            end, ends[0] = os.pipe()
            mine.append(ends[0])
            theirs.append(end)
        else:
            theirs.append(os.open(os.devnull, os.O_RDONLY))
        for number, given in ((1, stdout), (2, stderr)):
            if given is None:
                ends[number], end = os.pipe()
                mine.append(ends[number])
                theirs.append(end)
        used = iter(theirs[1:])
        three = [theirs[0], *(next(used) if it is None else it for it in (stdout, stderr))]
        # If standard streams of ours are closed, the new ones get in each other's way.
        launch = _spawn if _supported and min(three) > 2 else _popen
        pid = launch(args, env, cwd, three)
    except BaseException:
        for descriptor in mine:
            os.close(descriptor)
        raise
    finally:
        for descriptor in theirs:
            os.close(descriptor)
    return Child(pid, *ends)


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


def _spawn(
    args: Sequence[str], env: Mapping[bytes, bytes], cwd: str | None, three: Sequence[int]
) -> int:
    words = [os.fsencode(word) for word in args]
    variables = [name + b"=" + value for name, value in env.items()]
    if b"\0" in b"".join(words) or b"\0" in b"".join(variables):
        raise ValueError("embedded null byte")
    programs = _candidates(words[0], env)
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
        envp = (ctypes.c_char_p * (len(variables) + 1))(*variables, None)
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


def _candidates(name: bytes, env: Mapping[bytes, bytes]) -> list[bytes]:
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
    """Return what asks for a group of its own, and for the signals that Python ignores."""
    if not _made:
        attributes = ctypes.create_string_buffer(_STRUCTURE_BYTES)
        signals = ctypes.create_string_buffer(_STRUCTURE_BYTES)
        _check(_libc.posix_spawnattr_init(attributes))
        _libc.sigemptyset(signals)
        for name in ("SIGPIPE", "SIGXFZ", "SIGXFSZ"):
            with suppress(AttributeError):
                _libc.sigaddset(signals, int(getattr(signal, name)))
        _check(_libc.posix_spawnattr_setsigdefault(attributes, signals))
        _check(_libc.posix_spawnattr_setpgroup(attributes, 0))
        flags = ctypes.c_short(_SETPGROUP | _SETSIGDEF)
        _check(_libc.posix_spawnattr_setflags(attributes, flags))
        _made.append(attributes)
    return _made[0]
