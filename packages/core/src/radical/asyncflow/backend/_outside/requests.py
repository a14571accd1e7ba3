"""Tasks on their way to the process: flat frames of numbers, and beside them what is pickled.

A spec travels once, with its function, and has a number from then on.  A request is five numbers:
its task, attempt, depth and spec, and how many parts of the message are its own.  A request
without arguments has none.
"""

from __future__ import annotations

import dataclasses
import pickle
import weakref
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

from ...errors import SerializationError
from ...model import TaskKind, TaskSpec
from ...worker import Buffer, Code, Codes, dump, dump_arguments, unsendable
from .._contract import TaskRequest

__all__ = [
    "ASK_CAPACITY",
    "ASK_WAITS",
    "CANCEL",
    "DEFINE",
    "FORGET",
    "PATH",
    "SHUT_DOWN",
    "START",
    "SUBMIT",
    "WATCH",
    "RequestReader",
    "RequestWriter",
    "Refused",
    "dump_numbers",
    "load_numbers",
]

START, PATH, DEFINE, FORGET, SUBMIT, CANCEL, ASK_WAITS, ASK_CAPACITY, WATCH, SHUT_DOWN = (
    bytes([number]) for number in range(10)
)
"""The first part of each message to the process."""

_FIELDS = 5
_ARGUMENTS, _REST = 1, 2  # the first part of a request: what there is beside


def dump_numbers(numbers: Sequence[int]) -> bytes:
    """Return whole numbers as bytes."""
    return array("q", numbers).tobytes()


def load_numbers(data: Buffer) -> array[int]:
    """Return the numbers that `dump_numbers` made *data* of."""
    numbers = array("q")
    numbers.frombytes(data)
    return numbers


def body_of_the_program(*args: Any, **kwargs: Any) -> Any:
    """Stand for the body of a command or a prompt, which the engine runs."""
    raise RuntimeError("the body of this task runs in the program, not in the process")


class RequestWriter:
    """The program's end, for the thread that submits."""

    def __init__(self) -> None:
        self._codes = Codes()
        self._numbers = count(1)
        self._known: dict[int, tuple[weakref.ref[TaskSpec], Code | None, int]] = {}
        self._forgotten: deque[int] = deque()  # filled wherever a spec ends

    def write(
        self, batch: Sequence[TaskRequest]
    ) -> tuple[list[list[Buffer]], list[tuple[TaskRequest, SerializationError]]]:
        """Return the messages for *batch*, and the requests that cannot travel with the reason."""
        messages: list[list[Buffer]] = []
        failed: list[tuple[TaskRequest, SerializationError]] = []
        numbers = array("q")
        parts: list[Buffer] = []
        current: dict[int, int] = {}  # of this batch: a spec is compared once with what was sent
        for request in batch:
            spec = request.spec
            number = current.get(id(spec))
            size = len(parts)
            try:
                if number is None:
                    number = current[id(spec)] = self._number_of(spec, messages)
                if request.args or request.kwargs or request.command or request.dependencies:
                    self._add_parts(request, parts)
            except SerializationError as error:
                failed.append((request, error))
                del parts[size:]
                continue
            numbers.extend(
                (request.task_id, request.attempt, request.depth, number, len(parts) - size)
            )
        if numbers:
            messages.append([SUBMIT, numbers.tobytes(), *parts])
        if self._forgotten:
            gone = [self._forgotten.popleft() for _ in range(len(self._forgotten))]
            messages.append([FORGET, dump_numbers(gone)])
        return messages, failed

    def _number_of(self, spec: TaskSpec, messages: list[list[Buffer]]) -> int:
        """Return the number of *spec*; add the message that defines it if it is new.

        Raises:
            SerializationError: it cannot travel.
        """
        entry = self._known.get(id(spec))
        if entry is not None and entry[0]() is spec:
            if entry[1] is None or entry[1].is_current():
                return entry[2]
            self._forgotten.append(entry[2])
        code = None
        if spec.kind is TaskKind.FUNCTION:
            code = self._codes.code_of(spec.function)
        # The engine alone uses the rest, which need not be picklable.
        sent = dataclasses.replace(
            spec,
            function=body_of_the_program,
            retries=None,
            resources_of=None,
            cache_key=None,
            uses=(),
        )
        try:
            pickled = dump(sent)
        except BaseException as error:  # whatever a value's own methods raise
            raise unsendable("arguments", error) from error
        number = next(self._numbers)
        messages.append(
            [DEFINE, dump_numbers([number]), pickled, b"" if code is None else code.pickled]
        )
        key = id(spec)
        self._known[key] = weakref.ref(spec, partial(self._forget, key, number)), code, number
        return number

    def _forget(self, key: int, number: int, _reference: weakref.ref[TaskSpec]) -> None:
        entry = self._known.get(key)
        if entry is not None and entry[2] == number:
            del self._known[key]
        self._forgotten.append(number)

    def _add_parts(self, request: TaskRequest, parts: list[Buffer]) -> None:
        """Append what *request* has beside its numbers.

        Raises:
            SerializationError: it cannot be pickled.
        """
        first = len(parts)
        content = 0
        parts.append(b"")
        if request.command is not None or request.dependencies:
            content |= _REST
            try:
                parts.append(dump((request.command, request.dependencies)))
            except BaseException as error:  # whatever a value's own methods raise
                raise unsendable("arguments", error) from error
        if request.args or request.kwargs:
            content |= _ARGUMENTS
            buffers: list[Buffer] = []
            parts.append(
                dump_arguments(request.spec.function, request.args, request.kwargs, buffers)
            )
            parts += buffers
        parts[first] = bytes([content])


