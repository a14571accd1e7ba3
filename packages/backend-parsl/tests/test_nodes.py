"""The way from a block to the program: the order of a node, and where the program listens."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import sys
import threading
from pathlib import Path

import pytest
from asyncflow_backend_parsl import ParslExecutionBackend
from asyncflow_backend_parsl._node import keeper
from asyncflow_backend_parsl._site.order import Ports
from asyncflow_backend_parsl._wire.channel import Channel
from asyncflow_backend_parsl._wire.messages import Message
from radical.asyncflow import WorkflowEngine


class _Deaf:
    """A listener of a channel that nobody calls."""

    def receive(self, peer: bytes, message: Message) -> None:
        raise NotImplementedError

    def lose(self, peer: bytes, how: str) -> None:
        raise NotImplementedError

    def tick(self, now: float) -> float:
        raise NotImplementedError

    def fail(self, error: BaseException) -> None:
        raise NotImplementedError


def _channel(ports: Ports | None) -> Channel:
    return Channel(_Deaf(), host="127.0.0.1", ports=ports, encrypted=False)


def test_the_program_listens_at_ports_that_are_allowed() -> None:
    ports = Ports(54_000, 55_000)
    channels = [_channel(ports) for _ in range(3)]
    try:
        found = [(each.address([]).port, each.address([]).lifeline) for each in channels]
        assert all(port in range(54_000, 55_000) for pair in found for port in pair)
        assert len({port for pair in found for port in pair}) == 6
        taken = found[0][0]
        with pytest.raises(OSError, match=f"port {taken}"):
            _channel(ports._replace(messages=taken))
        one_port = Ports(found[0][1], found[0][1] + 1)
        with pytest.raises(OSError, match="none of the ports"):
            _channel(one_port)
    finally:
        for channel in channels:
            channel.close()


async def test_a_node_that_does_not_see_the_folder_of_the_run_says_so(tmp_path: Path) -> None:
    order = str(tmp_path / "node.json")
    words = [sys.executable, "-P", "-m", "asyncflow_backend_parsl._node", order, "1"]
    node = await asyncio.create_subprocess_exec(*words, stderr=asyncio.subprocess.PIPE)
    _, said = await node.communicate()
    assert node.returncode == 1
    assert "node.json" in said.decode()
    assert "the folder of the run must be on a file system" in said.decode()


def test_what_waits_for_the_end_of_a_block_ends_when_the_program_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keeper, "_ASK_S", 0.0)
    monkeypatch.setattr(keeper, "_LOOK_S", 0.001)
    with socket.create_server(("127.0.0.1", 0)) as program:
        address = [["127.0.0.1"], 0, program.getsockname()[1]]
        waits = threading.Thread(target=keeper._stay, args=(os.getppid(), address))
        waits.start()
        for _ in range(10):
            program.accept()[0].close()
    waits.join(60)
    assert not waits.is_alive()


@pytest.mark.asyncio(loop_scope="module")
async def test_only_the_user_can_read_the_order_of_nodes(local_flow: WorkflowEngine) -> None:
    backend = local_flow.backend
    assert isinstance(backend, ParslExecutionBackend)
    assert backend._folder is not None
    order = backend._folder / "node.json"
    assert stat.S_IMODE(order.stat().st_mode) == 0o600
    assert stat.S_IMODE(backend._folder.stat().st_mode) == 0o700
    scripts = [path.read_text() for path in (backend._folder / "scripts").iterdir()]
    assert any(str(order) in script for script in scripts)
    assert not any(backend._channel.address([]).secret in script for script in scripts)
