"""A node's end of the connection, served in an event loop."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import count
from typing import Any

import zmq

from .channel import Address, received
from .lifeline import PEER_BYTES, greeting, keep_alive
from .messages import Buffer, Kind, Message, pack, unpack

__all__ = ["Link", "connect", "distance"]

_TRY_S = 5.0  # for one address to answer
_PAUSE_S = 1.0
_LARGE_BYTES = 64 * 1024  # a message with less is copied, which is cheaper than to share it
_LINGER_MS = 2000


async def connect(
    address: Address, limit_s: float, receive: Callable[[Message], None], end: Callable[[], None]
) -> Link:
    """Connect to the program at the nearest of its addresses that answers.

    Args:
        limit_s: seconds until one must have answered.
        receive: called with each message.
        end: called when the program, or the way to it, is gone.

    Raises:
        ConnectionError: none answered; the text names each, and why.
    """
    peer = secrets.token_bytes(PEER_BYTES)
    hello = greeting(bytes.fromhex(address.secret), peer)

    async def try_host(host: str) -> tuple[str, asyncio.StreamReader, asyncio.StreamWriter]:
        opening = asyncio.open_connection(host, address.lifeline)
        try:
            reader, writer = await asyncio.wait_for(opening, _TRY_S)
        except TimeoutError:
            raise ConnectionError(f"no answer within {_TRY_S:g} s") from None
        return host, reader, writer

    loop = asyncio.get_running_loop()
    deadline = loop.time() + limit_s
    while True:
        tried = await asyncio.gather(*map(try_host, address.hosts), return_exceptions=True)
        reached = [found for found in tried if not isinstance(found, BaseException)]
        if reached:
            break
        if loop.time() >= deadline:
            told = "; ".join(
                f"{host}:{address.lifeline}: {problem}"
                for host, problem in zip(address.hosts, tried, strict=True)
            )
            raise ConnectionError(
                f"node {socket.gethostname()} reaches the program at none of its addresses: {told}"
            )
        await asyncio.sleep(_PAUSE_S)
    reached.sort(key=lambda found: distance(found[0], found[2].get_extra_info("sockname")[0]))
    for _, _, writer in reached[1:]:
        writer.close()
    host, reader, writer = reached[0]
    keep_alive(writer.get_extra_info("socket"), is_node=True)
    link = Link(address, host, peer, receive, end)
    # Only now, because the program takes a lifeline for that of a node that it will hear of.
    writer.write(hello)
    link.address = writer.get_extra_info("sockname")[0]
    link.watch(reader, writer)
    return link


def distance(host: str, own: str) -> int:
    """Return a smaller number for an address *host* that is more like *own*.

    It is rather in a network that both machines belong to, which needs no third one on the way.
    """
    try:
        return (int(IPv4Address(host)) ^ int(IPv4Address(own))).bit_length()
    except ValueError:  # a name, or of another kind
        return 0


class Link:
    """The connection to the program; all methods are for the thread of the loop."""

    def __init__(
        self,
        address: Address,
        host: str,
        peer: bytes,
        receive: Callable[[Message], None],
        end: Callable[[], None],
    ) -> None:
        self._receive = receive
        self._end = end
        self._expected = 0
        self.address = ""
        """The address of this machine in the network that reaches the program."""
        self._secret = bytes.fromhex(address.secret)
        self._numbers = count()
        self._loop = asyncio.get_running_loop()
        self._watching: asyncio.Task[None] | None = None
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self._socket.setsockopt(zmq.IDENTITY, peer)
        self._socket.set_hwm(0)
        if address.server_key:
            self._socket.curve_serverkey = address.server_key.encode()
            self._socket.curve_publickey = address.public_key.encode()
            self._socket.curve_secretkey = address.secret_key.encode()
        self._socket.connect(f"tcp://{host}:{address.port}")
        self._descriptor = int(self._socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._take)

    def watch(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """End when the lifeline breaks."""

        async def wait() -> None:
            with suppress(OSError):
                await reader.read(1)  # the program sends nothing
            writer.close()
            self._end()

        self._watching = self._loop.create_task(wait())

    def send(self, kind: Kind, content: Any, buffers: Sequence[Buffer] = ()) -> None:
        """Send a message."""
        frames = pack(self._secret, next(self._numbers), kind, content, buffers)
        size = sum(map(len, buffers)) if buffers else 0
        self._socket.send_multipart(frames, copy=size < _LARGE_BYTES)
        # The descriptor tells only once of what arrives, and sending may take that in.
        self._loop.call_soon(self._take)

    def close(self) -> None:
        """Send the rest, and end the connection."""
        if self._watching is not None:
            self._watching.cancel()
        self._loop.remove_reader(self._descriptor)
        self._socket.close()
        self._context.term()

    def _take(self) -> None:
        while not self._socket.closed:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            message = unpack(self._secret, received(frames))
            if message is None:
                continue
            if message.number != self._expected:  # the connection was made anew
                self._end()
                return
            self._expected += 1
            self._receive(message)
