"""The task model: states, resources, retries, commands."""

from __future__ import annotations

import asyncio
import pickle
import shlex
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import tenacity
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow.backend import Capabilities
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.model import (
    Command,
    Prompt,
    Resources,
    RetryPolicy,
    TaskKind,
    TaskState,
    parse_duration,
    parse_size,
)
from radical.asyncflow.model._retry import retry_delay
from radical.asyncflow.model._states import TRANSITIONS, TransitionError, check_transition

FINAL = {TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED}


def test_the_transition_table_knows_every_state() -> None:
    assert set(TRANSITIONS) == set(TaskState)


def test_nothing_follows_a_final_state() -> None:
    assert {state for state, after in TRANSITIONS.items() if not after} == FINAL


@pytest.mark.parametrize("state", sorted(set(TaskState) - FINAL))
def test_every_unfinished_task_may_fail_and_be_cancelled(state: TaskState) -> None:
    assert {TaskState.FAILED, TaskState.CANCELLED} <= TRANSITIONS[state]


@pytest.mark.parametrize("old", TaskState)
@pytest.mark.parametrize("new", TaskState)
def test_a_transition_is_allowed_exactly_where_the_table_says(
    old: TaskState, new: TaskState
) -> None:
    if new in TRANSITIONS[old]:
        check_transition(old, new)
    else:
        with pytest.raises(TransitionError, match=f"{old.name} may be followed by .*{new.name}"):
            check_transition(old, new)


def test_users_see_five_states() -> None:
    names = {state.public for state in TaskState}
    assert names == {"PENDING", "RUNNING", "DONE", "FAILED", "CANCELLED"}


# ------------------------------------------------------------------- resources


def test_the_total_of_a_resource_counts_every_rank() -> None:
    asked = Resources(cores=2, gpus=1, memory=10, ranks=3)
    assert (asked.total_cores, asked.total_gpus, asked.total_memory) == (6, 3, 30)


def test_a_part_of_a_gpu_may_be_asked_for() -> None:
    assert Resources.of({"gpus": 0.25}).gpus == 0.25
    assert Resources(gpus=0.1, ranks=3).total_gpus == 0.3
    whole = Resources(gpus=2.0)
    assert (whole.gpus, type(whole.gpus), Resources(gpus=0.0)) == (2, int, Resources())


@pytest.mark.parametrize("bad", [1.5, 0.0001, -0.5, float("nan"), float("inf"), True, "1", None])
def test_a_wrong_number_of_gpus_says_what_would_work(bad: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Resources.of({"gpus": bad})
    assert str(caught.value) == (
        "resources: gpus must be a whole number of at least 0, or a part of one GPU from 0.001 "
        f"to below 1, such as 0.5, not {bad!r}"
    )


@pytest.mark.parametrize("bad", [{"cores": 0}, {"gpus": -1}, {"ranks": 1.5}, {"memory": True}])
def test_a_resource_below_its_least_is_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError, match="must be a whole number of at least"):
        Resources(**bad)


def test_every_wrong_resource_is_named_in_one_error() -> None:
    with pytest.raises(ConfigurationError, match=r"cores .*; gpus "):
        Resources(cores=0, gpus=-1)


def test_an_unknown_resource_gets_the_closest_known_one() -> None:
    with pytest.raises(ConfigurationError, match="did you mean 'cores'"):
        Resources.of({"core": 2})


def test_a_size_in_a_mapping_is_read() -> None:
    assert Resources.of({"memory": "512 MiB"}).memory == 512 * 2**20


