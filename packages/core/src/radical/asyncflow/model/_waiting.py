"""The answer to the question what a task waits for."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from .._public import public
from .._text import count, duration, shorten, task_id_text

__all__ = ["TaskNow", "Wait", "WaitCause", "WaitKind", "WaitReason", "Waiting"]

MOST_NAMED = 3
"""The most tasks that a sentence names."""
MOST_CAUSES = 12
"""The most causes that a text lists."""
NAME_ROOM = 60


@public("radical.asyncflow.backend")
class WaitKind(enum.StrEnum):
    """The kinds of things that a task waits for."""

    DEPENDENCY = "dependency"
    """Other tasks whose results it takes."""
    AWAITABLE = "awaitable"
    """Something among its arguments that can be awaited and is no task of this engine."""
    SERVICE = "service"
    """A service that is not up."""
    SLOT = "slot"
    """A place on its backend, all of which are taken."""
    GPUS = "gpus"
    """GPUs that other tasks have."""
    MEMORY = "memory"
    """Memory that other tasks have."""
    WORKER = "worker"
    """A worker that has what it asks for, or any worker at all."""
    QUEUE = "queue"
    """A job that waits in the queue of a batch system."""
    RATE = "rate"
    """A limit per minute, or a server that has asked to wait."""
    RETRY = "retry"
    """The delay before its next attempt."""
    BACKEND = "backend"
    """A backend that is not up."""
    ENGINE = "engine"
    """The engine, which works for it or will send it in its next turn."""
    HELD = "held"
    """The end of the run, before which it would not finish; so it does not start."""
    UNKNOWN = "unknown"
    """Something that its backend does not tell."""
    RUNNING = "running"
    """Nothing, because it runs."""
    ENDED = "ended"
    """Nothing, because it has ended."""


@public("radical.asyncflow.backend")
@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """The reason why a task has not begun, as its backend knows it.

    Attributes:
        text: what it waits for, as the end of a sentence that begins with "it waits for":
            ``"one of the 4 slots"``.  The same for all tasks that wait for the same.
        holders: the ids of tasks that have what it waits for; a few will do.
        held_by: how many such tasks there are.
        ahead: how many tasks begin before it; None if that is not known.
        outranked: how many of those came later and go first, because of their priority or depth.
        seconds: the seconds until it may go on; None if that is not known.
    """

    kind: WaitKind
    text: str
    holders: Sequence[int] = ()
    held_by: int = 0
    ahead: int | None = None
    outranked: int = 0
    seconds: float | None = None


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True)
class TaskNow:
    """A task as it is now.

    Attributes:
        number: 12 for ``task.000012``.
        state: PENDING, SUBMITTED (its backend has it), RUNNING, DONE, FAILED or CANCELLED;
            ENDED where only that is known.
        seconds: how long it runs, if that is known: with a journal, or while somebody observes.
    """

    number: int
    name: str
    state: str
    seconds: float | None = None

    @property
    def id(self) -> str:
        """The same as `TaskFuture.id`."""
        return task_id_text(self.number)

    @property
    def title(self) -> str:
        """The id and the name, as far as that is known."""
        return f"{self.id} {shorten(self.name, NAME_ROOM)!r}" if self.name else self.id

    @property
    def age(self) -> str:
        """The title, and how long it runs."""
        return self.title if self.seconds is None else f"{self.title} for {duration(self.seconds)}"

    def __str__(self) -> str:
        if self.state == "RUNNING":
            since = "" if self.seconds is None else f" for {duration(self.seconds)}"
            return f"{self.title} runs{since}"
        return f"{self.title} {'has ended' if self.state == 'ENDED' else f'is {self.state}'}"


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True, kw_only=True)
class WaitReason:
    """One thing that a task waits for.

    Attributes:
        text: in words, as the end of a sentence that begins with "it waits for".
        holders: some of the tasks that it waits for, or that have what it waits for.
        held_by: how many such tasks there are.
        of: for dependencies, how many there are with those that are done.
        ahead: how many tasks begin before it on its backend; None if that is not known.
        outranked: how many of those came later and go first, because of their priority or depth.
        seconds: the seconds until it may go on; None if that is not known.
    """

    kind: WaitKind
    text: str
    holders: tuple[TaskNow, ...] = ()
    held_by: int = 0
    of: int | None = None
    ahead: int | None = None
    outranked: int = 0
    seconds: float | None = None

    def __str__(self) -> str:
        parts = [self.text]
        if self.ahead:
            rest = f", {self.outranked:,} of them though they came later" if self.outranked else ""
            verb = "begins" if self.ahead == 1 else "begin"
            parts.append(f"{count(self.ahead, 'task')} {verb} before it{rest}")
        if self.seconds is not None:
            parts.append(f"it may go on in {duration(self.seconds)}")
        held = ""
        if self.holders and self.kind is not WaitKind.DEPENDENCY:
            held = f" ({_names([task.age for task in self.holders], self.held_by)})"
        return f"{parts[0]}{held}" + "".join(f"; {part}" for part in parts[1:])


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True, kw_only=True)
class WaitCause:
    """The end of a chain of dependencies: tasks that wait for no other task.

    Attributes:
        reason: what all of them wait for; of the kind RUNNING if they run.
        tasks: some of them.
        count: how many there are.
    """

    reason: WaitReason
    tasks: tuple[TaskNow, ...]
    count: int

    def __str__(self) -> str:
        one = self.count == 1
        if self.reason.kind is WaitKind.RUNNING:
            names = _names([task.age for task in self.tasks], self.count)
            return f"{names} {'runs' if one else 'run'}"
        names = _names([task.title for task in self.tasks], self.count)
        if self.reason.kind is WaitKind.ENDED:
            return f"{names} {'has' if one else 'have'} ended: {self.reason.text}"
        return f"{names} {'waits' if one else 'wait'} for {self.reason}"


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The answer to why a task waits, or to why all tasks of a run do.

    ``print`` it to read it; the attributes are for programs, and `as_dict` for JSON.

    Attributes:
        task: the task; None for all of a run.
        reasons: what it waits for itself; empty if it runs or has ended.
        causes: what it waits for in the end, when its dependencies and theirs are followed; the
            most frequent first.  The same as *reasons* if it has no unfinished dependency.
        between: the number of unfinished tasks between it and the causes.
        at: when this was so, in seconds since the epoch; None for now.
    """

    task: TaskNow | None
    reasons: tuple[WaitReason, ...] = ()
    causes: tuple[WaitCause, ...] = ()
    between: int = 0
    at: float | None = None

    def __bool__(self) -> bool:
        """Return True if it waits for something."""
        return bool(self.reasons) or (self.task is None and bool(self.causes))

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {next(self._lines())}>"

    def _lines(self) -> Iterator[str]:
        if self.task is None:
            waiting = sum(
                cause.count for cause in self.causes if cause.reason.kind is not WaitKind.RUNNING
            )
            yield f"{count(waiting, 'task')} of this run {'waits' if waiting == 1 else 'wait'}"
        elif not self.reasons:
            ended = self.task.state in ("DONE", "FAILED", "CANCELLED", "ENDED")
            yield f"{self.task}" + ("" if ended else "; it waits for nothing")
            return
        elif not self._follows:
            yield f"{self.task.title} waits for {self.reasons[0]}"
            for reason in self.reasons[1:]:
                yield f"  and for {reason}"
            return
        else:
            over = f", through {count(self.between, 'task')} between" if self.between else ""
            texts = " and for ".join(map(str, self.reasons))
            yield f"{self.task.title} waits for {texts}{over}:"
        for cause in self.causes[:MOST_CAUSES]:
            yield f"  {cause}"
        if len(self.causes) > MOST_CAUSES:
            yield f"  and {len(self.causes) - MOST_CAUSES:,} more causes"

    @property
    def _follows(self) -> bool:
        return any(reason.kind is WaitKind.DEPENDENCY for reason in self.reasons)

    def as_dict(self) -> dict[str, Any]:
        """Return it in types that JSON knows."""
        return {
            "task": None if self.task is None else _task_dict(self.task),
            "waits": bool(self),
            "reasons": [_reason_dict(reason) for reason in self.reasons],
            "causes": [
                {
                    "reason": _reason_dict(cause.reason),
                    "tasks": [_task_dict(task) for task in cause.tasks],
                    "count": cause.count,
                }
                for cause in self.causes
            ],
            "between": self.between,
            "at": self.at,
        }


def _names(titles: Sequence[str], number: int) -> str:
    shown = list(titles[:MOST_NAMED])
    more = max(number, len(titles)) - len(shown)
    if more > 0:
        return f"{', '.join(shown)} and {more:,} more"
    return " and ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:])))


def _task_dict(task: TaskNow) -> dict[str, Any]:
    return {"id": task.id, "name": task.name, "state": task.state, "seconds": task.seconds}


def _reason_dict(reason: WaitReason) -> dict[str, Any]:
    return {
        "kind": reason.kind.value,
        "text": reason.text,
        "holders": [_task_dict(task) for task in reason.holders],
        "held_by": reason.held_by,
        "of": reason.of,
        "ahead": reason.ahead,
        "outranked": reason.outranked,
        "seconds": reason.seconds,
    }
