"""The host of a function service: one instance of a class, whose methods run here in order.

A host is the function of a task that ends when the service is stopped.  Where functions share the
memory of the program, calls come through a queue; elsewhere the host connects to the program, and
calls come as messages.  Both ends prove to each other that they know the token of the service
before anything is unpickled.
"""

from __future__ import annotations

import functools
import hmac
import pickle
import secrets
import socket
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from queue import SimpleQueue
from typing import Any

from ._answer import VALUE, answer, unsent
from ._call import call
from ._context import TaskContext, current_task
from ._frames import FrameParser, send_frame
from ._pickling import Buffer

__all__ = [
    "CALL",
    "CANCEL",
    "NONCE_BYTES",
    "STOP",
    "LocalHost",
    "Method",
    "RemoteHost",
    "prove",
]

CALL, CANCEL, STOP = range(3)
"""The kinds of messages to a host."""

NONCE_BYTES = 32
_PIECE_BYTES = 256 * 1024
_HANDSHAKE_S = 30.0

_NOTHING = pickle.dumps(None)

_here = threading.local()


def prove(token: bytes, nonce: bytes, who: bytes) -> bytes:
    """Return the proof, for whoever sent *nonce*, that *who* knows *token*."""
    return hmac.digest(token, who + nonce, "sha256")


class Method:
    """The method *name* of the instance that the calling thread hosts."""

    def __init__(self, name: str, function: Callable[..., Any] | None = None) -> None:
        """Make one with the name and the signature of *function*, a bound method."""
        self.name = name
        if function is not None:
            functools.update_wrapper(self, function, updated=())

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        return getattr(_here.instance, self.name)(*args, **kwargs)

    def __reduce__(self) -> tuple[Any, ...]:
        return Method, (self.name,)


class LocalCall:
    """A call for a `LocalHost`.

    Attributes:
        context: the context variables to run in.
        task: what the method sees of itself, and by which it is cancelled.
    """

    __slots__ = ("args", "context", "function", "kwargs", "task")

    def __init__(
        self, task: TaskContext, function: Any, args: Any, kwargs: Any, context: Context | None
    ) -> None:
        self.task = task
        self.function = function
        self.args = args
        self.kwargs = kwargs
        self.context = Context() if context is None else context.copy()


class LocalHost:
    """A host in the memory of the program."""

    def __init__(
        self,
        kind: type,
        calls: SimpleQueue[LocalCall | None],
        on_up: Callable[[], object],
        running: Callable[[TaskContext], object],
        ended: Callable[[TaskContext, bool, Any], object],
    ) -> None:
        """Make the host of an instance of *kind*.

        Args:
            calls: the calls, and None as the end.
            on_up: called when the instance is there.
            running: called when a call begins.
            ended: called with its end: whether it succeeded, and the value or the error.
        """
        self._kind = kind
        self._calls = calls
        self._on_up = on_up
        self._running = running
        self._ended = ended

    def __call__(self, /, *args: Any, **kwargs: Any) -> None:
        host = current_task()
        gpus = () if host is None else host.gpus
        _here.instance = self._kind(*args, **kwargs)
        _end_on_cancel(host, lambda: self._calls.put(None))
        try:
            self._on_up()
            while (one := self._calls.get()) is not None:
                one.task.gpus = gpus
                self._run(one)
                del one  # a host that waits keeps no argument alive
        finally:
            _here.instance = None

    def _run(self, one: LocalCall) -> None:
        task = one.task
        if task.cancelled:
            return
        self._running(task)
        try:
            value = one.context.run(call, one.function, one.args, one.kwargs, task)
        except BaseException as error:  # SystemExit and the like end a call, not the service
            self._ended(task, False, error)
        else:
            self._ended(task, True, value)


class RemoteHost:
    """A host that connects to the program.

    Attributes:
        address: family and address of the program's socket, or of one that leads there.
    """

    def __init__(self, kind: type, address: tuple[Any, ...], token: bytes) -> None:
        """Make the host of an instance of *kind*, which will know *token* at *address*."""
        self.kind = kind
        self.address = address
        self.token = token
        self.__name__ = self.__qualname__ = kind.__name__
        self.__module__ = kind.__module__  # what stands beside the class travels as it does

    def __call__(self, /, *args: Any, **kwargs: Any) -> None:
        instance = self.kind(*args, **kwargs)
        with _connect(self.address, self.token) as connection:
            _here.instance = instance
            _end_on_cancel(current_task(), lambda: connection.shutdown(socket.SHUT_RDWR))
            try:
                _Serving(connection).run()
            finally:
                _here.instance = None