@pytest.mark.parametrize(
    ("text", "size"), [("1.5 GB", 1_500_000_000), ("4k", 4000), ("7", 7), ("1Ti", 2**40)]
)
def test_a_size_has_a_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.text())
def test_a_size_of_any_text_is_a_number_or_our_own_error(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ConfigurationError as error:
        assert "not a size" in str(error)  # noqa: PT017


# ------------------------------------------------------------------- durations


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (0, 0.0),
        (90, 90.0),
        (0.25, 0.25),
        ("90", 90.0),
        ("1.5", 1.5),
        ("90:00", 5400.0),
        ("1:30", 90.0),
        ("01:30:00", 5400.0),
        ("100:00:00", 360_000.0),
        ("0:00:02.5", 2.5),
        ("2-00:00:01", 172_801.0),
        (" 12:00:00 ", 43_200.0),
        (timedelta(hours=1, milliseconds=500), 3600.5),
    ],
)
def test_a_duration_is_seconds_a_clock_or_a_timedelta(
    value: float | str | timedelta, seconds: float
) -> None:
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "bad",
    [
        *(-1, True, float("nan"), float("inf"), 10**400, None, [1], timedelta(seconds=-1)),
        *("", "soon", "-5", "1h", "1e3", "1:2:3:4", "1::2", "1:60", "1:60:00", "٣:٠٠", "9" * 5000),
        *("1-12", "1-12:30", "1-24:00:00"),  # to Slurm these are hours, or hours and minutes
    ],
)
def test_what_is_no_duration_is_refused_with_what_is(bad: Any) -> None:
    with pytest.raises(ConfigurationError, match=r'not a duration: .*write seconds, "MM:SS"'):
        parse_duration(bad)


@given(st.text())
def test_a_duration_of_any_text_is_seconds_or_our_own_error(text: str) -> None:
    try:
        assert parse_duration(text) >= 0
    except ConfigurationError as error:
        assert "not a duration" in str(error)  # noqa: PT017


@given(st.integers(0, 9), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_a_clock_means_what_a_timedelta_of_its_parts_does(
    days: int, hours: int, minutes: int, seconds: int
) -> None:
    text = f"{days}-{hours}:{minutes:02}:{seconds:02}"
    parts = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    assert parse_duration(text) == parse_duration(parts)


# --------------------------------------------------------------------- retries


def test_three_retries_are_four_attempts() -> None:
    policy = RetryPolicy.of(3)
    assert policy is not None
    assert policy.attempts == 4


@pytest.mark.parametrize("nothing", [0, None])
def test_no_retries_are_no_policy(nothing: int | None) -> None:
    assert RetryPolicy.of(nothing) is None


@pytest.mark.parametrize("bad", [-1, True, 1.5, "3"])
def test_retries_that_are_no_number_are_refused(bad: object) -> None:
    with pytest.raises(ConfigurationError, match="whole number"):
        RetryPolicy.of(bad)  # type: ignore[arg-type]


def test_everything_wrong_with_a_policy_is_in_one_error() -> None:
    with pytest.raises(
        ConfigurationError, match=r"attempts .*; exp_base .*; jitter .*; wait .*; on"
    ):
        RetryPolicy(attempts=0, wait=-1, jitter=float("nan"), exp_base=0.5, on=())


def test_waits_grow_by_the_base_up_to_the_limit() -> None:
    policy = RetryPolicy(attempts=9, wait=1.0, exp_base=3.0, wait_max=20.0)
    waits = [retry_delay(policy, attempt, ValueError(), 0.0) for attempt in range(1, 6)]
    assert waits == [1.0, 3.0, 9.0, 20.0, 20.0]


@pytest.mark.parametrize(
    ("wait", "waits"), [(10.0, [10.0, 20.0, 40.0, 60.0, 60.0]), (90.0, [90.0] * 5)]
)
def test_waits_double_up_to_a_minute_or_stay_what_they_are(wait: float, waits: list[float]) -> None:
    policy = RetryPolicy(attempts=9, wait=wait)
    assert [retry_delay(policy, attempt, ValueError(), 0.0) for attempt in range(1, 6)] == waits


def test_jitter_adds_its_share_of_the_dice() -> None:
    policy = RetryPolicy(wait=1.0, jitter=4.0)
    assert retry_delay(policy, 1, ValueError(), 0.25) == 2.0


def test_jitter_tells_the_longest_waits_apart_too() -> None:
    policy = RetryPolicy(attempts=99, wait=1.0, wait_max=8.0, jitter=4.0)
    assert retry_delay(policy, 50, ValueError(), 0.5) == 10.0


def test_the_last_attempt_has_no_successor() -> None:
    assert retry_delay(RetryPolicy(attempts=2), 2, ValueError(), 0.0) is None


def test_an_error_of_another_type_is_not_retried() -> None:
    policy = RetryPolicy(on=(OSError, KeyError))
    assert retry_delay(policy, 1, ValueError(), 0.0) is None
    assert retry_delay(policy, 1, KeyError(), 0.0) == 0.0


@pytest.mark.parametrize("exp_base", [1, 10, 1e300])
def test_a_million_attempts_do_not_overflow_the_wait(exp_base: float) -> None:
    policy = RetryPolicy(attempts=2_000_000, wait=5.0, exp_base=exp_base, wait_max=5.0)
    assert retry_delay(policy, 1_000_000, ValueError(), 0.0) == 5.0


# ------------------------------------------------- what has no effect is refused


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"wait": tenacity.wait_fixed(1), "exp_base": 2.0}, "exp_base would .* wait_fixed decides"),
        ({"wait": tenacity.wait_fixed(1), "wait_max": 60.0}, "wait_max would have no effect"),
        (
            {"wait": tenacity.wait_fixed(1), "exp_base": 3, "wait_max": 5, "jitter": 1},
            "exp_base and wait_max and jitter would have no effect",
        ),
        ({"exp_base": 3.0}, "exp_base would have no effect, because wait is 0"),
        ({"wait_max": 5.0, "jitter": 1.0}, "wait_max would have no effect, because wait is 0"),
        ({"wait": 10, "wait_max": 5}, "wait_max, 5 s, is shorter than wait, 10 s"),
        ({"on": ()}, r"on must be exception types or a tenacity predicate, not \(\)"),
        ({"on": int}, "on must be exception types"),
        ({"on": (OSError, "KeyError")}, "on must be exception types"),
        ({"on": SystemExit}, "no task fails with SystemExit; .* fails with TaskExitError"),
        ({"on": (OSError, StopIteration)}, "no task fails with StopIteration"),
        ({"on": asyncio.CancelledError}, "no task fails with CancelledError"),
    ],
)
def test_a_setting_without_an_effect_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        RetryPolicy(**settings)


