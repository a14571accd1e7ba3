"""MPI, services and files: what a pilot has beside plain tasks."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from polling import HANG_S
from radical.asyncflow import InputFile, OutputFile, WorkflowEngine
from radical.asyncflow.errors import ExecutableError, UnsupportedOptionError

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_MPI = """
from mpi4py import MPI
world = MPI.COMM_WORLD
print(world.rank, world.size, world.allreduce(world.rank + 1), flush=True)
"""


async def command(value: Any) -> Any:
    return value


# -------------------------------------------------------------------------- MPI


async def test_ranks_see_each_other(flow: WorkflowEngine) -> None:
    run = flow.executable_task(resources={"ranks": 2}, timeout=HANG_S)(command)
    assert await run([sys.executable, "-c", _MPI]) == "0 2 3\n1 2 3\n"


async def test_a_file_has_the_output_of_all_ranks(flow: WorkflowEngine) -> None:
    run = flow.executable_task(resources={"ranks": 2}, capture_stdio=True, timeout=HANG_S)(command)
    assert Path(await run("echo $RP_RANK")).read_text() == "0\n1\n"  # noqa: ASYNC240


async def test_every_rank_runs_the_command(flow: WorkflowEngine, tmp_path: Path) -> None:
    run = flow.executable_task(resources={"ranks": 3, "cores": 2}, timeout=HANG_S)(command)
    await run(f"touch {tmp_path}/$RP_RANK.$RP_RANKS")
    names = sorted(path.name for path in tmp_path.iterdir())  # noqa: ASYNC240
    assert names == ["0.3", "1.3", "2.3"]


async def test_ranks_without_a_launcher_are_refused_at_the_call(
    flow: WorkflowEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with pytest.raises(UnsupportedOptionError, match=r"ranks=2 needs mpiexec or mpirun"):
        flow.executable_task(resources={"ranks": 2})(command)("true")


# --------------------------------------------------------------------- services


async def test_ranks_are_one_service_and_the_first_has_its_info(flow: WorkflowEngine) -> None:
    serve = flow.executable_task(
        service=True, resources={"ranks": 2}, info_pattern=r"stdout:rank (\d)", timeout=HANG_S
    )(command)
    server = serve("echo rank $RP_RANK; sleep 600")
    assert await server == "0"
    assert server.stdout == "rank 0\n"
    await server.stop()


async def test_an_address_that_answers_before_is_of_no_service(flow: WorkflowEngine) -> None:
    with socket.create_server(("localhost", 0)) as other:
        port = other.getsockname()[1]
        serve = flow.executable_task(service=True, ready_port=port, timeout=HANG_S)(command)
        with pytest.raises(ExecutableError, match=f"port {port} is in use already"):
            await serve("sleep 600")


async def test_a_pattern_in_the_description_is_refused_at_the_call(flow: WorkflowEngine) -> None:
    options: Any = {"info_pattern": "stdout:x"}
    with pytest.raises(UnsupportedOptionError, match="use info_pattern=, beside service=True"):
        flow.executable_task(service=True, task_description=options)(command)("true")


# ------------------------------------------------------------------------ files


async def test_a_file_goes_from_task_to_task_as_a_link(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    outside = tmp_path / "data.txt"
    outside.write_text("3\n1\n2\n")

    @flow.executable_task
    async def arrange(source: InputFile | str, target: OutputFile | str) -> str:
        return f"sort {source} > {target}"

    @flow.function_task
    def read(path: InputFile | str) -> tuple[str, bool]:
        return Path(str(path)).read_text(), Path(str(path)).is_symlink()

    made = arrange(InputFile(outside), OutputFile(tmp_path / "sorted.txt"))
    assert await read(InputFile(made, "sorted.txt", link=True)) == ("1\n2\n3\n", True)
    assert await read(InputFile(made, "sorted.txt")) == ("1\n2\n3\n", False)


async def test_directives_of_radical_pilot_are_passed_on(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    outside = tmp_path / "data.txt"
    outside.write_text("staged")
    directive = {
        "source": f"file://localhost{outside}",
        "target": "task:///copy.txt",
        "action": "Transfer",
    }
    run = flow.executable_task(task_description={"input_staging": [directive]})(command)
    assert await run('cat "$RP_TASK_SANDBOX/copy.txt"') == "staged"
