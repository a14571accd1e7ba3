"""Tell what prompts wait for, in words; made when somebody asks."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from radical.asyncflow.backend import TaskId, TaskRequest, Wait, WaitKind

__all__ = ["waits_of"]

_MOST_SHOWN = 160  # characters of what a server said
_MOST_HOLDERS = 5


class _Call(Protocol):
    """One attempt at one prompt, as the backend holds it."""

    @property
    def request(self) -> TaskRequest: ...
    @property
    def begun(self) -> bool: ...
    @property
    def pause(self) -> tuple[float, str] | None: ...


def waits_of(
    asked: Collection[TaskId],
    *,
    waiting: Sequence[_Call],
    running: Sequence[_Call],
    places: int,
    limit: tuple[str, float | None],
    now: float,
) -> dict[TaskId, Wait]:
    """Return what those of the *asked* prompts wait for that were not sent, or are sent again.

    Args:
        waiting: the prompts that wait, in the order in which they begin.
        running: those that have one of the *places*.
        limit: what the next request waits for, and for how many seconds; "" for nothing.
        now: the time, by the clock of `pause`.
    """
    text, seconds = limit
    found: dict[TaskId, Wait] = {}
    unbegun = [call for call in running if not call.begun]
    for call in running:
        if call.request.task_id not in asked:
            continue
        if call.pause is not None and call.pause[0] > now:
            reason = " ".join(call.pause[1].split())
            told = reason if len(reason) <= _MOST_SHOWN else reason[: _MOST_SHOWN - 1] + "…"
            found[call.request.task_id] = Wait(
                kind=WaitKind.RATE, text=f"its next request: {told}", seconds=call.pause[0] - now
            )
        elif text:
            found[call.request.task_id] = Wait(kind=WaitKind.RATE, text=text, seconds=seconds)
        elif not call.begun:
            found[call.request.task_id] = Wait(
                kind=WaitKind.ENGINE, text="its request, which begins"
            )
    holders = [call.request.task_id for call in running]
    for ahead, call in enumerate(waiting):
        task_id = call.request.task_id
        if task_id not in asked:
            continue
        outranked = sum(other.request.task_id > task_id for other in waiting[:ahead])
        if text and len(running) < places:
            found[task_id] = Wait(
                kind=WaitKind.RATE,
                text=text,
                ahead=ahead + len(unbegun),
                outranked=outranked,
            )
        else:
            found[task_id] = Wait(
                kind=WaitKind.SLOT,
                text=f"one of the {places:,} requests that may be under way at once",
                holders=holders[:_MOST_HOLDERS],
                held_by=len(holders),
                ahead=ahead + len(unbegun),
                outranked=outranked,
            )
    return found
