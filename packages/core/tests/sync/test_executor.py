"""Libraries that know an executor of `concurrent.futures` run on an engine."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import operator
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine, errors
from radical.asyncflow.sync import Flow, TaskExecutor
from scaled import Scaled


@pytest.fixture(params=["thread", "process"])
def flow(request: pytest.FixtureRequest) -> Iterator[Flow]:
    with Flow("concurrent", {"max_workers": 2, "executor_type": request.param}) as flow:
        yield flow


@pytest.fixture
def executor(flow: Flow) -> TaskExecutor:
    return flow.executor()


def square(number: float) -> float:
    return number * number


def test_it_is_an_executor(executor: TaskExecutor) -> None:
    assert isinstance(executor, concurrent.futures.Executor)
    assert executor.max_workers == 2
    assert list(executor.map(square, range(5), timeout=60)) == [0, 1, 4, 9, 16]
    first = executor.submit(square, 3)
    assert executor.submit(square, first).result(60) == 81


@pytest.mark.parametrize(
    ("function", "name", "result"),
    [
        (operator.neg, "neg", -3),
        (functools.partial(operator.add, 4), "add", 7),
        (Scaled(5), "Scaled", 15),
        (lambda number: number + 1, "<lambda>", 4),
    ],
)
def test_whatever_can_be_called_runs(
    executor: TaskExecutor, function: Any, name: str, result: int
) -> None:
    future = executor.submit(function, 3)
    assert (future.result(60), future.name) == (result, name)


def test_a_task_of_the_flow_runs_once_and_gives_its_result(
    flow: Flow, executor: TaskExecutor
) -> None:
    task = flow.function_task(name="mine")(Scaled(2).__call__)
    future = executor.submit(task, 3, plus=1)
    assert (future.result(60), future.name) == (7, "mine")
    assert executor.submit(functools.partial(task, plus=2), 3).result(60) == 8
    assert executor.submit(flow.engine.function_task(square), 3).result(60) == 9
    assert list(executor.map(task, [1, 2])) == [2, 4]
    assert len(flow.plan()) == 5


def test_a_task_of_another_engine_is_refused(executor: TaskExecutor) -> None:
    with Flow("concurrent", {"max_workers": 1}) as other:
        task = other.function_task(square)
        with pytest.raises(TypeError, match=r"function task 'square'> belongs to another engine"):
            executor.submit(task, 3)


def test_keywords_arrive(executor: TaskExecutor) -> None:
    assert executor.submit(Scaled(2), 3, plus=1).result(60) == 7


def test_an_async_function_is_awaited(executor: TaskExecutor) -> None:
    async def later(number: int) -> int:
        await asyncio.sleep(0)
        return number

    assert executor.submit(later, 3).result(60) == 3


def test_a_failure_is_that_of_the_function(executor: TaskExecutor) -> None:
    future = executor.submit(operator.truediv, 1, 0)
    with pytest.raises(ZeroDivisionError):
        future.result(60)


def test_the_options_are_those_of_tasks(flow: Flow) -> None:
    executor = flow.executor(name="mine", retries=1)
    assert executor.submit(Scaled(1), 1).name == "mine"
    with pytest.raises(errors.ConfigurationError, match="retires"):
        flow.executor(retires=1)
    with pytest.raises(errors.ConfigurationError, match="max_workers must be at least 1"):
        flow.executor(max_workers=0)
    assert flow.executor(max_workers=7).max_workers == 7


@pytest.mark.parametrize("thing", [3, None, "square"])
def test_what_cannot_be_called_is_refused(executor: TaskExecutor, thing: Any) -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        executor.submit(thing)


def test_wrong_arguments_are_an_error_at_the_call(executor: TaskExecutor) -> None:
    with pytest.raises(TypeError, match="square"):
        executor.submit(square, 1, 2)


def test_its_end_waits_for_its_tasks_and_leaves_the_engine(flow: Flow) -> None:
    with flow.executor() as executor:
        future = executor.submit(time.sleep, 0.05)
    assert future.done()
    with pytest.raises(RuntimeError, match="was shut down"):
        executor.submit(square, 1)
    assert flow.function_task(square)(3).result(60) == 9


def test_its_end_can_cancel() -> None:
    gate = threading.Event()
    with Flow("concurrent", {"max_workers": 1}) as flow:
        executor = flow.executor()
        futures: list[Any] = [
            executor.submit(gate.wait, 60),
            *(executor.submit(square, 1) for _ in range(3)),
        ]
        try:
            executor.shutdown(wait=False, cancel_futures=True)
            assert not concurrent.futures.wait(futures[1:], 60).not_done
            assert all(future.cancelled() for future in futures[1:])
        finally:
            gate.set()
        assert not concurrent.futures.wait(futures, 60).not_done


def test_a_flow_that_is_shut_down_refuses() -> None:
    with Flow("concurrent") as flow:
        executor = flow.executor()
    with pytest.raises(errors.EngineClosedError):
        executor.submit(square, 1)


class TestInTheLoop:
    async def test_run_in_executor(self) -> None:
        async with WorkflowEngine.create("concurrent") as flow:
            executor = flow.executor()
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(executor, square, 4) == 16
            assert await asyncio.to_thread(lambda: sum(executor.map(square, range(4)))) == 14
            assert await asyncio.wrap_future(executor.submit(square, 2)) == 4

    async def test_a_wait_that_would_stop_the_loop_is_refused(self) -> None:
        async with WorkflowEngine.create("concurrent") as flow:
            executor = flow.executor()
            future = executor.submit(time.sleep, 0.01)
            with pytest.raises(RuntimeError, match="would stop the loop"):
                future.result()
            with pytest.raises(RuntimeError, match="await their futures first"):
                executor.shutdown()
            await asyncio.wrap_future(future)
            executor.shutdown()

    async def test_another_thread_cannot_make_it(self) -> None:
        async with WorkflowEngine.create("concurrent") as flow:
            with pytest.raises(RuntimeError, match="in the loop of the engine"):
                await asyncio.to_thread(flow.executor)

    async def test_an_engine_that_is_gone_refuses(self) -> None:
        async with WorkflowEngine.create("concurrent") as flow:
            executor = flow.executor()
        with pytest.raises(errors.EngineClosedError):
            await asyncio.wrap_future(executor.submit(square, 1))

    def test_a_loop_that_is_closed_refuses(self) -> None:
        async def make() -> TaskExecutor:
            async with WorkflowEngine.create("concurrent") as flow:
                return flow.executor()

        executor = asyncio.run(make())
        with concurrent.futures.ThreadPoolExecutor(1) as other:
            future = other.submit(executor.submit, square, 1)
            with pytest.raises(errors.EngineClosedError):
                future.result(60)


PROGRAM = """
import asyncio, operator
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.sync import Flow

