"""The process of a node: it runs tasks on this machine for a program on another one.

It has a `concurrent` backend of its own, so a task means here what it means on a laptop.  Functions
stay pickled in this process; the workers of that backend open them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import pickle
import platform
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from radical.asyncflow.backend import Resources, TaskKind, TaskRef, TaskRequest, TaskSpec
from radical.asyncflow.worker import (
    JOB_ID_VARIABLES,
    Failure,
    MpiLauncher,
    SpreadCommand,
    forward_logs,
    found_gpus,
    unsendable,
    usable_memory,
)

from .._wire.channel import Address
from .._wire.lifeline import PROGRAM_GONE
from .._wire.link import Link, connect
from .._wire.messages import Buffer, Event, Kind, Message, NodeFacts, Setup, Share
from ..version import __version__
from .doors import Doors
from .functions import RemoteFunction, RemoteService
from .sink import NodeSink
from .size import slots_here

__all__ = ["Agent", "NodeOrder", "main"]

_END_S = 20.0  # for the tasks to end that are cancelled when the node ends
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)
_FATAL = (signal.SIGTERM, signal.SIGINT)
_TO_DOORS = frozenset({Kind.DATA, Kind.TAKEN, Kind.CLOSE})

NodeOrder = dict[str, Any]
"""The order to a node that has no connection yet, as values that JSON knows."""


def main() -> None:
    """Serve; the order comes on the standard input, because it holds secrets."""
    order: NodeOrder = json.loads(sys.stdin.buffer.read())
    asyncio.run(_serve(order))


async def _serve(order: NodeOrder) -> None:
    agent = Agent(order)
    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, agent.leave_soon, number)
    await agent.run()
    if agent.is_cut_off:
        sys.exit(PROGRAM_GONE)


class Agent:
    """Runs what the program sends, until one of the two ends."""

    def __init__(self, order: NodeOrder) -> None:
        self._order = order
        self._link: Link | None = None
        self._backend: ConcurrentExecutionBackend | None = None
        self._sink: NodeSink | None = None
        self._doors = Doors(self._send)
        self._specs: dict[int, TaskSpec] = {}
        self._messages: asyncio.Queue[Message] = asyncio.Queue()
        self._is_leaving = False
        self._ends = asyncio.Event()
        self._cancels = True
        self.is_cut_off = False
        self._cores_each: int = order["workers"][1]

    async def run(self) -> None:
        """Connect, run tasks, and end."""
        order = self._order
        address = Address(*map(_frozen, order["address"]))
        settings: dict[str, Any] = dict(order["settings"])
        slots = slots_here(*order["workers"])
        backend = ConcurrentExecutionBackend(
            executor_type="process", max_workers=slots, name=order["name"], **settings
        )
        self._link = await connect(address, order["connect_s"], self._receive, self._cut_off)
        gpus = settings.get("gpus")
        facts = NodeFacts(
            host=socket.gethostname(),
            block=order["block"],
            job=next(filter(None, map(os.environ.get, JOB_ID_VARIABLES)), ""),
            slots=slots,
            gpus=len(found_gpus().ids) if gpus is None else _number(gpus),
            memory=settings.get("memory") or usable_memory(),
            versions=(platform.python_version(), __version__),
            pid=os.getpid(),
            name=MpiLauncher.node_name(),
            address=self._link.address,
        )
        self._link.send(Kind.HELLO, facts)
        try:
            await self._work(backend)
        finally:
            self._link.close()

    async def _work(self, backend: ConcurrentExecutionBackend) -> None:
        link = self._link
        assert link is not None
        ending = asyncio.ensure_future(self._ends.wait())
        try:
            message = await self._next(ending)
            if message is None:
                return
            if message.kind is not Kind.SETUP:
                raise RuntimeError(f"the program sent {message.kind.name}, and no set-up")
            sink = self._sink = self._set_up(message.content)
            await backend.start(sink)
            self._backend = backend
            link.send(Kind.READY, None)
            while (message := await self._next(ending)) is not None:
                self._handle(message)
        finally:
            ending.cancel()
            with suppress(TimeoutError):
                await asyncio.wait_for(backend.shutdown(cancel=self._cancels), _END_S)
            if self._sink is not None:
                self._sink.flush()
            self._doors.close()
            link.send(Kind.LEFT, None)

    def _send(self, kind: Kind, content: Any, buffers: Sequence[Buffer]) -> None:
        assert self._link is not None
        self._link.send(kind, content, buffers)

    def _receive(self, message: Message) -> None:
        if message.kind in _TO_DOORS:
            self._doors.receive(message)
        else:
            self._messages.put_nowait(message)

    def _tell(self, content: Any, buffers: Sequence[Buffer]) -> None:
        """Send events; before the end of the host of a service, what that has sent."""
        self._doors.close_ended(content[2])
        self._send(Kind.EVENTS, content, buffers)

    async def _next(self, ending: asyncio.Future[Any]) -> Message | None:
        """Return the next message; None when it is time to end."""
        with suppress(asyncio.QueueEmpty):
            if not self._ends.is_set():
                return self._messages.get_nowait()
        getting = asyncio.ensure_future(self._messages.get())
        await asyncio.wait([getting, ending], return_when=asyncio.FIRST_COMPLETED)
        if getting.done() and not self._ends.is_set():
            return getting.result()
        getting.cancel()
        return None

    def _set_up(self, setup: Setup) -> NodeSink:
        sys.path[:] = setup.path
        sys.argv[1:] = setup.arguments
        with suppress(OSError):  # a folder that this node does not have
            os.chdir(setup.folder)
        assert self._link is not None
        sink = NodeSink(setup, self._link.address, self._tell, self._lose_backend)
        if setup.logs is not None:
            forward_logs(setup.logs, lambda record: sink.tell(Event.LOG, record))
        return sink

    def _handle(self, message: Message) -> None:
        match message.kind:
            case Kind.TASKS:
                specs, forgotten, tasks = message.content
                self._take(specs, forgotten, tasks, message.buffers)
            case Kind.SHARE:
                self._take_share(*message.content)
            case Kind.CANCEL:
                assert self._backend is not None
                self._backend.cancel(message.content)
            case Kind.LEAVE:
                self._cancels = message.content
                self._ends.set()
            case kind:
                raise RuntimeError(f"the program sent {kind.name} to a node")

    def _take(
        self,
        specs: list[tuple[int, TaskSpec, bytes | None]],
        forgotten: Sequence[int],
        tasks: list[tuple[Any, ...]],
        buffers: Sequence[Buffer],
    ) -> None:
        """Run tasks.

        Args:
            specs: new ones, by their numbers, each with its pickled function.
            forgotten: numbers of specs that come no more.
            tasks: id, attempt, number of the spec, depth, whether the function stays pickled, the
                pickled arguments or command, the ids of tasks to wait for, and how many buffers
                are its own.
        """
        backend, sink = self._backend, self._sink
        assert backend is not None
        assert sink is not None
        for number in forgotten:
            self._specs.pop(number, None)
        for number, spec, pickled in specs:
            if self._cores_each > 1:
                object.__setattr__(spec, "resources", _in_slots(spec.resources, self._cores_each))
            if pickled is not None:
                kind = RemoteService if spec.service else RemoteFunction
                object.__setattr__(spec, "function", kind(pickled))
            self._specs[number] = spec
        requests: list[TaskRequest] = []
        at = 0
        for task_id, attempt, number, depth, stays, body, dependencies, count in tasks:
            beside = buffers[at : at + count]
            at += count
            if self._is_leaving:
                sink.tell(Event.REFUSED, task_id, attempt, 0.0)
                continue
            spec = self._specs[number]
            if stays:
                if spec.service:
                    door = self._open_door(task_id, attempt)
                    if door is None:
                        continue
                    body = (door, body)
                previous = TaskRef(dependencies[0]) if dependencies else None
                args = (
                    (body, previous, *map(pickle.PickleBuffer, beside))
                    if beside
                    else ((body,) if previous is None else (body, previous))
                )
                sink.functions.add(task_id)
                requests.append(
                    TaskRequest(
                        task_id, attempt, spec, args, {}, None, tuple(dependencies), depth=depth
                    )
                )
                continue
            try:
                requests.append(_opened(task_id, attempt, spec, body, beside))
            except BaseException as error:  # unpickling runs foreign code
                self._fail(task_id, attempt, unsendable("arguments", error))
        if requests:
            backend.submit(requests)

    def _open_door(self, task_id: int, attempt: int) -> tuple[Any, ...] | None:
        """Return the address at which the host of a service connects; None if it has failed."""
        try:
            return self._doors.open(task_id, attempt)
        except OSError as error:
            self._fail(task_id, attempt, error)
            return None

    def _fail(self, task_id: int, attempt: int, error: BaseException) -> None:
        assert self._sink is not None
        failure = pickle.dumps(Failure.pack(error))
        self._sink.tell(Event.FAILED, task_id, attempt, 0.0, failure)

    def _take_share(self, spec: TaskSpec, share: Share) -> None:
        """Run some of the ranks of a task."""
        assert self._backend is not None
        assert self._sink is not None
        if self._is_leaving:
            self._sink.tell(Event.REFUSED, share.task_id, share.attempt, 0.0)
            return
        asked = _in_slots(spec.resources, self._cores_each)
        # A task of one core and nothing else need not be admitted, and a share has to be.
        resources = dataclasses.replace(asked, ranks=share.ranks, memory=max(asked.memory, 1))
        command = pickle.loads(share.body)
        whole = SpreadCommand(
            **{item.name: getattr(command, item.name) for item in dataclasses.fields(command)},
            folder=share.folder,
            secret=share.secret,
            first=share.first,
            ranks=share.total,
            nodes=share.nodes,
        )
        request = TaskRequest(
            *(share.task_id, share.attempt, dataclasses.replace(spec, resources=resources)),
            command=whole,
            depth=share.depth,
        )
        self._backend.submit([request])

    def leave_soon(self, number: int) -> None:
        """Begin no more, because of signal *number*; what runs may go on until it is killed."""
        if self._is_leaving:
            return
        self._is_leaving = True
        if self._link is not None:
            if self._sink is not None:
                self._sink.is_ending = number in _FATAL
                self._sink.flush()
            self._link.send(Kind.LEAVING, signal.Signals(number).name)

    def _cut_off(self) -> None:
        """End everything: the program is gone, or will give this node up for lost."""
        self.is_cut_off = True
        self._ends.set()

    def _lose_backend(self, error: BaseException) -> None:
        sys.stderr.write(f"the tasks of this node are lost: {error}\n")
        self._ends.set()


def _opened(
    task_id: int, attempt: int, spec: TaskSpec, body: bytes, buffers: Sequence[Buffer]
) -> TaskRequest:
    """Return the request of a task whose arguments this process has to know."""
    content = pickle.loads(body, buffers=buffers)
    if spec.kind is TaskKind.EXECUTABLE:
        return TaskRequest(task_id, attempt, spec, command=content)
    if isinstance(spec.function, RemoteFunction):
        object.__setattr__(spec, "function", pickle.loads(spec.function.pickled))
    args, kwargs = content
    return TaskRequest(task_id, attempt, spec, args, kwargs)


def _in_slots(resources: Resources, cores_each: int) -> Resources:
    """Return *resources* with slots in the place of cores, which is what the backend counts."""
    return dataclasses.replace(resources, cores=-(-resources.cores // cores_each))


def _number(gpus: int | Sequence[Any]) -> int:
    return gpus if isinstance(gpus, int) else len(gpus)


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
