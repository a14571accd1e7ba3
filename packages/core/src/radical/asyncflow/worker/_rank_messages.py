"""Messages between a program and the ranks that it has started, over a Unix socket.

A message is a code, a body and any number of parts, which are the large buffers of a pickle.
Only processes of the same user are spoken with, because the bodies are pickles.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import struct
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Listener", "Message", "connect", "receive", "send"]

_HEAD = struct.Struct("<iQI")  # code, size of the body, number of parts
_SIZE = struct.Struct("<Q")
_COPIED_BYTES = 32 * 1024  # below it one copy is cheaper than a further call
_PEER = struct.Struct("3i")

Part = bytes | bytearray | memoryview


class Message(NamedTuple):
    """A message that was received."""

    code: int
    body: bytearray
    parts: list[bytearray]


def send(channel: socket.socket, code: int, body: Part, parts: Sequence[Part] = ()) -> None:
    """Send a message.

    Raises:
        BrokenPipeError, ConnectionResetError: the other end is closed.
    """
    sizes = b"".join([_SIZE.pack(memoryview(part).nbytes) for part in parts])
    head = _HEAD.pack(code, len(body), len(parts)) + sizes
    if len(body) < _COPIED_BYTES:
        channel.sendall(head + body)
    else:
        channel.sendall(head)
        channel.sendall(body)
    for part in parts:
        channel.sendall(part)


def receive(channel: socket.socket) -> Message:
    """Wait for a message and return it.

    Raises:
        EOFError: the other end is closed.
    """
    code, size, count = _HEAD.unpack(_read(channel, _HEAD.size))
    sizes = [_SIZE.unpack(_read(channel, _SIZE.size))[0] for _ in range(count)]
    body = _read(channel, size)
    return Message(code, body, [_read(channel, each) for each in sizes])


def _read(channel: socket.socket, size: int) -> bytearray:
    data = bytearray(size)
    with memoryview(data) as view:
        got = 0
        while got < size:
            try:
                count = channel.recv_into(view[got:])
            except ConnectionResetError:
                count = 0
            if not count:
                raise EOFError("the other end is closed")
            got += count
    return data


class Listener:
    """A socket on which ranks report.

    Attributes:
        address: where a rank connects.
        channel: the socket.
    """

    def __init__(self) -> None:
        self.channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._folder = ""
        try:
            if sys.platform == "linux":  # a name that is no file, so that none is left
                self.address = f"@asyncflow-{secrets.token_hex(16)}"
            else:
                self._folder = tempfile.mkdtemp(prefix="asyncflow-")
                self.address = os.path.join(self._folder, "ranks")  # noqa: PTH118
            self.channel.bind(_name(self.address))
            self.channel.listen(socket.SOMAXCONN)
        except BaseException:
            self.close()
            raise

    def accept(self) -> socket.socket | None:
        """Return the next connection; None if a process of another user made it."""
        channel, _ = self.channel.accept()
        if _is_ours(channel):
            return channel
        channel.close()
        return None

    def close(self) -> None:
        """Take no further connections."""
        self.channel.close()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


def connect(address: str) -> socket.socket:
    """Return a connection to the `Listener` of *address*.

    Raises:
        OSError: there is none.
        PermissionError: it belongs to another user.
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        channel.connect(_name(address))
        if not _is_ours(channel):
            raise PermissionError(f"the socket {address} belongs to another user")
    except BaseException:
        channel.close()
        raise
    return channel


def _name(address: str) -> str:
    return f"\0{address[1:]}" if address[0] == "@" else address


def _is_ours(channel: socket.socket) -> bool:
    """Tell whether the other end is a process of this user (Linux; elsewhere files tell)."""
    if not hasattr(socket, "SO_PEERCRED"):
        return True
    peer = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    return bool(_PEER.unpack(peer)[1] == os.getuid())
