"""The doors of a node: sockets at which the hosts of services connect, as if to the program.

Each connection goes on as messages to the program, which connects to its own door.  So a host needs
no way to the program but that of its node.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import count
from typing import Any

from .._wire.messages import Buffer, Event, Kind, Message
from .._wire.pipe import Pipe

__all__ = ["Doors"]

_ENDS = frozenset({Event.ANSWER, Event.RESULT, Event.FAILED, Event.CANCELLED, Event.REFUSED})
_Attempt = tuple[int, int]
"""The id of a task, and the number of the attempt."""


def _place() -> tuple[str, Any]:
    """Return family and address of a new door."""
    if sys.platform == "linux":
        # An abstract name: it is no file, and gone with this process.
        return "AF_UNIX", f"\0asyncflow-{os.getpid()}-{secrets.token_hex(8)}"
    return "AF_INET", ("127.0.0.1", 0)


class Doors:
    """The doors of all hosts on this node; for the thread of the loop."""

    def __init__(self, send: Callable[[Kind, Any, Sequence[Buffer]], None]) -> None:
        """Have none yet.

        Args:
            send: sends a message to the program.
        """
        self._loop = asyncio.get_running_loop()
        self._send = send
        self._sockets: dict[_Attempt, socket.socket] = {}
        self._pipes: dict[int, tuple[_Attempt, Pipe]] = {}
        self._numbers = count(1)

    def open(self, task_id: int, attempt: int) -> tuple[Any, ...]:
        """Open the door for the host that is this attempt.

        Returns:
            The family and the address of it.

        Raises:
            OSError: the machine has no socket left.
        """
        family, where = _place()
        door = socket.socket(getattr(socket, family), socket.SOCK_STREAM)
        try:
            door.bind(where)
            door.listen()
        except OSError:
            door.close()
            raise
        door.setblocking(False)
        host = (task_id, attempt)
        self._sockets[host] = door
        self._loop.add_reader(door, self._accept, host, door)
        return family, door.getsockname()

    def receive(self, message: Message) -> None:
        """Take a message that is about a connection."""
        number = message.content[0] if message.kind is Kind.TAKEN else message.content
        _, pipe = self._pipes.get(number, (None, None))
        if pipe is None:
            return  # its host has closed it
        match message.kind:
            case Kind.DATA:
                pipe.take(message.buffers[0])
            case Kind.TAKEN:
                pipe.add_room(message.content[1])
            case Kind.CLOSE:
                pipe.finish()

    def close_ended(self, events: Iterable[tuple[Any, ...]]) -> None:
        """Close the doors of hosts of whose end *events* tell, after all that they have sent."""
        if self._sockets:
            for event in events:
                if event[0] in _ENDS:
                    self._close((event[1], event[2]))

    def close(self) -> None:
        """Close all doors."""
        for host in [*self._sockets]:
            self._close(host)

    def _close(self, host: _Attempt) -> None:
        door = self._sockets.pop(host, None)
        if door is None:
            return
        self._accept(host, door)  # one that has connected may have written, too
        self._loop.remove_reader(door)
        door.close()
        for owner, pipe in [*self._pipes.values()]:
            if owner == host:
                pipe.drain()
                self._forget(pipe)

    def _accept(self, host: _Attempt, door: socket.socket) -> None:
        try:
            connection, _ = door.accept()
        except OSError:
            return
        if connection.family != socket.AF_UNIX:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = next(self._numbers)
        self._send(Kind.OPEN, (number, *host), ())
        self._pipes[number] = host, Pipe(connection, number, self._send, self._watch, self._forget)

    def _forget(self, pipe: Pipe) -> None:
        del self._pipes[pipe.number]
        pipe.close()

    def _watch(self, pipe: Pipe, *, reads: bool, writes: bool) -> None:
        loop, connection = self._loop, pipe.connection
        if reads:
            loop.add_reader(connection, pipe.read)
        else:
            loop.remove_reader(connection)
        if writes:
            loop.add_writer(connection, pipe.write)
        else:
            loop.remove_writer(connection)
