"""An engine on a scripted backend, and how to wait without sleeping."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from radical.asyncflow import WorkflowEngine
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
