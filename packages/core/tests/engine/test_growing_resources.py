"""Resources that are a function of the attempt: a retry may ask for more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from radical.asyncflow import ConfigurationError, ResourceError, Resources, WorkflowEngine
from radical.asyncflow.errors import UnsupportedOptionError
from radical.asyncflow.testing import ScriptedBackend

GB = 10**9


@pytest.fixture
def backend() -> ScriptedBackend:
    return ScriptedBackend(resources=("cores", "memory"))


@pytest_asyncio.fixture
async def flow(backend: ScriptedBackend) -> AsyncIterator[WorkflowEngine]:
    async with await WorkflowEngine.create(backend) as engine:
        yield engine


def failing(times: int) -> Callable[..., int]:
    """A body that fails so often, and then returns how often it ran."""
    ran: list[None] = []

    def body(*_: object) -> int:
        ran.append(None)
        if len(ran) <= times:
            raise MemoryError(f"attempt {len(ran)}")
        return len(ran)

    return body


async def test_each_attempt_asks_for_its_own(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(retries=3, resources=lambda attempt: {"memory": 2**attempt * GB})(
        failing(2)
    )
    assert await task() == 3
    assert [request.spec.resources.memory for request in backend.submitted] == [
        2 * GB,
        4 * GB,
        8 * GB,
    ]


async def test_another_call_begins_with_the_first_again(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(retries=1, resources=lambda attempt: Resources(cores=attempt))(
        failing(1)
    )
    await task()
    await task()
    assert [request.spec.resources.cores for request in backend.submitted] == [1, 2, 1]


async def test_equal_attempts_share_one_spec(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    """Backends keep what they know of a task by its spec, such as its pickled function."""
    task = flow.function_task(retries=3, resources=lambda attempt: {"cores": min(attempt, 2)})
    await task(failing(3))()
    first, *later = [request.spec for request in backend.submitted]
    assert (first.resources.cores, [spec.resources.cores for spec in later]) == (1, [2, 2, 2])
    assert len({id(spec) for spec in later}) == 1


async def test_more_than_there_can_be_fails_the_task_with_what_failed_before() -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as flow:
        task = flow.function_task(retries=5, resources=lambda attempt: {"cores": attempt})
        future = task(failing(9))()
        with pytest.raises(ResourceError, match="3 cores") as caught:
            await future
    assert future.attempts == 2
    assert str(caught.value.__cause__) == "attempt 2"


async def test_what_no_backend_honours_is_refused_at_the_call(flow: WorkflowEngine) -> None:
    with pytest.raises(UnsupportedOptionError, match="gpus"):
        flow.function_task(resources=lambda attempt: {"gpus": attempt})(failing(0))()


def _raises(attempt: int) -> dict[str, int]:
    if attempt > 1:
        raise LookupError("no such attempt")
    return {"cores": 1}


async def test_an_error_of_the_function_fails_the_task(flow: WorkflowEngine) -> None:
    future = flow.function_task(retries=2, resources=_raises)(failing(9))()
    with pytest.raises(ConfigurationError, match="raised LookupError for attempt 2") as caught:
        await future
    assert str(caught.value.__cause__) == "attempt 1"


@pytest.mark.parametrize(
    ("resources", "said"),
    [
        (lambda attempt: {"cors": attempt}, "unknown key 'cors'; did you mean 'cores'"),
        (lambda attempt: {"cores": attempt - 1}, "cores must be a whole number of at least 1"),
        (lambda _: None, "returned None for attempt 1"),
        (lambda attempt: 1 / (attempt - 1), "raised ZeroDivisionError for attempt 1"),
        (lambda: {"cores": 1}, "raised TypeError for attempt 1"),
    ],
)
async def test_a_wrong_function_is_refused_where_it_is_given(
    flow: WorkflowEngine, resources: Any, said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        flow.function_task(resources=resources)


async def test_the_memory_of_the_second_attempt_is_taken_from_the_machine() -> None:
    made = ConcurrentExecutionBackend(max_workers=2, memory="8GB")
    async with await WorkflowEngine.create(made) as flow:
        task = flow.function_task(retries=1, resources=lambda attempt: {"memory": attempt * 4 * GB})
        assert await task(failing(1))() == 2


async def test_a_journal_keeps_and_reuses_what_a_later_attempt_gave(tmp_path: Path) -> None:
    ran = tmp_path / "ran"

    def flaky() -> int:
        with ran.open("a") as log:
            log.write("x")
        if len(ran.read_text()) == 1:
            raise MemoryError
        return 42

    for _ in range(2):
        async with WorkflowEngine.create(
            "concurrent", {"max_workers": 2}, journal=tmp_path / "run.journal"
        ) as flow:
            task = flow.function_task(
                retries=1, resources=lambda attempt: {"cores": attempt}, uses=[]
            )(flaky)
            assert await task() == 42
    assert ran.read_text() == "xx"
