"""The end of a run's time: what starts still, what does not, and how the program ends."""

from __future__ import annotations

import asyncio
import datetime
import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
from polling import wait_until
from radical.asyncflow import ConfigurationError, PreemptedError, Preemption, WorkflowEngine
from radical.asyncflow.engine._launch import BACKEND_GRACE_S
from radical.asyncflow.journal import read
from radical.asyncflow.testing import ScriptedBackend

from .resuming import Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path)


async def nap(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


def square(x: int) -> int:
    return x * x


def seconds_left(flow: WorkflowEngine) -> float:
    """Seconds until the engine stops everything."""
    stop = flow._end.stop
    assert stop is not None
    assert stop._last_moment is not None
    return stop._last_moment - asyncio.get_running_loop().time()


# -------------------------------------------------------------------- the settings


BOUNDS = [3600, "1:00:00", "60:00", "0-01:00:00", "3600", 1e9, datetime.timedelta(hours=1)]


@pytest.mark.parametrize("walltime", BOUNDS)
async def test_a_walltime_is_seconds_a_clock_or_a_timedelta(walltime: Any) -> None:
    async with WorkflowEngine.create(ScriptedBackend(), walltime=walltime) as flow:
        assert await flow.function_task(square)(3) == 9
        assert flow.preempted is None
        assert 60 < seconds_left(flow) <= (3600 if walltime != 1e9 else 1e9) - BACKEND_GRACE_S


@pytest.mark.parametrize("walltime", [-1, "", "soon", True, "1:2:3:4", float("nan"), "inf", [1]])
async def test_a_walltime_that_is_no_time_is_refused(walltime: Any) -> None:
    with pytest.raises(ConfigurationError, match="walltime: not a duration: "):
        await WorkflowEngine.create(ScriptedBackend(), walltime=walltime)


@pytest.mark.parametrize("nothing", [0, 0.0, "0", "0:00:00", datetime.timedelta()])
def test_a_walltime_of_nothing_is_refused(nothing: Any) -> None:
    with pytest.raises(ConfigurationError, match="walltime must be longer than 0 seconds"):
        Preemption(walltime=nothing)


def test_everything_wrong_with_a_preemption_is_in_one_error() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Preemption(walltime="soon", grace=-1, deadline="12:00", stop_on_sigterm=1)  # type: ignore[arg-type]
    assert [part.partition(" (")[0] for part in str(caught.value).split("; ")] == [
        "grace: not a duration: -1",
        "walltime: not a duration: 'soon'",
        "deadline must be a datetime, not '12:00'",
        "stop_on_sigterm must be True or False, not 1",
    ]


@pytest.mark.parametrize("grace", [None, "long", float("inf")])
def test_a_grace_that_is_no_time_is_refused(grace: Any) -> None:
    with pytest.raises(ConfigurationError, match="grace: not a duration"):
        Preemption(walltime=9, grace=grace)


async def test_a_deadline_that_has_passed_is_refused() -> None:
    preemption = Preemption(deadline=datetime.datetime(2020, 1, 1))
    with pytest.raises(ConfigurationError, match="deadline 2020-01-01 00:00:00 has passed"):
        await WorkflowEngine.create(ScriptedBackend(), preemption=preemption)


async def test_the_walltime_is_given_once() -> None:
    with pytest.raises(ConfigurationError, match=r"walltime= is short for preemption=Preemption"):
        await WorkflowEngine.create(ScriptedBackend(), walltime=9, preemption=Preemption(grace=5))


async def test_a_preemption_is_one() -> None:
    with pytest.raises(ConfigurationError, match="preemption must be a Preemption, not 60"):
        await WorkflowEngine.create(ScriptedBackend(), preemption=60)  # type: ignore[arg-type]


def test_a_preemption_is_a_value() -> None:
    one = Preemption(walltime="1:00:00", stop_on_sigterm=True)
    assert one == Preemption("1:00:00", stop_on_sigterm=True)
    assert pickle.loads(pickle.dumps(one)) == one


# ------------------------------------------------------------------ the environment


async def test_the_environment_says_the_walltime_of_an_engine_that_is_given_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASYNCFLOW_WALLTIME", "1:00:00")
    for options in ({}, {"preemption": Preemption(grace=5)}):
        async with WorkflowEngine.create(ScriptedBackend(), **options) as flow:
            assert 3000 < seconds_left(flow) <= 3600


async def test_a_deadline_counts_instead_of_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASYNCFLOW_WALLTIME", "1:00:00")
    tomorrow = datetime.datetime.now() + datetime.timedelta(days=1)
    preemption = Preemption(deadline=tomorrow)
    async with WorkflowEngine.create(ScriptedBackend(), preemption=preemption) as flow:
        assert seconds_left(flow) > 3600


async def test_a_wrong_walltime_of_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASYNCFLOW_WALLTIME", "soon")
    with pytest.raises(ConfigurationError, match="ASYNCFLOW_WALLTIME: walltime: not a duration"):
        await WorkflowEngine.create(ScriptedBackend())


async def test_an_engine_that_nothing_ends_early_has_no_end() -> None:
    async with WorkflowEngine.create(ScriptedBackend(), preemption=Preemption(grace=5)) as flow:
        assert flow._end.stop is None


async def test_a_signal_needs_the_main_thread() -> None:
    async def create() -> None:
        preemption = Preemption(stop_on_sigterm=True)
        await WorkflowEngine.create(ScriptedBackend(), preemption=preemption)

    with pytest.raises(ConfigurationError, match="stop_on_sigterm needs an event loop in the main"):
        await asyncio.to_thread(asyncio.run, create())


# -------------------------------------------------------------------- the walltime


async def test_what_would_not_finish_is_not_started(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        short, long = (flow.function_task(nap, name=name) for name in ("short", "long"))
        await asyncio.gather(short(0.01), long(3))
        futures = [long(3.01), short(0.02)]
        return await asyncio.gather(*futures, return_exceptions=True)

    # The end is at 7.2 s; "long" is expected to take 3 + 4 * 1.5 s.
    ran = await program.run(main, preemption=Preemption(8, grace=0.1))
    assert ran == ["short", "long", "short"]
    error, value = program.result
    assert value == 0.02
    assert str(error) == (
        "task 'long' was not started: the run stops, "
        "the rest would not finish before its walltime is over"
    )
    assert [run.outcome for run in read(program.path)] == ["preempted"]
    assert await program.run(main) == ["long"]
    assert [run.outcome for run in read(program.path)] == ["preempted", "done"]


async def test_what_runs_at_the_end_is_ended(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(nap)(30)
        return await asyncio.gather(future, return_exceptions=True)

    await program.run(main, preemption=Preemption(1, grace=0))
    (error,) = program.result
    assert isinstance(error, PreemptedError)
    assert str(error) == "task 'nap' was ended: the run stops, its walltime is nearly over"


async def test_the_end_of_a_backend_has_its_time_before_the_end_of_the_walltime() -> None:
    async with WorkflowEngine.create(ScriptedBackend(), walltime=3600) as flow:
        assert 3000 < seconds_left(flow) <= 3600 - BACKEND_GRACE_S


async def test_a_deadline_is_a_walltime(program: Program) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)

    async def main(flow: WorkflowEngine) -> Any:
        return await asyncio.gather(flow.function_task(nap)(30), return_exceptions=True)

    await program.run(main, preemption=Preemption("1:00:00", deadline=soon, grace=0))
    assert isinstance(program.result[0], PreemptedError)


async def test_reused_results_come_also_after_the_end(program: Program) -> None:
    async def early(flow: WorkflowEngine) -> Any:
        return await asyncio.gather(*map(flow.function_task(square), (3, 4)))

    await program.run(early)

    async def late(flow: WorkflowEngine) -> Any:
        await asyncio.gather(flow.function_task(nap)(30), return_exceptions=True)
        return await asyncio.gather(
            *[flow.function_task(square)(x) for x in (3, 4, 5)], return_exceptions=True
        )

    await program.run(late, preemption=Preemption(0.5, grace=0))
    assert program.result[:2] == [9, 16]
    assert isinstance(program.result[2], PreemptedError)


async def test_a_walltime_shorter_than_the_start_of_the_backend(program: Program) -> None:
    class Late(ScriptedBackend):
        async def start(self, sink: Any) -> None:
            await asyncio.sleep(0.3)
            await super().start(sink)

    async def main(flow: WorkflowEngine) -> Any:
        return await asyncio.gather(flow.function_task(square)(3), return_exceptions=True)

    assert await program.run(main, Late(), preemption=Preemption(0.1, grace=0)) == []
    assert isinstance(program.result[0], PreemptedError)
    assert await program.run(main) == ["square"]


async def test_a_block_sees_how_its_tasks_ended(program: Program) -> None:
    seen: list[BaseException] = []

    async def main(flow: WorkflowEngine) -> Any:
        @flow.block
        async def outer() -> str:
            try:
                await flow.function_task(nap)(30)
            except PreemptedError as error:
                seen.append(error)
            return "tidied up"

        return await outer()

    await program.run(main, preemption=Preemption(1, grace=0))
    assert len(seen) == 1
    assert program.result == "tidied up"


async def test_a_block_that_waits_for_something_else_is_ended(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        @flow.block
        async def outer() -> None:
            await asyncio.sleep(60)

        return await asyncio.gather(outer(), return_exceptions=True)

    await program.run(main, preemption=Preemption(1, grace=0))
    assert isinstance(program.result[0], PreemptedError)


async def test_dependents_are_preempted_too(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        futures = [flow.function_task(nap)(30)]
        for _ in range(3):
            futures.append(flow.function_task(square)(futures[-1]))
        return await asyncio.gather(*futures, return_exceptions=True)

    await program.run(main, preemption=Preemption(1, grace=0))
    assert [type(error) for error in program.result] == [PreemptedError] * 4


async def test_whoever_caught_the_error_goes_on(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        try:
            await flow.function_task(nap)(30)
        except PreemptedError:
            return flow.preempted

    await program.run(main, preemption=Preemption(1, grace=0))
    assert program.result == "its walltime is nearly over"


@pytest.mark.parametrize("grouped", [False, True])
async def test_the_error_ends_the_block_with_an_exit_code(program: Program, grouped: bool) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        if not grouped:
            await flow.function_task(nap)(30)
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(_wait(flow.function_task(nap)(30)))

    async def _wait(future: Any) -> Any:
        return await future

    with pytest.raises(SystemExit) as caught:
        await program.run(main, preemption=Preemption(1, grace=0))
    assert caught.value.code == 75
    assert [run.outcome for run in read(program.path)] == ["preempted"]


async def test_another_error_is_not_hidden(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        await asyncio.gather(flow.function_task(nap)(30), return_exceptions=True)
        raise ValueError("a bug")

    with pytest.raises(ValueError, match="a bug"):
        await program.run(main, preemption=Preemption(1, grace=0))


async def test_a_shutdown_lets_go_of_timers_and_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    preemption = Preemption("1:00:00", stop_on_sigterm=True)
    async with WorkflowEngine.create(ScriptedBackend(), preemption=preemption) as flow:
        await flow.function_task(square)(3)
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


# --------------------------------------------------------------------- the program

PROGRAM = """
    import asyncio, sys, time
    from radical.asyncflow import Preemption, WorkflowEngine

    def body(x):
        return x * x

    async def main(journal, options):
        async with WorkflowEngine.create("concurrent", {"max_workers": 2}, **eval(options)) as flow:
            task = flow.function_task(body)
            print(*await asyncio.gather(*map(task, range(5))), flush=True)

            @flow.executable_task
            def run(text):
                return text

            @flow.block
            async def pair():
                await run("exec sleep " + sys.argv[3])
                return 7

            print("waiting", flush=True)
            print(await asyncio.gather(pair(), run("echo there")), flush=True)

    asyncio.run(main(sys.argv[1], sys.argv[2]))
"""


def start(path: Path, options: str, seconds: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(path), options, seconds]
    environment = os.environ | {"ASYNCFLOW_JOURNAL": str(path)}
    return subprocess.Popen(
        program, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until_underway(program: subprocess.Popen[str], path: Path) -> None:
    """Return when the long command runs and the short one has ended."""
    assert program.stdout is not None
    assert [program.stdout.readline() for _ in range(2)][1] == "waiting\n"

    def states() -> list[str]:
        tasks = read(path)[0].tasks.values()
        return sorted(task.state for task in tasks if task.name == "run")

    wait_until(lambda: states() == ["DONE", "RUNNING"])


def outcomes(path: Path) -> list[str]:
    return [run.outcome for run in read(path)]


def test_a_program_whose_walltime_is_over_exits_with_75_and_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    first = start(path, "{'preemption': Preemption(3, grace=0)}", "60")
    out, err = first.communicate(timeout=60)
    assert first.returncode == 75, err
    assert "Traceback" not in err
    done = [task.number for task in read(path)[0].tasks.values() if task.state == "DONE"]
    second = start(path, "{}", "0")
    out, err = second.communicate(timeout=60)
    assert (second.returncode, out) == (0, "0 1 4 9 16\nwaiting\n[7, 'there\\n']\n"), err
    assert outcomes(path) == ["preempted", "done"]
    reused = [str(task.reused) for task in read(path)[1].tasks.values() if task.reused]
    assert reused == [f"{read(path)[0].uid}/{number}" for number in done]


def test_sigterm_gives_what_runs_its_grace(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    program = start(path, "{'preemption': Preemption(stop_on_sigterm=True, grace=60)}", "5")
    wait_until_underway(program, path)
    program.terminate()
    out, err = program.communicate(timeout=60)
    # What ran was given the time to end; the block had nothing more to start.
    assert (program.returncode, out) == (0, "[7, 'there\\n']\n"), err
    assert outcomes(path) == ["preempted"]


def test_sigterm_ends_what_takes_longer(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    program = start(path, "{'preemption': Preemption(stop_on_sigterm=True, grace=0.5)}", "60")
    wait_until_underway(program, path)
    program.terminate()
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (75, ""), err
    assert "Traceback" not in err
    assert outcomes(path) == ["preempted"]


def test_without_the_option_sigterm_ends_the_program_as_ever(tmp_path: Path) -> None:
    program = start(tmp_path / "journal", "{}", "60")
    assert program.stdout is not None
    assert [program.stdout.readline() for _ in range(2)][1] == "waiting\n"
    program.terminate()
    program.communicate(timeout=60)
    assert program.returncode == -signal.SIGTERM
