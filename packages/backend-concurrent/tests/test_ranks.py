"""Tasks with ranks: commands and functions that a real MPI launcher starts several times."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import psutil
import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from fake_gpus import Tools, gpu_tools
from radical.asyncflow import WorkflowEngine, current_task
from radical.asyncflow.backend import Command, Report, TaskKind, TaskRequest, TaskSpec, TaskState
from radical.asyncflow.errors import (
    ConfigurationError,
    RemoteTraceback,
    ResourceError,
    SerializationError,
    TaskTimeoutError,
    UnsupportedOptionError,
    WorkerLostError,
)
from radical.asyncflow.model import ExecutableResult, Resources
from rank_functions import (
    BURNT_S,
    HELD_BYTES,
    comm,
    is_there,
    meet,
    read,
    use_of_ranks,
    wait_with,
)

__all__ = ["gpu_tools"]

TWO = Resources(ranks=2)
SIGKILL = signal.SIGKILL
RUNNING, DONE, CANCELLED = TaskState.RUNNING, TaskState.DONE, TaskState.CANCELLED


@pytest.fixture
async def driver(start: Any) -> Any:
    return await start()


def pids() -> int:
    comm().barrier()
    return os.getpid()


def total(number: int, *, factor: int = 1) -> tuple[int, int, int]:
    return comm().rank, comm().size, comm().allreduce(number * factor + comm().rank)


def value_of(report: Report) -> Any:
    assert report.state is DONE, report.value
    return report.value


def content(path: Path | str) -> str:
    path = Path(path)
    return path.read_text(encoding="utf-8") if path.exists() else ""


def shell(line: str, **options: Any) -> TaskRequest:
    stdin = options.pop("stdin", None)
    spec = TaskSpec("shell", TaskKind.EXECUTABLE, print, **{"resources": TWO, **options})
    return TaskRequest(next(NUMBERS), 1, spec, command=Command(line, stdin=stdin))


NUMBERS: Iterator[int] = iter(range(1_000_000, 2_000_000))


def launcher_of(folder: Path, script: str) -> Path:
    """Write *script* as a program that launches ranks."""
    path = folder / "launcher"
    path.write_text(script)
    path.chmod(0o700)
    return path


class TestCommands:
    async def test_the_output_is_that_of_the_ranks_in_their_order(
        self, driver: Any, tmp_path: Path
    ) -> None:
        rank = "${PMIX_RANK:-$PMI_RANK}"
        line = (
            f"if [ {rank} = 0 ]; then while [ ! -e {tmp_path}/second ]; do sleep 0.01; done; fi; "
            f"echo out {rank}; echo err {rank} >&2; touch {tmp_path}/second"
        )
        (report,) = await driver.run(shell(line))
        assert value_of(report) == ExecutableResult(0, "out 0\nout 1\n", "err 0\nerr 1\n")

    async def test_each_rank_gets_the_arguments_as_they_are(self, driver: Any) -> None:
        words = ("a b", "", ":", "$HOME", "'\"", "two\nlines", "-n", "é")
        show = "import sys; print(sys.argv[1:])"
        request = driver.executable(sys.executable, "-c", show, *words, resources=TWO)
        (report,) = await driver.run(request)
        assert value_of(report).stdout == f"{list(words)!r}\n" * 2

    async def test_the_first_rank_gets_the_input(self, driver: Any) -> None:
        (report,) = await driver.run(shell("cat; echo end", stdin="one\n"))
        assert value_of(report).stdout == "one\nend\nend\n"

    async def test_the_ranks_find_each_other(self, driver: Any) -> None:
        code = "from mpi4py import MPI; w = MPI.COMM_WORLD; print(w.rank, w.allreduce(1))"
        request = driver.executable(sys.executable, "-c", code, resources=TWO)
        (report,) = await driver.run(request)
        assert value_of(report).stdout == "0 2\n1 2\n"

    async def test_files_have_the_output_of_all_ranks(self, driver: Any) -> None:
        (report,) = await driver.run(shell("echo out; echo err >&2", capture_stdio=True))
        result = value_of(report)
        assert content(result.stdout) == "out\nout\n"
        assert content(result.stderr) == "err\nerr\n"

    async def test_nothing_is_left_in_the_folder(self, driver: Any) -> None:
        await driver.run(shell("echo out", stdin="x"))
        assert list(driver.sink.work_dir().iterdir()) == []

    async def test_a_rank_that_fails_fails_the_command(self, driver: Any) -> None:
        (report,) = await driver.run(shell("echo why >&2; exit 3"))
        assert value_of(report).exit_code == 3
        assert value_of(report).stderr.startswith("why\nwhy\n")

    async def test_a_signal_that_ended_a_rank_is_the_end_of_the_command(self, driver: Any) -> None:
        (report,) = await driver.run(shell("kill -KILL $$"))
        assert value_of(report).exit_code == -SIGKILL

    async def test_an_exit_code_is_no_signal(self, driver: Any) -> None:
        (report,) = await driver.run(shell("exit 137"))
        assert value_of(report).exit_code == 137

    async def test_the_code_of_an_abort_is_that_of_the_command(self, driver: Any) -> None:
        code = "from mpi4py.MPI import COMM_WORLD as w; w.rank or w.Abort(3); w.recv(source=0)"
        request = driver.executable(sys.executable, "-c", code, resources=TWO)
        (report,) = await driver.run(request)
        assert value_of(report).exit_code == 3

    async def test_a_program_that_is_not_there_is_named(self, driver: Any) -> None:
        (report,) = await driver.run(driver.executable("/no/such", "program", resources=TWO))
        assert value_of(report).exit_code == 127
        assert "/no/such" in value_of(report).stderr

    async def test_a_cancel_ends_all_ranks(self, driver: Any, tmp_path: Path) -> None:
        request = shell(f"echo $$ >>{tmp_path}/pids; exec sleep 600")
        driver.submit(request)
        ranks = await read(tmp_path / "pids", 2)
        driver.backend.cancel([request.task_id])
        (report,) = await driver.sink.outcomes([request])
        assert report.state is CANCELLED
        assert not any(map(is_there, ranks))

    async def test_ranks_take_slots(self, start: Any, tmp_path: Path) -> None:
        driver = await start(max_workers=4)
        wide = shell(
            f"echo $$ >>{tmp_path}/pids; exec sleep 600", resources=Resources(ranks=2, cores=2)
        )
        narrow = driver.function(int)
        driver.submit(wide)
        await read(tmp_path / "pids", 2)
        driver.submit(narrow)
        driver.backend.cancel([wide.task_id])
        await driver.sink.outcomes([wide, narrow])
        order = [(report[0], report[2]) for report in driver.sink.reports]
        assert order.index((wide.task_id, CANCELLED)) < order.index((narrow.task_id, RUNNING))

    async def test_ranks_that_never_fit_are_refused(self, start: Any) -> None:
        driver = await start(max_workers=2)
        with pytest.raises(ResourceError, match=r"2 cores for each of 2 ranks \(it has 2\)"):
            driver.backend.check(shell("true", resources=Resources(ranks=2, cores=2)).spec)

    async def test_each_rank_sees_its_own_gpus(self, gpu_tools: Tools, start: Any) -> None:
        gpu_tools.nvidia(2)
        driver = await start(executor_type="process")
        asked = Resources(ranks=2, gpus=1)
        (report,) = await driver.run(shell("echo $CUDA_VISIBLE_DEVICES", resources=asked))
        assert value_of(report).stdout == "0\n1\n"


class TestLaunchers:
    def check(self, backend: ConcurrentExecutionBackend, kind: TaskKind) -> None:
        backend.check(TaskSpec("mine", kind, print, resources=TWO))

    @pytest.mark.parametrize("kind", [TaskKind.EXECUTABLE, TaskKind.FUNCTION])
    def test_without_a_launcher_ranks_are_refused_at_the_call(
        self, kind: TaskKind, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        backend = ConcurrentExecutionBackend(max_workers=2)
        self.check(backend, kind)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("SLURM_JOB_ID", raising=False)
        monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
        with pytest.raises(UnsupportedOptionError, match=r"'mine': .*mpiexec.*pip install mpich"):
            self.check(backend, kind)

    def test_without_mpi4py_only_functions_are_refused(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backend = ConcurrentExecutionBackend(max_workers=2)
        monkeypatch.setattr("radical.asyncflow.worker._mpi_launcher.find_spec", {}.get)
        self.check(backend, TaskKind.EXECUTABLE)
        with pytest.raises(UnsupportedOptionError, match="pip install mpi4py"):
            self.check(backend, TaskKind.FUNCTION)

    @pytest.mark.parametrize(
        ("setting", "error"),
        [
            ("no-such-mpiexec", "no program 'no-such-mpiexec'"),
            ("mpiexec -n {number}", r"has \{number\}; it may have \{ranks\}, \{cores\}, \{hosts\}"),
            ("mpiexec -c {cores}", r"does not say where \{ranks\} goes"),
            ("'", "cannot be read"),
            (" ", "is empty"),
        ],
    )
    def test_a_launcher_that_cannot_work_is_refused_at_once(self, setting: str, error: str) -> None:
        with pytest.raises(ConfigurationError, match=error):
            ConcurrentExecutionBackend(mpi_launcher=setting)

    async def test_a_template_is_the_whole_command(self, start: Any, tmp_path: Path) -> None:
        launcher = launcher_of(tmp_path, '#!/bin/sh\nPMI_RANK=0 "$@"; PMI_RANK=1 exec "$@"\n')
        driver = await start(mpi_launcher=f"{launcher} env N={{ranks}} C={{cores}}")
        (report,) = await driver.run(shell("echo $N $C"))
        assert value_of(report).stdout == "2 1\n2 1\n"

    async def test_a_launcher_without_ranks_is_named(self, start: Any) -> None:
        driver = await start(mpi_launcher="env N={ranks}")
        (report,) = await driver.run(shell("echo"))
        assert value_of(report).exit_code == 125
        assert "do not know their numbers" in value_of(report).stderr

    async def test_launchers_of_open_mpi_share_no_folder(
        self, start: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        launcher = launcher_of(
            tmp_path,
            '#!/bin/sh\nif [ "$1" = --version ]; then echo "mpirun (Open MPI) 4.1.4"; exit; fi; '
            'mkdir "$3" || exit 9; while [ "$1" != -n ]; do shift; done; shift 2; '
            'PMI_RANK=0 "$@"; PMI_RANK=1 exec "$@"\n',
        )
        driver = await start(mpi_launcher=str(launcher))
        reports = await driver.run(shell("echo"), shell("echo"))
        assert [value_of(report).exit_code for report in reports] == [0, 0]
        assert len(list(tmp_path.glob("ompi.*"))) == 2  # noqa: ASYNC240

    async def test_a_launcher_of_another_library_is_named(self, start: Any, tmp_path: Path) -> None:
        launcher = launcher_of(tmp_path, '#!/bin/sh\nshift; "$@" & "$@"; wait\n')
        driver = await start(mpi_launcher=f"{launcher} {{ranks}}")
        (report,) = await driver.run(driver.function(pids, resources=TWO))
        assert isinstance(report.value, UnsupportedOptionError)
        assert "belongs to another MPI library than mpi4py" in str(report.value)

    async def test_how_a_rank_ended_is_known_without_the_launcher(
        self, start: Any, tmp_path: Path
    ) -> None:
        launcher = launcher_of(
            tmp_path,
            '#!/bin/sh\nPMI_RANK=0 "$@" & PMI_RANK=1 "$@" & wait; '
            "echo process manager error waiting for completion; exit 255\n",
        )
        driver = await start(mpi_launcher=f"{launcher} env N={{ranks}}")
        other = tmp_path / "1"
        line = (
            f"if [ $PMI_RANK = 1 ]; then echo $$ >{other}; "
            f"else while [ ! -s {other} ]; do sleep 0.01; done; "
            f"while kill -0 $(cat {other}); do sleep 0.01; done; fi; kill -TERM $$"
        )
        killed, failed = await driver.run(
            shell(line),
            shell("exit 3"),
        )
        assert value_of(killed).exit_code == -signal.SIGTERM
        assert value_of(killed).evidence.startswith("rank 1 of 2: ")
        assert value_of(failed).exit_code == 3

    async def test_what_a_launcher_ends_of_a_rank_is_ended_whole(
        self, start: Any, tmp_path: Path
    ) -> None:
        launcher = launcher_of(
            tmp_path,
            f'#!/bin/sh\nPMI_RANK=0 "$@" & while [ ! -s {tmp_path}/pids ]; do sleep 0.01; done; '
            "kill -KILL $!; exit 7\n",
        )
        driver = await start(mpi_launcher=f"{launcher} env N={{ranks}}")
        (report,) = await driver.run(shell(f"echo $$ >>{tmp_path}/pids; exec sleep 600"))
        assert value_of(report).exit_code == 7
        assert not any(map(is_there, await read(tmp_path / "pids", 1)))

    async def test_a_signal_of_the_launcher_reaches_the_rank(
        self, start: Any, tmp_path: Path
    ) -> None:
        launcher = launcher_of(
            tmp_path,
            f'#!/bin/sh\nPMI_RANK=0 "$@" & while [ ! -e {tmp_path}/here ]; do sleep 0.01; done; '
            "kill -TERM $!; wait $!\n",
        )
        driver = await start(mpi_launcher=f"{launcher} env N={{ranks}}")
        wait = f"touch {tmp_path}/here; while :; do sleep 0.01; done"
        (report,) = await driver.run(shell(f"trap 'echo heard; exit 5' TERM; {wait}"))
        assert value_of(report)[:2] == (5, "heard\n")

    async def test_a_launcher_that_fails_is_quoted(self, start: Any, tmp_path: Path) -> None:
        launcher = launcher_of(tmp_path, "#!/bin/sh\necho no room for $1; exit 1\n")
        driver = await start(mpi_launcher=f"{launcher} {{ranks}}")
        (report,) = await driver.run(driver.function(pids, resources=TWO))
        assert isinstance(report.value, WorkerLostError)
        assert "its 2 ranks did not start" in str(report.value)
        assert "no room for 2" in str(report.value)

    async def test_an_outer_launcher_does_not_matter(
        self, driver: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("PMI_RANK", "PMIX_RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK"):
            monkeypatch.setenv(name, "7")
        one, other = await driver.run(shell("echo out"), driver.function(total, 1, resources=TWO))
        assert value_of(one).stdout == "out\nout\n"
        assert value_of(other) == [(0, 2, 3), (1, 2, 3)]


def fill(array: Any) -> tuple[float, bool]:
    array[comm().rank] = 1.0
    return float(array.sum()), array.flags.writeable


async def total_later(number: int) -> int:
    await asyncio.sleep(0)
    return int(comm().allreduce(number))


def fail_at(rank: int, file: str) -> None:
    """Raise at one rank, while the others wait for it."""
    with Path(file).open("a") as output:
        output.write(f"{os.getpid()}\n")
    comm().barrier()
    if comm().rank == rank:
        raise LookupError(f"of rank {rank}")
    comm().recv(source=rank)


def end_at(rank: int, file: str, how: str) -> None:
    """End the process of one rank, while the others wait for it."""
    with Path(file).open("a") as output:
        output.write(f"{os.getpid()}\n")
    comm().barrier()
    if comm().rank == rank:
        if how == "signal":
            os.kill(os.getpid(), SIGKILL)
        os._exit(3)
    comm().recv(source=rank)


def leave_a_message() -> None:
    if comm().rank == 0:
        comm().isend("old", dest=1)


def look_for_messages() -> bool:
    comm().barrier()
    return bool(comm().iprobe())


def make_lock() -> Any:
    return threading.Lock()


def lock_at(rank: int) -> Any:
    return threading.Lock() if comm().rank == rank else "value"


def see() -> tuple[Any, str | None]:
    task = current_task()
    assert task is not None
    return task.gpus, os.environ.get("CUDA_VISIBLE_DEVICES")


def affinity() -> set[int]:
    return os.sched_getaffinity(0)


def name_of(module: str) -> str:
    import importlib

    return str(importlib.import_module(module).__name__)


@pytest.mark.parametrize("executor_type", ["thread", "process"])
async def test_ranks_do_not_depend_on_where_other_functions_run(
    start: Any, executor_type: str
) -> None:
    driver = await start(executor_type=executor_type)
    reports = await driver.run(
        shell("echo out"), driver.function(len, "four"), driver.function(total, 1, resources=TWO)
    )
    command, plain, ranks = map(value_of, reports)
    assert (command.stdout, plain, ranks) == ("out\nout\n", 4, [(0, 2, 3), (1, 2, 3)])


class TestFunctions:
    async def test_the_result_is_the_list_of_the_ranks_values(self, driver: Any) -> None:
        spec = TaskSpec("total", TaskKind.FUNCTION, total, resources=TWO)
        request = TaskRequest(next(NUMBERS), 1, spec, (5,), {"factor": 2})
        (report,) = await driver.run(request)
        assert value_of(report) == [(0, 2, 21), (1, 2, 21)]

    async def test_or_the_value_of_the_first(self, driver: Any) -> None:
        request = driver.function(total, 5, resources=TWO, mpi_result="root")
        (report,) = await driver.run(request)
        assert value_of(report) == (0, 2, 11)

    async def test_an_async_function_has_ranks_too(self, driver: Any) -> None:
        (report,) = await driver.run(driver.function(total_later, 4, resources=TWO))
        assert value_of(report) == [8, 8]

    async def test_large_arguments_arrive_writable_at_all_ranks(self, driver: Any) -> None:
        array = numpy.zeros(1_000_000)
        (report,) = await driver.run(driver.function(fill, array, resources=TWO))
        assert value_of(report) == [(1.0, True)] * 2
        assert array.sum() == 0

    async def test_a_group_serves_many_calls(self, driver: Any) -> None:
        requests = [driver.function(pids, resources=TWO) for _ in range(200)]
        values = [value_of(report) for report in await driver.run(*requests)]
        assert values == [values[0]] * 200

    async def test_two_groups_run_at_once(self, start: Any, tmp_path: Path) -> None:
        driver = await start(max_workers=4)
        one = driver.function(meet, str(tmp_path), "one", "other", resources=TWO)
        other = driver.function(meet, str(tmp_path), "other", "one", resources=TWO)
        assert [value_of(report) for report in await driver.run(one, other)] == [[2, 2]] * 2

    async def test_a_rank_that_raises_is_the_error_of_the_task(
        self, driver: Any, tmp_path: Path
    ) -> None:
        file = tmp_path / "pids"
        (report,) = await driver.run(driver.function(fail_at, 1, str(file), resources=TWO))
        error = report.value
        assert type(error) is LookupError
        assert str(error) == "of rank 1"
        assert error.__notes__ == ["raised by rank 1 of 2"]
        assert isinstance(error.__cause__, RemoteTraceback)
        assert "in fail_at" in str(error.__cause__)
        assert not any(map(is_there, await read(file, 2)))

    @pytest.mark.parametrize("rank", [0, 1])
    @pytest.mark.parametrize("how", ["signal", "exit"])
    async def test_a_rank_that_dies_is_named(
        self, start: Any, tmp_path: Path, rank: int, how: str
    ) -> None:
        driver = await start()
        file = tmp_path / "pids"
        (report,) = await driver.run(driver.function(end_at, rank, str(file), how, resources=TWO))
        assert isinstance(report.value, WorkerLostError)
        assert f"rank {rank} of 2" in report.value.worker
        assert report.value.signal == (SIGKILL if how == "signal" else None)
        assert how == "signal" or "it exited with code 3" in str(report.value)
        assert not any(map(is_there, await read(file, 2)))
        (after,) = await driver.run(driver.function(total, 0, resources=TWO))
        assert value_of(after) == [(0, 2, 1), (1, 2, 1)]

    async def test_a_cancel_ends_all_ranks(self, driver: Any, tmp_path: Path) -> None:
        await driver.run(driver.function(pids, resources=TWO))
        request = driver.function(wait_with, str(tmp_path / "pids"), resources=TWO)
        driver.submit(request)
        ranks = await read(tmp_path / "pids", 2)
        driver.backend.cancel([request.task_id])
        (report,) = await driver.sink.outcomes([request])
        assert report.state is CANCELLED
        assert not any(map(is_there, ranks))

    async def test_a_group_that_died_while_it_waited_is_replaced(self, driver: Any) -> None:
        (before,) = await driver.run(driver.function(pids, resources=TWO))
        os.kill(value_of(before)[1], SIGKILL)
        async with asyncio.timeout(60):
            while psutil.pid_exists(value_of(before)[1]):  # noqa: ASYNC110 - another process reaps it
                await asyncio.sleep(0.01)
        (after,) = await driver.run(driver.function(pids, resources=TWO))
        assert not set(value_of(before)) & set(value_of(after))

    async def test_a_message_that_is_left_behind_reaches_no_other_call(self, driver: Any) -> None:
        await driver.run(driver.function(leave_a_message, resources=TWO))
        (report,) = await driver.run(driver.function(look_for_messages, resources=TWO))
        assert value_of(report) == [False, False]

    async def test_what_cannot_travel_is_named(self, driver: Any) -> None:
        argument, result = await driver.run(
            driver.function(total, threading.Lock(), resources=TWO),
            driver.function(make_lock, resources=TWO),
        )
        assert (type(argument.value), argument.value.what) == (SerializationError, "arguments")
        assert (type(result.value), result.value.what) == (SerializationError, "result")

    async def test_of_the_other_ranks_nothing_travels_with_root(self, start: Any) -> None:
        driver = await start()
        (report,) = await driver.run(driver.function(lock_at, 1, resources=TWO, mpi_result="root"))
        assert value_of(report) == "value"

    async def test_a_group_imports_what_the_program_can_import_by_now(
        self, driver: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await driver.run(driver.function(pids, resources=TWO))
        (tmp_path / "late_module.py").touch()
        monkeypatch.syspath_prepend(str(tmp_path))
        (report,) = await driver.run(driver.function(name_of, "late_module", resources=TWO))
        assert value_of(report) == ["late_module"] * 2

    async def test_each_rank_has_its_own_gpus(self, gpu_tools: Tools, start: Any) -> None:
        gpu_tools.nvidia(2)
        driver = await start(executor_type="process")
        whole, parts = await driver.run(
            driver.function(see, resources=Resources(ranks=2, gpus=1)),
            driver.function(see, resources=Resources(ranks=2, gpus=0.5)),
        )
        assert value_of(whole) == [((0,), "0"), ((1,), "1")]
        assert value_of(parts) == [((0,), "0"), ((0,), "0")]

    @pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no cores to bind to")
    async def test_each_rank_is_bound_to_its_cores(self, start: Any) -> None:
        cores = len(os.sched_getaffinity(0))
        if cores < 2:
            pytest.skip("one core")
        driver = await start(max_workers=2, bind=True)
        (report,) = await driver.run(driver.function(affinity, resources=TWO))
        one, other = value_of(report)
        assert len(one) == len(other) == 1
        assert one != other


class TestWorkflows:
    async def test_a_timeout_ends_all_ranks(self) -> None:
        async with await WorkflowEngine.create("concurrent", config={"max_workers": 2}) as flow:
            ranks = await flow.function_task(resources=TWO)(pids)()
            with pytest.raises(TaskTimeoutError):
                await flow.function_task(resources=TWO, timeout=0.1)(time.sleep)(600)
        assert not any(map(is_there, ranks))

    async def test_what_no_task_can_be_is_refused(self) -> None:
        async with await WorkflowEngine.create("concurrent", config={"max_workers": 2}) as flow:
            with pytest.raises(ConfigurationError, match='must be "list" or "root"'):
                flow.function_task(resources=TWO, mpi_result="all")(total)
            with pytest.raises(ConfigurationError, match="for function tasks with ranks"):
                flow.executable_task(resources=TWO, mpi_result="root")(total)

    async def test_a_service_has_no_ranks(self) -> None:
        async with await WorkflowEngine.create("concurrent", config={"max_workers": 2}) as flow:
            serve = flow.executable_task(resources=TWO, service=True)(lambda: "sleep 600")
            with pytest.raises(UnsupportedOptionError, match="a service has one rank"):
                serve()

    async def test_async_functions_of_one_loop_have_no_ranks(self) -> None:
        config = {"max_workers": 2, "executor_type": "async"}
        async with await WorkflowEngine.create("concurrent", config=config) as flow:
            with pytest.raises(UnsupportedOptionError, match="write a plain function"):
                flow.function_task(resources=TWO)(total_later)(1)
            assert await flow.function_task(resources=TWO)(total)(1) == [(0, 2, 3), (1, 2, 3)]

    async def test_another_number_of_ranks_is_another_result(self, tmp_path: Path) -> None:
        for ranks, expected in ((2, [2, 2]), (3, [3, 3, 3]), (2, [2, 2])):
            async with await WorkflowEngine.create(
                "concurrent", config={"max_workers": 3}, journal=tmp_path / "journal"
            ) as flow:
                count = flow.function_task(resources={"ranks": ranks})(size)
                assert await count() == expected

    def test_a_program_that_is_killed_leaves_no_rank(self, tmp_path: Path) -> None:
        program = tmp_path / "program.py"
        program.write_text(PROGRAM)
        process = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        ranks = [int(word) for word in process.stdout.readline().split()]
        assert len(ranks) == 2
        process.kill()
        process.wait()
        process.stdout.close()
        deadline = time.monotonic() + 30
        while any(map(is_there, ranks)):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def size() -> int:
    return int(comm().size)


PROGRAM = """
import asyncio, os, time
from radical.asyncflow import WorkflowEngine

async def main():
    flow = await WorkflowEngine.create("concurrent", config={"max_workers": 2})
    pids = await flow.function_task(resources={"ranks": 2})(os.getpid)()
    print(*pids, flush=True)
    await flow.function_task(resources={"ranks": 2})(time.sleep)(600)

asyncio.run(main())
"""


async def test_the_record_has_what_all_ranks_used_together(tmp_path: Path) -> None:
    config = {"max_workers": 2}
    for usage in await use_of_ranks("concurrent", config, tmp_path / "journal"):
        assert usage.cpu_seconds >= 2 * BURNT_S
        if sys.platform == "linux":
            assert HELD_BYTES < usage.peak_memory < 2 * HELD_BYTES + 100_000_000
            assert usage.read_bytes is not None
