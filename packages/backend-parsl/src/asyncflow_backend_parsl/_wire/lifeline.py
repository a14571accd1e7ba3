"""The lifeline of a node: a connection that carries nothing, and breaks when one end is gone.

The kernels of both machines keep it up.  So it holds while the program is busy or stopped, breaks
at once when a process ends, and half a minute after the network between the two was cut.  The node
notices a cut first, and ends what it runs, before the program gives its tasks to others.
"""

from __future__ import annotations

import hashlib
import socket
from typing import NamedTuple

__all__ = [
    "CUT_S",
    "HELLO_BYTES",
    "PEER_BYTES",
    "PROGRAM_GONE",
    "greeting",
    "keep_alive",
    "peer_of",
]

PEER_BYTES = 16
"""The length of the name that a node gives itself."""
HELLO_BYTES = 32 + PEER_BYTES

PROGRAM_GONE = 75
"""The exit code of a node whose lifeline broke."""

CUT_S = 50
"""The seconds without an answer after which the program gives a node up, at the most."""


class _Times(NamedTuple):
    """The times at which a kernel asks the other one for a sign of life.

    Attributes:
        idle: seconds of silence until it first does.
        interval: seconds from one question to the next.
        tries: how many stay without an answer until the connection breaks.
    """

    idle: int
    interval: int
    tries: int


_NODE = _Times(idle=5, interval=5, tries=7)
_PROGRAM = _Times(idle=10, interval=5, tries=8)


def greeting(secret: bytes, peer: bytes) -> bytes:
    """Return the first and only bytes on the lifeline of *peer*."""
    return hashlib.sha256(b"lifeline" + secret).digest() + peer


def peer_of(secret: bytes, hello: bytes) -> bytes | None:
    """Return whose lifeline begins with *hello*; None if it is nobody's."""
    peer = hello[-PEER_BYTES:]
    return peer if hello == greeting(secret, peer) else None


def keep_alive(connection: socket.socket, *, is_node: bool) -> None:
    """Have the kernel ask the other end for signs of life."""
    times = _NODE if is_node else _PROGRAM
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", times.idle),
        ("TCP_KEEPALIVE", times.idle),  # macOS calls it so
        ("TCP_KEEPINTVL", times.interval),
        ("TCP_KEEPCNT", times.tries),
    ):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
