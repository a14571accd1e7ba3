"""What a worker process runs: receive a chunk of tasks, run each, send each result.

Before a task begins, its token is read from a socket that the parent reads from as
well: whoever gets the token has the task.  So the parent can take back whatever has
not begun, and knows after a death what had.  A result is sent as soon as it is there,
without waking the parent; the bell wakes it at the end of a chunk, or when a result
does not fit into the socket.
"""

from __future__ import annotations

import os
import pickle
import select
import socket
import sys
from collections.abc import Sequence
from time import monotonic
from typing import Any

from radical.asyncflow.worker import Failure, TaskContext, call, close_loop

from ._wire import FAILURE, UNSENT, VALUE, Channel, Message, Part, dump

__all__ = ["main"]

SKIP = b"\xff"
"""The token of a task that the parent took back."""
READY = 0xFFFF
"""The place of the message that says: this worker is up."""


def main(data: int, tokens: int, bell: int) -> None:
    """Serve until the parent closes its end; the numbers are file descriptors."""
    for descriptor in (data, tokens, bell):
        os.set_inheritable(descriptor, False)
    for output in (sys.stdout, sys.stderr):
        # What a task prints is seen at once, and not lost when its worker is killed.
        if output is not None:
            output.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        with socket.socket(fileno=data) as stream:
            _Child(stream, tokens, bell).serve()
    except (EOFError, BrokenPipeError):
        pass
    finally:
        close_loop()


class _Child:
    def __init__(self, data: socket.socket, tokens: int, bell: int) -> None:
        self._data = data
        self._tokens = tokens
        self._bell = bell
        self._channel = Channel(data, self._wait)
        self._codes: dict[int, bytes] = {}
        self._functions: dict[int, Any] = {}
        self._gpus: tuple[int, ...] = ()
        self._visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        self._pid = os.getpid()
        self._began = self._ended = 0.0

    def _wait(self, event: int) -> None:
        if event == select.POLLOUT:
            self._ring()  # the parent has to make room
        poll = select.poll()
        poll.register(self._data, event)
        poll.poll()

    def _ring(self) -> None:
        os.write(self._bell, b".")

    def serve(self) -> None:
        self._channel.send(READY, VALUE, [])
        self._ring()
        while True:
            message = self._channel.receive()
            assert message is not None
            tasks = self._unpack(message)
            buffers = message.parts[1:]
            del message
            for _ in tasks:
                token = os.read(self._tokens, 1)
                if not token:
                    raise EOFError
                if token != SKIP:
                    place = token[0]
                    code, parts = self._run(tasks[place], buffers)
                    if os.getpid() != self._pid:
                        # The task forked, and this is its child: not the one to answer.
                        os._exit(0)
                    tasks[place] = ()
                    self._channel.send(place, code, parts, self._began, self._ended)
                    del parts
            self._ring()

    def _unpack(self, message: Message) -> list[tuple[Any, ...]]:
        codes, forgotten, path, tasks = pickle.loads(message.parts[0])
        if path is not None:
            sys.path[:] = path
        for number in forgotten:
            self._codes.pop(number, None)
            self._functions.pop(number, None)
        self._codes.update(codes)
        return tasks  # type: ignore[no-any-return]

    def _run(self, task: tuple[Any, ...], buffers: list[Part]) -> tuple[int, Sequence[Part]]:
        """Run one task, whatever it is made of; what to send as its result."""
        number, name, task_id, attempt, gpus, args, kwargs, pickled, first, last = task
        if gpus != self._gpus:
            self._assign(gpus)
        what = "function"
        try:
            function = self._function(number)
            what = "arguments"
            if pickled is not None:
                args, kwargs = pickle.loads(pickled, buffers=buffers[first:last])
                # The chunk's own references would keep a large array alive for too long.
                buffers[first:last] = [b""] * (last - first)
        except BaseException as exc:  # foreign code
            self._began = self._ended = monotonic()
            return UNSENT, [pickle.dumps((what, _reason(exc)))]
        self._began = monotonic()
        try:
            with TaskContext(name, task_id, attempt, gpus):
                value = call(function, args, kwargs)
            self._ended = monotonic()
        except BaseException as exc:  # a task may raise SystemExit and live on as a failure
            self._ended = monotonic()
            del args, kwargs
            return FAILURE, [pickle.dumps(Failure.pack(exc))]
        del args, kwargs
        parts: list[Part] = [b""]
        try:
            parts[0] = dump(value, parts, by_value=False)
        except BaseException as exc:  # foreign code
            return UNSENT, [pickle.dumps(("result", _reason(exc)))]
        return VALUE, parts

    def _function(self, number: int) -> Any:
        function = self._functions.get(number)
        if function is None:
            function = self._functions[number] = pickle.loads(self._codes[number])
        return function

    def _assign(self, gpus: tuple[int, ...]) -> None:
        self._gpus = gpus
        visible = ",".join(map(str, gpus)) if gpus else self._visible
        if visible is None:
            os.environ.pop("CUDA_VISIBLE_DEVICES", None)
        else:
            os.environ["CUDA_VISIBLE_DEVICES"] = visible


def _reason(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"
    except BaseException:  # foreign code
        return type(exc).__name__
