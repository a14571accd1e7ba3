"""Whole programs: scripts without a guard, from stdin, killed, interrupted, forgetful."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from polling import wait_until

pytestmark = pytest.mark.usefixtures("leak_guard")

_HEAD = """
import asyncio, os, sys, threading, time
from radical.asyncflow import WorkflowEngine
from asyncflow_backend_concurrent import ConcurrentExecutionBackend

print("main", flush=True)
factor = 3

class Point:
    def __init__(self, x): self.x = x

def scale(point): return Point(point.x * factor)

def backend():
    return ConcurrentExecutionBackend(executor_type=sys.argv[1], max_workers=2)
"""

_WORK = (
    _HEAD
    + """
async def main():
    async with await WorkflowEngine.create(backend=backend()) as flow:
        @flow.function_task
        def stretch(point, by=lambda x: x + 1): return Point(by(scale(point).x))
        point = await stretch(stretch(Point(1)))
        assert type(point) is Point, type(point)
        print("result", point.x)

asyncio.run(main())
"""
)


def run(code: str, *args: str, stdin: bool = False) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-" if stdin else "script.py", *args]
    # Programs such as mpiexec are beside the interpreter, whose environment may not be activated.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    Path("script.py").write_text(code)
    try:
        return subprocess.run(
            command,
            input=code if stdin else "",
            env={**os.environ, "PATH": path},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    finally:
        Path("script.py").unlink()


@pytest.mark.parametrize("stdin", [False, True])
@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_script_without_a_main_guard_just_works(kind: str, stdin: bool) -> None:
    done = run(_WORK, kind, stdin=stdin)
    assert (done.stdout, done.stderr, done.returncode) == ("main\nresult 13\n", "", 0)


def test_a_module_beside_the_script_is_imported_by_workers() -> None:
    Path("beside.py").write_text("def where(): return __name__\n")
    code = _HEAD + (
        "import beside\n"
        "async def main():\n"
        "    async with await WorkflowEngine.create(backend=backend()) as flow:\n"
        "        print(await flow.function_task(beside.where)())\n"
        "asyncio.run(main())\n"
    )
    try:
        assert run(code, "process").stdout == "main\nbeside\n"
    finally:
        Path("beside.py").unlink()
        for file in Path("__pycache__").glob("*"):
            file.unlink()
        if Path("__pycache__").exists():
            Path("__pycache__").rmdir()


def test_what_a_task_prints_is_seen() -> None:
    code = _HEAD + (
        "async def main():\n"
        "    async with await WorkflowEngine.create(backend=backend()) as flow:\n"
        "        await flow.function_task(print)('from a task')\n"
        "asyncio.run(main())\n"
    )
    assert "from a task\n" in run(code, "process").stdout


_FORGETFUL = (
    _HEAD
    + """
import logging
from pathlib import Path
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec

class Sink:
    keeps_output = keeps_usage = False
    def __getattr__(self, name): return lambda *args: None

def work(path):
    time.sleep(0.1)
    Path(path).touch()

async def main():
    made = backend()
    await made.start(Sink())
    spec = TaskSpec("work", TaskKind.FUNCTION, work)
    count = int(sys.argv[3])
    made.submit([TaskRequest(at, 1, spec, (f"{sys.argv[2]}/{at}",)) for at in range(count)])
    if sys.argv[4:]:
        raise LookupError("the program fails")

asyncio.run(main())
"""
)


_NAMES = (
    _HEAD
    + """
from radical.asyncflow import InputFile, OutputFile

async def main():
    async with WorkflowEngine.create("concurrent") as flow:
        @flow.executable_task
        def write(*files): return "echo text > words.txt"
        @flow.executable_task
        def read(*files): return "cat words.txt"
        written = write(OutputFile("words.txt"))
        print("read", await read(written, InputFile("words.txt")), end="")
        print([path.name for path in written.outputs])

