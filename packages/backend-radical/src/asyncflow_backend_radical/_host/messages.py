"""The messages: orders from the program to the host process, and events the other way."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, NamedTuple

__all__ = [
    "CancelTasks",
    "ClosePilot",
    "Event",
    "Order",
    "PilotActive",
    "PilotEnded",
    "PilotFailed",
    "PilotReady",
    "PilotRefused",
    "PilotSilent",
    "SessionOpened",
    "StartPilot",
    "SubmitTasks",
    "TaskChange",
    "TaskStage",
    "TasksChanged",
]


class TaskStage(enum.StrEnum):
    """The stages of a task that the program hears of; all but REFUSED are RADICAL-Pilot's words."""

    RUNNING = "AGENT_EXECUTING"
    DONE = "DONE"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    REFUSED = "REFUSED"
    """RADICAL-Pilot did not accept the description, so the task was never submitted."""


class TaskChange(NamedTuple):
    """A task that came to another stage.

    Attributes:
        exit_code: as a shell gives it; None if RADICAL-Pilot knows none.
        detail: what went wrong, or "".
    """

    uid: str
    stage: TaskStage
    exit_code: int | None = None
    detail: str = ""


class StartPilot(NamedTuple):
    """Open a session and submit a pilot.

    Attributes:
        description: attributes of `radical.pilot.PilotDescription`.
        is_queued: a batch system starts the pilot, so it is ready once it is submitted.
        job_manager: the URL of the batch system in RADICAL-Pilot's configuration.
        agent_start_s: how long the job of a queued pilot may run until it starts the agent.
        agent_answer_s: how long that agent may take from then on to be active.
    """

    description: dict[str, Any]
    is_queued: bool
    job_manager: str
    agent_start_s: float
    agent_answer_s: float


class SubmitTasks(NamedTuple):
    """Submit tasks; *descriptions* are attributes of `radical.pilot.TaskDescription`."""

    descriptions: Sequence[dict[str, Any]]


class CancelTasks(NamedTuple):
    """Cancel these tasks; unknown ones are ignored."""

    uids: Sequence[str]


class ClosePilot(NamedTuple):
    """Cancel everything, end the pilot and then the process."""


class SessionOpened(NamedTuple):
    """RADICAL-Pilot is up.

    Attributes:
        task_attributes: those of its `TaskDescription`.
        address: the URL that an agent has to reach.
    """

    uid: str
    task_attributes: Sequence[str]
    address: str


class PilotRefused(NamedTuple):
    """`PilotDescription` has no attributes *unknown*, only *known*."""

    unknown: Sequence[str]
    known: Sequence[str]


class PilotFailed(NamedTuple):
    """RADICAL-Pilot raised *error* before the pilot was submitted."""

    error: str
    traceback: str


class PilotReady(NamedTuple):
    """The pilot is active; a queued one is in the queue.  *sandbox* is a URL."""

    sandbox: str


class PilotActive(NamedTuple):
    """The agent of the pilot has answered."""


class PilotSilent(NamedTuple):
    """The job of a queued pilot runs, but its agent has not become active in time."""


class TasksChanged(NamedTuple):
    """Some tasks came to another stage."""

    changes: Sequence[TaskChange]


class PilotEnded(NamedTuple):
    """The pilot is in a final state of RADICAL-Pilot's."""

    state: str
    sandbox: str
    log: str


Order = StartPilot | SubmitTasks | CancelTasks | ClosePilot
Event = (
    SessionOpened
    | PilotRefused
    | PilotFailed
    | PilotReady
    | PilotActive
    | PilotSilent
    | TasksChanged
    | PilotEnded
)
