"""Tasks on their way to a node: what is pickled once, and what for each task."""

from __future__ import annotations

import dataclasses
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from radical.asyncflow.backend import Resources, TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.worker import Code, Codes, dump, dump_arguments, unsendable

from .._wire.messages import Buffer

__all__ = ["PackedSpec", "PackedTask", "Packer"]


def body_of_the_program(*_args: Any, **_kwargs: Any) -> Any:
    """Stand for the body of a command, which the engine runs."""
    raise RuntimeError("the body of this task runs in the program, not on a node")


class PackedSpec:
    """A spec, which all calls of a task share, as it travels.

    Attributes:
        number: what nodes know it by.
        spec: without its function.
        pickled: the function; None for a command.
        code: the function with what is known of its runs; None for a command.
        door: where the host of a service connects to the program: family and address; else None.
        resources: what each attempt occupies.
    """

    __slots__ = ("code", "door", "number", "pickled", "resources", "spec")

    def __init__(self, number: int, spec: TaskSpec, code: Code | None) -> None:
        self.number = number
        self.code = code
        self.pickled = None if code is None else code.pickled
        self.resources: Resources = spec.resources
        is_host = spec.service and spec.kind is TaskKind.FUNCTION
        function: Any = spec.function
        self.door: tuple[Any, ...] | None = function.address if is_host else None
        # The engine alone uses the rest, which need not be picklable.
        self.spec = dataclasses.replace(
            spec,
            function=body_of_the_program,
            retries=None,
            resources_of=None,
            cache_key=None,
            uses=(),
            answer=None,
        )


class PackedTask(NamedTuple):
    """A task that is ready to travel.

    Attributes:
        stays_pickled: only the worker that calls the function opens it.
        body: its arguments, or its command.
        dependencies: the ids of the tasks whose values its arguments lack.
    """

    task_id: int
    attempt: int
    depth: int
    name: str
    packed: PackedSpec
    stays_pickled: bool
    body: bytes
    buffers: Sequence[Buffer]
    dependencies: tuple[int, ...]

    def row(self) -> tuple[Any, ...]:
        """Return it as `Agent` takes it."""
        return (
            *(self.task_id, self.attempt, self.packed.number, self.depth, self.stays_pickled),
            *(self.body, self.dependencies, len(self.buffers)),
        )


class Packer:
    """Packs tasks; for the thread that submits.

    Attributes:
        gone: numbers of specs that nodes may forget.
    """

    def __init__(self) -> None:
        self._codes = Codes()
        self._numbers = count(1)
        self._known: dict[int, tuple[weakref.ref[TaskSpec], PackedSpec]] = {}
        self.gone: set[int] = set()

    def pack(self, request: TaskRequest) -> PackedTask:
        """Return *request* ready to travel.

        Raises:
            SerializationError: it cannot.
        """
        spec = request.spec
        packed = self._packed(spec)
        buffers: list[Buffer] = []
        if spec.kind is TaskKind.EXECUTABLE:
            try:
                body = dump(request.command, buffers)
            except BaseException as error:  # whatever a value's own methods raise
                raise unsendable("arguments", error) from error
        else:
            body = dump_arguments(spec.function, request.args, request.kwargs, buffers)
        stays = spec.kind is TaskKind.FUNCTION and spec.resources.ranks == 1
        return PackedTask(
            *(request.task_id, request.attempt, request.depth, spec.name, packed, stays),
            *(body, buffers, request.dependencies),
        )

    def _packed(self, spec: TaskSpec) -> PackedSpec:
        entry = self._known.get(id(spec))
        if entry is not None and entry[0]() is spec:
            code = entry[1].code
            if code is None or code.is_current():
                return entry[1]
            self.gone.add(entry[1].number)
        code = None
        if spec.kind is TaskKind.FUNCTION:
            code = self._codes.code_of(spec.function)
        packed = PackedSpec(next(self._numbers), spec, code)
        try:
            dump(packed.spec)
        except BaseException as error:  # whatever a value's own methods raise
            raise unsendable("arguments", error) from error
        key = id(spec)
        forget: Callable[..., None] = partial(self._forget, key, packed.number)
        self._known[key] = weakref.ref(spec, forget), packed
        return packed

    def _forget(self, key: int, number: int, _reference: weakref.ref[TaskSpec]) -> None:
        entry = self._known.get(key)
        if entry is not None and entry[1].number == number:
            del self._known[key]
        self.gone.add(number)
