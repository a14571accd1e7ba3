"""What plugins send along with the tasks of one engine, so that they are there where those run.

It is put around a function and in front of its arguments when the task is sent: the task
itself, its plan and its identity stay what the user wrote.
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

ERRORS = 3
"""A carrier that raised so often is not asked again."""


class Carriage:
    """The carriers of one engine."""

    def __init__(self, carriers: Sequence[tuple[str, Carrier]]) -> None:
        """*carriers*: each with its plugin's name."""
        self._carriers = carriers
        self._errors = [0] * len(carriers)
        self._enters = tuple(carrier.enter for _, carrier in carriers)
        # A function is wrapped once, as backends pickle each function once.
        self._wrapped: WeakValueDictionary[int, Carried] = WeakValueDictionary()
        self._specs: WeakKeyDictionary[TaskSpec, TaskSpec] = WeakKeyDictionary()

    def load(self, node: TaskFuture[Any]) -> None:
        """*node* was called just now, in this context: ask what goes with it."""
        headers = tuple(
            [
                self._ask(place, "carry", node._spec, node._number)
                for place in range(len(self._carriers))
            ]
        )
        if any(item is not None for item in headers):
            extras_of(node).headers = headers

    def pack(
        self, node: TaskFuture[Any], args: tuple[Any, ...]
    ) -> tuple[TaskSpec, tuple[Any, ...]]:
        """The spec and the arguments with which a function task is sent."""
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

    def around(self, extras: Extras) -> AbstractContextManager[object]:
        """Return what is entered around a body that runs in the engine's loop."""
        if extras.headers is None:
            return nullcontext()
        return PluginContexts(self._enters, extras.headers)

    def equip(self, extras: Extras, command: Command | Any) -> Command | Any:
        """*command* with the variables that go with it; what the task sets itself stays."""
        if extras.headers is None or not isinstance(command, Command):
            return command
        env: dict[str, str | None] = {}
        for place, headers in enumerate(extras.headers):
            if headers is not None:
                env.update(self._ask(place, "environment", headers) or {})
        env.update(command.env or {})
        return dataclasses.replace(command, env=env) if env else command

    def _ask(self, place: int, what: str, *args: Any) -> Any:
        """What a carrier answers; None if it raises, which is told once."""
        if self._errors[place] >= ERRORS:
            return None
        plugin, carrier = self._carriers[place]
        try:
            return getattr(carrier, what)(*args)
        except Exception:
            self._errors[place] += 1
            if self._errors[place] == 1:
                log.exception("plugin %s raised in %s(); the run goes on", plugin, what)
            if self._errors[place] == ERRORS:
                log.warning("plugin %s raised %d times and carries nothing more", plugin, ERRORS)
            return None
