"""What the base class of backends does for all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import pytest
from radical.asyncflow.backend import (
    Capabilities,
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskSpec,
)
from radical.asyncflow.errors import BackendError, BackendStartError, EngineClosedError
from radical.asyncflow.testing import RecordingSink

FUNCTION, EXECUTABLE = TaskKind.FUNCTION, TaskKind.EXECUTABLE


class Small(ExecutionBackend):
    """As little as a backend may have."""

    capabilities = Capabilities(kinds={FUNCTION})

    def __init__(self, *, name: str = "small") -> None:
        self.name = name

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        sink = self.sink
        for request in batch:
            sink.done(request.task_id, request.attempt, request.spec.name)

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        """Nothing waits."""


class Unable(Small):
    """Cannot come up."""

    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        raise OSError("no licence")


REQUEST = TaskRequest(1, 1, TaskSpec("task", FUNCTION, print))


async def test_a_started_backend_reports_to_its_sink() -> None:
    backend, sink = Small(), RecordingSink()
    sink.expect([REQUEST])
    await backend.start(sink)
    backend.submit([REQUEST])
    assert backend.sink is sink
    assert [report.value for report in sink.reports] == ["task"]


def test_a_submission_before_the_start_says_how_it_is_started() -> None:
    with pytest.raises(BackendError, match="'small' was not started; WorkflowEngine"):
        Small().submit([REQUEST])


async def test_a_second_start_is_refused_and_changes_nothing() -> None:
    backend, sink = Small(), RecordingSink()
    await backend.start(sink)
    with pytest.raises(BackendStartError, match="'small' was started already"):
        await backend.start(RecordingSink())
    assert backend.sink is sink


@pytest.mark.parametrize("started", [True, False])
async def test_after_the_shutdown_everything_is_refused(started: bool) -> None:
    backend = Small()
    if started:
        await backend.start(RecordingSink())
    assert not backend.is_shut_down
    await backend.shutdown()
    await backend.shutdown(cancel=False)
    assert backend.is_shut_down
    with pytest.raises(EngineClosedError, match="'small' was shut down"):
        backend.submit([REQUEST])
    with pytest.raises(EngineClosedError, match="'small' was shut down"):
        await backend.start(RecordingSink())


async def test_a_backend_whose_start_failed_is_shut_down_and_of_no_more_use() -> None:
    backend = Unable()
    with pytest.raises(OSError, match="no licence"):
        await backend.start(RecordingSink())
    with pytest.raises(BackendStartError, match="started already"):
        await backend.start(RecordingSink())
    await backend.shutdown()
    with pytest.raises(EngineClosedError):
        backend.submit([REQUEST])


async def test_instances_do_not_share_how_far_they_have_come() -> None:
    one, other = Small(name="one"), Small(name="other")
    await one.start(RecordingSink())
    with pytest.raises(BackendError, match="'other' was not started"):
        other.submit([])


def test_a_backend_without_a_name_is_called_by_its_class() -> None:
    backend = Small()
    del backend.name
    with pytest.raises(BackendError, match="backend 'Small' was not started"):
        backend.submit([])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kinds": ()}, ["kinds is empty"]),
        ({"kinds": {TaskKind.BLOCK}}, ["kinds names block"]),
        ({"kinds": "function"}, ["kinds must be a collection"]),
        ({"limits": "slow"}, ["limits must be a collection"]),
        ({"resources": {"cores", "disk"}}, ["resources names disk", "cores, gpus, memory, ranks"]),
        ({"kills_running": {EXECUTABLE}}, ["kills_running names executable", "kinds: function"]),
        ({"kinds": {EXECUTABLE}, "chains": True}, ["chains=True", "kinds does not name function"]),
        ({"kinds": {EXECUTABLE}, "remote_results": True}, ["remote_results=True", "kinds"]),
        ({"native_dependencies": True, "executes": False}, ["native_dependencies", "executes"]),
        ({"remote_results": True, "executes": False}, ["remote_results", "executes=False"]),
        (
            {"resources": {"disk"}, "kills_running": {EXECUTABLE}},
            ["resources names disk", "kills_running names executable"],
        ),
    ],
)
def test_capabilities_that_contradict_each_other_are_refused(
    fields: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(ValueError, match=r".+") as caught:
        Capabilities(**{"kinds": {FUNCTION}, **fields})
    assert [word for word in words if word not in str(caught.value)] == []


def test_a_dry_run_may_take_chains() -> None:
    assert Capabilities(kinds={FUNCTION}, chains=True, executes=False).chains


def test_a_class_whose_capabilities_are_no_capabilities_cannot_be_made() -> None:
    with pytest.raises(TypeError, match=r"Wrong\.capabilities must be Capabilities\(\.\.\.\), not"):

        class Wrong(Small):
            capabilities = (FUNCTION,)


def test_a_class_may_decide_its_capabilities_for_each_instance() -> None:
    class Own(Small):
        @property
        def capabilities(self) -> Capabilities:
            return Capabilities(kinds={EXECUTABLE})

    assert Own().capabilities.kinds == {EXECUTABLE}


@pytest.mark.parametrize("version", [1, "1.0", (1,), ("1", "0")])
def test_a_class_whose_version_of_the_contract_is_no_version_cannot_be_made(version: Any) -> None:
    with pytest.raises(TypeError, match="api_version must be two whole numbers"):
        type("Wrong", (Small,), {"api_version": version})