class Refused(Exception):
    """The place of a spec that cannot be used in the process; its argument is the reason."""


class RequestReader:
    """The process's end, for the thread of its loop."""

    def __init__(self, check: Callable[[TaskSpec], None]) -> None:
        """Know no spec yet; *check* raises for a spec that the backend refuses."""
        self._check = check
        self._specs: dict[int, TaskSpec | BaseException] = {}

    def define(self, message: Sequence[Buffer]) -> None:
        """Take a spec."""
        number = load_numbers(message[1])[0]
        what = "arguments"
        spec: TaskSpec | BaseException
        try:
            spec = pickle.loads(message[2])
            if message[3]:
                what = "function"
                spec = dataclasses.replace(spec, function=pickle.loads(message[3]))
        except BaseException as error:  # unpickling runs foreign code, which may even exit
            spec = unsendable(what, error)
        else:
            try:
                self._check(spec)
            except Exception as error:
                spec = error
        self._specs[number] = spec

    def forget(self, message: Sequence[Buffer]) -> None:
        """Drop specs that come no more."""
        for number in load_numbers(message[1]):
            self._specs.pop(number, None)

    def read(
        self, message: Sequence[Buffer]
    ) -> tuple[list[TaskRequest], list[tuple[int, int, BaseException]]]:
        """Return the requests of *message*, and the ids, attempts and errors of the others."""
        requests: list[TaskRequest] = []
        failed: list[tuple[int, int, BaseException]] = []
        specs = self._specs
        at = 2
        fields = [iter(load_numbers(message[1]))] * _FIELDS
        for task_id, attempt, depth, number, size in zip(*fields, strict=True):
            spec = specs[number]
            if isinstance(spec, BaseException):
                failed.append((task_id, attempt, spec))
            elif not size:
                requests.append(TaskRequest(task_id, attempt, spec, depth=depth))
            else:
                try:
                    args, kwargs, command, dependencies = _load_parts(message[at : at + size])
                except BaseException as error:  # unpickling runs foreign code
                    failed.append((task_id, attempt, unsendable("arguments", error)))
                else:
                    requests.append(
                        TaskRequest(
                            task_id, attempt, spec, args, kwargs, command, dependencies, depth=depth
                        )
                    )
            at += size
        return requests, failed


def _load_parts(parts: Sequence[Buffer]) -> tuple[Any, Any, Any, Any]:
    """Return arguments, keywords, command and dependencies."""
    content = parts[0][0]
    args, kwargs, command, dependencies = (), {}, None, ()
    at = 1
    if content & _REST:
        command, dependencies = pickle.loads(parts[at])
        at += 1
    if content & _ARGUMENTS:
        args, kwargs = pickle.loads(parts[at], buffers=parts[at + 1 :])
    return args, kwargs, command, dependencies
