"""Services on Dask workers: what becomes of one whose worker dies."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import ServiceLostError, WorkerLostError
from radical.asyncflow.events import ServiceEvent
from radical.asyncflow.journal import read
from service_figures import check_service_figures

SETTINGS = {"n_workers": 2, "dashboard_address": None, "grace": 1.0, "allowed_failures": 3}


class Watch:
    """The services' events of an engine, which a test can wait for."""

    def __init__(self, flow: WorkflowEngine) -> None:
        self.states: list[str] = []
        self._news = asyncio.Event()
        flow.observe(self._note)

    def _note(self, events: Any) -> None:
        self.states += [event.state for event in events if isinstance(event, ServiceEvent)]
        self._news.set()

    async def until(self, *states: str) -> None:
        async with asyncio.timeout(60):
            while self.states != [*states]:
                self._news.clear()
                await self._news.wait()


class Tally:
    def add(self) -> int:
        return 1


async def test_services_that_have_all_slots_are_told(caplog: pytest.LogCaptureFixture) -> None:
    async with WorkflowEngine.create("dask", SETTINGS) as flow:
        with caplog.at_level(logging.WARNING, "radical.asyncflow"):
            tally = flow.service(Tally)()
            assert await tally.add() == 1
            assert "services have all" not in caplog.text
            server = flow.executable_task(service=True)(lambda: "exec sleep 600")()
            await server
        assert caplog.text.count("services have all 2 slots") == 1
        later = flow.function_task(abs)(-1)
        await tally.stop()
        assert await later == 1


async def test_a_service_whose_worker_dies_is_started_again_and_then_lost() -> None:
    async with WorkflowEngine.create("dask", SETTINGS) as flow:
        watch = Watch(flow)

        @flow.executable_task(service=True, info_pattern=r"stdout:worker (\d+)", restarts=1)
        def serve() -> str:
            return "echo worker $PPID; exec sleep 600"

        server = serve()
        first = await server
        os.kill(int(first), signal.SIGKILL)
        await watch.until("up", "restarted", "up")
        second = await server
        assert second != first
        os.kill(int(second), signal.SIGKILL)
        await watch.until("up", "restarted", "up", "lost")
        with pytest.raises(ServiceLostError, match=r"signal 9 \(SIGKILL\)") as caught:
            await server
        assert isinstance(caught.value.__cause__, WorkerLostError)


async def test_a_service_takes_its_thread_in_the_figures_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    async with WorkflowEngine.create("dask", SETTINGS, journal=path) as flow:

        @flow.executable_task(service=True, info_pattern="stdout:at (.*)")
        def serve() -> str:
            return "echo at home; exec sleep 600"

        service = serve()
        work = flow.function_task(lambda place: place.upper(), name="work")
        assert await work(service) == "HOME"
        await service.stop()
    check_service_figures(read(path)[-1])
