"""The recording sink keeps first ends, and names what breaks the contract."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from radical.asyncflow.backend import Report, TaskRequest, TaskSpec
from radical.asyncflow.model import TaskKind, TaskState
from radical.asyncflow.testing import RecordingSink

REQUEST = TaskRequest(1, 1, TaskSpec(name="task", kind=TaskKind.FUNCTION, function=print))


@pytest.fixture
async def sink() -> RecordingSink:
    sink = RecordingSink()
    sink.expect([REQUEST])
    return sink


async def test_the_life_of_a_task_is_no_violation(sink: RecordingSink) -> None:
    sink.running(1, 1, "worker")
    sink.done(1, 1, "value")
    assert await sink.outcomes([REQUEST]) == [Report(1, 1, TaskState.DONE, "value")]
    assert sink.violations == []


async def test_a_report_from_a_thread_ends_the_wait(sink: RecordingSink) -> None:
    thread = threading.Thread(target=sink.cancelled, args=(1, 1))
    thread.start()
    (report,) = await sink.outcomes([REQUEST])
    assert report.state is TaskState.CANCELLED
    thread.join()


async def test_the_first_end_is_kept(sink: RecordingSink) -> None:
    sink.done(1, 1, "first")
    sink.done(1, 1, "second")
    assert sink.outcome(REQUEST) == Report(1, 1, TaskState.DONE, "first")


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (lambda sink: [sink.done(1, 1, 0), sink.failed(1, 1, ValueError())], "after the end"),
        (lambda sink: [sink.done(1, 1, 0), sink.running(1, 1)], "after the end"),
        (lambda sink: sink.done(2, 1, 0), "never submitted"),
        (lambda sink: sink.done(1, 2, 0), "never submitted"),
        (lambda sink: sink.failed(1, 1, "text"), "without an exception"),
        (lambda sink: sink.report([Report(1, 1, TaskState.READY)]), "not a state"),
    ],
    ids=["two ends", "late running", "unknown task", "wrong attempt", "no exception", "state"],
)
async def test_what_breaks_the_contract_is_a_violation(
    sink: RecordingSink, act: Callable[[RecordingSink], object], words: str
) -> None:
    act(sink)
    assert len(sink.violations) == 1
    assert words in sink.violations[0]


async def test_waiting_in_vain_names_the_open_tasks(sink: RecordingSink) -> None:
    with pytest.raises(TimeoutError, match=r"1 of 1 tasks have no terminal report.*'task'"):
        await sink.outcomes([REQUEST], deadline=0.01)
