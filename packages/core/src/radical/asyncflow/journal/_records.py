"""The runs, tasks, functions and errors of a journal, as values.

Times of a task are seconds since its run began, by a clock that is never set back.
`RunRecord.begun` is the wall time of that beginning.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from .._public import public
from .._text import count, duration, shorten, task_id_text
from ..model import LogLine, TaskTrace, TaskUsage

__all__ = [
    "UNFINISHED",
    "AttemptRecord",
    "ErrorRecord",
    "FunctionRecord",
    "RunRecord",
    "TaskRecord",
]


UNFINISHED = ("RUNNING", "SUBMITTED", "PENDING")
"""The states of tasks that have not ended, those that are furthest first."""


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
    """A failed attempt that another one followed.

    Attributes:
        trace: what it printed, logged and used.
        backend: where it ran, which may be another backend than that of the last attempt; "" if
            the journal does not say it.
    """

    attempt: int
    started: float | None
    ended: float
    worker: str | None
    error: ErrorRecord
    trace: TaskTrace = TaskTrace()
    backend: str = ""


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
        block: the number of the block whose body called it; None if no block did.
        attempt: number of its last attempt.
        key: its identity, hexadecimal; None if it has none.
        reused: ``"RUN/NUMBER"`` of the task whose result it was given, or None.
        why: why it was not given an earlier result, if the run found out.
        failed: the attempts before the last one.
        exit_code: of an executable.
        stdout, stderr: the last part of what an executable or a function printed.
        result_bytes: size of the stored result; None if none is stored.
        unstored: why the result is not stored, if there was one to store.
        arguments: the arguments of its call, as text; None unless it failed or the journal was
            asked to record them for all tasks.
        logs: the last records of `logging` that its function made.
        cut: how many characters of stdout, characters of stderr and records of *logs* are
            missing at their beginning, as far as that is known.
        usage: what its last attempt used; None if that is not known.
        paths: with ``capture_stdio`` the files that have its stdout and its stderr.
        serves: True for a service, which is DONE when it is up, and runs on.
        served: when a service that was up ended; None for one that was up until the run ended, or
            is up.  Its output and *usage* are those until then.
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
    logs: tuple[LogLine, ...] = ()
    cut: tuple[int, int, int] = (0, 0, 0)
    usage: TaskUsage | None = None
    block: int | None = None
    paths: tuple[str, str] | None = None
    serves: bool = False
    served: float | None = None

    def __repr__(self) -> str:
        return f"<TaskRecord {self.id} {self.name!r} {self.state}>"

    def age(self, at: float) -> float | None:
        """Return for how many seconds the task has been in its state; None if it has ended.

        A RUNNING one is as old as its attempt, and one that waits is as old as its call.

        Args:
            at: seconds since the run began; `RunRecord.length` is the last moment that the record
                knows of, which is now for a run that goes on.
        """
        if not self.is_unfinished:
            return None
        since = self.started if self.state == "RUNNING" else self.added
        return None if since is None else max(at - since, 0.0)

    @property
    def name(self) -> str:
        """The name of the task."""
        return self.function.name

    @property
    def is_unfinished(self) -> bool:
        """True while it is RUNNING, SUBMITTED or PENDING."""
        return self.state in UNFINISHED

    @property
    def is_serving(self) -> bool:
        """True for a service that came up, as long as its end is not known."""
        return self.serves and self.state == "DONE" and self.served is None

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
    """One run of a script, with what it does at present if it has not ended.

    A run that has not ended is told from one that was killed by the number of its process, by
    when that process began, and by the lock of the journal.  None of this is a guess: where it
    cannot be known, *life* is "unknown".

    Attributes:
        begun: seconds since the epoch.
        ended: seconds after *begun*; None if the run goes on or was killed.
        outcome: "done", "failed", "cancelled" or "preempted"; "" while there is no end.
        program: the arguments of the script, as the script saw them.
        backends: ``{name: {"version": ..., "up": seconds, "down": seconds or None}}``;
            of one that was lost also ``"lost"``, the reason, and ``"moved"``, the number of its
            tasks that went on with another backend.
        environment: what the program and its surroundings were: ``command``, ``folder``,
            ``host``, ``user``, ``platform``, ``python``, ``executable``; ``packages``, the
            versions of the installed distributions that were imported, by name; and ``git``
            with ``folder``, ``commit``, ``branch`` and ``dirty``, if the program is in a
            repository.  What could not be found out is missing.
        tasks: by number, in the order of the calls.
        life: of a run without an outcome, as it was when the journal was read: "running",
            "killed", or "unknown", such as for a run on another host; "" if there is an outcome.
        life_reason: how that is known, such as "process 4711 is gone"; or why it is not.
        seen: the last moment at which the run is known to have lived, in seconds after *begun*:
            now for one that runs; else the last sign of life that it gave, one every second.
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
    life: str = ""
    life_reason: str = ""
    seen: float | None = None
    environment: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<RunRecord {self.uid} {self.state}: {count(len(self.tasks), 'task')}>"

    def _repr_html_(self) -> str:
        import shlex

        from .._html import summary

        states = Counter(task.state for task in self.tasks.values())
        reused = sum(task.reused is not None for task in self.tasks.values())
        facts = [
            ("state", self.state),
            ("begun", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(self.begun))),
            ("length", duration(self.length)),
            ("host", self.host),
            ("program", shorten(shlex.join(self.program), 200)),
            ("backends", ", ".join(self.backends)),
            ("tasks", ", ".join(f"{number:,} {state.lower()}" for state, number in states.items())),
            ("reused", f"{reused:,}" if reused else ""),
        ]
        return summary(self.uid, facts)

    @property
    def state(self) -> str:
        """The outcome, or *life* of a run without one; "unknown" if nobody looked."""
        return self.outcome or self.life or "unknown"

    @property
    def length(self) -> float:
        """The seconds from the start of the run to its end, or to the last moment it is known of.

        That is *seen*, or the last time in its record if that is later.
        """
        if self.ended is not None:
            return self.ended
        times = (
            time
            for task in self.tasks.values()
            for time in (task.added, task.started, task.ended)
            if time is not None
        )
        return max(times, default=0.0) if self.seen is None else max(self.seen, *times, 0.0)

    @property
    def running(self) -> tuple[TaskRecord, ...]:
        """The tasks that run; of a killed run those that ran when the program died."""
        return self.in_state("RUNNING")

    @property
    def submitted(self) -> tuple[TaskRecord, ...]:
        """The tasks that a backend has and that have not begun."""
        return self.in_state("SUBMITTED")

    @property
    def pending(self) -> tuple[TaskRecord, ...]:
        """The tasks that wait for other tasks, for a retry, or for a place."""
        return self.in_state("PENDING")

    @property
    def unfinished(self) -> tuple[TaskRecord, ...]:
        """All of these, those that run first."""
        return tuple(task for state in UNFINISHED for task in self.in_state(state))

    def in_state(self, *states: str) -> tuple[TaskRecord, ...]:
        """Return the tasks in one of the *states*, in the order of the calls."""
        return tuple(task for task in self.tasks.values() if task.state in states)
