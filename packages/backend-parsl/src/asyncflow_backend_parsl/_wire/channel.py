"""The program's end of the connection: one socket for all nodes, and a thread that serves it."""

from __future__ import annotations

import errno
import logging
import math
import os
import random
import secrets
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar

import zmq

from .._site.order import Ports
from .lifeline import HELLO_BYTES, keep_alive, peer_of
from .messages import Buffer, Kind, Message, pack, unpack

__all__ = ["Address", "Channel", "Listener"]

_MOST_AT_ONCE = 500  # messages that are taken before others are sent
_CLOSE_S = 1.0  # for the last messages to be sent
_THREAD_END_S = 5.0
_FULL_S = 1.0  # until the next look for a connection, if this process has no descriptor left

_Found = TypeVar("_Found")
_log = logging.getLogger("radical.asyncflow")


class Address(NamedTuple):
    """The address of the program, with all that a node needs to reach it.

    Attributes:
        hosts: the addresses of the program's machine, the best first.
        port, lifeline: where it listens for messages, and for lifelines.
        secret: what every message begins with.
        server_key, public_key, secret_key: for the encryption; "" without.
    """

    hosts: tuple[str, ...]
    port: int
    lifeline: int
    secret: str
    server_key: str = ""
    public_key: str = ""
    secret_key: str = ""


class Listener(Protocol):
    """The receiver of messages; all methods are called in the thread of the channel."""

    def receive(self, peer: bytes, message: Message) -> None:
        """Take a message of *peer*."""

    def lose(self, peer: bytes, how: str) -> None:
        """Take note that the lifeline of *peer* broke: *how* is "" where a process ended."""

    def tick(self, now: float) -> float:
        """Do what is due at *now*; return after how many seconds more will be."""

    def fail(self, error: BaseException) -> None:
        """Take note that the thread has ended because of *error*; nothing more is received."""


