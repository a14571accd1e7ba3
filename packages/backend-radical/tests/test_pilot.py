"""Tasks on a real pilot of this machine."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_radical._tasks import worker_group
from polling import HANG_S, until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.backend import Command
from radical.asyncflow.errors import (
    DeathReason,
    ResourceError,
    TaskError,
    UnsupportedOptionError,
    WorkerLostError,
)
from radical.asyncflow.worker import Output

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]


async def command(value: Any) -> Any:
    return value


async def test_a_command_line_reaches_its_shell_as_it_was_written(flow: WorkflowEngine) -> None:
    line = """x='$y'; echo "$x" \\$ `echo here` $(( 40 + 2 )) "it's" ${#x}"""
    assert await flow.executable_task(command)(line) == "$y $ here 42 it's 2\n"


async def test_environment_and_working_folder_are_taken_literally(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    folder = tmp_path / "it's $HOME"
    folder.mkdir()
    task = Command('printf %s "$MINE"; pwd', env={"MINE": 'a"$b`c\\'}, cwd=str(folder))
    assert await flow.executable_task(command)(task) == f'a"$b`c\\{folder}\n'


@pytest.mark.parametrize("ranks", [1, 2])
async def test_a_working_folder_that_is_missing_is_an_error_of_this_side(
    flow: WorkflowEngine, tmp_path: Path, ranks: int
) -> None:
    run = flow.executable_task(resources={"ranks": ranks}, timeout=HANG_S)(command)
    with pytest.raises(FileNotFoundError, match="working directory of 'command'"):
        await run(Command("true", cwd=str(tmp_path / "missing")))
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        await run(Command("true", cwd=str(tmp_path / "file")))


async def test_output_is_whole_where_radical_pilot_truncates(flow: WorkflowEngine) -> None:
    result = await flow.executable_task(command)("seq 1 20000")
    assert result.splitlines() == [str(number) for number in range(1, 20001)]


async def test_a_very_long_output_is_in_a_file(flow: WorkflowEngine) -> None:
    result = await flow.executable_task(command)("head -c 20000000 /dev/zero | tr '\\0' x")
    assert isinstance(result, Output)
    assert (len(result), result.size) == (16 * 2**20, 20_000_000)
    assert result.path is not None
    assert result.path.stat().st_size == 20_000_000


async def test_the_description_reaches_radical_pilot(flow: WorkflowEngine) -> None:
    options = {"pre_exec": ["export FROM_PRE_EXEC=yes"]}
    run = flow.executable_task(task_description=options)(command)
    assert await run("echo $FROM_PRE_EXEC") == "yes\n"


async def test_what_fails_before_the_command_begins_is_no_failure_of_the_command(
    flow: WorkflowEngine,
) -> None:
    options: Any = {"pre_exec": ["echo no such module >&2", "exit 3"]}
    run = flow.executable_task(task_description=options)(command)
    with pytest.raises(TaskError, match="exit code 3 before its command began") as caught:
        await run("echo never")
    assert "no such module" in str(caught.value)


async def test_what_a_description_asks_for_is_what_the_task_has(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    mine: Any = {"cpu_threads": 2, "ranks": 1, "pre_exec": ["export FROM_PRE_EXEC=yes"]}
    run = flow.executable_task(task_description=mine)(command)
    line = "echo $RP_CORES_PER_RANK $FROM_PRE_EXEC $MINE"
    assert await run(line) == "2 yes\n"
    more: Any = {"cores_per_rank": 3, "environment": {"MINE": "$x"}, "cwd": tmp_path}
    assert await run(f"{line}; pwd", task_description=more) == f"3 yes $x\n{tmp_path}\n"
    with pytest.raises(ResourceError, match=r"cores=9, and one node has 8"):
        run("true", task_description={"cores_per_rank": 9})


async def test_an_unknown_attribute_of_the_description_names_the_closest(
    flow: WorkflowEngine,
) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"'pre_exce'.*did you mean 'pre_exec'"):
        flow.executable_task(task_description={"pre_exce": []})(command)("true")


@pytest.mark.parametrize(
    ("attribute", "instead"),
    [
        ("stdout", "use capture_stdio=True"),
        ("raptor_id", "functions have workers of the backend's own"),
        ("executable", "the command is what the task's body returns"),
    ],
)
async def test_an_attribute_that_an_option_stands_for_is_refused(
    flow: WorkflowEngine, attribute: str, instead: str
) -> None:
    options: Any = {attribute: 1}
    reason = re.escape(f"{attribute!r} is not for task_description: {instead}")
    with pytest.raises(UnsupportedOptionError, match=reason):
        flow.executable_task(task_description=options)(command)("true")


async def test_cores_become_cores_of_the_rank(flow: WorkflowEngine) -> None:
    run = flow.executable_task(resources={"cores": 3})(command)
    assert await run("echo $RP_CORES_PER_RANK") == "3\n"


async def test_more_than_a_node_has_is_refused_at_the_call(flow: WorkflowEngine) -> None:
    with pytest.raises(ResourceError, match=r"cores=9, and one node has 8"):
        flow.executable_task(resources={"cores": 9})(command)("true")


async def test_what_is_cancelled_in_the_queue_never_begins(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    run = flow.executable_task(command)
    whole = run.options(resources={"cores": 8})
    first = run.options(resources={"cores": 7})(f"touch {tmp_path}/began; sleep 600")
    await until((tmp_path / "began").exists)
    second = whole(f"touch {tmp_path}/never")
    assert await run("echo behind") == "behind\n"  # so the second has reached the pilot
    second.cancel()
    await asyncio.wait([second])
    first.cancel()
    await asyncio.wait([first])
    assert await whole("echo free") == "free\n"
    assert [second.cancelled(), first.cancelled()] == [True, True]
    assert not (tmp_path / "never").exists()


async def test_five_hundred_functions_are_a_few_tasks_of_radical_pilot(
    flow: WorkflowEngine,
) -> None:
    results = await asyncio.gather(*(flow.function_task(_task_of)(at) for at in range(500)))
    assert [number for number, _ in results] == list(range(500))
    assert len({task for _, task in results}) <= 8  # one for each core


async def test_functions_run_beside_each_other(flow: WorkflowEngine, tmp_path: Path) -> None:
    async def meet(number: int, folder: str) -> int:
        (Path(folder) / str(number)).touch()
        while len(list(Path(folder).iterdir())) < 3:  # noqa: ASYNC110, ASYNC240 - other processes
            await asyncio.sleep(0.01)
        return number

    run = flow.function_task(timeout=HANG_S)(meet)
    assert await asyncio.gather(*(run(at, str(tmp_path)) for at in range(3))) == [0, 1, 2]


async def test_the_death_of_a_worker_costs_the_task_that_it_ran(flow: WorkflowEngine) -> None:
    double = flow.function_task(_double)
    die = flow.function_task(_die)
    lost, crashed, left, *rest = await asyncio.gather(
        die(9), die(11), die(0), *(double(number) for number in range(20)), return_exceptions=True
    )
    assert [(type(error), error.signal, error.reason) for error in (lost, crashed, left)] == [
        (WorkerLostError, 9, DeathReason.KILLED),
        (WorkerLostError, 11, DeathReason.CRASH),
        (WorkerLostError, None, DeathReason.EXIT),
    ]
    assert "it exited with code 7" in str(left)
    assert rest == [2 * number for number in range(20)]


async def test_five_workflows_of_the_specification_run_at_once(flow: WorkflowEngine) -> None:
    @flow.executable_task
    async def task1(*args: Any) -> str:
        return "/bin/date"

    @flow.executable_task
    async def task2(*args: Any) -> str:
        return "/bin/date"

    @flow.executable_task
    async def task3(*args: Any) -> str:
        return "/bin/date"

    async def run_wf(wf_id: int) -> str:
        return str(await task3(task1(), task2()))

    assert len(await asyncio.gather(*(run_wf(number) for number in range(5)))) == 5


def _task_of(number: int) -> tuple[int, str]:
    return number, os.environ["RP_TASK_ID"]


def _double(number: int) -> int:
    return 2 * number


def _die(number: int) -> None:
    if not number:
        os._exit(7)
    os.kill(os.getpid(), number)


async def test_idle_workers_make_room(
    flow: WorkflowEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_group, "IDLE_LIMIT_S", 3600.0)
    mine: Any = {"metadata": {"workers": "that have not begun"}}
    assert await flow.function_task(task_description=mine)(_double)(1) == 2
    assert await flow.executable_task(resources={"cores": 8})(command)("echo all") == "all\n"


async def test_other_engines_use_the_pilot_at_once_and_one_after_the_other(
    flow: WorkflowEngine,
) -> None:
    def add(one: int, other: int) -> int:
        return one + other

    async def work(number: int) -> tuple[int, str, str]:
        async with WorkflowEngine.create(flow.backend) as engine:
            make, run = engine.function_task(add), engine.executable_task(command)
            words = await run(f"echo {number}")
            file = await engine.executable_task(command, capture_stdio=True)("pwd")
            return await make(make(number, 1), 1), words, await run(f"cat {file}")

    results = [*await asyncio.gather(work(1), work(100)), await work(1000)]
    assert [result[:2] for result in results] == [
        (3, "1\n"),
        (102, "100\n"),
        (1002, "1000\n"),
    ]
    assert len({result[2] for result in results}) == 1  # commands run in the program's folder
    assert await flow.executable_task(command)("echo goes on") == "goes on\n"


async def test_an_engine_that_ends_leaves_the_commands_of_others_on_the_pilot_alone(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    wait = "while [ ! -e {} ]; do sleep 0.05; done; echo came through"
    mine = flow.executable_task(command)(wait.format(tmp_path / "gate"))
    other = await WorkflowEngine.create(flow.backend)
    theirs = other.executable_task(command)(f"touch {tmp_path}/begun; {wait.format('/never')}")
    await until((tmp_path / "begun").exists)
    await other.shutdown()
    assert theirs.cancelled()
    (tmp_path / "gate").touch()
    assert await mine == "came through\n"
