"""What the noop backend answers with."""

from __future__ import annotations

from collections import namedtuple

import pytest
from asyncflow_backend_noop import DryRunResult, NoopExecutionBackend, plugin
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec, TaskState
from radical.asyncflow.testing import RecordingSink


@pytest.mark.parametrize("kind", [TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT])
async def test_every_kind_of_task_is_done_when_submit_returns(kind: TaskKind) -> None:
    backend, sink = NoopExecutionBackend(), RecordingSink()
    await backend.start(sink)
    request = TaskRequest(7, 2, TaskSpec("simulate", kind, print))
    sink.expect([request])
    backend.submit([request])
    report = sink.outcome(request)
    assert report is not None
    assert (report.state, report.attempt) == (TaskState.DONE, 2)
    assert isinstance(report.value, DryRunResult)
    assert repr(report.value) == f"<DryRunResult of {kind} task 'simulate' #7>"


async def test_a_description_for_another_backend_is_accepted() -> None:
    async with WorkflowEngine.create(NoopExecutionBackend()) as flow:
        result = await flow.function_task(print, task_description={"queue": "debug"})()
    assert isinstance(result, DryRunResult)


async def test_fields_that_a_later_contract_adds_are_ignored() -> None:
    later = namedtuple("later", [*TaskRequest._fields, "more"])
    backend, sink = NoopExecutionBackend(), RecordingSink()
    await backend.start(sink)
    request = later(*TaskRequest(7, 1, TaskSpec("simulate", TaskKind.FUNCTION, print)), "more")
    sink.expect([request])
    backend.submit([request])
    assert sink.violations == []
    report = sink.outcome(request)
    assert report is not None
    assert report.value.name == "simulate"


def test_the_plugin_declares_what_the_backend_is() -> None:
    spec = plugin.asyncflow_backend()
    assert (spec.name, spec.capabilities) == ("noop", NoopExecutionBackend.capabilities)
