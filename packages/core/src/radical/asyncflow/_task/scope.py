"""The scope of a call: the block that makes it, and the workflow that it belongs to."""

from __future__ import annotations

from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .future import TaskFuture

__all__ = ["SCOPE", "Scope"]


class Scope:
    """The surroundings that every call made in this context inherits.

    Attributes:
        run: the run of the engine it belongs to, told by its identity, as two engines may have
            one uid; calls of another engine ignore it.
        workflow_id: the name of the workflow, or None.
        block: the block whose body makes the calls, or None.
    """

    __slots__ = ("block", "run", "workflow_id")

    def __init__(self, run: object, workflow_id: str | None, block: TaskFuture[Any] | None) -> None:
        self.run = run
        self.workflow_id = workflow_id
        self.block = block

    def add_member(self, future: TaskFuture[Any]) -> None:
        """Let *future*, which was made in this scope, end with the block."""
        if self.block is not None and self.block._extras is not None:
            members = self.block._extras.members
            if members is not None:
                members.add(future)


SCOPE: ContextVar[Scope | None] = ContextVar("asyncflow_scope", default=None)
