"""Services on this machine: what they occupy, and what becomes of them in unusual cases."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import (
    ConfigurationError,
    DependencyFailureError,
    OutputFile,
    WorkflowEngine,
)
from radical.asyncflow.errors import ServiceLostError, ServiceTimeoutError
from radical.asyncflow.events import ServiceEvent

pytestmark = pytest.mark.usefixtures("leak_guard", "empty_folder")

UNTIL_GATE = "until test -e {0}/gate; do sleep 0.02; done"

STUBBORN_CHILD = """
import os, signal, socket, sys, time
port, folder, code = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
if os.fork() == 0:
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with socket.create_server(("localhost", port)) as server:
        with open(folder + "/child.new", "w") as file:
            file.write(str(os.getpid()))
        os.replace(folder + "/child.new", folder + "/child")
        while True:
            server.accept()[0].close()
is_second = os.path.exists(folder + "/gate")
while is_second or not os.path.exists(folder + "/gate"):
    time.sleep(0.02)
sys.exit(code)
"""


def command(line: Any) -> Any:
    return line


def engine(**settings: Any) -> Any:
    return WorkflowEngine.create("concurrent", {"max_workers": 2, "grace": 1.0, **settings})


class Watch:
    """The services' events of an engine, which a test can wait for."""

    def __init__(self, flow: WorkflowEngine) -> None:
        self.states: list[str] = []
        self._news = asyncio.Event()
        flow.observe(self._note)

    def _note(self, events: Any) -> None:
        self.states += [event.state for event in events if isinstance(event, ServiceEvent)]
        self._news.set()

    async def until(self, state: str) -> None:
        async with asyncio.timeout(20):
            while state not in self.states:
                self._news.clear()
                await self._news.wait()


@pytest.mark.parametrize("executor_type", ["thread", "process", "async"])
async def test_a_service_keeps_its_slots_until_it_is_stopped(executor_type: str) -> None:
    async with engine(executor_type=executor_type) as flow:
        run = flow.executable_task(command)
        server = flow.executable_task(service=True)(command)("exec sleep 600")
        await server
        both = flow.executable_task(resources={"cores": 2})(command)("echo both")
        assert await run("echo beside") == "beside\n"
        assert not both.done()
        await server.stop()
        assert await both == "both\n"


async def test_services_that_have_all_slots_are_told(caplog: pytest.LogCaptureFixture) -> None:
    async with engine() as flow:
        serve = flow.executable_task(service=True)(command)
        with caplog.at_level(logging.WARNING, "radical.asyncflow"):
            servers = [serve("exec sleep 600"), serve("exec sleep 600")]
            await asyncio.gather(*servers)
        assert "services have all 2 slots of backend 'concurrent'" in caplog.text
        later = flow.executable_task(command)("echo later")
        await servers[0].stop()
        assert await later == "later\n"


async def test_a_port_that_is_in_use_belongs_to_no_service() -> None:
    with socket.create_server(("localhost", 0)) as other:
        port = other.getsockname()[1]
        async with engine() as flow:
            serve = flow.executable_task(service=True, ready_port=port)(command)
            with pytest.raises(ServiceLostError, match=f"port {port} is in use already"):
                await serve("sleep 600")


async def test_a_killed_service_is_lost_by_that_signal(tmp_path: Path) -> None:
    async with engine() as flow:
        watch = Watch(flow)
        serve = flow.executable_task(service=True, info_pattern=r"stdout:pid (\d+)")(command)
        server = serve("echo pid $$; exec sleep 600")
        waits = flow.executable_task(lambda *_: "true")
        os.kill(int(await server), signal.SIGKILL)
        held = flow.executable_task(command)(UNTIL_GATE.format(tmp_path))
        late = waits(server, held)  # it was called before the death is known, and is sent after it
        await watch.until("lost")
        (tmp_path / "gate").touch()
        with pytest.raises(DependencyFailureError, match="9 \\(SIGKILL\\)"):
            await late
        with pytest.raises(ServiceLostError, match="9 \\(SIGKILL\\)"):
            await server
        assert server.state == "FAILED"
        assert isinstance(server.exception(), ServiceLostError)


