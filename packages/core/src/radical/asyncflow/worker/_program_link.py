"""The connection of a supervised process to its program, as the process has it."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Sequence

from .._public import public
from ._frames import FrameParser, frame
from ._guard import guard
from ._pickling import Buffer

__all__ = ["ProgramLink"]

_RECEIVE_BYTES = 1 << 20


@public("radical.asyncflow.worker")
class ProgramLink:
    """The other end of a `SupervisedProcess`; one thread receives, and any may send.

    From now on a guard process ends what carries the token when this process has ended.  A fork
    of this process has no connection: what it sends is dropped.
    """

    def __init__(self, descriptor: int, token: str) -> None:
        """Take the connection.

        Args:
            descriptor, token: the first two arguments of the entry.
        """
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        self._parser = FrameParser()
        self._lock = threading.Lock()
        self._is_mine = True
        os.register_at_fork(after_in_child=self._leave)
        # What this process starts may start more under a guard, and it all carries one token.
        guard().token = token
        guard().acquire()
        guard().start()

    def fileno(self) -> int:
        """Return the descriptor, to wait for."""
        return self._socket.fileno()

    def receive(self, limit_s: float | None = None) -> list[list[bytearray]]:
        """Return the messages that have come, each as its parts; none if nothing came in time.

        Args:
            limit_s: how long to wait for something; None for any time.

        Raises:
            EOFError: the program is gone.
        """
        if limit_s is not None:
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            if not poll.poll(1000 * limit_s):
                return []
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise EOFError from error
        if not data:
            raise EOFError
        return self._parser.feed(data)

    def send(self, *messages: Sequence[Buffer]) -> None:
        """Send messages, each of any parts; wait until the connection has taken them.

        Raises:
            OSError: the program is gone.
        """
        pieces = [piece for parts in messages for piece in frame(parts)]
        with self._lock:
            if self._is_mine:
                for piece in pieces:
                    self._socket.sendall(piece)

    def _leave(self) -> None:
        """Close the connection in a fork, which must not answer for this process."""
        self._is_mine = False
        self._lock = threading.Lock()
        self._socket.close()
