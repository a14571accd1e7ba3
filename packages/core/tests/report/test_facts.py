"""The figures of a run, and its attempts on lanes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow.journal import AttemptRecord, ErrorRecord, RunRecord, TaskRecord
from radical.asyncflow.report import Facts, waited_seconds
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


def in_block(number: int, block: int, added: float, start: float, end: float) -> TaskRecord:
    return task(number, start, end)._replace(block=block, added=added)


def a_block(number: int, start: float, end: float | None, *after: int) -> TaskRecord:
    made = task(number, start, end, *after)
    state = "RUNNING" if end is None else "DONE"
    return made._replace(function=CAMPAIGN, backend="", worker=None, state=state)


def test_the_critical_path_goes_through_what_a_block_awaited() -> None:
    facts = Facts(
        run(
            task(1, 0, 2),
            a_block(2, 2, 12, 1),
            task(3, 12, 13, 2),  # called before the tasks of the block
            in_block(4, 2, 2, 2, 7),
            in_block(5, 2, 2, 2, 4),
            in_block(6, 2, 7.5, 8, 11),  # the block awaited 4 before it called this
        )
    )
    assert [one.number for one in facts.critical_path] == [1, 2, 4, 6, 3]
    assert facts.critical_seconds == 2 + 5 + 3 + 1


def test_what_a_block_did_not_wait_for_is_not_before_its_end() -> None:
    called = (in_block(2, 1, 0, 0, 4), in_block(3, 1, 0, 0, 9))
    facts = Facts(run(a_block(1, 0, 5), *called, task(4, 5, 7, 1)))
    assert facts.critical_seconds == 9  # 3 alone; the chain through the block takes 4 + 2


def test_the_critical_path_goes_through_a_block_in_a_block_that_still_runs() -> None:
    inner = a_block(2, 1, None)._replace(block=1)
    facts = Facts(run(a_block(1, 0, None), inner, in_block(3, 2, 1, 1, 6), ended=8.0))
    assert [one.number for one in facts.critical_path][-1] == 3
    assert facts.critical_seconds == 5


def test_a_long_chain_of_dependencies_is_no_recursion() -> None:
    tasks = [task(number, number, number + 1, number - 1) for number in range(1, 5_000)]
    assert Facts(run(*reversed(tasks))).critical_seconds == 4_999


def test_a_circle_in_a_damaged_journal_ends() -> None:
    assert Facts(run(task(1, 0, 1, 2), task(2, 0, 1, 1))).critical_seconds == 2


def test_a_task_of_two_cores_takes_two_slots() -> None:
    wide = PREPARE._replace(resources={"cores": 2})
    backends = {"b": {"version": "", "up": 0.0, "down": 10.0}}
    one = task(1, 0, 10)._replace(function=wide)
    two = task(2, 0, 5)._replace(function=wide, worker="v")
    facts = Facts(run(one, two, backends=backends, ended=10.0))
    assert (facts.backends[0].slots, facts.utilisation) == (4, pytest.approx(30 / 40))


def test_the_ranks_of_a_task_take_a_slot_each() -> None:
    ranked = PREPARE._replace(resources={"ranks": 3, "cores": 2})
    facts = Facts(run(task(1, 0, 10)._replace(function=ranked, worker=None)))
    assert (facts.backends[0].slots, facts.backends[0].busy) == (6, 60)


def test_tasks_whose_worker_is_not_known_may_have_run_on_the_known_ones() -> None:
    functions = [task(number, 0, 1)._replace(worker=f"w{number}") for number in (1, 2)]
    commands = [task(number, 2, 3)._replace(worker=None) for number in (3, 4)]
    assert Facts(run(*functions, *commands)).backends[0].slots == 2


def test_a_failed_attempt_counts_for_the_backend_that_ran_it() -> None:
    lost = AttemptRecord(1, 0.0, 4.0, "w", ErrorRecord("BackendLostError", "gone"), backend="a")
    facts = Facts(run(task(1, 5, 6)._replace(attempt=2, failed=(lost,))))
    assert {one.name: (one.slots, one.busy) for one in facts.backends} == {"b": (1, 1), "a": (1, 4)}


def test_an_unfinished_retry_is_on_no_nameless_backend() -> None:
    failed = AttemptRecord(1, 0.0, 1.0, "w", ErrorRecord("ValueError", "no"), backend="b")
    waiting = TaskRecord(1, PREPARE, "PENDING", attempt=2, added=0.0, failed=(failed,))
    assert [one.name for one in Facts(run(waiting)).backends] == ["b"]


def test_a_task_that_failed_before_it_began_took_no_slot() -> None:
    missing = task(1, None, 3)._replace(state="FAILED", ready=0.0)
    facts = Facts(run(missing))
    assert (facts.lanes, facts.task_seconds) == ((), 0)


def test_what_runs_still_counts_up_to_now() -> None:
    running = task(1, 2, None)._replace(state="RUNNING")
    facts = Facts(run(running, life="running", seen=10.0))
    (function,) = facts.functions
    assert (facts.task_seconds, facts.critical_seconds, function.running_seconds) == (8, 8, 8)
    assert (function.seconds, function.mean) == (0, None)


def test_a_task_waits_from_when_it_is_ready_to_its_first_attempt() -> None:
    failed = AttemptRecord(1, 3.0, 4.0, "w", ErrorRecord("ValueError", "no"), backend="b")
    again = task(1, 9, 10)._replace(ready=1.0, attempt=2, failed=(failed,))
    assert waited_seconds(again) == 2
    waiting = task(2, None, None)._replace(ready=1.0, state="SUBMITTED")
    assert (waited_seconds(waiting), waited_seconds(waiting, until=5.0)) == (None, 4)
    assert waited_seconds(task(3, 1, 2)._replace(reused="run.0/1")) is None
