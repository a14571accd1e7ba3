"""Whole programs: workers never run their ``__main__``, and end with them."""

from __future__ import annotations

import builtins
import importlib
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from radical.asyncflow import WorkflowEngine

# No `if __name__ == "__main__"`: a spawned worker that imported this would start it anew.
PROGRAM = """
import asyncio
from radical.asyncflow import WorkflowEngine

print("main is run", flush=True)
OFFSET = 40

def plus(number):
    return number + OFFSET

class Pair:
    def __init__(self, left, right):
        self.left, self.right = left, right

async def main():
    config = {"n_workers": 1, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=config) as flow:
        pair = flow.function_task(lambda: Pair(plus(1), plus(2)))
        total = flow.function_task(lambda pair: pair.left + pair.right)
        print(await total(pair()), flush=True)
        END

asyncio.run(main())
"""


def program(end: str = "") -> str:
    return PROGRAM.replace("END", end)


@pytest.mark.parametrize("how", ["script", "stdin", "command"])
def test_main_is_run_once_however_it_is_started(how: str, tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program())
    arguments = {"script": [str(script)], "stdin": ["-"], "command": ["-c", program()]}[how]
    done = subprocess.run(
        [sys.executable, *arguments],
        input=program() if how == "stdin" else None,
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout == "main is run\n83\n", done.stderr
    assert done.stderr == ""


def test_a_program_that_is_killed_leaves_no_process(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program("await flow.function_task(__import__('time').sleep)(3_600)"))
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "main is run\n"
        assert process.stdout.readline() == "83\n"
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        process.send_signal(signal.SIGKILL)
    _, alive = psutil.wait_procs(children, timeout=100)
    assert alive == []


def test_ctrl_c_ends_the_program_and_its_cluster(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(program("await flow.function_task(__import__('time').sleep)(3_600)"))
    with subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.readline()
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(200) != 0
    _, alive = psutil.wait_procs(children, timeout=100)
    assert alive == []


# The workflow of the documentation's side-by-side; the first line in it that differs decides
# where it runs.
SIDE_BY_SIDE = """
import asyncio
from radical.asyncflow import WorkflowEngine, factory

async def main():
    backend = await factory.create_backend("concurrent", config={"max_workers": 2})
    flow = await WorkflowEngine.create(backend=backend)

    @flow.executable_task
    async def task1(*args):
        return "/bin/echo one"

    @flow.executable_task
    async def task2(*args):
        return "/bin/echo two"

    @flow.executable_task
    async def task3(*args):
        return "/bin/echo " + " and ".join(text.strip() for text in args)

    @flow.function_task
    async def count(text):
        return len(text.split())

    async def run_wf(wf_id):
        t3 = task3(task1(), task2())
        words = await count(t3)
        print(f"workflow {wf_id}:", (await t3).strip(), words)

    for at in range(3):
        await run_wf(at)
    await asyncio.gather(*[run_wf(9) for _ in range(5)])
    await flow.shutdown()

asyncio.run(main())
"""


def test_a_workflow_moves_from_concurrent_to_dask_by_one_line(tmp_path: Path) -> None:
    here = 'create_backend("concurrent", config={"max_workers": 2})'
    there = 'create_backend("dask", config={"n_workers": 2})'
    moved = SIDE_BY_SIDE.replace(here, there)
    before, after = SIDE_BY_SIDE.splitlines(), moved.splitlines()
    assert sum(left != right for left, right in zip(before, after, strict=True)) == 1
    outputs = []
    for number, text in enumerate((SIDE_BY_SIDE, moved)):
        script = tmp_path / f"side-{number}.py"
        script.write_text(text)
        command = [sys.executable, str(script)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert done.stderr == ""
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1]
    assert outputs[0].count("one and two 3") == 8


# What a task meets in its process; where the program needs fork, it asks for it.
SURROUNDINGS = """
import asyncio, importlib, multiprocessing, os, sys, time
from pathlib import Path
from radical.asyncflow import WorkflowEngine

def pool(numbers):
    with multiprocessing.Pool(2) as pool:
        return pool.map(abs, numbers)

def queue():
    fork = multiprocessing.get_context("fork")
    queue = fork.Queue()
    child = fork.Process(target=lambda: queue.put("child"))
    child.start()
    said = queue.get(timeout=100)
    child.join()
    return said

def leave_one():
    # In a session of its own, as a daemon has it.
    child = multiprocessing.get_context("fork").Process(
        target=lambda: (os.setsid(), time.sleep(3_600))
    )
    child.start()
    return child.pid

async def main():
    sys.path.append(b"not text")
    config = {"n_workers": 1, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=config) as flow:
        print(await flow.function_task(lambda: sys.argv[1:])())
        print(await flow.function_task(pool)([-1, 2]))
        print(await flow.function_task(queue)())
        print(
            await flow.function_task(multiprocessing.get_start_method)()
            == multiprocessing.get_start_method()
        )
        for place, name in enumerate(["late", "later"]):
            folder = Path(name)
            folder.mkdir()
            (folder / f"{name}_steps.py").write_text(f"def work(x): return x + {place}")
            sys.path.insert(0, str(folder))
            steps = importlib.import_module(f"{name}_steps")
            print(await flow.function_task(steps.work)(1))
        print(b"not text" in sys.path)
        print(await flow.function_task(leave_one)())

asyncio.run(main())
"""


def test_a_task_meets_the_surroundings_of_the_program(tmp_path: Path) -> None:
    """It has the program's arguments and import path, and may use multiprocessing."""
    script = tmp_path / "program.py"
    script.write_text(SURROUNDINGS)
    done = subprocess.run(
        [sys.executable, str(script), "-n", "5"],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        check=False,
    )
    *lines, pid = done.stdout.splitlines() or [""]
    assert lines == ["['-n', '5']", "[1, 2]", "child", "True", "1", "2", "True"], done.stderr
    assert not _lives(int(pid))
    assert done.stderr == ""


# Two workers: one of them may have loaded the module, or not.
OWN_CODE = """
import asyncio, functools, importlib, os, sys
from pathlib import Path
from radical.asyncflow import RetryPolicy, WorkflowEngine

@functools.lru_cache
def helper(number):
    return number + 1

@functools.singledispatch
def kind(value):
    return "any"

@kind.register
def _(value: int):
    return "int"

class Thing:
    @functools.cached_property
    def cached(self):
        return helper(2)

class MyError(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code

def use(number):
    return helper(number), kind(number), Thing().cached

def fail():
    raise MyError(code=3)

async def main():
    config = {"n_workers": 2, "dashboard_address": None}
    async with WorkflowEngine.create("dask", config=config) as flow:
        print(await flow.function_task(use)(1))
        failing = flow.function_task(fail, retries=RetryPolicy(attempts=3, on=MyError))()
        try:
            await failing
        except MyError as error:
            print(error.code, failing.attempts)
        file = Path("steps.py")
        for place in range(3):
            file.write_text(f"def work(number): return number + {place}")
            os.utime(file, (1_000_000 * place, 1_000_000 * place))
            if place:
                importlib.reload(steps)
            else:
                steps = importlib.import_module("steps")
            by_name = flow.function_task(steps.work)
            by_value = flow.function_task(lambda number: steps.work(number))
            calls = [task(number) for number in range(10) for task in (by_name, by_value)]
            print(sum(await asyncio.gather(*calls)))

asyncio.run(main())
"""


def test_the_programs_own_code_means_the_same_on_workers(tmp_path: Path) -> None:
    """Its decorated helpers, its exceptions, and modules that it loads anew."""
    script = tmp_path / "program.py"
    script.write_text(OWN_CODE)
    done = subprocess.run(
        [sys.executable, str(script)],
        capture_output=True,
        text=True,
        timeout=200,
        cwd=tmp_path,
        check=False,
    )
    assert done.stdout.splitlines() == ["(2, 'int', 3)", "3 3", "90", "110", "130"], done.stderr
    assert done.stderr == ""


async def test_a_module_that_is_loaded_anew_is_loaded_once_in_the_program(
    flow: WorkflowEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that is a thread of the program does nothing about it."""
    (tmp_path / "counted_steps.py").write_text(
        "import builtins\n"
        "builtins.loads = getattr(builtins, 'loads', 0) + 1\n"
        "def work(): return builtins.loads\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(builtins, "loads", 0, raising=False)
    steps = importlib.import_module("counted_steps")
    assert await flow.function_task(steps.work)() == 1
    importlib.reload(steps)
    assert await flow.function_task(steps.work)() == 2


def _lives(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def test_doctor_finds_no_problem() -> None:
    command = [sys.executable, "-m", "radical.asyncflow", "doctor", "dask", "--set", "n_workers=1"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No problems found." in done.stdout
