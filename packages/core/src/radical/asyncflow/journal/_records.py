"""The runs, tasks, functions and errors of a journal, as values.

Times of a task are seconds since its run began, by a clock that is never set back.
`RunRecord.begun` is the wall time of that beginning.
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
        type: the name of its class, with the module unless that is a built-in one.
        traceback: as Python prints it, of limited length; "" if there is none.
    """

    type: str
    text: str
    traceback: str = ""


@public("radical.asyncflow.journal")
class AttemptRecord(NamedTuple):
    """A failed attempt that another one followed."""

    attempt: int
    started: float | None
    ended: float
    worker: str | None
    error: ErrorRecord


@public("radical.asyncflow.journal")
class FunctionRecord(NamedTuple):
    """A decorated function, with everything that its calls share.

    Attributes:
        source: a hash of its code and of all that it can reach, hexadecimal.
        version: the version that the user declared, or "".
        cache: "yes", "no", "always", or "key" where the user declared a ``cache_key``.
        parts: its code and what that reaches, by name: the beginning of a hash of each, or the
            version of a distribution.  Only the first sixty are kept.
    """

    number: int
    name: str
    kind: str
    source: str
    version: str = ""
    cache: str = "yes"
    resources: Mapping[str, object] = {}
    parts: Mapping[str, str] = {}


@public("radical.asyncflow.journal")
class TaskRecord(NamedTuple):
    """One task of a run.

    Attributes:
        number: its number in the run: 12 for ``task.000012``.
        state: PENDING, SUBMITTED, RUNNING, DONE, FAILED or CANCELLED.  A killed run leaves
            tasks in the first three: they waited, had been given to their backend, or ran.
            A task that ran for less than a tenth of a second may still be SUBMITTED.
        after: numbers of the tasks that it waited for.
        attempt: number of its last attempt.
        key: its identity, hexadecimal; None if it has none.
        reused: ``"RUN/NUMBER"`` of the task whose result it was given, or None.
        why: why it was not given an earlier result, if the run found out.
        failed: the attempts before the last one.
        exit_code, stdout, stderr: of an executable; the last part of what it printed.
        result_bytes: size of the stored result; None if none is stored.
        unstored: why the result is not stored, if there was one to store.
        arguments: the arguments of its call as Python writes them, shortened; None unless
            the journal was asked to record them.
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
        """The name of the task."""
        return self.function.name

    @property
    def kind(self) -> str:
        """The kind of the task, ``"function"``, ``"executable"``, ``"prompt"`` or ``"block"``."""
        return self.function.kind

    @property
    def id(self) -> str:
        """The same as `TaskFuture.id`."""
        return task_id_text(self.number)


@public("radical.asyncflow.journal")
class RunRecord(NamedTuple):
    """One run of a script.

    Attributes:
        begun: seconds since the epoch.
        ended: seconds after *begun*; None if the run goes on or was killed.
        outcome: "done", "failed", "cancelled" or "preempted"; "" while there is no end.
        program: the arguments of the script, as the script saw them.
        backends: ``{name: {"version": ..., "up": seconds, "down": seconds or None}}``;
            of one that was lost also ``"lost"``, the reason, and ``"moved"``, the number of its
            tasks that went on with another backend.
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
        """The seconds from the start of the run to its end, or to the last time in its record."""
        if self.ended is not None:
            return self.ended
        times = (
            time
            for task in self.tasks.values()
            for time in (task.added, task.started, task.ended)
            if time is not None
        )
        return max(times, default=0.0)
