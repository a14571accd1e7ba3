"""One end of a connection that goes on at another machine, as messages.

What one end reads from its socket the other end writes to its own.  Only so much is on the way as
one window has: an end reads more when the other one says that it has written.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from .messages import Buffer, Kind

__all__ = ["WINDOW_BYTES", "Pipe"]

WINDOW_BYTES = 4 << 20
"""The most bytes that are on the way in one direction."""

_PIECE_BYTES = 256 << 10
_TELL_BYTES = WINDOW_BYTES // 4  # that were written since the other end was told


class Watch(Protocol):
    """The one who calls a pipe when its socket is ready."""

    def __call__(self, pipe: Pipe, *, reads: bool, writes: bool) -> None:
        """Call *pipe* when it can read, and when it can write; if neither, do not any more."""


class Pipe:
    """An end; all methods are for one thread.

    Attributes:
        connection: its socket.
        number: by which both ends know the connection.
    """

    def __init__(
        self,
        connection: socket.socket,
        number: int,
        send: Callable[[Kind, Any, Sequence[Buffer]], None],
        watch: Watch,
        at_end: Callable[[Pipe], None],
    ) -> None:
        """Begin.

        Args:
            send: sends a message to the other end.
            at_end: called when the socket was closed at its far end; closes the pipe.
        """
        connection.setblocking(False)
        self.connection = connection
        self.number = number
        self._send = send
        self._watch = watch
        self._at_end = at_end
        self._room = WINDOW_BYTES
        self._unwritten: deque[memoryview] = deque()
        self._written = 0
        self._discards = False
        self._finished: Callable[[], None] | None = None
        self._watched = (False, False)
        self._adjust()

    # ------------------------------------------------------------ from the socket

    def read(self) -> None:
        """Send on what has come at the socket."""
        most = _PIECE_BYTES if self._discards else min(_PIECE_BYTES, self._room)
        if not most:
            return
        try:
            data = self.connection.recv(most)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._at_end(self)
        elif not self._discards:
            self._room -= len(data)
            self._send(Kind.DATA, self.number, [data])
            self._adjust()

    def drain(self) -> None:
        """Send on all that the socket still has, whose far end writes no more."""
        with suppress(OSError):
            while not self._discards and (data := self.connection.recv(_PIECE_BYTES)):
                self._send(Kind.DATA, self.number, [data])

    # -------------------------------------------------------- from the other end

    def take(self, data: Buffer) -> None:
        """Write *data* to the socket, as soon as that takes it."""
        self._unwritten.append(memoryview(data))
        if len(self._unwritten) == 1:
            self.write()

    def add_room(self, count: int) -> None:
        """Take note that the other end has written *count* bytes."""
        self._room += count
        self._adjust()

    def finish(self, finished: Callable[[], None] | None = None) -> None:
        """Write what has come, and then no more; send on nothing that is read from now on.

        Args:
            finished: called when all is written, or nobody reads it.
        """
        self._discards = True
        self._finished = finished or _nothing
        self.write()

    def write(self) -> None:
        """Write what the socket takes."""
        unwritten = self._unwritten
        try:
            while unwritten:
                count = self.connection.send(unwritten[0])
                self._written += count
                if count == unwritten[0].nbytes:
                    unwritten.popleft()
                else:
                    unwritten[0] = unwritten[0][count:]
        except BlockingIOError:
            pass
        except OSError:  # nobody reads it any more, and the other end must not wait for that
            self._written += sum(piece.nbytes for piece in unwritten)
            unwritten.clear()
        if self._written >= _TELL_BYTES and not self._discards:
            self._send(Kind.TAKEN, (self.number, self._written), ())
            self._written = 0
        if self._finished is not None and not unwritten:
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_WR)
            self._tell_finished()
        self._adjust()

    def close(self) -> None:
        """Close the socket."""
        self._discards = True
        self._unwritten.clear()
        self._watch(self, reads=False, writes=False)
        self._watched = (False, False)
        self.connection.close()
        self._tell_finished()

    def _tell_finished(self) -> None:
        finished, self._finished = self._finished, None
        if finished is not None:
            finished()

    def _adjust(self) -> None:
        if self.connection.fileno() < 0:
            return
        wanted = (self._discards or self._room > 0, bool(self._unwritten))
        if wanted != self._watched:
            self._watched = wanted
            self._watch(self, reads=wanted[0], writes=wanted[1])


def _nothing() -> None:
    pass
