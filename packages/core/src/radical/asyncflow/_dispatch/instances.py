"""Services of functions: the way of each call to the worker in which its instance lives.

An instance is hosted by a task of its own, which its backend runs like any function: so that has
its place, its resources and its GPUs, and its death is the death of that task.  To the engine it
is a backend of its own, so that its methods are tasks like all others.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hmac
import logging
import os
import pickle
import secrets
import socket
import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Protocol

from .._task.call import Call
from .._task.future import TaskFuture
from .._task.owner import Owner
from .._task.service import Phase, Service, ServiceFuture
from .._text import safe_message
from ..backend import Capabilities, ExecutionBackend, TaskId, TaskRequest
from ..backend._lane import Lane
from ..errors import ServiceLostError, ServiceStoppedError
from ..model import TaskKind, TaskSpec
from ..model._waiting import Wait, WaitKind
from ..worker import Raised, TaskContext, dump_arguments, dump_function, open_answer
from ..worker._frames import FrameParser, frame
from ..worker._instance import (
    CALL,
    CANCEL,
    NONCE_BYTES,
    STOP,
    LocalCall,
    LocalHost,
    RemoteHost,
    prove,
)
from .run import Run
from .services import Services

__all__ = ["Instances"]

log = logging.getLogger("radical.asyncflow")

STOP_PATIENCE_S = 5.0
"""Seconds that a service has to finish the calls that were sent before it was stopped."""

HURRIED_STOP_S = 1.0
"""The same at the end of the engine."""

TELL_PATIENCE_S = 2.0
"""Seconds that a backend has to say why the connection to a service broke."""

PIECE_BYTES = 1 << 20


class Channel(Protocol):
    """The way of calls to one start of an instance."""

    def send(self, request: TaskRequest) -> None:
        """Send a call, or report why it cannot be sent."""

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Keep these calls from beginning, or ask the one that runs to stop."""

    def stop(self) -> None:
        """Have the instance end when it has finished what was sent."""

    def close(self) -> list[tuple[TaskId, int]]:
        """Close what is open; return the calls that nobody else knows to be unanswered.

        Answers that have come are taken in before that.
        """


