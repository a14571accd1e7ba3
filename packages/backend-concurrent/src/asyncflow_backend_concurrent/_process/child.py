"""The worker process's end: receive a chunk of tasks, run each, send each result.

Before a task begins, the worker reads the task's token from a pipe that the parent reads
from as well: the one that gets the token has the task.  So the parent can take back what
has not begun, and knows after a death what had begun.  A result is sent as soon as it is
there, without waking the parent.  The *bell*, a few bytes on the socket that the tasks
came by, wakes it at the end of a chunk, or when a result does not fit into the pipe.
"""

from __future__ import annotations

import faulthandler
import functools
import os
import pickle
import select
import signal
import struct
import sys
import threading
from collections import deque
from collections.abc import Collection, Sequence
from importlib.machinery import ModuleSpec
from time import monotonic
from typing import Any

from radical.asyncflow.model import TaskUsage
from radical.asyncflow.worker import (
    VALUE,
    Carried,
    Gpu,
    Meter,
    TaskContext,
    answer,
    close_loop,
    forward_logs,
    keep_output,
    trace_of,
    unsent,
)

from .arena import Arena
from .traces import Keeps, pack_usage
from .wire import Inlet, Outlet, Part

__all__ = [
    "BELL",
    "LOG",
    "READY",
    "RUN",
    "SKIP",
    "TRACE",
    "FunctionGroup",
    "PackedArguments",
    "Previous",
    "main",
]

RUN = b"."
"""The token of a task."""
SKIP = b"-"
"""The token of a task that the parent took back."""
READY = (1 << 64) - 1
"""The place of the message that says that this worker is up."""
LOG = READY - 1
"""The place of a message with a log record."""
TRACE = READY - 2
"""The place of a message with the place of a task and its `TaskTrace`, before its result."""
BELL = struct.Struct("<di")
"""Seconds that a chunk took and how many of its tasks ran; -1 if the chunk is not at its end."""

_COPIED_BYTES = 32 * 1024  # a pickle that is not copied is sent as it is

PackedArguments = list[Any]
"""Arguments with a pickle of their own, as ``[pickle, first buffer, end of the buffers]``."""


class Previous:
    """The place, among the arguments, of the result of the task before."""


FunctionGroup = tuple[
    int, str, list[int], list[int], list[tuple[Any, ...] | PackedArguments | None]
]
"""Tasks of a chunk that run one function, as its number, their name, and their ids, attempts
and arguments (None where those could not be pickled)."""


def main(
    program: tuple[str | None, str | None],
    keeps: Sequence[Any],
    gpus: tuple[Gpu, ...],
    data: int,
    results: int,
    tokens: int,
    arena: int = -1,
) -> None:
    """Serve until the parent closes its end.

    Args:
        program: its file and its name as a module, for processes that a task spawns.
        keeps: the items of a `Keeps`.
        gpus: those of its tasks, which the environment names.
        data, results, tokens, arena: file descriptors.
    """
    file, name = program
    if file is not None:
        sys.modules["__main__"].__file__ = file
    if name is not None:
        sys.modules["__main__"].__spec__ = ModuleSpec(name, None, origin=file)
    for descriptor in (data, results, tokens, arena):
        if descriptor >= 0:
            os.set_inheritable(descriptor, False)
    # A task has to learn how its processes end, even if the program ignores that.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    if os.environ.get("ASYNCFLOW_FAULTHANDLER") != "0" and sys.stderr is not None:
        faulthandler.enable()
    for output in (sys.stdout, sys.stderr):
        # So that what a task prints is seen at once, and is not lost when its worker is killed.
        if output is not None:
            output.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        shared = Arena(arena, upper=True) if arena >= 0 else None
        _Child(data, results, tokens, shared, tuple(gpus), Keeps(*keeps)).serve()
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass
    finally:
        close_loop()