@pytest.mark.parametrize("kind", [BaseException, Exception, TimeoutError, (OSError, KeyError)])
def test_types_that_tasks_fail_with_are_accepted(kind: Any) -> None:
    assert retry_delay(RetryPolicy(on=kind), 1, KeyError(), 0.0) in (0.0, None)


async def asynchronous(state: object) -> bool:
    return True


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"on": tenacity.retry_if_result(bool)}, "retry_if_result judges results, but only failu"),
        ({"on": tenacity.retry_if_not_result(bool)}, "retry_if_not_result judges results"),
        (
            {"on": tenacity.retry_if_exception_type(OSError) | tenacity.retry_if_result(bool)},
            "retry_if_result judges results",
        ),
        ({"on": tenacity.stop_after_attempt(3)}, "on must be a predicate, not stop_after_attempt"),
        ({"on": tenacity.wait_fixed(3)}, "on must be a predicate, not wait_fixed"),
        ({"on": tenacity.retry_if_exception_type}, "on must be exception types"),
        ({"on": asynchronous}, "on cannot be asynchronous: asynchronous"),
        (
            {"on": tenacity.asyncio.retry_if_exception(asynchronous)},
            "on cannot be asynchronous: retry_if_exception",
        ),
        ({"wait": tenacity.stop_after_delay(3)}, "wait must be a wait strategy, not stop_after_d"),
        ({"wait": tenacity.retry_if_exception_type()}, "wait must be a wait strategy, not retry_"),
        ({"wait": tenacity.wait_fixed}, r"wait is the class wait_fixed: call it, as in wait_fixed"),
        ({"wait": asynchronous}, "wait cannot be asynchronous"),
    ],
)
def test_a_strategy_that_cannot_work_is_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        RetryPolicy(**settings)


