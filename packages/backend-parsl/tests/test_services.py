"""Classes as services: the connection of a host to the program, by way of its node."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from asyncflow_backend_parsl._program.nodes import Node
from asyncflow_backend_parsl._program.tunnels import Tunnels
from asyncflow_backend_parsl._wire.messages import Buffer, Kind, NodeFacts
from asyncflow_backend_parsl._wire.pipe import WINDOW_BYTES, Pipe

Message = tuple[Kind, Any, Sequence[Buffer]]


class End:
    """One end of a connection: its pipe, the other side of its socket, and what it has sent."""

    def __init__(self) -> None:
        near, self.user = socket.socketpair()
        self.user.setblocking(False)
        self.sent: list[Message] = []
        self.reads = self.writes = False
        self.is_over = False
        self.pipe = Pipe(near, 7, self._send, self._watch, self._at_end)

    def _send(self, kind: Kind, content: Any, buffers: Sequence[Buffer]) -> None:
        self.sent.append((kind, content, buffers))

    def _watch(self, _pipe: Pipe, *, reads: bool, writes: bool) -> None:
        self.reads, self.writes = reads, writes

    def _at_end(self, pipe: Pipe) -> None:
        self.is_over = True
        pipe.close()

    def turn(self) -> None:
        """Let the pipe read and write once, if it wants to."""
        if self.writes:
            self.pipe.write()
        if self.reads:
            self.pipe.read()

    def take_from(self, other: End) -> None:
        """Take what *other* has sent."""
        messages, other.sent = other.sent, []
        for kind, content, buffers in messages:
            if kind is Kind.DATA:
                self.pipe.take(buffers[0])
            else:
                self.pipe.add_room(content[1])

    def close(self) -> None:
        self.user.close()
        self.pipe.close()


@pytest.fixture
def ends() -> Any:
    both = End(), End()
    yield both
    for end in both:
        end.close()


def _push(user: socket.socket, data: memoryview) -> memoryview:
    try:
        return data[user.send(data) :]
    except BlockingIOError:
        return data


def _pull(user: socket.socket, got: bytearray) -> None:
    try:
        got += user.recv(1 << 20)
    except BlockingIOError:
        return


def test_bytes_keep_their_order_both_ways_at_once(ends: tuple[End, End]) -> None:
    data = [random.Random(seed).randbytes(3 * WINDOW_BYTES) for seed in (1, 2)]
    left = [memoryview(each) for each in data]
    got = [bytearray(), bytearray()]
    while any(len(here) < len(there) for here, there in zip(got, reversed(data), strict=True)):
        for at, end in enumerate(ends):
            left[at] = _push(end.user, left[at])
            end.turn()
            end.take_from(ends[1 - at])
            _pull(end.user, got[at])
    assert got == data[::-1]


def test_no_more_than_a_window_waits_for_one_who_does_not_read(ends: tuple[End, End]) -> None:
    near, far = ends
    data = memoryview(bytes(3 * WINDOW_BYTES))
    sent = 0
    while near.reads:
        data = _push(near.user, data)
        near.turn()
        sent += sum(len(buffers[0]) for _, _, buffers in near.sent)
        far.take_from(near)
        near.take_from(far)
    socket_bytes = sent - WINDOW_BYTES  # those that the socket at the far end has
    assert 0 <= socket_bytes < WINDOW_BYTES
    got = bytearray()
    while not near.reads:
        _pull(far.user, got)
        far.turn()
        near.take_from(far)


def test_an_end_that_is_told_comes_after_all_that_was_sent(ends: tuple[End, End]) -> None:
    end, _ = ends
    told: list[int] = []
    got = bytearray()
    for _ in range(40):
        end.pipe.take(bytes(100_000))
    end.pipe.finish(lambda: told.append(len(got)))
    assert not told
    while not told:
        _pull(end.user, got)
        end.turn()
    while len(got) < 4_000_000:
        _pull(end.user, got)
    assert end.user.recv(1) == b""
    end.user.close()
    end.turn()
    assert end.is_over


def test_one_who_is_gone_keeps_nobody_waiting(ends: tuple[End, End]) -> None:
    end, _ = ends
    end.user.close()
    told: list[bool] = []
    for _ in range(40):
        end.pipe.take(bytes(100_000))
    assert sum(content[1] for kind, content, _ in end.sent if kind is Kind.TAKEN) > 2_000_000
    end.pipe.finish(lambda: told.append(True))
    assert told == [True]


class Wires:
    """The channel of a `Tunnels`, which keeps what it is told."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Kind, Any]] = []
        self.ready: dict[int, Any] = {}

    def send(self, peer: bytes, kind: Kind, content: Any, buffers: Sequence[Buffer] = ()) -> None:
        assert not buffers
        self.sent.append((peer, kind, content))

    def watch(self, connection: socket.socket, ready: Any, *, reads: bool, writes: bool) -> None:
        self.ready[connection.fileno()] = ready if reads or writes else None

    def wake(self) -> None:
        pass

    def turn(self) -> None:
        for ready in [*self.ready.values()]:
            if ready is not None:
                ready(True, True)


