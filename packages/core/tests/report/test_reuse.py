"""Why a task reused a result or ran, from records alone."""

from __future__ import annotations

from typing import Any

import pytest
from radical.asyncflow.journal import ErrorRecord, FunctionRecord, RunRecord, TaskRecord
from radical.asyncflow.report import Reuse

LOAD = FunctionRecord(1, "load", "function", "aa" * 16)
FIT = FunctionRecord(2, "fit", "function", "bb" * 16, "1")


def done(number: int, function: FunctionRecord, key: str | None, *after: int) -> TaskRecord:
    task = TaskRecord(number, function, "DONE", after, key=key, backend="b", result_bytes=8)
    return task._replace(added=0.0, ready=0.0, started=0.0, ended=1.0)


def run(uid: str, *tasks: TaskRecord) -> RunRecord:
    return RunRecord(uid, 0.0, tasks={task.number: task for task in tasks})


def before(**fields: Any) -> RunRecord:
    """Make a run of a load and a fit, the latter with *fields*."""
    return run("run.a", done(1, LOAD, "k1"), done(2, FIT, "k2", 1)._replace(**fields))


REUSED = done(1, LOAD, "k1")._replace(reused="run.a/1")


def reasons(earlier: RunRecord | None, *tasks: TaskRecord) -> tuple[str, ...]:
    """Explain the last of *tasks* in a run after *earlier*."""
    now = run("run.b", *tasks)
    runs = (now,) if earlier is None else (earlier, now)
    return Reuse(runs, now).explain(tasks[-1]).reasons


def test_a_reused_task_names_where_its_result_is_from() -> None:
    assert reasons(before(), REUSED) == (
        "the journal already had the result of the same call, task.000001 of run.a",
    )


def test_an_equal_call_of_the_same_run_is_told_apart() -> None:
    again = done(2, LOAD, "k1")._replace(reused="run.b/1")
    (reason,) = reasons(None, done(1, LOAD, "k1"), again)
    assert "an equal call of this run, task.000001" in reason


def test_in_the_first_run_nothing_can_be_reused() -> None:
    assert reasons(None, done(1, LOAD, "k1")) == ("this is the first run in the journal",)


def test_a_function_that_is_new_is_named() -> None:
    plot = FunctionRecord(3, "plot", "function", "")
    assert reasons(before(), done(1, plot, "k9")) == (
        "no earlier run in the journal has a task named plot",
    )


def test_a_changed_source_is_told_by_its_hashes() -> None:
    changed = FIT._replace(source="cc" * 16)
    assert reasons(before(), REUSED, done(2, changed, "k3", 1)) == (
        "its source changed since run.a (bbbbbbbb → cccccccc)",
    )


def test_what_a_function_uses_is_named_if_that_changed() -> None:
    parts = {"the code of fit()": "1", "scale": "2", "the version of numpy": "1.26", "gone": "3"}
    now = {"the code of fit()": "1", "scale": "9", "the version of numpy": "2.0", "new": "4"}
    old = FIT._replace(parts=parts)
    new = FIT._replace(source="cc" * 16, parts=now)
    earlier = run("run.a", done(1, LOAD, "k1"), done(2, old, "k2", 1))
    assert reasons(earlier, REUSED, done(2, new, "k3", 1)) == (
        "what it uses changed since run.a: scale, the version of numpy (1.26 → 2.0), gone, new",
    )
    many = new._replace(parts={**now, **dict.fromkeys("abc", "5")})
    (reason,) = reasons(earlier, REUSED, done(2, many, "k3", 1))
    assert reason.endswith("gone, new, a and 2 more")
    own = new._replace(parts={**now, "the code of fit()": "9"})
    (reason,) = reasons(earlier, REUSED, done(2, own, "k3", 1))
    assert reason.startswith("its source changed since run.a (")


def test_a_changed_version_is_told() -> None:
    assert reasons(before(), REUSED, done(2, FIT._replace(version="2"), "k3", 1)) == (
        "its declared version changed since run.a (1 → 2)",
    )


def test_changed_arguments_are_what_remains() -> None:
    assert reasons(before(), REUSED, done(2, FIT, "k3", 1)) == (
        "its arguments changed since task.000002 of run.a",
    )


