"""Send along with each task what plugins need where the task runs.

When a task is sent, its function is wrapped and the headers of the plugins are put in front of
its arguments.  The task itself, its plan and its identity stay what the user wrote.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakValueDictionary

from .._task.future import extras_of
from ..hookspecs import Carrier
from ..model import Command, TaskKind, TaskSpec
from ..worker import Carried, PluginContexts, carried

if TYPE_CHECKING:
    from .._task.future import Extras, TaskFuture

__all__ = ["Carriage"]

log = logging.getLogger("radical.asyncflow")

MAX_ERRORS = 3
"""The number of errors after which a carrier is not called again."""


class Carriage:
    """The carriers of one engine.

    Args:
        carriers: pairs of a plugin's name and its carrier.
    """

    def __init__(self, carriers: Sequence[tuple[str, Carrier]]) -> None:
        self._carriers = carriers
        self._errors = [0] * len(carriers)
        self._enters = tuple(carrier.enter for _, carrier in carriers)
        # Each function is wrapped only once, because backends pickle each function once.
        self._wrapped: WeakValueDictionary[int, Carried] = WeakValueDictionary()
        self._specs: WeakKeyDictionary[TaskSpec, TaskSpec] = WeakKeyDictionary()

    def collect_headers(self, node: TaskFuture[Any]) -> None:
        """Ask the carriers for the headers of *node*, which was called just now in this context."""
        headers = tuple(
            [
                self._ask(index, "carry", node._spec, node._number)
                for index in range(len(self._carriers))
            ]
        )
        if any(item is not None for item in headers):
            extras_of(node).headers = headers

    def pack(
        self, node: TaskFuture[Any], args: tuple[Any, ...]
    ) -> tuple[TaskSpec, tuple[Any, ...]]:
        """Return the spec and the arguments with which *node* is sent."""
        spec: TaskSpec = node._spec
        headers = None if node._extras is None else node._extras.headers
        if headers is None or spec.kind is not TaskKind.FUNCTION or not node._lane.executes:
            return spec, args
        return self._specs.get(spec) or self._wrap(spec), (headers, *args)

    def _wrap(self, spec: TaskSpec) -> TaskSpec:
        function = self._wrapped.get(id(spec.function))
        if function is None:
            function = carried(spec.function, self._enters)
            self._wrapped[id(spec.function)] = function
        made = self._specs[spec] = dataclasses.replace(spec, function=function)
        return made

    def contexts(self, extras: Extras) -> AbstractContextManager[object]:
        """Return the context manager to enter around a body that runs in the engine's loop."""
        if extras.headers is None:
            return nullcontext()
        return PluginContexts(self._enters, extras.headers)

    def add_variables(self, extras: Extras, command: Command | Any) -> Command | Any:
        """Return *command* with the carriers' variables; those the task sets take precedence."""
        if extras.headers is None or not isinstance(command, Command):
            return command
        env: dict[str, str | None] = {}
        for index, headers in enumerate(extras.headers):
            if headers is not None:
                env.update(self._ask(index, "environment", headers) or {})
        env.update(command.env or {})
        return dataclasses.replace(command, env=env) if env else command

    def _ask(self, index: int, method: str, *args: Any) -> Any:
        """Return the answer of a carrier; None if it raises, which is logged the first time."""
        if self._errors[index] >= MAX_ERRORS:
            return None
        plugin, carrier = self._carriers[index]
        try:
            return getattr(carrier, method)(*args)
        except Exception:
            self._errors[index] += 1
            if self._errors[index] == 1:
                log.exception(
                    "plugin %s raised in %s(); the run goes on without it", plugin, method
                )
            if self._errors[index] == MAX_ERRORS:
                log.warning(
                    "plugin %s raised %d times; its carrier is not called again", plugin, MAX_ERRORS
                )
            return None