asyncio.run(main())
"""
)


def test_commands_hand_a_file_on_by_the_name_that_they_declare() -> None:
    for _ in range(2):  # the second time it is there before
        assert run(_NAMES).stdout == "main\nread text\n['words.txt']\n"
    Path("words.txt").unlink()
    shutil.rmtree("asyncflow-runs")


@pytest.mark.parametrize("kind", ["thread", "process"])
def test_a_program_that_forgets_the_shutdown_ends_once_its_tasks_are_done(
    kind: str, tmp_path: Path
) -> None:
    done = run(_FORGETFUL, kind, str(tmp_path), "4")
    assert (done.stderr, done.returncode) == ("", 0)
    assert len(list(tmp_path.iterdir())) == 4


def test_a_program_that_fails_without_a_shutdown_leaves_what_is_queued_undone(
    tmp_path: Path,
) -> None:
    done = run(_FORGETFUL, "thread", str(tmp_path), "100", "fail")
    assert done.returncode == 1
    assert "LookupError" in done.stderr
    assert len(list(tmp_path.iterdir())) < 100  # which would take 5 s


def begin(code: str, *args: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


_BUSY = (
    _HEAD
    + """
import signal
def work(path):
    open(path, "w").write(str(os.getpid()))
    while True: time.sleep(0.1)

async def main():
    async with await WorkflowEngine.create(backend=backend()) as flow:
        @flow.executable_task
        async def command(path): return f"echo $$ > {path}; sleep 100 & sleep 100"
        await asyncio.gather(
            command(sys.argv[2] + "/command"),
            flow.function_task(work)(sys.argv[2] + "/function"),
        )

asyncio.run(main())
"""
)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_whatever_ends_the_program_ends_its_children(number: int, tmp_path: Path) -> None:
    program = begin(_BUSY, "process", str(tmp_path))
    try:
        files = [tmp_path / "command", tmp_path / "function"]
        wait_until(lambda: all(file.exists() and file.read_text().strip() for file in files))
        family = psutil.Process(program.pid).children(recursive=True)
        assert {int(file.read_text()) for file in files} <= {child.pid for child in family}
        os.kill(program.pid, number)
        program.wait(30)
        _, left = psutil.wait_procs(family, timeout=10)
        assert left == []
    finally:
        program.kill()
        program.wait()


_MPI = """
import asyncio
from mpi4py.futures import MPIPoolExecutor
from radical.asyncflow import ConcurrentExecutionBackend, WorkflowEngine

async def main():
    backend = await ConcurrentExecutionBackend(MPIPoolExecutor(max_workers=2))
    async with WorkflowEngine.create(backend) as flow:

        @flow.function_task
        def square(number): return number * number

        @flow.function_task
        def fail(): raise LookupError("not here")

        print(*await asyncio.gather(*[square(square(number)) for number in range(5)]))
        try:
            await fail()
        except LookupError as error:
            print(error)

if __name__ == "__main__":  # MPI's own workers import the script
    asyncio.run(main())
"""


def test_the_processes_of_an_mpi_pool_run_functions() -> None:
    assert run(_MPI).stdout == "0 1 16 81 256\nnot here\n"


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_pool_in_a_task_has_the_functions_of_the_program(method: str) -> None:
    code = f"""
import asyncio, multiprocessing
from radical.asyncflow import WorkflowEngine

def square(x): return x * x

def work(numbers):
    with multiprocessing.get_context({method!r}).Pool(2) as pool:
        return pool.map(square, numbers)

async def main():
    settings = {{"executor_type": "process", "max_workers": 1}}
    async with WorkflowEngine.create("concurrent", settings) as flow:
        print(await flow.function_task(work)([1, 2, 3]))

if __name__ == "__main__":
    asyncio.run(main())
"""
    done = run(code)
    assert (done.stdout, done.stderr, done.returncode) == ("[1, 4, 9]\n", "", 0)
