"""Tasks on their way to the process: flat frames of numbers, and beside them what is pickled.

A spec travels once, with its function, and has a number from then on.  A request is five numbers:
its task, attempt, depth and spec, and how many parts of the message are its own.  That is 0 for a
function without arguments, and negative if the first part is about more than arguments.
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
from ...worker import ATOMS, Buffer, Code, Codes, dump, dump_arguments, unsendable
from .._contract import TaskId, TaskRequest

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
    "dump_numbers",
    "load_numbers",
]

START, PATH, DEFINE, FORGET, SUBMIT, CANCEL, ASK_WAITS, ASK_CAPACITY, WATCH, SHUT_DOWN = (
    bytes([number]) for number in range(10)
)
"""The first part of each message to the process."""

_FIELDS = 5


def dump_numbers(numbers: Sequence[int]) -> bytes:
    """Return whole numbers as bytes."""
    return array("q", numbers).tobytes()


def load_numbers(data: Buffer) -> array[int]:
    """Return the numbers that `dump_numbers` made *data* of."""
    numbers = array("q")
    numbers.frombytes(data)
    return numbers


def body_of_the_program(*_args: Any, **_kwargs: Any) -> Any:
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
            begun = len(parts)
            try:
                if number is None:
                    number = current[id(spec)] = self._number_of(spec, messages)
                has_more = request.command is not None or bool(request.dependencies)
                if has_more:
                    _add_more(request, parts)
                if request.args or request.kwargs:
                    _add_arguments(request, parts)
            except SerializationError as error:
                failed.append((request, error))
                del parts[begun:]
                continue
            size = len(parts) - begun
            numbers.extend(
                (request[0], request[1], request.depth, number, -size if has_more else size)
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


def _add_more(request: TaskRequest, parts: list[Buffer]) -> None:
    """Append what *request* has beside arguments.

    Raises:
        SerializationError: it cannot be pickled.
    """
    try:
        parts.append(dump((request.command, request.dependencies)))
    except BaseException as error:  # whatever a value's own methods raise
        raise unsendable("arguments", error) from error


def _add_arguments(request: TaskRequest, parts: list[Buffer]) -> None:
    """Append the arguments of *request*, with their large buffers behind them.

    Raises:
        SerializationError: they cannot be pickled.
    """
    args, kwargs = request.args, request.kwargs
    if not kwargs and ATOMS.issuperset(map(type, args)):
        parts.append(pickle.dumps((args, {}), 5))
        return
    buffers: list[Buffer] = []
    parts.append(dump_arguments(request.spec.function, args, kwargs, buffers))
    parts += buffers


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
        try:
            spec: TaskSpec = pickle.loads(message[2])
            if message[3]:
                what = "function"
                spec = dataclasses.replace(spec, function=pickle.loads(message[3]))
        except BaseException as error:  # unpickling runs foreign code, which may even exit
            self._specs[number] = unsendable(what, error)
            return
        try:
            self._check(spec)
        except Exception as error:
            self._specs[number] = error
        else:
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
                at += abs(size)
            else:
                end = at + abs(size)
                try:
                    more = _load(message, at, end, has_more=size < 0)
                except BaseException as error:  # unpickling runs foreign code
                    failed.append((task_id, attempt, unsendable("arguments", error)))
                else:
                    requests.append(TaskRequest(task_id, attempt, spec, *more, None, depth))
                at = end
        return requests, failed


def _load(
    message: Sequence[Buffer], at: int, end: int, *, has_more: bool
) -> tuple[tuple[Any, ...], dict[str, Any], Any, tuple[TaskId, ...]]:
    """Return arguments, keywords, command and dependencies from some parts of *message*."""
    command, dependencies = None, ()
    if has_more:
        command, dependencies = pickle.loads(message[at])
        at += 1
    if at == end:
        return (), {}, command, dependencies
    if end - at == 1:
        args, kwargs = pickle.loads(message[at])
    else:
        args, kwargs = pickle.loads(message[at], buffers=message[at + 1 : end])
    return args, kwargs, command, dependencies
