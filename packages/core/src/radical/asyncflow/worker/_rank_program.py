"""The program of each rank: receive a call, run its function together with the others, answer.

A rank that has nothing to do waits at its socket, because a rank that waited in MPI would
keep a core busy.  Every rank is told of a call by its socket; what the call brings along goes
to the first rank alone, which broadcasts it.  Each rank answers for itself, so a rank that
raises is heard while the others wait for it.

A call has a communicator of its own, so that messages which an earlier one has left behind
do not reach it.  It is made after the answer to the call before, when nobody waits for it.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import os
import pickle
import socket
import sys
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from importlib.machinery import ModuleSpec
from typing import Any, NamedTuple

from .._text import safe_str
from ._answer import FAILURE, VALUE, answer, unsent
from ._call import call
from ._context import RankContext
from ._failure import Failure
from ._found_gpus import gpu_variable
from ._gpus import Gpu, set_visible_gpus
from ._loop import close_loop
from ._meter import Meter
from ._mpi_launcher import RANK_VARIABLES
from ._rank_messages import connect, receive, send
from ._rank_watch import watched

__all__ = [
    "HELLO",
    "NO_MPI",
    "START",
    "START_VARIABLE",
    "USED",
    "Hello",
    "Order",
    "Settings",
    "main",
]

START_VARIABLE = "ASYNCFLOW_RANKS"
"""Environment variable with what a rank has to know before it can connect."""

START = f"""
import json, os, sys
start = json.loads(os.environ.pop({START_VARIABLE!r}))
sys.path[:] = start["path"]
from {__name__} import main
main(start["address"], start["gpus"])
"""
"""What the interpreter of a rank runs."""

HELLO, NO_MPI = 1, 2
"""The codes of the first message of a rank, whose body is a `Hello`, or why there is no MPI.

