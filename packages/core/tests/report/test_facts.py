"""The figures of a run, and its attempts on lanes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow.journal import ErrorRecord, RunRecord, TaskRecord
from radical.asyncflow.report import Facts
from radical.asyncflow.report._lanes import BLOCKS, Bar, arrange

from .synthetic import CAMPAIGN, PREPARE, REDUCE, SIMULATE, synthetic


def task(number: int, start: float | None, end: float | None, *after: int) -> TaskRecord:
    """Make a task that the worker "w" of the backend "b" ran."""
    done = TaskRecord(number, PREPARE, "DONE", after, backend="b", worker="w")
    return done._replace(added=0.0, ready=start, started=start, ended=end)


def run(*tasks: TaskRecord, **fields: object) -> RunRecord:
    record = RunRecord("run.1", 0.0, tasks={one.number: one for one in tasks})
    return record._replace(**fields)


def test_the_critical_path_is_the_chain_that_took_longest() -> None:
    facts = Facts(run(task(1, 0, 4), task(2, 0, 1), task(3, 4, 5, 1, 2), task(4, 1, 3, 2)))
    assert [one.number for one in facts.critical_path] == [1, 3]
    assert facts.critical_seconds == 5


def test_a_block_counts_neither_as_task_time_nor_on_the_critical_path() -> None:
    block = task(1, 0, 100)._replace(function=CAMPAIGN, backend="", worker=None)
    facts = Facts(run(block, task(2, 0, 1)))
    assert facts.task_seconds == 1
    assert [one.number for one in facts.critical_path] == [2]


def test_a_dependency_that_the_journal_does_not_have_is_passed_over() -> None:
    assert Facts(run(task(7, 0, 1, 3))).critical_seconds == 1


def test_utilisation_counts_the_slots_seen_while_the_backend_was_up() -> None:
    other = task(2, 0, 5)._replace(worker="v")
    backends = {"b": {"version": "", "up": 0.0, "down": 10.0}}
    facts = Facts(run(task(1, 0, 10), other, backends=backends, ended=20.0))
    assert facts.backends[0].slots == 2
    assert facts.utilisation == pytest.approx(15 / 20)


def test_a_worker_that_runs_two_at_once_has_two_slots() -> None:
    assert Facts(run(task(1, 0, 10), task(2, 5, 15))).backends[0].slots == 2


def test_a_task_whose_start_was_not_told_counts_from_when_it_was_ready() -> None:
    assert Facts(run(task(1, None, 3)._replace(ready=1.0))).task_seconds == 2


def test_a_task_that_runs_still_counts_in_no_mean() -> None:
    running = task(2, 0, None)._replace(state="RUNNING")
    facts = Facts(run(task(1, 0, 4), running, ended=10.0))
    assert facts.functions[0].mean == 4


def test_a_reused_task_takes_no_time() -> None:
    facts = Facts(run(task(1, 0, 3)._replace(reused="run.0/1")))
    assert (facts.task_seconds, facts.reused, facts.lanes) == (0, 1, ())


def test_equal_failures_are_told_together_and_consequences_apart() -> None:
    error = ErrorRecord("ValueError", "no", "a traceback")
    follows = ErrorRecord("radical.asyncflow.errors.DependencyFailureError", "task 1 failed")
    bad = [
        task(number, 0, 1)._replace(state="FAILED", error=one)
        for number, one in enumerate((error, error._replace(traceback="another"), follows), 1)
    ]
    facts = Facts(run(*bad))
    assert [[one.number for one in failure.tasks] for failure in facts.failures] == [[1, 2]]
    assert [one.number for one in facts.consequences] == [3]


def test_the_slowest_tasks_come_first() -> None:
    facts = Facts(run(task(1, 0, 1), task(2, 0, 3), task(3, 0, 2)))
    assert [one.number for one, _ in facts.slowest(2)] == [2, 3]


def test_a_synthetic_run_adds_up() -> None:
    record = synthetic(2_000, seed=5)
    facts = Facts(record)
    assert sum(facts.states.values()) == 2_000
    assert sum(one.tasks for one in facts.functions) == 2_000
    assert facts.critical_seconds <= record.length
    assert 0 < (facts.utilisation or 0) <= 1
    wide = sum(one.capacity for one in facts.backends)
    assert facts.task_seconds <= wide


spans = st.tuples(st.sampled_from("ab"), st.floats(0, 100), st.floats(0, 10))


@given(st.lists(spans, max_size=60))
def test_each_bar_has_one_lane_and_none_overlaps_another(
    found: list[tuple[str, float, float]],
) -> None:
    bars = [
        Bar(start, start + length, TaskRecord(number, SIMULATE, "DONE", backend="b"), 1, worker)
        for number, (worker, start, length) in enumerate(found)
    ]
    lanes = arrange(bars)
    assert sorted(bar.task.number for lane in lanes for bar in lane.bars) == [*range(len(bars))]
    for lane in lanes:
        assert {bar.worker for bar in lane.bars} == {lane.worker}
        for before, after in itertools.pairwise(lane.bars):
            assert before.ended <= after.started


def test_lanes_stand_in_the_order_of_backend_and_worker_with_blocks_last() -> None:
    names = [("b", "w10"), ("b", "w2"), ("a", None), ("", None)]
    bars = [
        Bar(0.0, 1.0, TaskRecord(1, CAMPAIGN if not name else REDUCE, "DONE", backend=name), 1, at)
        for name, at in names
    ]
    lanes = [(lane.backend, lane.worker) for lane in arrange(bars)]
    assert lanes == [("a", None), ("b", "w2"), ("b", "w10"), (BLOCKS, None)]
