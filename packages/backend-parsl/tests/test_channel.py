"""The program's end of the connection, when something goes wrong with it."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Iterator

import pytest
from asyncflow_backend_parsl._wire.channel import Channel
from asyncflow_backend_parsl._wire.lifeline import PEER_BYTES, greeting
from asyncflow_backend_parsl._wire.link import distance
from asyncflow_backend_parsl._wire.messages import Kind, Message

_LIMIT_S = 60


class _Listener:
    """Notes what happens."""

    def __init__(self) -> None:
        self.lost: list[tuple[bytes, str]] = []
        self.error: BaseException | None = None
        self.is_broken = False
        self.has_news = threading.Event()

    def receive(self, peer: bytes, message: Message) -> None:
        raise NotImplementedError

    def lose(self, peer: bytes, how: str) -> None:
        self.lost.append((peer, how))
        self.has_news.set()

    def tick(self, now: float) -> float:
        if self.is_broken:
            raise RuntimeError(f"broken at {now}")
        return 60.0

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.has_news.set()


@pytest.fixture
def listener() -> _Listener:
    return _Listener()


@pytest.fixture
def channel(listener: _Listener) -> Iterator[Channel]:
    made = Channel(listener, host="127.0.0.1", encrypted=False)
    yield made
    made.close()


def test_a_node_connects_once_there_is_a_descriptor_for_it(
    channel: Channel, listener: _Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept, server, refusals = socket.socket.accept, channel._server, 1

    def accept_later(self: socket.socket) -> tuple[socket.socket, object]:
        nonlocal refusals
        if self is server and refusals:
            refusals -= 1
            raise OSError(errno.EMFILE, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", accept_later)
    channel.start()
    address = channel.address(["127.0.0.1"])
    peer = b"p" * PEER_BYTES
    with socket.create_connection(("127.0.0.1", address.lifeline)) as node:
        node.sendall(greeting(bytes.fromhex(address.secret), peer))
    assert listener.has_news.wait(_LIMIT_S)
    assert listener.lost == [(peer, "")]
    assert refusals == 0


def test_the_end_of_the_thread_is_told_and_harms_no_later_call(
    channel: Channel, listener: _Listener
) -> None:
    listener.is_broken = True
    channel.start()
    assert listener.has_news.wait(_LIMIT_S)
    assert isinstance(listener.error, RuntimeError)
    channel.send(b"p" * PEER_BYTES, Kind.LEAVE, True)
    channel.wake()


def test_an_address_in_the_same_network_is_the_nearest() -> None:
    hosts = ["10.77.5.254", "192.168.1.1", "10.77.9.254"]
    assert min(hosts, key=lambda host: distance(host, "10.77.9.1")) == "10.77.9.254"
    assert distance("login", "10.77.9.1") == 0