class Instances:
    """The services of functions of one run.

    Args:
        owner: the owner of their tasks.
    """

    def __init__(self, run: Run, owner: Owner, services: Services) -> None:
        self._run = run
        self._owner = owner
        self._services = services
        self._door: Door | None = None

    def start(
        self, spec: TaskSpec, lane: Lane, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> tuple[ServiceFuture, Lane]:
        """Start the service of *spec*, whose function is the class, on *lane*.

        Returns:
            Its future, and the lane of its methods.
        """
        run = self._run
        kind: Any = spec.function
        if not lane.executes:
            call = Call(self._owner, spec, lane, recorded=run.journal is not None)
            return self._owner.register(call, args, kwargs, None), lane
        instance = Instance(run, lane, self._services)
        if lane.capabilities.pickles:
            if self._door is None:
                self._door = Door(run.loop)
            token = secrets.token_bytes(32)
            self._door.expect(token, instance.connected)
            instance.forget = lambda: self._leave(token)
            host: Any = RemoteHost(kind, self._door.address, token)
        else:
            host = instance.local_host(kind)
        spec = dataclasses.replace(spec, function=host, backend=lane.name)
        call = Call(self._owner, spec, lane, recorded=run.journal is not None)
        future: ServiceFuture = self._owner.register(call, args, kwargs, None)
        instance.follow(future._service)
        return future, instance.lane

    def _leave(self, token: bytes) -> None:
        assert self._door is not None
        self._door.forget(token)

    def close(self) -> None:
        """Close the door, when all services have ended."""
        if self._door is not None:
            self._door.close()


class Instance(ExecutionBackend):
    """One service of functions, as a backend for its methods.

    Attributes:
        lane: the engine's end of it.
        forget: called when nobody can connect any more.
    """

    def __init__(self, run: Run, host: Lane, services: Services) -> None:
        self.name = host.name
        self.capabilities = Capabilities(
            kinds=[TaskKind.FUNCTION],
            quick=True,
            pickles=host.capabilities.pickles,
            isolates=False,
            contexts=host.contexts,
        )
        self.lane = Lane(-1, self)
        self.lane.sink = self._report = run.new_sink(-1)
        self.forget: Callable[[], None] = lambda: None
        self._run = run
        self._services = services
        self._service: Service | None = None
        self._channel: Channel | None = None
        self._waiting: dict[TaskId, TaskRequest] = {}
        self._sent: OrderedDict[tuple[TaskId, int], None] = OrderedDict()
        self._attempts: dict[TaskId, int] = {}  # the latest of each that was sent
        self._timer: asyncio.TimerHandle | None = None

    # ---------------------------------------------------------- as a backend

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        for request in batch:
            if self._channel is None:
                self._waiting[request.task_id] = request
            else:
                self._channel.send(request)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        for task_id in task_ids:
            request = self._waiting.pop(task_id, None)
            if request is not None:
                self._report.cancelled(task_id, request.attempt)
        if self._channel is not None:
            self._channel.cancel(task_ids)
        first = next(iter(self._sent), None)  # it runs, and answers
        for task_id in task_ids:
            call = task_id, self._attempts.get(task_id, 0)
            if call != first:
                self._sent.pop(call, None)
                self._attempts.pop(task_id, None)

    def waits(self, task_ids: Collection[TaskId]) -> Mapping[TaskId, Wait]:
        service = self._service
        if service is None:
            return {}
        if self._channel is None:
            wait = Wait(
                kind=WaitKind.SERVICE,
                text=f"the service {service.name!r}, which is not up",
                holders=(service.host._number,),
            )
            return dict.fromkeys(self._waiting.keys() & task_ids, wait)
        text = f"the service {service.name!r}, which runs one call at a time"
        sent = [task_id for task_id, _ in self._sent]
        if not sent:
            return dict.fromkeys(task_ids, Wait(kind=WaitKind.SLOT, text=text))
        return {
            task_id: Wait(kind=WaitKind.SLOT, text=text, holders=sent[:1], ahead=place)
            for place, task_id in enumerate(sent)
            if place and task_id in task_ids
        }

    # ------------------------------------------------------- from the channel

    def note_sent(self, request: TaskRequest) -> None:
        """Note that a call is on its way; it begins when all those before it have ended."""
        self._sent[request.task_id, request.attempt] = None
        self._attempts[request.task_id] = request.attempt
        if len(self._sent) == 1:
            self._report.running(*request[:2], self._worker)

    def note_end(self, task_id: TaskId, attempt: int, value: Any) -> None:
        """Report the end of a call: its value, or a `Raised`."""
        sent = self._sent
        sent.pop((task_id, attempt), None)  # it may have been cancelled
        if self._attempts.get(task_id) == attempt:
            del self._attempts[task_id]
        if isinstance(value, Raised):
            self._report.failed(task_id, attempt, value.error)
        else:
            self._report.done(task_id, attempt, value)
        if sent:
            self._report.running(*next(iter(sent)), self._worker)

    def unsendable(self, request: TaskRequest, error: BaseException) -> None:
        """Report that a call cannot travel."""
        self._report.failed(request.task_id, request.attempt, error)

    def take_reports(self) -> None:
        """Have the engine take in what was reported."""
        self._run.take_reports()

    @property
    def _worker(self) -> str | None:
        assert self._service is not None
        extras = self._service.host._extras
        return None if extras is None else extras.worker

    # ---------------------------------------------------------------- its life

    def local_host(self, kind: type) -> LocalHost:
        """Return the host of an instance of *kind* in this process."""
        calls: SimpleQueue[LocalCall | None] = SimpleQueue()
        channel = _LocalChannel(calls)
        loop, sink = self._run.loop, self._report

        def on_up() -> None:
            try:
                loop.call_soon_threadsafe(self._up, channel)
            except RuntimeError:
                calls.put(None)  # the loop was closed, so nobody will call anything

        def running(task: TaskContext) -> None:
            sink.running(task.task_id, task.attempt)

        def ended(task: TaskContext, succeeded: bool, value: Any) -> None:
            channel.forget(task.task_id)
            if succeeded:
                sink.done(task.task_id, task.attempt, value)
            else:
                sink.failed(task.task_id, task.attempt, value)

        return LocalHost(kind, calls, on_up, running, ended)

    def follow(self, service: Service) -> None:
        """Begin with the life of *service*."""
        self._service = service
        service.listener = self
        service.future.add_done_callback(self._first_start_ended)

    def connected(self, connection: socket.socket) -> None:
        """Take the connection of a host that is up."""
        if self._channel is not None:
            self._channel.close()
        self._up(_RemoteChannel(self._run.loop, connection, self))

    def _up(self, channel: Channel) -> None:
        service = self._service
        assert service is not None
        if service.phase is not Phase.STARTING or service.host.done():
            channel.stop()
            return
        self._channel = channel
        self._services.note_up(service, None)
        waiting, self._waiting = self._waiting, {}
        for request in waiting.values():
            channel.send(request)
        self._run.wake()

    def disconnected(self) -> None:
        """Wait for the reason why the host is gone, which its backend tells."""
        service = self._service
        if service is not None and service.phase is Phase.UP and self._timer is None:
            self._timer = self._run.loop.call_later(TELL_PATIENCE_S, self._nobody_told)

    def _nobody_told(self) -> None:
        self._timer = None
        service = self._service
        if service is not None and service.phase is Phase.UP:
            self._services.lose_one(service, "its connection to the program broke")

    def _first_start_ended(self, future: Any) -> None:
        service = self._service
        assert service is not None
        if future.cancelled():
            self.ended(ServiceStoppedError(service.name))
        elif (failure := TaskFuture.exception(future)) is not None:
            lost = ServiceLostError(service.name, f"did not start: {safe_message(failure)}")
            lost.__cause__ = failure
            self.ended(lost)

    def stop(self) -> None:
        """Have it end when it has finished what was sent; later its backend ends it."""
        if self._channel is not None:
            self._channel.stop()
        patience = HURRIED_STOP_S if self._run.closed else STOP_PATIENCE_S
        self._timer = self._run.loop.call_later(patience, self._end_host)

    def _end_host(self) -> None:
        self._timer = None
        assert self._service is not None
        self._services.end_host(self._service)

    def down(self, error: BaseException) -> None:
        """Fail the calls that were sent: their instance is gone, and another one comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        unanswered = []
        if self._channel is not None:
            unanswered = self._channel.close()
            self._channel = None
        unanswered += self._sent
        self._sent.clear()
        self._attempts.clear()
        for task_id, attempt in unanswered:
            self._report.failed(task_id, attempt, error)

    def ended(self, error: BaseException) -> None:
        """Fail all calls, and those that come later: there will be no other instance."""
        self.lane.lost = error
        self.down(error)
        waiting, self._waiting = self._waiting, {}
        for request in waiting.values():
            self._report.failed(request.task_id, request.attempt, error)
        self.forget()


class _LocalChannel:
    """The queue of a `LocalHost`."""

    def __init__(self, calls: SimpleQueue[LocalCall | None]) -> None:
        self._calls = calls
        self._tasks: dict[TaskId, TaskContext] = {}

    def send(self, request: TaskRequest) -> None:
        spec = request.spec
        task = TaskContext(spec.name, request.task_id, request.attempt)
        self._tasks[request.task_id] = task
        self._calls.put(
            LocalCall(task, spec.function, request.args, request.kwargs, request.context)
        )

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        for task_id in task_ids:
            task = self._tasks.pop(task_id, None)
            if task is not None:
                task.cancel()

    def stop(self) -> None:
        self._calls.put(None)

    def close(self) -> list[tuple[TaskId, int]]:
        tasks = [*self._tasks.values()]
        for task in tasks:
            task.cancel()
        self._tasks.clear()
        return [(task.task_id, task.attempt) for task in tasks]

    def forget(self, task_id: TaskId) -> None:
        """Forget a call that has ended; in the thread of the host."""
        self._tasks.pop(task_id, None)


class _RemoteChannel:
    """The connection of a `RemoteHost`, in the engine's loop."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, instance: Instance
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._instance = instance
        self._parser = FrameParser()
        self._unsent: deque[memoryview] = deque()
        self._numbers: dict[int, tuple[int, Any]] = {}  # of functions that it has, by identity
        self._is_open = True
        loop.add_reader(connection, self._read)

    def send(self, request: TaskRequest) -> None:
        function = request.spec.function
        buffers: list[Any] = []
        pickled = None
        try:
            known = self._numbers.get(id(function))
            if known is None:
                pickled = dump_function(function)
                known = len(self._numbers), function
            body = dump_arguments(function, request.args, request.kwargs, buffers)
        except Exception as error:
            self._instance.unsendable(request, error)
            return
        self._numbers[id(function)] = known
        number = known[0]
        head = (CALL, request.task_id, request.attempt, request.spec.name, number, pickled)
        self._instance.note_sent(request)
        self._write([pickle.dumps(head, 5), body, *buffers])

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        self._write([pickle.dumps((CANCEL, [*task_ids]), 5)])

    def stop(self) -> None:
        self._write([pickle.dumps((STOP,), 5)])

    def close(self) -> list[tuple[TaskId, int]]:
        if self._is_open:
            # The backend may tell of the end before this loop has read the last answers.
            while self._take():
                pass
            self._is_open = False
            self._loop.remove_reader(self._connection)
            self._loop.remove_writer(self._connection)
            self._connection.close()
            self._unsent.clear()
        return []

    def _write(self, parts: Sequence[Any]) -> None:
        if not self._is_open:
            return
        pieces = deque(memoryview(piece) for piece in frame(parts))
        if self._unsent:
            self._unsent += pieces
            return
        self._unsent = pieces
        self._flush()
        if self._unsent and self._is_open:
            self._loop.add_writer(self._connection, self._write_rest)

    def _write_rest(self) -> None:
        self._flush()
        if not self._unsent and self._is_open:
            self._loop.remove_writer(self._connection)

    def _flush(self) -> None:
        unsent = self._unsent
        try:
            while unsent:
                count = self._connection.send(unsent[0])
                if count == unsent[0].nbytes:
                    unsent.popleft()
                else:
                    unsent[0] = unsent[0][count:]
        except BlockingIOError:
            pass
        except OSError:
            self._broke()

    def _read(self) -> None:
        if self._take() is None:
            self._broke()
        self._instance.take_reports()

    def _take(self) -> bool | None:
        """Take in answers that have come; return False if there are none, None at the end."""
        try:
            data = self._connection.recv(PIECE_BYTES)
        except BlockingIOError:
            return False
        except OSError:
            data = b""
        if not data:
            return None
        for head, body, *buffers in self._parser.feed(data):
            task_id, attempt, code = pickle.loads(head)
            self._instance.note_end(task_id, attempt, open_answer(code, body, buffers))
        return True

    def _broke(self) -> None:
        self.close()
        self._instance.disconnected()


class Door:
    """The socket at which hosts of this machine connect to the program.

    Attributes:
        address: its family and its place, as hosts need it.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._expected: dict[bytes, Callable[[socket.socket], None]] = {}
        self._guests: set[_Guest] = set()
        if sys.platform == "linux":
            # An abstract name: it is no file, and gone with the program.
            name = f"\0asyncflow-{os.getpid()}-{secrets.token_hex(8)}"
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.address: tuple[Any, ...] = ("AF_UNIX", name)
            self._socket.bind(name)
        else:
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._socket.bind(("127.0.0.1", 0))
            self.address = ("AF_INET", self._socket.getsockname())
        self._socket.setblocking(False)
        self._socket.listen(64)
        loop.add_reader(self._socket, self._accept)

    def expect(self, token: bytes, connected: Callable[[socket.socket], None]) -> None:
        """Call *connected* with each connection of a host that knows *token*."""
        self._expected[token] = connected

    def forget(self, token: bytes) -> None:
        """Let no host with *token* in any more."""
        self._expected.pop(token, None)

    def close(self) -> None:
        """Let nobody in any more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        for guest in [*self._guests]:
            guest.leave()

    def _accept(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return
        connection.setblocking(False)
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._guests.add(_Guest(self._loop, connection, self._expected, self._guests))


class _Guest:
    """A connection whose other end has not yet proved that it is a host of this program."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: socket.socket,
        expected: Mapping[bytes, Callable[[socket.socket], None]],
        guests: set[_Guest],
    ) -> None:
        self._loop = loop
        self._connection = connection
        self._expected = expected
        self._guests = guests
        self._nonce = secrets.token_bytes(NONCE_BYTES)
        self._got = b""
        loop.add_reader(connection, self._read)
        try:
            connection.send(self._nonce)
        except OSError:
            self.leave()

    def leave(self) -> None:
        """Close the connection."""
        self._loop.remove_reader(self._connection)
        self._connection.close()
        self._guests.discard(self)

    def _read(self) -> None:
        proof_bytes = len(prove(b"", b"", b""))
        wanted = proof_bytes + NONCE_BYTES
        try:
            data = self._connection.recv(wanted - len(self._got))
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._got += data
        if not data:
            self.leave()
        elif len(self._got) == wanted:
            self._judge(self._got[:proof_bytes], self._got[proof_bytes:])

    def _judge(self, proof: bytes, nonce: bytes) -> None:
        for token, connected in [*self._expected.items()]:
            if hmac.compare_digest(proof, prove(token, self._nonce, b"worker")):
                self._loop.remove_reader(self._connection)
                self._guests.discard(self)
                self._connection.send(prove(token, nonce, b"program"))
                connected(self._connection)
                return
        log.warning("a connection that knew no service's token was refused")
        self.leave()
