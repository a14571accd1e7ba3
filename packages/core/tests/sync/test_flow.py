"""A program without an event loop calls tasks, and waits for their results."""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import cancelled, errors
from radical.asyncflow.sync import Flow


@pytest.fixture
def flow() -> Iterator[Flow]:
    with Flow("concurrent", {"max_workers": 2}) as flow:
        yield flow


def double(number: int) -> int:
    return 2 * number


def fail(text: str) -> None:
    raise ValueError(text)


def test_a_result_is_there_when_the_call_is_waited_for(flow: Flow) -> None:
    future = flow.function_task(double)(21)
    assert isinstance(future, concurrent.futures.Future)
    assert future.result() == 42
    assert (future.name, future.state, future.attempts) == ("double", "DONE", 1)
    assert (future.backend, future.done(), future.running()) == ("concurrent", True, False)


def test_futures_are_dependencies_in_arguments_and_containers(flow: Flow) -> None:
    twice = flow.function_task(double)

    @flow.function_task
    def total(first: int, many: list[int], *, named: dict[str, Any]) -> int:
        return first + sum(many) + sum(named["deep"])

    future = total(twice(1), [twice(2), 3], named={"deep": (twice(4), 5)})
    assert future.result() == 2 + 4 + 3 + 8 + 5


def test_a_failure_is_raised_where_its_result_is_asked_for(flow: Flow) -> None:
    future = flow.function_task(fail)("as planned")
    with pytest.raises(ValueError, match="as planned"):
        future.result()
    assert isinstance(future.exception(), ValueError)
    assert future.state == "FAILED"
    after = flow.function_task(double)(future)  # type: ignore[arg-type]
    with pytest.raises(errors.DependencyFailureError):
        after.result()


def test_commands_and_blocks_run_as_tasks(flow: Flow) -> None:
    twice = flow.function_task(double)
    say = flow.executable_task(lambda number: f"echo {number}; echo no >&2")

    @flow.block
    async def four_times(number: int) -> int:
        return await twice(await twice(number))  # type: ignore[misc]

    said = say(four_times(3))
    assert said.result() == "12\n"
    assert (said.exit_code, said.stdout, said.stderr) == (0, "12\n", "no\n")


def test_wrong_arguments_and_options_are_errors_at_the_call(flow: Flow) -> None:
    twice = flow.function_task(double)
    with pytest.raises(TypeError, match="task 'double': too many positional arguments"):
        twice(1, 2)
    with pytest.raises(TypeError, match="task 'double'"):
        twice(other=1)
    with pytest.raises(errors.ConfigurationError, match="unknown option 'retires'"):
        flow.function_task(retires=2)  # type: ignore[call-overload]
    with pytest.raises(errors.UnsupportedOptionError, match="runs no prompt tasks"):
        flow.prompt_task(str)("hello")
    with pytest.raises(errors.ConfigurationError, match="no backend 'gpu'"):
        twice.options(backend="gpu")(1)


def test_a_backend_that_does_not_start_is_an_error_and_leaves_no_thread() -> None:
    before = threading.active_count()
    with pytest.raises(errors.BackendNotFoundError):
        Flow("no_such_backend")
    with pytest.raises(errors.ConfigurationError, match="max_worker"):
        Flow("concurrent", {"max_worker": 2})
    assert threading.active_count() == before


def test_a_call_after_the_end_is_refused() -> None:
    with Flow("noop") as flow:
        task = flow.function_task(double)
        last = task(1)
    assert last.done(), "the end of the block waits for every task"
    with pytest.raises(errors.EngineClosedError):
        task(2)
    flow.shutdown()
    assert flow.closed


def test_an_error_in_the_block_cancels_what_runs() -> None:
    began = threading.Event()

    def hold() -> None:
        began.set()
        while not cancelled():
            time.sleep(0.001)

    futures = []

    def program() -> None:
        with Flow("concurrent", {"max_workers": 1}) as flow:
            task = flow.function_task(hold)
            futures.extend([task(), task()])
            began.wait(60)
            raise KeyError("of the program")

    with pytest.raises(KeyError):
        program()
    assert [future.cancelled() for future in futures] == [True, True]
    with pytest.raises(concurrent.futures.CancelledError):
        futures[1].result()


def test_cancel_ends_a_task_and_what_depends_on_it(flow: Flow) -> None:
    gate = threading.Event()
    held = flow.function_task(gate.wait)(60)
    after = flow.function_task(bool)(held)
    assert held.cancel()
    gate.set()
    with pytest.raises(concurrent.futures.CancelledError):
        held.result()
    with pytest.raises((concurrent.futures.CancelledError, errors.DependencyFailureError)):
        after.result()
    done = flow.function_task(double)(1)
    assert done.result() == 2
    assert not done.cancel()


def test_only_the_engine_begins_and_ends_a_task(flow: Flow) -> None:
    future = flow.function_task(double)(3)
    with pytest.raises(RuntimeError, match="does not support set_result"):
        future.set_result(1)
    with pytest.raises(RuntimeError, match="does not support set_exception"):
        future.set_exception(ValueError())
    with pytest.raises(RuntimeError, match="does not support set_running_or_notify_cancel"):
        future.set_running_or_notify_cancel()
    assert future.result() == 6


