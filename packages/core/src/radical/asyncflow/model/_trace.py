"""The traces of an attempt at a task: what it printed and logged, and what it used or uses."""

from __future__ import annotations

from typing import NamedTuple

from .._public import public

__all__ = ["LogLine", "TaskTrace", "TaskUsage", "Written"]


@public("radical.asyncflow.backend")
class TaskUsage(NamedTuple):
    """The use of one attempt at a task; None stands for what nobody can tell.

    Attributes:
        cpu_seconds: user and system time.
        peak_memory: the most resident memory, in bytes.
        read_bytes, written_bytes: what went through its system calls: to and from files, pipes
            and sockets, also if the system had it in memory.
    """

    cpu_seconds: float | None = None
    peak_memory: int | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None


@public("radical.asyncflow.backend")
class LogLine(NamedTuple):
    """A record of `logging` that a task made.

    Attributes:
        wall: when, in seconds since the epoch.
        level: its number, as in `logging`.
        logger: the name of the logger.
        text: the message, with the traceback if the record has one.
    """

    wall: float
    level: int
    logger: str
    text: str


@public("radical.asyncflow.backend")
class TaskTrace(NamedTuple):
    """The traces of one attempt at a task, beside its result.

    Attributes:
        stdout, stderr: the last part of what it printed.
        logs: the last records that it logged, the oldest first.
        cut: how many characters of stdout, characters of stderr and records are missing at the
            beginning.
        usage: what it used, if that was measured.
    """

    stdout: str = ""
    stderr: str = ""
    logs: tuple[LogLine, ...] = ()
    cut: tuple[int, int, int] = (0, 0, 0)
    usage: TaskUsage | None = None


@public("radical.asyncflow.backend")
class Written(NamedTuple):
    """The output so far of a command that runs.

    Attributes:
        stdout, stderr: the end of each as text; or the paths of the files that have it, as the
            program sees them: one, or one for each rank.
        before: the number of bytes of stdout and of stderr before these texts.
    """

    stdout: str | tuple[str, ...] = ""
    stderr: str | tuple[str, ...] = ""
    before: tuple[int, int] = (0, 0)
