"""The parent of a rank: wait for the end of the rank, and tell how it ended.

The launcher's word for it is not enough: its exit code is the same for a signal and for a program
that exits with such a code, and MPICH's loses all that it knows if ranks that die meet its own end.
So the launcher starts this process for each rank, and this process starts the rank.

For a command this file is run as a script, alone, with nothing but the standard library: the
argument is the folder of the ranks.  The rank of a function calls `watched` when it begins.
"""

from __future__ import annotations

import errno
import marshal
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress

__all__ = ["END", "NODE", "PLAN", "watched"]

PLAN = "plan"
"""The file with what the ranks of a command run, see `main`."""

NODE = "node"
"""The suffix of the file with what the ranks on a node have to know, if they are on several."""

END = "end"
"""The suffix of the file that tells how a rank of a command has ended."""

_NO_RANK = 125  # the exit code of a rank that does not know its number
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024
_SHELL_BASE = 128  # added to a signal that ended the rank, but does not end this process
_PASSED_ON = tuple(
    getattr(signal, name)
    for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
)
_UNIGNORED = tuple(  # Python ignores them, and a program does not expect that
    getattr(signal, name) for name in ("SIGPIPE", "SIGXFSZ") if hasattr(signal, name)
)


def main() -> None:
    """Run a rank of a command, with its output in files of its own.

    The plan is the words of the command, the names of the variables of which one has the number
    of the rank, the variables that each rank gets, the name of the launcher, and the names of the
    nodes if there are several: then each has a file of its own with these variables.
    """
    folder = os.fsencode(sys.argv[1])
    with open(os.path.join(folder, PLAN.encode()), "rb") as file:  # noqa: PTH118, PTH123
        words, names, variables, launcher, nodes = marshal.load(file)
    rank = next((os.environ[name] for name in names if os.environ.get(name)), "")
    if not rank.isdecimal():
        sys.stderr.write(
            f"the launcher {launcher} sets none of {', '.join(names)}, so its ranks do not know "
            "their numbers\n"
        )
        sys.exit(_NO_RANK)
    more, port = _join_node(folder, int(rank), nodes) if nodes else ({}, 0)
    place = os.path.join(folder, rank.encode())  # noqa: PTH118

    def tell(end: bytes) -> None:
        if port:
            end += _explanation(folder, port, end)
        part = place + b".part"
        with open(part, "wb") as file:  # noqa: PTH123
            file.write(end)
        os.rename(part, place + b"." + END.encode())  # noqa: PTH104

    watched(tell, spread=bool(nodes))
    os.environ.update(variables[int(rank)] if variables else more)
    _redirect(place, folder if rank == "0" else None)
    _execute(words)


def _join_node(folder: bytes, rank: int, nodes: tuple[str, ...]) -> tuple[dict[str, str], int]:
    """Take a place among the ranks on this node.

    Returns:
        The variables of the rank, and where the share of this node listens; 0 without one.
    """
    host = os.uname().nodename
    if host not in nodes:
        names = ", ".join(nodes)
        raise _refusal(f"rank {rank} was started on node {host}, which is none of {names}")
    own = os.path.join(folder, os.fsencode(host))  # noqa: PTH118
    with open(own + b"." + NODE.encode(), "rb") as file:  # noqa: PTH123
        marks, first, variables, port = marshal.load(file)
    if any(os.environ.get(name) != value for name, value in marks.items()):
        # The launcher has passed on those of its own node.  Whoever ends the ranks of this one
        # looks for what processes began with.
        os.environ.update(marks)
        os.execv(sys.executable, sys.orig_argv)
    for place in (rank - first, *range(len(variables))):
        if 0 <= place < len(variables):
            with suppress(FileExistsError):
                os.close(os.open(b"%s.%d" % (own, place), os.O_CREAT | os.O_EXCL, 0o600))
                return variables[place], port
    raise _refusal(f"more than {len(variables)} ranks were started on node {host}")


def _refusal(why: str) -> SystemExit:
    sys.stderr.write(f"{why}: the launcher spreads ranks in a way of its own\n")
    return SystemExit(_NO_RANK)