def test_a_key_of_the_user_s_own_is_named() -> None:
    (reason,) = reasons(before(), REUSED, done(2, FIT._replace(cache="key"), "k3", 1))
    assert reason == "its cache_key differs from that in run.a"


def test_cache_false_is_named() -> None:
    (reason,) = reasons(before(), REUSED, done(2, FIT._replace(cache="no"), None, 1))
    assert reason == "it is declared with cache=False"


def test_a_block_always_runs() -> None:
    (reason,) = reasons(before(), done(1, LOAD._replace(kind="block"), None))
    assert reason.startswith("a block always runs")


def test_a_changed_dependency_is_named_with_its_own_reason() -> None:
    load = done(1, LOAD._replace(source="dd" * 16), "k8")
    assert reasons(before(), load, done(2, FIT, "k9", 1)) == (
        "it depends on task.000001 (load), which ran again: "
        "its source changed since run.a (aaaaaaaa → dddddddd)",
    )


def test_the_root_of_a_chain_of_changes_is_named() -> None:
    earlier = run("run.a", *(done(n, LOAD, f"k{n}", *range(max(1, n - 1), n)) for n in (1, 2, 3)))
    load = LOAD._replace(version="7")
    tasks = [done(1, load, "c1"), done(2, LOAD, "c2", 1), done(3, LOAD, "c3", 2)]
    (reason,) = reasons(earlier, *tasks)
    assert reason.startswith("it depends on task.000002 (load), which changed because of")
    assert "because of task.000001 (load): its declared version changed" in reason


def test_a_long_chain_of_changes_is_followed_to_its_root() -> None:
    earlier = run("run.a", done(1, LOAD, "k1"))
    new = [done(n, LOAD, f"c{n}", *range(max(1, n - 1), n)) for n in range(1, 5_001)]
    new[0] = new[0]._replace(function=LOAD._replace(source="ee"))
    now = run("run.b", *new)
    reuse = Reuse((earlier, now), now)
    assert all("task.000001" in reuse.explain(task).reasons[0] for task in new[1:])


@pytest.mark.parametrize(
    ("state", "words"),
    [("FAILED", "failed"), ("CANCELLED", "was cancelled"), ("RUNNING", "had not ended when")],
)
def test_a_call_that_did_not_succeed_before_runs_again(state: str, words: str) -> None:
    (reason,) = reasons(before(state=state, result_bytes=None), REUSED, done(2, FIT, "k2", 1))
    assert reason.startswith(f"the same call, task.000002 of run.a, {words}")


def test_what_a_call_failed_with_is_named() -> None:
    """Check that a preempted task differs from a broken one."""
    error = ErrorRecord("radical.asyncflow.errors.PreemptedError", "the run stops")
    earlier = before(state="FAILED", result_bytes=None, error=error)
    (reason,) = reasons(earlier, REUSED, done(2, FIT, "k2", 1))
    assert reason == "the same call, task.000002 of run.a, failed with PreemptedError"


def test_a_result_that_was_not_stored_is_named_with_the_reason() -> None:
    earlier = before(result_bytes=None, unstored="result too large (2 GiB)")
    assert reasons(earlier, REUSED, done(2, FIT, "k2", 1)) == (
        "the result of the same call, task.000002 of run.a, was not stored: "
        "result too large (2 GiB)",
    )


def test_what_the_run_itself_knows_is_told() -> None:
    task = done(2, FIT, "k2", 1)._replace(why="its output file plot.png is gone")
    assert reasons(before(), REUSED, task) == ("its output file plot.png is gone",)


def test_arguments_that_have_no_content_are_told() -> None:
    task = done(2, FIT, None, 1)._replace(why="an argument of type Socket cannot be compared")
    assert reasons(before(), REUSED, task) == ("an argument of type Socket cannot be compared",)


def test_a_task_that_never_ran_because_of_another_says_so() -> None:
    error = ErrorRecord("radical.asyncflow.errors.DependencyFailureError", "task 1 failed")
    task = done(2, FIT, None, 1)._replace(state="FAILED", error=error)
    assert reasons(before(), REUSED, task) == (
        "it did not run, because a task that it depends on failed",
    )