class _Child:
    """A worker that serves its parent."""

    def __init__(
        self,
        data: int,
        results: int,
        tokens: int,
        arena: Arena | None,
        gpus: tuple[Gpu, ...],
        keeps: Keeps,
    ) -> None:
        self._data = data
        self._results = results
        self._tokens = tokens
        self._inlet = Inlet(data, self._wait_for_room, arena)
        self._outlet = Outlet(results, self._wait_for_room, arena)
        self._codes: dict[int, bytes] = {}
        self._functions: dict[int, Any] = {}
        self._published = 0  # the function whose helpers `__main__` has
        self._gpus = gpus
        self._keeps = keeps
        self._meter = Meter(whole_process=True) if keeps.usage else None
        self._pid = os.getpid()
        self._sending = threading.Lock()  # while a message is sent
        self._records: deque[bytes] = deque()  # log records that wait for that
        self._kept: tuple[bytes, Sequence[Part]] | None = None  # the result for `Previous`

    def _wait_for_room(self, event: int) -> None:
        self._ring(0.0, -1)  # the parent has to make room
        _wait(self._results, event)

    def _ring(self, seconds: float, ran: int) -> None:
        os.write(self._data, BELL.pack(seconds, ran))

    def _send(self, *message: Any) -> None:
        with self._sending:
            self._outlet.send(*message)
        if self._records:
            self._send_records()

    def _log(self, record: bytes) -> None:
        """Send a log record; from any thread, and even in the middle of a message."""
        self._records.append(record)
        self._send_records()

    def _send_records(self) -> None:
        # If another message is being sent, whoever sends that goes on with these.
        if self._records and self._sending.acquire(blocking=False):
            try:
                while self._records:
                    self._outlet.send(LOG, VALUE, self._records.popleft())
            finally:
                self._sending.release()
            self._ring(0.0, -1)

    def serve(self) -> None:
        """Run chunks until the parent closes its end; then raise EOFError."""
        self._outlet.send(READY, VALUE, b"")
        if self._keeps.logs is not None:
            forward_logs(self._keeps.logs, self._log)
        if self._keeps.output:
            keep_output()
        first = 0
        while True:
            message = self._inlet.receive_one()
            codes, forgotten, path, groups, chained = pickle.loads(message.body)
            if path is not None:
                sys.path[:] = path
            for number in forgotten:
                self._codes.pop(number, None)
                self._functions.pop(number, None)
            self._codes.update(codes)
            buffers = list(message.parts)
            del message
            begun = monotonic()
            ran = 0
            for group in groups:
                ran += self._run_group(first, group, buffers, chained)
                first += len(group[2])
            self._ring(monotonic() - begun, ran)

    def _run_group(
        self, place: int, group: FunctionGroup, buffers: list[Part], chained: Collection[int]
    ) -> int:
        """Run those whose tokens are there; return how many that were."""
        number, name, ids, attempts, arguments = group
        gpus = self._gpus
        send, meter = self._send, self._meter
        ran = 0
        for at, task_id in enumerate(ids):
            # Nothing here holds the arguments of a task that has ended.
            given, arguments[at] = arguments[at], None
            kept, self._kept = self._kept, None
            if not self._may_begin():
                continue
            here = place + at
            if here not in chained:
                kept = None
            elif kept is None:
                continue  # the task before failed, and the parent knows that
            ran += 1
            began = monotonic()
            if meter is not None:
                meter.begin(number)
            with TaskContext(name, task_id, attempts[at], gpus) as context:
                code, body, parts = self._run(number, given, buffers, kept)
            if os.getpid() != self._pid:
                # The task forked, and this is its child, which must not answer.
                os._exit(0)
            usage = None if meter is None else meter.end()
            behind = b""
            if usage is not None or context.kept is not None:
                behind = self._tell(here, context, usage, body)
            send(here, code, body + behind, parts, began, monotonic())
            if code == VALUE and here + 1 in chained:
                self._kept = body, parts
            del given, kept, parts
        return ran

    def _tell(
        self, place: int, context: TaskContext, usage: TaskUsage | None, body: bytes
    ) -> bytes:
        """Send the trace of a task; or return it, to be sent behind *body*, if it is small."""
        if usage is not None and context.kept is None and len(body) < _COPIED_BYTES:
            return pack_usage(usage)
        self._send(TRACE, VALUE, pickle.dumps((place, trace_of(context, usage)), 5))
        return b""

    def _may_begin(self) -> bool:
        """Read the token of the next task; return False if the parent took the task back."""
        while True:
            try:
                token = os.read(self._tokens, 1)
            except BlockingIOError:  # the parent is looking at the tokens
                _wait(self._tokens, select.POLLIN)
                continue
            if not token:
                raise EOFError
            return token == RUN

    def _run(
        self,
        number: int,
        given: tuple[Any, ...] | PackedArguments | None,
        buffers: list[Part],
        kept: tuple[bytes, Sequence[Part]] | None,
    ) -> tuple[int, bytes, Sequence[Part]]:
        """Run one task; return what to send as its result.  Nothing that it raises escapes."""
        kwargs: dict[str, Any] = {}
        what = "function"
        try:
            function = self._functions.get(number)
            if function is None:
                function = self._functions[number] = pickle.loads(self._codes[number])
            if number != self._published:
                self._published = number
                _publish(function)
            what = "arguments"
            if isinstance(given, tuple):
                args = given
            else:
                assert given is not None
                args, kwargs = self._open(given, buffers)
            if kept is not None:
                args, kwargs = _with_previous(args, kwargs, *kept)
        except BaseException as exc:  # foreign code
            return *unsent(what, exc), ()
        parts: list[Part] = []
        return *answer(function, args, kwargs, parts), parts

    def _open(
        self, packed: PackedArguments, buffers: list[Part]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        pickled, first, end = packed
        opened: tuple[tuple[Any, ...], dict[str, Any]]
        opened = pickle.loads(pickled, buffers=buffers[first:end])
        # The chunk's own references would keep a large array alive for too long.
        buffers[first:end] = [b""] * (end - first)
        return opened


def _publish(function: Any) -> None:
    """Put what *function* brought along of the program into the ``__main__`` of this process.

    A process that the task starts, such as one of a `multiprocessing.Pool`, looks there for
    the program's own functions and classes.
    """
    main = sys.modules["__main__"]
    inner = function.function if isinstance(function, Carried) else function
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = getattr(inner, "__func__", inner)  # of a method
    names = getattr(inner, "__globals__", {})
    if names is main.__dict__ or names.get("__name__") != "__main__":
        return
    own = getattr(inner, "__qualname__", "")
    for name, value in [(own, inner), *names.items()]:
        if getattr(value, "__module__", None) == "__main__" and (
            getattr(value, "__qualname__", None) == name and name.isidentifier()
        ):
            setattr(main, name, value)


def _with_previous(
    args: tuple[Any, ...], kwargs: dict[str, Any], body: bytes, parts: Sequence[Part]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Put the result of the task before in the place of `Previous`."""
    # A copy, as if it had gone to the parent and back.
    value = pickle.loads(body, buffers=[bytearray(part) for part in parts])
    args = tuple([value if item is Previous else item for item in args])
    if kwargs:
        kwargs = {key: value if item is Previous else item for key, item in kwargs.items()}
    return args, kwargs


def _wait(descriptor: int, event: int) -> None:
    poll = select.poll()
    poll.register(descriptor, event)
    poll.poll()