Before it comes a descriptor from which to read how the rank has ended (see `RankEnd`).
"""

USED = 3
"""The code of a message that comes before the answer to a call, with the pickled fields of the
`TaskUsage` of the rank.  It is none of the codes of an answer."""

MOST_FUNCTIONS = 64
"""The number of functions that a rank keeps, and its program takes for known."""

_BROADCAST_BYTES = 256 * 1024 * 1024  # at a time, because MPI counts in 32 bits


class Hello(NamedTuple):
    """A rank that is there, and the MPI library that it has."""

    rank: int
    size: int
    library: str


class Settings(NamedTuple):
    """The settings that a rank is told once, beside the descriptors of stdout and stderr.

    Attributes:
        argv, file, module: of the program, for processes that a function starts.
    """

    argv: list[str]
    file: str | None
    module: str | None


class Order(NamedTuple):
    """The order to run a call, as each rank gets it.

    Attributes:
        name, task_id, attempt: of the task.
        function: identifies the function; what was broadcast once need not come again.
        sizes: the bytes of the function (0 if it was broadcast before), of the arguments and
            of each large buffer of the arguments.
        root: True if only the value of the first rank is wanted.
        path: ``sys.path``, if that has changed.
        cores: those of each rank; empty where they are not bound.
        measure: True to tell what the call uses.
    """

    name: str
    task_id: int
    attempt: int
    function: bytes
    sizes: tuple[int, ...]
    root: bool
    path: list[str] | None
    cores: tuple[tuple[int, ...], ...]
    measure: bool


def main(address: str, gpus: Sequence[Sequence[Gpu]]) -> None:
    """Serve the program that listens at *address* until it closes its end.

    Args:
        gpus: those of each rank, empty if no rank has any.
    """
    end, told = os.pipe()
    watched(partial(os.write, told))
    os.close(told)
    if gpus and (number := _number_of_environment()) is not None:
        # Before MPI starts, whose library may look at them.
        set_visible_gpus(gpus[number], "", gpu_variable())
    try:
        from mpi4py import MPI
    except BaseException as error:  # whatever keeps the library from being loaded
        with connect(address) as channel:
            socket.send_fds(channel, [b"."], [end])
            send(channel, NO_MPI, safe_str(error).encode())
            with contextlib.suppress(EOFError):
                receive(channel)
        os._exit(1)
    world = MPI.COMM_WORLD
    hello = Hello(world.rank, world.size, MPI.Get_library_version().strip("\0\n "))
    with connect(address) as channel:
        socket.send_fds(channel, [b"."], [end])
        os.close(end)
        send(channel, HELLO, pickle.dumps(hello))
        try:
            _settle(channel)
            _Rank(channel, MPI, gpus).serve()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            pass
        finally:
            close_loop()


def _number_of_environment() -> int | None:
    """Return the number of this rank as the launcher has it, before MPI knows."""
    for name in RANK_VARIABLES:
        if os.environ.get(name, "").isdecimal():
            return int(os.environ[name])
    return None


def _settle(channel: socket.socket) -> None:
    """Take over the output and the name of the program."""
    settings: Settings
    _, descriptors, _, _ = socket.recv_fds(channel, 1, 2)
    settings = Settings(*pickle.loads(receive(channel).body))
    sys.stdout.flush()
    sys.stderr.flush()
    for descriptor, place in zip(descriptors, (1, 2), strict=False):
        os.dup2(descriptor, place)
        os.close(descriptor)
    for output in (sys.stdout, sys.stderr):
        # So that what a function prints is seen at once.
        output.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    if os.environ.get("ASYNCFLOW_FAULTHANDLER") != "0":
        faulthandler.enable()
    sys.argv[:] = settings.argv
    if settings.file is not None:
        sys.modules["__main__"].__file__ = settings.file
    if settings.module is not None:
        sys.modules["__main__"].__spec__ = ModuleSpec(settings.module, None, origin=settings.file)


class _Rank:
    """A rank that serves its program."""

    def __init__(self, channel: socket.socket, mpi: Any, gpus: Sequence[Sequence[Gpu]]) -> None:
        world = mpi.COMM_WORLD
        self._channel = channel
        self._status = mpi.Status()
        self._base = world.Dup()  # for what is broadcast
        self._comm = world.Dup()  # for the next call
        self._number = world.rank
        self._gpus = tuple(gpus[world.rank]) if gpus else ()
        self._functions: OrderedDict[bytes, Any] = OrderedDict()
        self._meter = Meter(whole_process=True)
        self._pid = os.getpid()

    def serve(self) -> None:
        """Run calls until the other end is closed; then raise EOFError."""
        while True:
            message = receive(self._channel)
            order = Order(*pickle.loads(message.body))
            if order.path is not None:
                sys.path[:] = order.path
            if order.cores:
                from ._binding import bind

                bind(order.cores[self._number], os.getpid())
            shared = self._share(order, message.parts)
            if order.measure:
                self._meter.begin(hash(order.function))
            code, body, parts = self._run(order, shared)
            if os.getpid() != self._pid:
                os._exit(0)  # the function forked, and this is the child, which must not answer
            if order.measure:
                send(self._channel, USED, pickle.dumps(tuple(self._meter.end())))
            send(self._channel, code, body, parts)
            del message, parts, shared
            self._renew()

    def _renew(self) -> None:
        """Make the communicator for the next call, and lose the messages of the latest."""
        old = self._comm
        self._base.Barrier()  # whatever was sent is sent now
        # The next communicator may get the number of this one, and with it these messages.
        while old.Iprobe(status=self._status):
            left = bytearray(self._status.Get_count())
            old.Recv(left, self._status.source, self._status.tag)
        old.Free()
        self._comm = self._base.Dup()

    def _share(self, order: Order, parts: list[bytearray]) -> list[bytearray]:
        """Give what the first rank has to all."""
        if not parts:
            parts = [bytearray(size) for size in order.sizes]
        small = [part for part in parts if len(part) < _BROADCAST_BYTES]
        if sum(map(len, small[:2])) < 32 * 1024 and len(small) == len(parts):
            # The function and the arguments, mostly: in one step.
            both = bytearray().join(parts[:2])
            self._base.Bcast(both, root=0)
            parts[:2] = [both[: order.sizes[0]], both[order.sizes[0] :]]
            rest = parts[2:]
        else:
            rest = parts
        for part in rest:
            with memoryview(part) as view:
                for start in range(0, len(part), _BROADCAST_BYTES):
                    self._base.Bcast(view[start : start + _BROADCAST_BYTES], root=0)
        return parts

    def _run(
        self, order: Order, parts: list[bytearray]
    ) -> tuple[int, bytes, list[bytes | bytearray | memoryview]]:
        """Run the function; return what to answer.  Nothing that it raises escapes."""
        function, arguments, *buffers = parts
        large: list[bytes | bytearray | memoryview] = []
        what = "function"
        try:
            called = self._function(order.function, function)
            what = "arguments"
            args, kwargs = pickle.loads(arguments, buffers=buffers)
        except BaseException as error:  # foreign code
            return *unsent(what, error), large
        del function, arguments, buffers, parts
        context = RankContext(order.name, order.task_id, order.attempt, self._gpus, self._comm)
        with context:
            if not order.root or self._number == 0:
                return *answer(called, args, kwargs, large), large
            try:
                call(called, args, kwargs)
            except BaseException as error:  # a function may raise SystemExit
                return FAILURE, pickle.dumps(Failure.pack(error)), large
            return VALUE, pickle.dumps(None), large

    def _function(self, name: bytes, pickled: bytearray) -> Any:
        """Return a function, unpickled when it comes for the first time."""
        if pickled:
            self._functions[name] = pickle.loads(pickled)
            if len(self._functions) > MOST_FUNCTIONS:
                self._functions.popitem(last=False)
        return self._functions[name]


def start_text(address: str, path: list[str], gpus: Sequence[Sequence[Gpu]]) -> str:
    """Return the value of `START_VARIABLE`."""
    return json.dumps({"address": address, "path": path, "gpus": [list(each) for each in gpus]})
