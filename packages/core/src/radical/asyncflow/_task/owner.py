"""The protocol between the handle of a task and the machinery that owns the task.

The dispatcher of an engine is the only owner there is.  The handles name only this protocol,
so that nothing below `_dispatch` imports `_dispatch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from .._graph.scheduler import Node
from ..model import TaskSpec

__all__ = ["Owner"]


class Owner(Protocol):
    """The machinery of one engine, as the tasks of that engine see it."""

    def bind(self, spec: TaskSpec, lane: Any = None) -> Any:
        """Choose the backend of *spec*, and return the `Call` that all its calls share.

        Args:
            lane: the backend, if it is chosen already.

        Raises:
            ConfigurationError: there is no such backend, or it cannot honour an option.
        """

    def register(
        self, call: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], workflow_id: str | None
    ) -> Any:
        """Make a task of *call* and return its `TaskFuture`."""

    def request_pump(self) -> None:
        """Send what is ready now, because somebody is about to wait for it."""

    def take_reports(self) -> None:
        """Take in what was reported, so that a state that is read is up to date."""

    def cancel(self, future: Node, message: Any = None) -> None:
        """Cancel the task of *future*."""

    def bind_to(self, spec: TaskSpec, lane: Any) -> Any:
        """Return the `Call` of a method, which runs on the *lane* of its service.

        Raises:
            ConfigurationError: a method cannot have such an option.
        """

    def start_instance(
        self, spec: TaskSpec, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[Any, Any]:
        """Start the service of *spec*, whose function is a class.

        Returns:
            Its `ServiceFuture`, and the lane of its methods.
        """

    def stop(self, service: Any) -> Any:
        """Stop *service*, and return an `asyncio.Future` that is done when it has ended."""

    def fetch(self, future: Node) -> None:
        """Fetch the value of *future* from the place where it was made."""

    def want_running(self) -> None:
        """Let RUNNING reports wake the loop from now on, because somebody needs their times."""
