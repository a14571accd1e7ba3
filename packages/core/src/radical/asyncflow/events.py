"""The events that observers get: one stream of frozen values, in batches.

The life of a task in events::

    PENDING ──► READY ──► SUBMITTED ──► RUNNING ──► DONE, FAILED or CANCELLED
                  ▲                        │
                  └── READY with error ◄───┘

PENDING: the task was called.  READY: the engine took it to send it.  SUBMITTED: its
backend has it.  RUNNING: a worker began with it.  READY with an error means that an attempt
failed and a retry follows; when the engine takes the retry to send it, there is another READY,
without an error.  A block has no SUBMITTED, and a task has no RUNNING if its backend does not
report it.

A service has `ServiceEvent`s beside: it is DONE when it is up, and lives on.

Events come in the order in which the engine learned of them.  The events of one task are in
the order of their times.  Those of several tasks need not be: a worker may have ended a task
before the call of another task whose event comes first.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from .model import Resources, TaskKind, TaskState

__all__ = ["BackendEvent", "Event", "OutputEvent", "RunEvent", "ServiceEvent", "TaskEvent"]


class TaskEvent(NamedTuple):
    """The event that a task entered a state.

    Attributes:
        time: the time of the event in seconds of `time.monotonic`; for RUNNING and the ends
            the time on the worker, as far as the backend knows it.
        task_id: the number of the task in its engine.
        state: the state that the task entered; READY with an *error* means a retry.
        attempt: the number of the attempt, from 1; for a retry that of the next attempt.
        backend: the name of the backend, or "" for a block.
        worker: the worker that runs or ran the task, if the backend reports it.
        error: the exception, with FAILED, and with READY after a failed attempt.
        wall: the same time in seconds since the epoch.
        run: the uid of the engine's run.
        workflow_id: the workflow that the task belongs to, if any.
        depends_on: with PENDING, the numbers of the tasks that the task waits for.
        block: with PENDING, the number of the block that called the task, if one did.
        arguments: with FAILED, the arguments of the call as short text, if the run has a journal
            that keeps them.
    """

    time: float
    task_id: int
    name: str
    kind: TaskKind
    state: TaskState
    attempt: int = 1
    backend: str = ""
    worker: str | None = None
    error: BaseException | None = None
    wall: float = 0.0
    run: str = ""
    workflow_id: str | None = None
    resources: Resources | None = None
    depends_on: tuple[int, ...] = ()
    block: int | None = None
    arguments: str | None = None


class OutputEvent(NamedTuple):
    """A part of what a task puts out while it runs, such as the next words of an answer.

    Only some backends send it, and only where they are asked to, for example by ``stream=True``.

    Attributes:
        text: the part.
        offset: the number of characters before it.  A part with the offset 0 begins the output
            anew, after an answer that broke off.
        time, task_id, name, attempt, backend, wall, run, workflow_id: as for a `TaskEvent`.
    """

    time: float
    task_id: int
    name: str
    text: str
    offset: int = 0
    attempt: int = 1
    backend: str = ""
    wall: float = 0.0
    run: str = ""
    workflow_id: str | None = None


class BackendEvent(NamedTuple):
    """The event that a backend came up or went down.

    Attributes:
        time, wall, run: as for a `TaskEvent`.
        error: the reason why it went down, if it was lost or could not shut down cleanly.
        moved: the number of its tasks that go on with another backend, if it was lost.
    """

    time: float
    backend: str
    state: Literal["up", "down"]
    error: BaseException | None = None
    wall: float = 0.0
    run: str = ""
    moved: int = 0


class ServiceEvent(NamedTuple):
    """The event that a service is up, was stopped, is started again after its death, or is lost.

    Attributes:
        time, wall, run: as for a `TaskEvent`.
        task_id: the number of the task that runs it; that of its latest start.
        name: its name.
        error: the reason why it died, with ``"restarted"`` and ``"lost"``.
    """

    time: float
    task_id: int
    name: str
    state: Literal["up", "stopped", "restarted", "lost"]
    error: BaseException | None = None
    wall: float = 0.0
    run: str = ""


class RunEvent(NamedTuple):
    """A run began, when its engine was created, or ended, when it was shut down.

    Attributes:
        time, wall, run: as for a `TaskEvent`.
        outcome: of one that ended: ``"done"``; ``"failed"`` if an exception left the
            engine's ``async with``; ``"cancelled"`` if unfinished tasks were cancelled;
            ``"preempted"`` if it was told to stop.
        error: that exception.
    """

    time: float
    state: Literal["begun", "ended"]
    outcome: str = ""
    error: BaseException | None = None
    wall: float = 0.0
    run: str = ""


Event = TaskEvent | OutputEvent | BackendEvent | ServiceEvent | RunEvent
