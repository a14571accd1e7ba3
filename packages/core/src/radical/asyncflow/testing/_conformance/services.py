"""Checks: a service is done when it is up, runs on, and tells those who need it of its death."""

from __future__ import annotations

import shlex
import socket
import sys
from pathlib import Path

import pytest

from ...engine import WorkflowEngine
from ...errors import (
    DependencyFailureError,
    ExecutableError,
    ServiceLostError,
    ServiceStoppedError,
    ServiceTimeoutError,
)
from ...events import Event, ServiceEvent
from ...model import Command
from .. import _functions as functions
from .needs import needs, slow
from .suite import Suite
from .waiting import appears, marked, open_gate, until

_ANSWERING = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
    def log_message(self, *args):
        pass
server = http.server.HTTPServer(("localhost", int(sys.argv[1])), Answer)
print("port", server.server_port, flush=True)
server.serve_forever()
"""


class Services(Suite):
    @needs("service", "executes")
    async def test_a_service_is_done_when_it_is_up_and_runs_on(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        lines = "echo starting; touch up; echo address here:1 now"
        serve = flow.executable_task(service=True, info_pattern=r"stdout:address (\S+)")(
            functions.identity
        )
        server = serve(_until_gate(folder, lines, "echo served > served"))
        try:
            assert await server == "here:1"
            assert server.state == "DONE"
            assert await flow.executable_task(functions.identity)(f"ls {folder}") == "up\n"
            assert "starting\n" in (server.stdout or "")
            open_gate(folder)
            await appears(folder, "served", self.patience)
        finally:
            await server.stop()

    @needs("service", "executes")
    async def test_a_service_without_a_sign_is_up_when_it_runs(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        server = flow.executable_task(service=True)(functions.identity)(_until_gate(folder))
        assert await server == ""
        await server.stop()

    @needs("service", "executes")
    async def test_a_service_is_up_when_its_port_takes_connections(
        self, flow: WorkflowEngine
    ) -> None:
        port = _free_port()
        serve = flow.executable_task(service=True, ready_port=port)(functions.identity)
        server = serve([sys.executable, "-c", _ANSWERING, str(port)])
        try:
            assert str(await server).endswith(f":{port}")
        finally:
            await server.stop()

    @needs("service", "executes")
    async def test_a_service_is_up_when_the_address_that_it_wrote_answers(
        self, flow: WorkflowEngine
    ) -> None:
        serve = flow.executable_task(
            service=True,
            info_pattern=r"stdout:port (\d+)",
            ready_url="http://localhost:{info}/health",
        )(functions.identity)
        server = serve([sys.executable, "-c", _ANSWERING, "0"])
        try:
            assert int(await server) > 0
        finally:
            await server.stop()

    @needs("service", "executes")
    async def test_a_service_that_ends_before_it_is_up_fails_with_its_output(
        self, flow: WorkflowEngine
    ) -> None:
        serve = flow.executable_task(service=True, info_pattern="stdout:never")(functions.identity)
        with pytest.raises(ExecutableError, match="no port"):
            await serve("echo no port >&2; exit 3")
        with pytest.raises(ServiceLostError, match=r"exit code 0\) before it was up\n.*: bye"):
            await serve("echo bye")

    @slow
    @needs("service", "executes")
    async def test_a_service_that_is_not_up_in_time_ends_and_shows_its_output(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        serve = flow.executable_task(service=True, info_pattern="stdout:never", timeout=2)(
            functions.identity
        )
        command = Command(_until_gate(folder, "echo warming"), env={functions.MARK: folder})
        with pytest.raises(
            ServiceTimeoutError, match="within its timeout of 2 s\nstdout: warming"
        ) as caught:
            await serve(command)
        assert caught.value.__notes__ == ["it is up when a line of its stdout matches 'never'"]
        await until(lambda: not marked(folder), "the service has ended", self.patience)

    @needs("service", "executes")
    async def test_a_service_that_is_stopped_ends_with_what_it_started(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        serve = flow.executable_task(service=True)(functions.identity)
        line = f"sleep 600 & {_until_gate(folder, 'touch up')}"
        server = serve(Command(line, env={functions.MARK: folder}))
        info = await server
        await appears(folder, "up", self.patience)
        assert marked(folder)
        await server.stop()
        await until(lambda: not marked(folder), "the service has ended", self.patience)
        for needed in (server, info):
            with pytest.raises(DependencyFailureError) as caught:
                await flow.executable_task(lambda _: "true")(needed)
            assert isinstance(caught.value.__cause__, ServiceStoppedError)

    @needs("service", "executes")
    async def test_a_service_that_died_fails_the_next_call_that_has_its_info(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        seen: list[Event] = []
        stop = flow.observe(seen.extend)
        serve = flow.executable_task(service=True)(functions.identity)
        info = await serve(_until_gate(folder, "touch up", "echo broken >&2; exit 4"))
        await appears(folder, "up", self.patience)
        open_gate(folder)
        await until(lambda: _states(seen) == ["up", "lost"], "the death is told", self.patience)
        stop()
        with pytest.raises(DependencyFailureError, match="exit code 4") as caught:
            await flow.executable_task(lambda _: "true")(info)
        lost = caught.value.__cause__
        assert isinstance(lost, ServiceLostError)
        assert isinstance(lost.__cause__, ExecutableError)
        assert lost.stderr == "broken\n"

    @needs("service", "executes")
    async def test_a_service_that_died_is_started_again(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        lines = f"echo x >> {folder}/starts; echo start $(wc -l < {folder}/starts)"
        serve = flow.executable_task(service=True, restarts=1, info_pattern=r"stdout:start +(\d+)")(
            functions.identity
        )
        say = flow.executable_task(lambda number: f"echo {number}")
        server = serve(_until_gate(folder, lines, "rm gate; exit 5"))
        try:
            info = await server
            assert await say(info) == "1\n"
            open_gate(folder)
            await until(lambda: not Path(folder, "gate").exists(), "it has died", self.patience)
            await until(lambda: _lines(folder, "starts") == 2, "it began again", self.patience)
            assert await say(info) == "2\n"
            assert await server == "2"
        finally:
            await server.stop()

    @needs("service", "executes")
    async def test_a_service_ends_with_the_engine(self, folder: str, guard: None) -> None:  # noqa: ARG002
        command = Command(_until_gate(folder, "touch up"), env={functions.MARK: folder})
        async with await self.new_flow() as flow:
            await flow.executable_task(service=True)(functions.identity)(command)
            await appears(folder, "up", self.patience)
        assert not marked(folder)


def _until_gate(folder: str, before: str = "true", after: str = "true") -> str:
    """Return a command line that does *before* in *folder*, and *after* when the gate is open."""
    wait = "until test -e gate; do sleep 0.02; done"
    return f"cd {shlex.quote(folder)}; {before}; {wait}; {after}"


def _states(events: list[Event]) -> list[str]:
    return [event.state for event in events if isinstance(event, ServiceEvent)]


def _lines(folder: str, name: str) -> int:
    path = Path(folder, name)
    return len(path.read_text().splitlines()) if path.exists() else 0


def _free_port() -> int:
    with socket.create_server(("localhost", 0)) as free:
        port: int = free.getsockname()[1]
        return port