class Channel:
    """The socket to which the nodes connect; `send`, `wake` and `close` are for any thread."""

    def __init__(
        self, listener: Listener, *, host: str, ports: Ports | None = None, encrypted: bool
    ) -> None:
        """Listen.

        Args:
            host: the address to listen at; ``"*"`` for all that this machine has.
            ports: None for any that is free.

        Raises:
            OSError: it is no address of this machine, or no port is free.
        """
        self._listener = listener
        self._secret = secrets.token_bytes(16)
        self._lifelines: dict[int, tuple[socket.socket, bytes]] = {}
        self._watched: dict[int, tuple[socket.socket, Callable[[bool, bool], None]]] = {}
        self._server = _listen("0.0.0.0" if host == "*" else host, ports)
        self._server.setblocking(False)
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.ROUTER)
        keys = ("", "", "")
        try:
            self._socket.setsockopt(zmq.LINGER, int(_CLOSE_S * 1000))
            self._socket.set_hwm(0)
            self._socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
            if encrypted:
                keys = self._encrypt()
            port = self._bind(host, ports)
        except BaseException:
            self._server.close()
            self._socket.close(0)
            self._context.term()
            raise
        lifeline = self._server.getsockname()[1]
        self._address = Address((), port, lifeline, self._secret.hex(), *keys)
        self._outbox: deque[tuple[bytes, list[Any]]] = deque()
        self._numbers: dict[bytes, Iterator[int]] = {}
        self._lock = threading.Lock()
        self._wakes, self._wake = os.pipe()
        os.set_blocking(self._wake, False)
        os.set_blocking(self._wakes, False)
        self._is_awake = False
        self._is_closing = False
        self._is_released = False
        self._accepts_at = 0.0  # the time when it may accept connections again
        self._poller = zmq.Poller()
        self._thread = threading.Thread(target=self._run, name="asyncflow-parsl", daemon=True)

    def _bind(self, host: str, ports: Ports | None) -> int:
        """Listen for messages; return the port."""

        def bind(port: int) -> int:
            try:
                self._socket.bind(f"tcp://{host}:{port or '*'}")
            except zmq.ZMQError as error:
                raise OSError(error.errno, f"{error.strerror} (port {port})") from None
            return int(self._socket.last_endpoint.rpartition(b":")[2])

        if ports is not None and ports.messages is not None:
            return bind(ports.messages)
        return _first_free(ports, bind)

    def _encrypt(self) -> tuple[str, str, str]:
        """Encrypt what the socket sends; return the keys that a node needs."""
        server_public, server_secret = zmq.curve_keypair()
        public, secret = zmq.curve_keypair()
        self._socket.curve_secretkey = server_secret
        self._socket.curve_publickey = server_public
        self._socket.curve_server = True
        return server_public.decode(), public.decode(), secret.decode()

    def address(self, hosts: Sequence[str]) -> Address:
        """Return what a node needs to connect, if this machine has the addresses *hosts*."""
        return self._address._replace(hosts=tuple(hosts))

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def watch(
        self,
        connection: socket.socket,
        ready: Callable[[bool, bool], None],
        *,
        reads: bool,
        writes: bool,
    ) -> None:
        """Have *ready* called when *connection* can be read or written; for the own thread.

        If neither is wanted, it is not watched any more.  *ready* gets whether it can be read, and
        whether it can be written.
        """
        descriptor = connection.fileno()
        if reads or writes:
            self._watched[descriptor] = connection, ready
            wanted = (zmq.POLLIN if reads else 0) | (zmq.POLLOUT if writes else 0)
            self._poller.register(descriptor, wanted)
        elif self._watched.pop(descriptor, None) is not None:
            self._poller.unregister(descriptor)

    def send(self, peer: bytes, kind: Kind, content: Any, buffers: Sequence[Buffer] = ()) -> None:
        """Send a message, after all others to *peer*."""
        with self._lock:
            numbers = self._numbers.get(peer)
            if numbers is None:
                numbers = self._numbers[peer] = count()
            frames = pack(self._secret, next(numbers), kind, content, buffers)
            self._outbox.append((peer, frames))
        if threading.current_thread() is not self._thread:  # which sends before it waits
            self.wake()

    def forget(self, peer: bytes) -> None:
        """Forget *peer*, which is gone."""
        with self._lock:
            self._numbers.pop(peer, None)

    def wake(self) -> None:
        """Have the thread look now: for messages to send, and for what is due."""
        if self._is_awake:
            return
        with self._lock:
            if self._is_released or self._is_awake:
                return
            self._is_awake = True
            with suppress(BlockingIOError):
                os.write(self._wake, b".")

    def close(self) -> None:
        """Send what is to be sent, and end; not from the thread of the channel."""
        self._is_closing = True
        if self._thread.ident is None:
            self._release()
            return
        self.wake()
        self._thread.join(_THREAD_END_S)

    def _run(self) -> None:
        poller = self._poller
        for source in (self._socket, self._server, self._wakes):
            poller.register(source, zmq.POLLIN)
        seconds = due = 0.0
        try:
            while not self._is_closing or self._outbox:
                ready = dict(poller.poll(math.ceil(seconds * 1000)))
                if ready.pop(self._wakes, 0):
                    os.read(self._wakes, 4096)
                    self._is_awake = False
                    due = 0.0
                self._send_all()
                if ready.pop(self._socket, 0):
                    self._receive_all()
                now = time.monotonic()
                if ready.pop(self._server.fileno(), 0):
                    self._accept(now)
                for descriptor, events in ready.items():
                    self._look_at(descriptor, events)
                self._send_all()
                if now >= due:
                    due = now + self._listener.tick(now)
                seconds = max(due - now, 0.0)
                if self._accepts_at:
                    seconds = self._accept_again(now, seconds)
                self._send_all()
        except BaseException as error:
            _log.exception("the thread of a parsl backend has failed")
            self._release()  # all nodes end, because their lifelines do
            self._listener.fail(error)
        else:
            self._release()

    def _release(self) -> None:
        with self._lock:  # after this, nobody writes to a descriptor that belongs to others
            self._is_released = True
        self._socket.close()
        self._server.close()
        for connection, _ in (*self._lifelines.values(), *self._watched.values()):
            connection.close()
        self._context.term()
        os.close(self._wake)
        os.close(self._wakes)

    def _send_all(self) -> None:
        outbox = self._outbox
        while outbox:
            peer, frames = outbox.popleft()
            # A node that has no connection any more is seen by its lifeline.
            with suppress(zmq.ZMQError):
                # To share a large one, pyzmq would start a thread that ends only with the program.
                self._socket.send_multipart([peer, *frames])

    def _receive_all(self) -> None:
        for _ in range(_MOST_AT_ONCE):
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                return
            peer = frames[0].bytes
            try:
                message = unpack(self._secret, received(frames[1:]))
            except Exception as error:
                _log.warning("a node sent what is no message: %s", error)
                continue
            if message is not None:
                self._listener.receive(peer, message)

    def _accept(self, now: float) -> None:
        try:
            connection, _ = self._server.accept()
        except (BlockingIOError, ConnectionError):
            return
        except OSError as error:
            # The node waits, and there may be a descriptor again when a task has ended.
            _log.warning("a node of a parsl backend cannot connect: %s", error)
            self._poller.unregister(self._server)
            self._accepts_at = now + _FULL_S
            return
        connection.setblocking(False)
        keep_alive(connection, is_node=False)
        self._lifelines[connection.fileno()] = (connection, b"")
        self._poller.register(connection.fileno(), zmq.POLLIN)

    def _accept_again(self, now: float, seconds: float) -> float:
        """Look for connections again when it is time; return after how many seconds to come."""
        if now < self._accepts_at:
            return min(seconds, self._accepts_at - now)
        self._poller.register(self._server, zmq.POLLIN)
        self._accepts_at = 0.0
        return 0.0

    def _look_at(self, descriptor: int, events: int) -> None:
        """Have what is watched read or written; read from a lifeline."""
        if descriptor in self._lifelines:
            self._read_lifeline(descriptor)
        elif descriptor in self._watched:
            _, ready = self._watched[descriptor]
            ready(bool(events & ~zmq.POLLOUT), bool(events & zmq.POLLOUT))

    def _read_lifeline(self, descriptor: int) -> None:
        """Read from a lifeline: its greeting, or its end."""
        connection, hello = self._lifelines[descriptor]
        how = ""
        data = b""
        try:
            data = connection.recv(HELLO_BYTES)
        except BlockingIOError:
            return
        except TimeoutError:
            how = "cut"
        except OSError as error:
            how = "" if isinstance(error, ConnectionError) else str(error)
        peer = peer_of(self._secret, hello) if len(hello) == HELLO_BYTES else None
        if data and peer is None and len(hello) + len(data) <= HELLO_BYTES:
            self._lifelines[descriptor] = (connection, hello + data)
            return
        self._poller.unregister(descriptor)
        del self._lifelines[descriptor]
        connection.close()
        if peer is not None:
            self._listener.lose(peer, how)


def _listen(host: str, ports: Ports | None) -> socket.socket:
    """Return a socket that listens for lifelines."""
    return _first_free(ports, lambda port: socket.create_server((host, port), backlog=1024))


def _first_free(ports: Ports | None, listen: Callable[[int], _Found]) -> _Found:
    """Return what *listen* returns for the first one of *ports* that is free, or for 0."""
    if ports is None:
        return listen(0)
    # In an order of its own, because several programs look for free ports at the same time.
    numbers = range(ports.least, ports.limit)
    for port in random.sample(numbers, len(numbers)):
        if port == ports.messages:
            continue
        try:
            return listen(port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, f"none of the ports {ports.least} to {ports.limit - 1} is free")


def received(frames: Sequence[zmq.Frame]) -> list[Buffer]:
    """Return the content of *frames*: the buffers copied, so that they can be written to."""
    return [frame.bytes if at < 2 else bytearray(frame.buffer) for at, frame in enumerate(frames)]
