"""CSV and trace."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections import Counter
from typing import Any

import pytest
from radical.asyncflow.journal import ErrorRecord, FunctionRecord, RunRecord
from radical.asyncflow.report import _trace, render_csv, render_trace

from .synthetic import synthetic


def rows(run: RunRecord) -> list[dict[str, str]]:
    return [*csv.DictReader(io.StringIO(render_csv(run), newline=""))]


def events(run: RunRecord) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(render_trace(run))["traceEvents"]
    return found


def test_csv_has_a_row_for_each_task() -> None:
    run = synthetic(300, seed=1)
    table = rows(run)
    assert [row["task"] for row in table] == [task.id for task in run.tasks.values()]
    assert [row["state"] for row in table] == [task.state for task in run.tasks.values()]
    assert table[3]["after"] == "task.000003"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", "\n="])
def test_csv_text_that_a_spreadsheet_would_run_gets_an_apostrophe(start: str) -> None:
    run = synthetic(10)
    text = f'{start}cmd|" /C calc"!A0,\n'
    function = FunctionRecord(1, text, "function", "")
    run.tasks[2] = run.tasks[2]._replace(
        function=function, worker=text, error=ErrorRecord(text, text)
    )
    row = rows(run)[1]
    assert {row[name] for name in ("name", "worker", "error", "message")} == {f"'{text}"}


def test_csv_numbers_stay_numbers() -> None:
    run = synthetic(10)
    run.tasks[2] = run.tasks[2]._replace(exit_code=-9)
    assert rows(run)[1]["exit_code"] == "-9"


def test_the_trace_has_a_complete_event_for_each_attempt() -> None:
    run = synthetic(400, seed=2)
    slices = [event for event in events(run) if event["ph"] == "X"]
    tasks = Counter(event["args"]["task"] for event in slices)
    for task in run.tasks.values():
        assert tasks[task.id] == len(task.failed) + (task.started is not None)
    first = next(event for event in slices if event["args"]["task"] == "task.000002")
    assert first["dur"] == pytest.approx((run.tasks[2].ended - run.tasks[2].started) * 1e6, abs=1)  # type: ignore[operator]


def test_slices_of_a_thread_do_not_overlap() -> None:
    threads: dict[int, list[dict[str, Any]]] = {}
    for event in events(synthetic(400, seed=3)):
        if event["ph"] == "X":
            threads.setdefault(event["tid"], []).append(event)
    assert len(threads) > 1
    for slices in threads.values():
        slices.sort(key=lambda event: event["ts"])
        for before, after in itertools.pairwise(slices):
            assert before["ts"] + before["dur"] <= after["ts"] + 1


def test_processes_are_backends_and_threads_are_workers() -> None:
    run = synthetic(200, seed=4)
    named = [event for event in events(run) if event["ph"] == "M"]
    processes = {event["args"]["name"] for event in named if event["name"] == "process_name"}
    threads = {event["args"]["name"] for event in named if event["name"] == "thread_name"}
    assert processes == {"blocks", "concurrent", "dask"}
    assert {task.worker for task in run.tasks.values() if task.worker} <= threads


def test_retries_and_failures_are_instant_events() -> None:
    run = synthetic(3_000, seed=5)
    instants = Counter(event["cat"] for event in events(run) if event["ph"] == "i")
    assert instants["retry"] == sum(len(task.failed) for task in run.tasks.values())
    assert instants["failed"] == sum(
        task.state == "FAILED" and task.started is not None for task in run.tasks.values()
    )


def test_arrows_pair_up_and_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_trace, "MAX_ARROWS", 7)
    run = synthetic(200, seed=6)
    arrows = [event for event in events(run) if event["ph"] in "sf"]
    assert Counter(event["ph"] for event in arrows) == {"s": 7, "f": 7}
    assert Counter(event["id"] for event in arrows) == dict.fromkeys(range(1, 8), 2)
    assert json.loads(render_trace(run))["otherData"]["dependencies drawn"] == 7