# ----------------------------------------------------- the strategies of tenacity

WAITS: dict[str, tuple[Any, list[float]]] = {
    "wait_chain": (tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(7)), [1, 7, 7]),
    "wait_combine": (
        tenacity.wait_combine(tenacity.wait_fixed(1), tenacity.wait_fixed(2)),
        [3] * 3,
    ),
    "wait_exception": (tenacity.wait_exception(lambda error: float(str(error))), [4] * 3),
    "wait_exponential": (tenacity.wait_exponential(multiplier=1), [1, 2, 4]),
    "wait_exponential_jitter": (tenacity.wait_exponential_jitter(jitter=0), [1, 2, 4]),
    "wait_fixed": (tenacity.wait_fixed(2.5), [2.5] * 3),
    "wait_incrementing": (tenacity.wait_incrementing(start=1, increment=2), [1, 3, 5]),
    "wait_none": (tenacity.wait_none(), [0] * 3),
    "wait_random": (tenacity.wait_random(2, 2), [2] * 3),
    "wait_random_exponential": (tenacity.wait_random_exponential(min=3, max=3), [3] * 3),
}
ONLY_FAILURES = {"retry_if_result", "retry_if_not_result"}
OTHER = ConnectionError("4")
OTHER.__cause__ = KeyError("key")
PREDICATES: dict[str, tuple[Any, bool]] = {
    "retry_all": (tenacity.retry_all(tenacity.retry_always, tenacity.retry_never), False),
    "retry_always": (tenacity.retry_always, True),
    "retry_any": (tenacity.retry_any(tenacity.retry_always, tenacity.retry_never), True),
    "retry_if_exception": (tenacity.retry_if_exception(lambda error: str(error) == "4"), True),
    "retry_if_exception_cause_type": (tenacity.retry_if_exception_cause_type(KeyError), True),
    "retry_if_exception_message": (tenacity.retry_if_exception_message(match="[5-9]"), False),
    "retry_if_exception_type": (tenacity.retry_if_exception_type(OSError), True),
    "retry_if_not_exception_message": (tenacity.retry_if_not_exception_message("4"), False),
    "retry_if_not_exception_type": (tenacity.retry_if_not_exception_type(OSError), False),
    "retry_never": (tenacity.retry_never, False),
    "retry_unless_exception_type": (tenacity.retry_unless_exception_type(OSError), False),
}


def test_every_strategy_of_tenacity_is_tested_here() -> None:
    public = {name for name in tenacity.__all__ if name.startswith(("wait_", "retry_"))}
    elsewhere = {"retry_base", "wait_base", "wait_full_jitter"}  # the last is another's alias
    assert public - elsewhere <= {*WAITS, *PREDICATES, *ONLY_FAILURES}


@pytest.mark.parametrize("name", WAITS)
def test_a_wait_strategy_decides_what_it_decides_for_tenacity(name: str) -> None:
    strategy, expected = WAITS[name]
    policy = RetryPolicy(attempts=9, wait=strategy)
    assert [retry_delay(policy, attempt, OTHER, 0.5) for attempt in (1, 2, 3)] == expected
    waits: list[float] = []
    retrying = tenacity.Retrying(
        wait=strategy, stop=tenacity.stop_after_attempt(4), sleep=waits.append, reraise=True
    )
    with pytest.raises(ConnectionError):
        retrying(_fail)
    assert waits == expected


@pytest.mark.parametrize("name", PREDICATES)
def test_a_predicate_chooses_what_it_chooses_for_tenacity(name: str) -> None:
    predicate, again = PREDICATES[name]
    assert (retry_delay(RetryPolicy(on=predicate), 1, OTHER, 0.0) is not None) is again
    retrying = tenacity.Retrying(
        retry=predicate, stop=tenacity.stop_after_attempt(2), sleep=lambda _: None, reraise=True
    )
    with pytest.raises(ConnectionError):
        retrying(_fail)
    assert (retrying.statistics["attempt_number"] == 2) is again


