"""An engine on a scripted backend, and a plugin for it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow.backend import TaskKind
from radical.asyncflow.testing import ScriptedBackend


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(
        kinds=(TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT), resources=("cores",)
    )


@pytest.fixture
async def flow(backend: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
    engine = await WorkflowEngine.create(backend)
    yield engine
    await engine.shutdown()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Installs a plugin with that code, and gives its module."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str) -> Any:
        info = tmp_path / "guest.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: guest\nVersion: 1\n")
        (info / "entry_points.txt").write_text(
            "[radical.asyncflow.plugins]\nguest = guest_plugin\n"
        )
        head = "from radical.asyncflow.hookspecs import Carrier, hookimpl\n"
        (tmp_path / "guest_plugin.py").write_text(head + code)
        registry.refresh()
        return importlib.import_module("guest_plugin")

    yield write
    sys.modules.pop("guest_plugin", None)
    registry.refresh()
