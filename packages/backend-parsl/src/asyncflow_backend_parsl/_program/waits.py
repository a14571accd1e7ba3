"""The reasons why tasks wait, in words; made when somebody asks."""

from __future__ import annotations

from collections.abc import Collection

from radical.asyncflow.backend import Wait, WaitKind

from .blocks import Blocks
from .router import Router

__all__ = ["explain_waits"]

_MOST_HOLDERS = 5


def explain_waits(
    router: Router, blocks: Blocks, task_ids: Collection[int], backend: str
) -> dict[int, Wait]:
    """Return what those of the tasks wait for that no node has."""
    waiting = router.unsent()
    slots = router.slots()
    if not slots:
        holdup = blocks.holdup()
        return {task_id: holdup for task_id in waiting if task_id in task_ids}
    running = router.running()
    found: dict[int, Wait] = {}
    for ahead, task_id in enumerate(waiting):
        if task_id in task_ids:
            found[task_id] = Wait(
                kind=WaitKind.SLOT,
                text=f"one of the {slots} slots on the nodes of backend {backend!r}",
                holders=running[:_MOST_HOLDERS],
                held_by=len(running),
                ahead=ahead,
            )
    return found
