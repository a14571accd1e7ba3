"""What a journal says about runs and tasks, as values.

Times of a task are seconds since its run began, by a clock that is never set back;
the run says at which wall time that was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .._public import public
from .._text import task_id_text

__all__ = ["AttemptRecord", "ErrorRecord", "FunctionRecord", "RunRecord", "TaskRecord"]


@public("radical.asyncflow.journal")
class ErrorRecord(NamedTuple):
    """An exception, as text.

    Attributes:
        type: its class, with the module unless it is a built-in one.
        traceback: as Python prints it, bounded in size; "" where there is none.
    """

    type: str
    text: str
    traceback: str = ""


@public("radical.asyncflow.journal")
class AttemptRecord(NamedTuple):
    """An attempt that failed and was followed by another."""

    attempt: int
    started: float | None
    ended: float
    worker: str | None
    error: ErrorRecord


@public("radical.asyncflow.journal")
class FunctionRecord(NamedTuple):
    """What all calls of one decorated function share.

    Attributes:
        source: hash of its source, hexadecimal.
        version: as declared, or "".
        cache: "yes", "no", "always" or "key" (the user's own).
    """

    number: int
    name: str
    kind: str
    source: str
    version: str = ""
    cache: str = "yes"
    resources: Mapping[str, object] = {}


@public("radical.asyncflow.journal")
class TaskRecord(NamedTuple):
    """One task of a run.

    Attributes:
        number: the task's number in its run (``task.000012`` is 12).
        state: PENDING, RUNNING, DONE, FAILED or CANCELLED; PENDING and RUNNING are what a
            killed run left.
        after: numbers of the tasks it waited for.
        attempt: number of its last attempt.
        key: its identity, hexadecimal; None if it has none.
        reused: ``"RUN/NUMBER"`` of the task whose result it was given, or None.
        why: why it was not given an earlier result, where that is known to the run.
        failed: attempts before the last.
        exit_code, stdout, stderr: of an executable; the tails of what it printed.
        result_bytes: size of the stored result; None if it is not stored.
        unstored: why it is not stored, where there was something to store.
        arguments: of its call, as Python writes them, shortened; where that was asked for.
    """

    number: int
    function: FunctionRecord
    state: str
    after: tuple[int, ...] = ()
    attempt: int = 1
    backend: str = ""
    worker: str | None = None
    workflow: str | None = None
    added: float | None = None
    ready: float | None = None
    started: float | None = None
    ended: float | None = None
    key: str | None = None
    reused: str | None = None
    why: str | None = None
    error: ErrorRecord | None = None
    failed: tuple[AttemptRecord, ...] = ()
    exit_code: int | None = None
    stdout: str | None = None
    stderr: str | None = None
    result_bytes: int | None = None
    unstored: str | None = None
    arguments: str | None = None

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.function.name

    @property
    def kind(self) -> str:
        """``"function"``, ``"executable"``, ``"prompt"`` or ``"block"``."""
        return self.function.kind

    @property
    def id(self) -> str:
        """As `TaskFuture.id`."""
        return task_id_text(self.number)


@public("radical.asyncflow.journal")
class RunRecord(NamedTuple):
    """One run of a script.

    Attributes:
        begun: seconds since the epoch.
        ended: seconds after *begun*; None if it runs still, or was killed.
        outcome: of a `RunEvent`, or "" if it has no end.
        program: the script's arguments, as the program saw them.
        backends: ``{name: {"version": ..., "up": seconds, "down": seconds or None}}``.
        tasks: by number, in the order of the calls.
    """

    uid: str
    begun: float
    ended: float | None = None
    outcome: str = ""
    host: str = ""
    pid: int = 0
    python: str = ""
    program: tuple[str, ...] = ()
    backends: Mapping[str, Mapping[str, object]] = {}
    functions: Mapping[int, FunctionRecord] = {}
    tasks: Mapping[int, TaskRecord] = {}

    @property
    def length(self) -> float:
        """Seconds from its beginning to its end, or to the last thing known of it."""
        if self.ended is not None:
            return self.ended
        times = (
            time
            for task in self.tasks.values()
            for time in (task.added, task.started, task.ended)
            if time is not None
        )
        return max(times, default=0.0)
