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
    wide = router.wide(task_ids)
    whole = f"a block of backend {backend!r} with all its nodes" if router.lacks_block() else ""
    found: dict[int, Wait] = {}
    for ahead, task_id in enumerate(waiting):
        if task_id in task_ids:
            text = f"one of the {slots} slots on the nodes of backend {backend!r}"
            if task_id in wide:
                room = whole or f"room on the nodes of one block of backend {backend!r}"
                text = f"{room}, for {wide[task_id].ranks} ranks"
            found[task_id] = Wait(
                kind=WaitKind.SLOT,
                text=text,
                holders=running[:_MOST_HOLDERS],
                held_by=len(running),
                ahead=ahead,
            )
    return found
