"""Retries: how often, when, and after which failures."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from radical.asyncflow import (
    AsyncFlowDeprecationWarning,
    BackendError,
    RetryPolicy,
    WorkflowEngine,
)
from radical.asyncflow.backend import TaskRequest
from radical.asyncflow.testing import ScriptedBackend

from .waiting import in_virtual_time


def failing(times: int, error: type[Exception] = ValueError) -> Callable[[], int]:
    """A body that fails so often, and then returns how often it ran; notes the times."""

    def body() -> int:
        body.times.append(asyncio.get_running_loop().time())  # type: ignore[attr-defined]
        if len(body.times) <= times:  # type: ignore[attr-defined]
            raise error(f"failure {len(body.times)}")  # type: ignore[attr-defined]
        return len(body.times)  # type: ignore[attr-defined]

    body.times = []  # type: ignore[attr-defined]
    return body


async def test_a_task_is_tried_again(flow: WorkflowEngine) -> None:
    future = flow.function_task(retries=3)(failing(2))()
    assert (await future, future.attempts) == (3, 3)


async def test_after_the_last_attempt_its_own_failure_is_raised(flow: WorkflowEngine) -> None:
    future = flow.function_task(retries=2)(failing(9))()
    with pytest.raises(ValueError, match="failure 3"):
        await future
    assert future.attempts == 3


async def test_without_retries_the_first_failure_is_the_last(flow: WorkflowEngine) -> None:
    with pytest.raises(ValueError, match="failure 1"):
        await flow.function_task(failing(1))()


async def test_each_attempt_has_its_number(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    await flow.function_task(retries=3)(failing(2))()
    assert [(request.task_id, request.attempt) for request in backend.submitted] == [
        (1, 1),
        (1, 2),
        (1, 3),
    ]


async def test_dependents_wait_for_the_attempt_that_succeeds(flow: WorkflowEngine) -> None:
    first = flow.function_task(retries=3)(failing(2))()
    assert await flow.function_task(lambda value: value + 1)(first) == 4


async def test_another_kind_of_exception_is_not_retried(flow: WorkflowEngine) -> None:
    policy = RetryPolicy(attempts=5, on=(OSError, KeyError))
    future = flow.function_task(retries=policy)(failing(1))()
    with pytest.raises(ValueError, match="failure 1"):
        await future


async def test_a_policy_that_raises_fails_the_task_and_says_so(flow: WorkflowEngine) -> None:
    policy = RetryPolicy(attempts=5, on=lambda state: state < 1 / 0)
    with pytest.raises(ZeroDivisionError) as caught:
        await flow.function_task(retries=policy, name="picky")(failing(1))()
    assert caught.value.__notes__ == [
        "raised by the retry policy of task 'picky'; the task's own error is the cause"
    ]
    assert str(caught.value.__cause__) == "failure 1"


async def test_a_policy_that_asks_for_what_nobody_measures_keeps_the_tasks_error(
    flow: WorkflowEngine,
) -> None:
    policy = RetryPolicy(attempts=5, on=lambda state: state.seconds_since_start < 60)
    with pytest.raises(AttributeError, match="not 'seconds_since_start'; attempts= lim") as caught:
        await flow.function_task(retries=policy)(failing(1))()
    assert str(caught.value.__cause__) == "failure 1"


@pytest.mark.parametrize(
    ("policy", "waits"),
    [
        (RetryPolicy(attempts=4), [0.0, 0.0, 0.0]),
        (RetryPolicy(attempts=4, wait=1.0), [1.0, 2.0, 4.0]),
        (RetryPolicy(attempts=4, wait=1.0, exp_base=1.0), [1.0, 1.0, 1.0]),
        (RetryPolicy(attempts=4, wait=8.0, wait_max=10.0), [8.0, 10.0, 10.0]),
        (RetryPolicy(attempts=4, wait=tenacity.wait_incrementing(1, 2)), [1.0, 3.0, 5.0]),
    ],
)
def test_the_waits_are_the_policys(policy: RetryPolicy, waits: list[float]) -> None:
    body: Any = failing(3)

    async def main() -> int:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            result: int = await flow.function_task(retries=policy)(body)()
            return result

    assert in_virtual_time(main()) == 4
    gaps = [later - sooner for sooner, later in zip(body.times, body.times[1:], strict=False)]
    assert gaps == pytest.approx(waits)


def test_jitter_stays_within_its_bound() -> None:
    body: Any = failing(20)

    async def main() -> None:
        async with WorkflowEngine.create(ScriptedBackend()) as flow:
            policy = RetryPolicy(attempts=30, wait=1.0, exp_base=1.0, jitter=2.0)
            await flow.function_task(retries=policy)(body)()

    in_virtual_time(main())
    gaps = [later - sooner for sooner, later in zip(body.times, body.times[1:], strict=False)]
    assert all(0.999 <= gap <= 3.001 for gap in gaps)
    assert len(set(gaps)) > 10


async def test_a_predicate_of_tenacity_chooses(flow: WorkflowEngine) -> None:
    policy = RetryPolicy(attempts=9, on=tenacity.retry_if_exception_message(match="failure 1"))
    with pytest.raises(ValueError, match="failure 2"):
        await flow.function_task(retries=policy)(failing(5))()


class RefusingOnce(ScriptedBackend):
    """Refuses its first batch."""

    def submit(self, batch: Any) -> None:
        if not self.submitted:
            self.submitted.extend(batch)
            raise OSError("try later")
        super().submit(batch)


async def test_a_refused_submission_is_a_failed_attempt() -> None:
    async with WorkflowEngine.create(RefusingOnce()) as flow:
        future = flow.function_task(retries=1)(failing(0))()
        assert (await future, future.attempts) == (1, 2)


async def test_a_submit_that_raises_fails_its_batch_with_the_cause() -> None:
    async with WorkflowEngine.create(RefusingOnce()) as flow:
        task = flow.function_task(failing(0))
        with pytest.raises(BackendError, match="refused the task: try later") as caught:
            await task()
        assert isinstance(caught.value.__cause__, OSError)
        assert await task() == 1


async def test_dependencies_are_resolved_for_each_attempt(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    seen: list[Any] = []

    def body(value: Any) -> None:
        seen.append(value)
        raise ValueError

    first = flow.function_task(lambda: 7)()
    with pytest.raises(ValueError, match=r"^$"):
        await flow.function_task(retries=1)(body)([first])
    assert seen == [[7], [7]]
    assert all(isinstance(request, TaskRequest) for request in backend.submitted)


async def test_options_of_a_task_do_not_change_the_task(flow: WorkflowEngine) -> None:
    task = flow.function_task(failing(1))
    assert await task.options(retries=1)() == 2
    assert task.spec.retries is None


def test_the_former_name_of_the_filter_works_with_a_warning() -> None:
    with pytest.warns(
        AsyncFlowDeprecationWarning, match=r"RetryPolicy\(retry=...\) is deprecated.*use on="
    ):
        policy = RetryPolicy(attempts=2, retry=OSError)  # type: ignore[call-arg]
    assert policy == RetryPolicy(attempts=2, on=OSError)
    with (
        pytest.raises(TypeError, match="its former name"),
        pytest.warns(AsyncFlowDeprecationWarning),
    ):
        RetryPolicy(retry=OSError, on=OSError)  # type: ignore[call-arg]