def square(number):
    return number * number

with Flow("concurrent", {{"max_workers": 2, "executor_type": {kind!r}}}) as flow:
    executor = flow.executor()
{code}
"""


def run(code: str, kind: str = "process") -> None:
    """Run *code* with an executor in a program of its own: what it imports stays there."""
    program = PROGRAM.format(kind=kind, code=textwrap.indent(textwrap.dedent(code), "    "))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


class TestLibraries:
    def test_joblib(self) -> None:
        run("""
            import joblib
            def nested(number):
                import joblib
                call = joblib.delayed(abs)
                return joblib.Parallel(n_jobs=2)(call(number + step) for step in range(2))
            executor.register_joblib()
            call = joblib.delayed
            with joblib.parallel_config(backend="asyncflow", n_jobs=-1):
                results = joblib.Parallel()(call(square)(number) for number in range(500))
                assert results[-1] == 499**2
                assert joblib.effective_n_jobs(-1) == 2
                try:
                    joblib.Parallel()(call(operator.truediv)(1, number) for number in range(-5, 9))
                except ZeroDivisionError:
                    pass
                else:
                    raise AssertionError("the failure was not raised")
                results = joblib.Parallel()(call(nested)(number) for number in range(3))
                assert results == [[0, 1], [1, 2], [2, 3]]
        """)

    def test_joblib_in_the_thread_of_the_loop_is_refused(self) -> None:
        run("""
            import joblib
            async def main():
                async with WorkflowEngine.create("concurrent") as flow:
                    flow.executor().register_joblib("here")
                    with joblib.parallel_config(backend="here", n_jobs=2):
                        joblib.Parallel()(joblib.delayed(square)(number) for number in range(3))
            try:
                asyncio.run(main())
            except RuntimeError as error:
                assert "asyncio.to_thread" in str(error), error
            else:
                raise AssertionError("it was not refused")
        """)

    def test_scikit_learn(self) -> None:
        run(
            """
            import joblib
            from sklearn.datasets import load_iris
            from sklearn.linear_model import LogisticRegression
            from sklearn.model_selection import cross_val_score
            executor.register_joblib()
            x, y = load_iris(return_X_y=True)
            model = LogisticRegression(max_iter=1000)
            alone = cross_val_score(model, x, y)
            with joblib.parallel_config(backend="asyncflow"):
                ours = cross_val_score(model, x, y, n_jobs=-1)
            assert ours.tolist() == alone.tolist()
            """,
            kind="thread",
        )

    def test_dask(self) -> None:
        run("""
            import dask.array
            total = dask.array.ones((100, 100), chunks=(10, 10)).sum()
            assert total.compute(scheduler=executor) == 10_000
        """)

    def test_adaptive(self) -> None:
        run("""
            import adaptive
            learner = adaptive.Learner1D(square, bounds=(-1, 1))
            adaptive.BlockingRunner(
                learner, npoints_goal=20, executor=executor, ntasks=executor.max_workers
            )
            assert learner.npoints >= 20
            assert all(value == point * point for point, value in learner.data.items())
        """)