@pytest.mark.parametrize("code", [0, 3])
async def test_no_child_of_a_service_that_ended_holds_the_port_of_the_next(
    tmp_path: Path, code: int
) -> None:
    script = tmp_path / "serve.py"
    script.write_text(STUBBORN_CHILD)
    with socket.create_server(("localhost", 0)) as unused:
        port = unused.getsockname()[1]
    async with engine(grace=0.3) as flow:
        watch = Watch(flow)
        serve = flow.executable_task(service=True, restarts=1, ready_port=port)(command)
        server = serve([sys.executable, str(script), str(port), str(tmp_path), str(code)])
        await server
        first = (tmp_path / "child").read_text()
        (tmp_path / "gate").touch()
        await watch.until("restarted")
        await flow.executable_task(lambda _: "true")(server)  # it waits until it is up again
        assert (tmp_path / "child").read_text() != first
        await server.stop()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("localhost", port))
    assert "lost" not in watch.states


async def test_a_service_that_does_not_come_up_again_is_lost(tmp_path: Path) -> None:
    async with engine() as flow:
        watch = Watch(flow)
        serve = flow.executable_task(service=True, restarts=1, timeout=2, info_pattern="stdout:up")(
            command
        )
        once = f"touch {tmp_path}/second; echo up; {UNTIL_GATE.format(tmp_path)}; exit 3"
        server = serve(f"test -e {tmp_path}/second || {{ {once}; }}; exec sleep 600")
        info = await server
        (tmp_path / "gate").touch()
        await watch.until("restarted")
        with pytest.raises(DependencyFailureError, match="was not up within its timeout of 2 s"):
            await flow.executable_task(lambda _: "true")(info)
        with pytest.raises(ServiceLostError, match="did not come up again") as caught:
            await server
        assert isinstance(caught.value.__cause__, ServiceTimeoutError)
    assert watch.states == ["up", "restarted", "lost"]


async def test_a_service_that_is_stopped_before_it_is_up_is_cancelled() -> None:
    async with engine() as flow:
        serve = flow.executable_task(service=True, info_pattern="stdout:never")(command)
        server = serve("exec sleep 600")
        await server.stop()
        assert server.cancelled()
        await server.stop()


async def test_a_service_that_failed_to_start_is_tried_again(tmp_path: Path) -> None:
    async with engine() as flow:
        serve = flow.executable_task(service=True, retries=1, info_pattern="stdout:(up)")(command)
        there = tmp_path / "there"
        line = f"test -e {there} || {{ touch {there}; exit 1; }}; echo up; exec sleep 600"
        server = serve(line)
        assert await server == "up"
        assert server.attempts == 2


async def test_long_output_is_read_from_its_end_and_stays_in_the_file(tmp_path: Path) -> None:
    async with WorkflowEngine.create("concurrent", work_dir=tmp_path) as flow:
        serve = flow.executable_task(service=True, info_pattern="stderr:(written)")(command)
        server = serve(
            "head -c 3000000 /dev/zero | tr '\\0' x; echo end; echo written >&2; sleep 600"
        )
        await server
        text: Any = server.stdout
        assert text.endswith("xend\n")
        assert (len(text), text.size, text.truncated) == (1 << 20, 3_000_004, True)
    assert text.path.read_text().count("x") == 3_000_000


async def test_a_service_that_names_an_output_file_is_refused() -> None:
    async with engine() as flow:
        serve = flow.executable_task(service=True)
        with pytest.raises(ConfigurationError, match=r"has no output files such as 'o\.txt'"):
            await serve(lambda: f"echo x > {OutputFile('o.txt')}; exec sleep 600")()
        with pytest.raises(ConfigurationError, match="let it write to a path"):
            serve(lambda path: f"echo x > {path}; exec sleep 600")(OutputFile("o.txt"))


async def test_a_plain_task_cannot_be_stopped() -> None:
    async with engine() as flow:
        task = flow.executable_task(command)("true")
        with pytest.raises(TypeError, match="is no service, so it cannot be stopped; cancel it"):
            task.stop()
        await task


async def test_a_function_gets_the_info_as_a_plain_text() -> None:
    async with engine(executor_type="thread") as flow:
        kind = flow.function_task(lambda values: [type(value) for value in values])
        server = flow.executable_task(service=True)(command)("exec sleep 600")
        assert await kind([server, await server, "x"]) == [str, str, str]


async def test_a_block_that_ends_leaves_its_service_running() -> None:
    async with engine() as flow:

        @flow.block
        async def begin() -> Any:
            server = flow.executable_task(service=True, info_pattern="stdout:(up)")(command)(
                "echo up; exec sleep 600"
            )
            await server
            return [server]

        (server,) = await begin()
        assert await server == "up"