def _fail() -> None:
    raise OTHER


@pytest.mark.parametrize(
    "name",
    ["seconds_since_start", "idle_for", "fn", "args", "kwargs", "start_time", "upcoming_sleep"],
)
@pytest.mark.parametrize("setting", ["on", "wait"])
def test_what_a_policy_is_not_told_is_no_made_up_number(setting: str, name: str) -> None:
    settings: Any = {setting: lambda state: getattr(state, name)}
    with pytest.raises(AttributeError, match=f"attempt_number and outcome, but not '{name}'"):
        retry_delay(RetryPolicy(**settings), 1, ValueError(), 0.0)


def test_a_stop_condition_inside_of_a_predicate_is_not_silently_wrong() -> None:
    def within_an_hour(state: Any) -> bool:
        return not tenacity.stop_after_delay(3600)(state)

    with pytest.raises(AttributeError, match="not 'seconds_since_start'; attempts= limits"):
        retry_delay(RetryPolicy(on=within_an_hour), 1, ValueError(), 0.0)


def test_the_outcome_is_that_of_a_failed_future() -> None:
    seen: list[Any] = []

    def look(state: Any) -> bool:
        seen.append(state)
        return True

    error = ValueError("no")
    retry_delay(RetryPolicy(on=look), 2, error, 0.0)
    (state,) = seen
    assert (state.attempt_number, state.outcome.attempt_number) == (2, 2)
    assert (state.outcome.failed, state.outcome.exception()) == (True, error)
    with pytest.raises(ValueError, match="no") as caught:
        state.outcome.result()
    assert caught.value is error


@pytest.mark.parametrize("said", [float("inf"), float("nan"), None, "soon"])
def test_a_strategy_that_says_no_seconds_is_named(said: Any) -> None:
    def forever(state: object) -> Any:
        return said

    wrong = f"strategy forever must return seconds, not {said!r}"
    with pytest.raises(ConfigurationError, match=wrong):
        retry_delay(RetryPolicy(wait=forever), 1, ValueError(), 0.0)


# -------------------------------------------------------------------- commands


def test_a_list_of_strings_and_paths_is_an_argv() -> None:
    assert Command.of(["/bin/ls", Path("/tmp")]).args == ("/bin/ls", "/tmp")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b"ls", "not bytes"),
        (None, "not NoneType"),
        ([], "empty list"),
        ("  ", "command line is empty"),
        (["ls", 3], "strings or paths, not 3"),
        ("a\0b", "NUL"),
    ],
)
def test_what_is_no_command_is_refused(bad: object, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Command.of(bad)


@pytest.mark.parametrize(
    ("env", "why"),
    [
        ({"a=b": "c"}, "must not be empty or contain '='"),
        ({"a": 3}, "names to strings"),
        ({"": "x"}, "must not be empty or contain '='"),
    ],
)
def test_an_environment_that_cannot_be_set_is_refused(env: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Command("ls", env=env)


@given(st.lists(st.text(st.characters(exclude_characters="\0")), min_size=1).filter(lambda a: a[0]))
def test_a_shell_reads_the_text_of_a_command_as_its_argv(argv: list[str]) -> None:
    assert shlex.split(str(Command(tuple(argv)))) == argv


def test_a_command_can_be_pickled() -> None:
    command = Command(("ls", "-l"), env={"a": None}, cwd="/tmp", stdin=b"x")
    assert pickle.loads(pickle.dumps(command)) == command


def test_a_prompt_is_a_text() -> None:
    assert Prompt.of("why?") == Prompt("why?")


def test_what_is_no_prompt_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a list of chat messages or a Prompt, not int"):
        Prompt.of(3)


def test_capabilities_cannot_kill_what_they_do_not_run() -> None:
    with pytest.raises(ValueError, match=r"kills_running names prompt, .*kinds: function"):
        Capabilities(kinds={TaskKind.FUNCTION}, kills_running={TaskKind.PROMPT})