def _explanation(folder: bytes, port: int, end: bytes) -> bytes:
    """Return what the share of this node knows of the end of a rank; nothing if that is plain."""
    _, pid, code, peak, *_ = end.split()
    if int(code) >= 0 and int(code) != _SHELL_BASE + signal.SIGKILL:
        return b""
    import subprocess  # few ranks end so

    script = os.path.join(os.path.dirname(__file__), "_rank_start.py")  # noqa: PTH118, PTH120
    question = b" ".join((pid, code, peak))
    asked = subprocess.run(
        [sys.executable, "-I", "-S", script, folder, "--end", str(port), question],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    return b" " + asked.stdout


def watched(tell: Callable[[bytes], object], *, spread: bool = False) -> None:
    """Go on as a child of this process, which waits for its end and ends as the child did.

    Args:
        tell: gets what `RankEnd` reads, in the process that was this one.
        spread: the ranks are on several nodes.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    old = signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_SETMASK, old)
        return
    for number in _PASSED_ON:
        signal.signal(number, lambda number, _: os.kill(pid, number))
    signal.pthread_sigmask(signal.SIG_SETMASK, old)
    # Until it is waited for, its id is its own, and nobody finds it gone.
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    # Of several nodes, only the time of day can be compared.
    now = time.time_ns() if spread else time.monotonic_ns()
    signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
    read, written = _bytes_passed(pid)
    _, status, usage = os.wait4(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    # If nobody listens any more, or the disk is full, there is still the exit code.
    with suppress(OSError):
        cpu = 1e6 * (usage.ru_utime + usage.ru_stime)
        peak = usage.ru_maxrss * _MAXRSS_UNIT
        tell(b"%d %d %d %d %d %d %d %d" % (now, pid, code, peak, _own_peak(), cpu, read, written))
    if code < 0:
        _die_of(-code)
    if code and spread:
        _die_of(signal.SIGTERM)  # for an exit code, MPICH ends ranks on the same node alone
    os._exit(code if code >= 0 else _SHELL_BASE - code)


def _own_peak() -> int:
    """Return the most memory that this process had, from which the rank began."""
    import resource  # ranks begin without it

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def _bytes_passed(pid: int) -> tuple[int, int]:
    """Return the bytes that an ended process read and wrote; -1 if the system does not tell."""
    try:
        with open(f"/proc/{pid}/io", "rb") as file:  # noqa: PTH123
            fields = dict(line.split(b":") for line in file.read().splitlines())
        return int(fields[b"rchar"]), int(fields[b"wchar"])
    except (OSError, ValueError, KeyError):
        return -1, -1


def _die_of(number: int) -> None:
    """End this process by the signal that ended the rank: launchers then end the others."""
    import resource  # most ranks end otherwise

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError):  # SIGKILL has no handler
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)


def _redirect(place: bytes, folder: bytes | None) -> None:
    """Let stdout and stderr go to files; stdin comes from the one in *folder*, if it is there."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    source = os.open(os.devnull, os.O_RDONLY)
    if folder is not None:
        with suppress(FileNotFoundError):
            source = os.open(os.path.join(folder, b"stdin"), os.O_RDONLY)  # noqa: PTH118
    descriptors = (
        source,
        os.open(place + b".stdout", flags, 0o600),
        os.open(place + b".stderr", flags, 0o600),
    )
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)


def _execute(words: tuple[bytes, ...]) -> None:
    """Become the program; if there is none, say it as a shell does."""
    for number in _UNIGNORED:
        signal.signal(number, signal.SIG_DFL)
    try:
        try:
            os.execvp(words[0], words)
        except OSError as error:
            if error.errno != errno.ENOEXEC:
                raise
            os.execv(b"/bin/sh", (b"sh", *words))  # a script without "#!"
    except OSError as error:
        os.write(2, words[0] + b": " + os.strerror(error.errno or 0).encode() + b"\n")
        os._exit(127 if error.errno in (errno.ENOENT, errno.ENOTDIR) else 126)


if __name__ == "__main__":
    main()