def _end_on_cancel(host: TaskContext | None, end: Callable[[], object]) -> None:
    """Call *end*, in another thread, when the task that is the *host* is cancelled."""
    if host is None:
        return

    def end_host() -> None:
        with suppress(OSError):  # it has just ended
            end()

    host.on_cancel = end_host
    if host.cancelled:
        end_host()


def _connect(address: tuple[Any, ...], token: bytes) -> socket.socket:
    """Connect to the program, and have it prove that it is the program.

    Raises:
        OSError: it is not there.
        ConnectionError: somebody else is.
    """
    family, where = address
    connection = socket.socket(getattr(socket, family), socket.SOCK_STREAM)
    try:
        connection.settimeout(_HANDSHAKE_S)
        connection.connect(where)
        if family != "AF_UNIX":
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        own = secrets.token_bytes(NONCE_BYTES)
        theirs = _receive_exactly(connection, NONCE_BYTES)
        connection.sendall(prove(token, theirs, b"worker") + own)
        expected = prove(token, own, b"program")
        if not hmac.compare_digest(_receive_exactly(connection, len(expected)), expected):
            raise ConnectionError("what answers at the address of the program is not the program")
        connection.settimeout(None)
    except BaseException:
        connection.close()
        raise
    return connection


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = connection.recv(count - len(data))
        if not piece:
            raise ConnectionError("the program closed the connection")
        data += piece
    return data


class _Serving:
    """The loop of a `RemoteHost`, in the thread that made it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._thread = threading.get_ident()
        self._parser = FrameParser()
        self._messages: deque[tuple[Any, list[bytearray]]] = deque()
        self._functions: dict[int, Any] = {}
        self._cancelled: set[int] = set()
        self._is_over = False
        host = current_task()
        self._gpus = () if host is None else host.gpus

    def run(self) -> None:
        """Run calls until the program stops the service, or is gone."""
        while not self._is_over or self._messages:
            if not self._messages:
                self._receive(wait=True)
                continue
            head, parts = self._messages.popleft()
            if head[0] == STOP:
                return
            self._answer(head, parts)
            del head, parts  # a host that waits keeps no argument alive
            self.look()

    def look(self) -> None:
        """Take in what has come, such as that calls were cancelled; for the own thread."""
        if threading.get_ident() == self._thread and not self._is_over:
            self._receive(wait=False)

    def is_cancelled(self, task_id: int) -> bool:
        """Tell whether a call was cancelled."""
        self.look()
        return task_id in self._cancelled

    def _receive(self, *, wait: bool) -> None:
        try:
            data = self._connection.recv(_PIECE_BYTES, 0 if wait else socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._is_over = True
        for parts in self._parser.feed(data):
            head = pickle.loads(parts[0])
            if head[0] == CANCEL:
                self._cancelled.update(head[1])
            else:
                self._messages.append((head, parts))

    def _answer(self, head: tuple[Any, ...], parts: list[bytearray]) -> None:
        _, task_id, attempt, name, number, pickled = head
        buffers: list[Buffer] = []
        if pickled is not None:
            self._functions[number] = pickled
        if task_id in self._cancelled:
            code, body = VALUE, _NOTHING  # the program wants to know no more than that
        else:
            task = _HostedTask(self, name, task_id, attempt)
            code, body = self._call(task, number, parts, buffers)
        self._cancelled.discard(task_id)
        try:
            reply = pickle.dumps((task_id, attempt, code), 5)
            send_frame(self._connection.sendall, [reply, body, *buffers])
        except ConnectionError:
            self._is_over = True

    def _call(
        self,
        task: TaskContext,
        number: int,
        parts: list[bytearray],
        buffers: list[Buffer],
    ) -> tuple[int, bytes]:
        """Run a call; return its answer, whose large buffers are appended to *buffers*."""
        what = "function"
        try:
            function = self._functions[number]
            if isinstance(function, bytes):
                function = self._functions[number] = pickle.loads(function)
            what = "arguments"
            args, kwargs = pickle.loads(parts[1], buffers=parts[2:])
        except BaseException as error:  # unpickling runs foreign code
            return unsent(what, error)
        task.gpus = self._gpus
        with task:
            return answer(function, args, kwargs, buffers)


class _HostedTask(TaskContext):
    """A call that looks, when it asks, whether the program has cancelled it."""

    __slots__ = ("_serving",)

    def __init__(self, serving: _Serving, name: str, task_id: int, attempt: int) -> None:
        self._serving = serving
        super().__init__(name, task_id, attempt)

    @property
    def cancelled(self) -> bool:
        return self._serving.is_cancelled(self.task_id)

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        if value:
            self._serving._cancelled.add(self.task_id)
