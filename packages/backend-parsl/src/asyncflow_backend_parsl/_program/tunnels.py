"""Tunnels: the connections of services' hosts on the nodes to the doors of the program.

The far end of a connection is at a node, and its bytes come as messages.  A door sees no end of it
before the end of the host was reported: else the engine would take the connection for broken,
while the reason is on its way, or not even known.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, Protocol

from .._wire.messages import Buffer, Kind
from .._wire.pipe import Pipe

__all__ = ["Tunnels"]

_AGAIN_S = 0.05  # until a door that has too many guests is tried again
_CONNECT_S = 1.0
_End = tuple[bytes, int]
"""The node, and the number of the connection there."""
_Attempt = tuple[int, int]
"""The id of a task, and the number of the attempt."""


class Wires(Protocol):
    """The channel, as far as tunnels need it."""

    def send(self, peer: bytes, kind: Kind, content: Any, buffers: Sequence[Buffer] = ()) -> None:
        """Send a message."""

    def watch(
        self,
        connection: socket.socket,
        ready: Callable[[bool, bool], None],
        *,
        reads: bool,
        writes: bool,
    ) -> None:
        """Have *ready* called when *connection* can be read or written."""

    def wake(self) -> None:
        """Have the thread of the channel look now."""


class _Tunnel(NamedTuple):
    host: _Attempt
    pipe: Pipe


class _Opening(NamedTuple):
    host: _Attempt
    door: tuple[Any, ...]
    early: list[Buffer]


class Tunnels:
    """All tunnels of a backend; for the thread of the channel, but for `give_up`."""

    def __init__(self, wires: Wires) -> None:
        """Have none yet."""
        self._wires = wires
        self._tunnels: dict[_End, _Tunnel] = {}
        self._opening: dict[_End, _Opening] = {}
        self._given_up: deque[_Attempt] = deque()

    def open(self, peer: bytes, number: int, host: _Attempt, door: tuple[Any, ...]) -> None:
        """Go on with the connection *number* of a node to *door*.

        Args:
            host: the attempt of the task that has connected.
            door: family and address.
        """
        end = (peer, number)
        self._opening[end] = _Opening(host, door, [])
        self._connect(end)

    def refuse(self, peer: bytes, number: int) -> None:
        """Tell a node to close a connection."""
        self._wires.send(peer, Kind.CLOSE, number)

    def receive(self, peer: bytes, kind: Kind, content: Any, buffers: Sequence[Buffer]) -> None:
        """Take a message of a node that is about a connection."""
        number = content[0] if kind is Kind.TAKEN else content
        tunnel = self._tunnels.get((peer, number))
        if tunnel is not None:
            if kind is Kind.TAKEN:
                tunnel.pipe.add_room(content[1])
            else:
                tunnel.pipe.take(buffers[0])
        elif (opening := self._opening.get((peer, number))) is not None:
            opening.early.extend(buffers)

    def end(self, host: _Attempt, ended: Callable[[], None]) -> None:
        """Close the connections of a host that has ended.

        Args:
            ended: called when the doors have all that the host had sent.
        """
        for end in [end for end, opening in self._opening.items() if opening.host == host]:
            del self._opening[end]
        pipes = [tunnel.pipe for tunnel in self._tunnels.values() if tunnel.host == host]
        left = len(pipes)

        def finished() -> None:
            nonlocal left
            left -= 1
            if not left:
                ended()

        for pipe in pipes:
            pipe.finish(finished)
        if not pipes:
            ended()

    def give_up(self, host: _Attempt) -> None:
        """Close the connections of a host whose end was reported; from any thread."""
        self._given_up.append(host)
        self._wires.wake()

    def tick(self, seconds: float) -> float:
        """Do what is due; return after how many *seconds*, or fewer, more will be."""
        while self._given_up:
            self.end(self._given_up.popleft(), _nothing)
        for end in [*self._opening]:
            self._connect(end)
        return min(seconds, _AGAIN_S) if self._opening else seconds

    def _connect(self, end: _End) -> None:
        """Connect to the door; leave it to the next time if that has too many guests now."""
        host, (family, where), early = self._opening[end]
        peer, number = end
        try:
            connection = socket.socket(getattr(socket, family), socket.SOCK_STREAM)
        except OSError:  # there may be a descriptor again when a task has ended
            return
        try:
            connection.settimeout(_CONNECT_S)
            connection.connect(where)
            if connection.family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (BlockingIOError, TimeoutError):
            connection.close()
            return
        except OSError:  # the door is closed
            connection.close()
            del self._opening[end]
            self.refuse(peer, number)
            return
        del self._opening[end]

        def send(kind: Kind, content: Any, buffers: Sequence[Buffer]) -> None:
            self._wires.send(peer, kind, content, buffers)

        pipe = Pipe(connection, number, send, self._watch, partial(self._closed, peer))
        self._tunnels[end] = _Tunnel(host, pipe)
        for data in early:
            pipe.take(data)

    def _closed(self, peer: bytes, pipe: Pipe) -> None:
        """Take note that the program has closed a connection."""
        del self._tunnels[peer, pipe.number]
        self.refuse(peer, pipe.number)
        pipe.close()

    def _watch(self, pipe: Pipe, *, reads: bool, writes: bool) -> None:
        def ready(can_read: bool, can_write: bool) -> None:
            if can_write:
                pipe.write()
            if can_read:
                pipe.read()

        self._wires.watch(pipe.connection, ready, reads=reads, writes=writes)


def _nothing() -> None:
    pass
