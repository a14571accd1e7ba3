"""Fixtures of the tests of this backend: a real server, and one whose replies a test decides."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import LeakGuard

from .scripted_server import ScriptedServer, scripted_server

SERVE = Path(__file__).parents[3] / "examples/tiny_model/serve.py"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide what the machine may say about servers and keys."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_MODEL", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture(scope="session")
def real_server() -> Iterator[str]:
    """Start llama.cpp with a tiny model, and give its address."""
    command = [sys.executable, str(SERVE)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("listening on "), f"{command} did not come up"
        yield line.split()[-1]
        process.terminate()


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with scripted_server() as scripted:
        yield scripted


@pytest.fixture
async def start(server: ScriptedServer) -> AsyncIterator[Callable[..., Any]]:
    """Make engines for the scripted server; nothing of them is left afterwards."""
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(LeakGuard())

        async def make(**settings: Any) -> WorkflowEngine:
            given = {"base_url": server.url, "model": "scripted", **settings}
            flow = await WorkflowEngine.create("inference", config=given)
            stack.push_async_callback(flow.shutdown)
            return flow

        yield make
