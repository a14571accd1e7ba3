"""The scope of a call: the block that makes it, and the workflow that it belongs to."""

from __future__ import annotations

from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .future import TaskFuture

__all__ = ["SCOPE", "Scope", "WorkflowScope"]


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


class WorkflowScope:
    """A scope that gives every call inside it a workflow; enter it by ``with`` or ``async with``.

    Args:
        run: the run whose calls it is for.
    """

    def __init__(self, run: object, workflow_id: str) -> None:
        self._run = run
        self._workflow_id = workflow_id
        self._token: Token[Scope | None] | None = None

    def __enter__(self) -> str:
        if self._token is not None:
            raise RuntimeError("a workflow scope can be entered once; call workflow_scope() again")
        outer = SCOPE.get()
        block = outer.block if outer is not None and outer.run is self._run else None
        self._token = SCOPE.set(Scope(self._run, self._workflow_id, block))
        return self._workflow_id

    def __exit__(self, *exc: object) -> None:
        assert self._token is not None
        SCOPE.reset(self._token)

    async def __aenter__(self) -> str:
        return self.__enter__()

    async def __aexit__(self, *exc: object) -> None:
        self.__exit__(*exc)