def test_a_wait_may_have_a_limit_after_which_the_task_goes_on(flow: Flow) -> None:
    gate = threading.Event()
    future = flow.function_task(gate.wait)(60)
    with pytest.raises(TimeoutError):
        future.result(timeout=0.01)
    gate.set()
    assert future.result() is True


def test_the_functions_of_concurrent_futures_take_the_futures(flow: Flow) -> None:
    twice = flow.function_task(double)
    futures = [twice(number) for number in range(20)]
    assert {future.result() for future in concurrent.futures.as_completed(futures)} == set(
        range(0, 40, 2)
    )
    done, rest = concurrent.futures.wait([twice(1), flow.function_task(fail)("seen")])
    assert (len(done), rest) == (2, set())
    called: list[Any] = []
    future = twice(5)
    future.add_done_callback(called.append)
    future.result()
    flow.run(asyncio.sleep(0))
    assert called == [future]


def test_map_is_an_iterator_with_a_limit(flow: Flow) -> None:
    twice = flow.function_task(double)
    pulled: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            pulled.append(number)
            yield number

    results = flow.map(twice, items(), limit=4)
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(pulled) <= 3 + 4
    results.close()  # type: ignore[attr-defined]
    assert sorted(flow.map(twice, range(50), limit=7, ordered=False)) == list(range(0, 100, 2))
    with pytest.raises(ValueError, match="stop"):
        list(flow.map(flow.function_task(fail), ["stop", "later"], limit=1))
    with pytest.raises(errors.ConfigurationError, match="limit"):
        flow.map(twice, [], limit=0)


def test_calls_from_many_threads_are_all_made(flow: Flow) -> None:
    twice = flow.function_task(double)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda number: twice(number).result(), range(400)))
    assert results == list(range(0, 800, 2))


def test_it_works_where_a_loop_runs_already() -> None:
    async def cell() -> int:
        with Flow("concurrent", {"max_workers": 1}) as flow:
            return flow.function_task(double)(4).result()

    assert asyncio.run(cell()) == 8


def test_a_workflow_and_a_context_reach_the_task(flow: Flow) -> None:
    twice = flow.function_task(double)
    with flow.workflow_scope("wf-1"):
        future = twice(1)
    assert future.workflow_id == "wf-1"
    assert twice(1, workflow_id="wf-2").workflow_id == "wf-2"


def test_a_future_of_another_flow_is_awaited_like_any_other(flow: Flow) -> None:
    with Flow("concurrent", {"max_workers": 1}) as other:
        theirs = other.function_task(double)(3)
        assert flow.function_task(double)(theirs).result() == 12  # type: ignore[arg-type]


def test_to_wait_in_the_loop_is_refused_as_it_would_stop_everything(flow: Flow) -> None:
    gate = threading.Event()
    held = flow.function_task(gate.wait)(60)

    @flow.block
    async def waits() -> None:
        held.result()

    with pytest.raises(RuntimeError, match="await what a task returns"):
        waits().result()
    gate.set()
    with pytest.raises(RuntimeError, match="await the coroutine"):
        flow.block(_run_inside)(flow).result()


async def _run_inside(flow: Flow) -> None:
    flow.run(asyncio.sleep(0))


def test_a_failure_that_nobody_looks_at_is_logged(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, "radical.asyncflow"):
        future = flow.function_task(fail)("unseen\x1b[2J")
        while not future.done():
            flow.run(asyncio.sleep(0))
        del future
    assert (
        "task 'fail' failed, and nobody asked for its result: ValueError: unseen\\x1b[2J"
        in caplog.text
    )


def test_a_flow_says_what_a_task_waits_for(flow: Flow) -> None:
    gate = threading.Event()
    held = flow.function_task(gate.wait, name="held")()
    merged = flow.function_task(len, name="merge")([held])
    try:
        waiting = flow.why(merged)
    finally:
        gate.set()
    assert str(waiting).startswith("task.000002 'merge' waits for task.000001 'held'")
    assert merged.result() == 1


def test_a_limit_of_unfinished_tasks_holds() -> None:
    gate = threading.Event()
    with Flow("concurrent", {"max_workers": 1}, max_pending=2) as flow:
        task = flow.function_task(gate.wait)
        first, second, third = task(60), task(60), task(60)
        with pytest.raises(errors.PendingLimitError):
            third.result()
        gate.set()
        assert first.result() is second.result() is True


PROGRAM = """
import sys
from radical.asyncflow.sync import Flow

with Flow("concurrent", {"max_workers": 1, "executor_type": "process"}) as flow:
    future = flow.executable_task(lambda: "echo $$ > pid; exec sleep 60")()
    print("ready", flow.function_task(abs)(-1) and "", flush=True)
    future.result()
"""


def test_ctrl_c_ends_the_wait_and_what_runs(tmp_path: Path) -> None:
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert program.stdout is not None
    assert program.stdout.readline().startswith("ready")
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().strip()):
        assert program.poll() is None
    program.send_signal(signal.SIGINT)
    _, errors_ = program.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors_
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)


FORGOTTEN = """
from radical.asyncflow.sync import Flow

flow = Flow("concurrent", {"max_workers": 1, "executor_type": "process"})
print(flow.function_task(abs)(-3).result())
"""


def test_a_flow_that_was_forgotten_ends_with_the_program(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORGOTTEN],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "3\n")
    assert "was not shut down; use 'with Flow(...)'" in done.stderr
    assert "Traceback" not in done.stderr