@pytest.fixture
def door() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_a_door_sees_the_end_of_a_host_only_when_that_was_reported(door: Any) -> None:
    wires = Wires()
    tunnels = Tunnels(wires)
    tunnels.open(b"node", 1, (5, 1), ("AF_INET", door.getsockname()))
    guest, _ = door.accept()
    with guest:
        tunnels.receive(b"node", Kind.DATA, 1, [b"answer"])
        assert guest.recv(100) == b"answer"
        guest.setblocking(False)
        wires.turn()
        with pytest.raises(BlockingIOError):
            guest.recv(100)
        tunnels.receive(b"node", Kind.DATA, 1, [b"last"])
        tunnels.give_up((5, 1))
        tunnels.tick(1.0)
        guest.setblocking(True)
        assert guest.recv(100) == b"last"
        assert guest.recv(100) == b""
    wires.turn()
    assert wires.sent == [(b"node", Kind.CLOSE, 1)]
    assert not any(wires.ready.values())


def test_a_closed_door_closes_the_connection_at_the_node(door: Any) -> None:
    wires = Wires()
    tunnels = Tunnels(wires)
    where = ("AF_INET", door.getsockname())
    tunnels.open(b"node", 1, (5, 1), where)
    door.accept()[0].close()
    wires.turn()
    door.close()
    tunnels.open(b"node", 2, (6, 1), where)
    assert wires.sent == [(b"node", Kind.CLOSE, 1), (b"node", Kind.CLOSE, 2)]
    ended: list[int] = []
    tunnels.end((5, 1), lambda: ended.append(5))
    assert ended == [5]


def test_a_door_with_too_many_guests_is_tried_again() -> None:
    wires = Wires()
    tunnels = Tunnels(wires)
    name = f"\0asyncflow-test-{os.getpid()}-{random.getrandbits(64):x}"
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(name)
        door.listen(0)
        for number in range(3):
            tunnels.open(b"node", number, (number, 1), ("AF_UNIX", name))
        assert tunnels.tick(1.0) < 1.0
        tunnels.receive(b"node", Kind.DATA, 2, [b"early"])
        said = []
        for _ in range(3):
            guest, _ = door.accept()
            tunnels.tick(1.0)
            guest.setblocking(False)
            said.append(bytearray())
            _pull(guest, said[-1])
            guest.close()
        assert tunnels.tick(1.0) == 1.0
        assert sorted(said) == [b"", b"", b"early"]
        wires.turn()


def test_nothing_is_sent_ahead_to_slots_that_services_have() -> None:
    facts = NodeFacts("host", "0", "", 2, 0, 1 << 30, ("", ""), 1)
    node = Node(b"node", facts, 1)
    assert node.room(0.001) == 62
    node.used_slots = node.service_slots = 1
    assert node.room(0.001) == 31
    node.used_slots = node.service_slots = 2
    assert node.room(0.001) == 0
