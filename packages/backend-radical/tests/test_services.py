"""MPI, services and files: what a pilot has beside plain tasks."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import InputFile, OutputFile, WorkflowEngine
from radical.asyncflow.backend import Command
from radical.asyncflow.errors import ExecutableError, TaskTimeoutError, UnsupportedOptionError

from .support import HANG_S, until

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

_MPI = """
from mpi4py import MPI
world = MPI.COMM_WORLD
print(world.rank, world.size, world.allreduce(world.rank + 1), flush=True)
"""
_SERVER = """
import http.server, sys
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"served")
server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
print("starting", flush=True)
print(f"serving at http://127.0.0.1:{server.server_port}/ now", flush=True)
server.serve_forever()
"""
_FETCH = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())"


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


async def test_a_service_is_done_when_it_is_up_and_runs_on(flow: WorkflowEngine) -> None:
    options: Any = {"info_pattern": r"stdout:serving at (\S+)"}
    serve = flow.executable_task(service=True, task_description=options, timeout=HANG_S)(command)
    fetch = flow.executable_task(command)
    address = await serve(Command([sys.executable, "-c", _SERVER]))
    assert address.startswith("http://127.0.0.1:")
    assert await fetch([sys.executable, "-c", _FETCH, address]) == "served\n"
    assert await fetch([sys.executable, "-c", _FETCH, address]) == "served\n"


async def test_a_service_without_a_pattern_is_up_when_it_runs(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    serve = flow.executable_task(service=True, timeout=HANG_S)(command)
    assert await serve(f"touch {tmp_path}/began; sleep 600") == ""


async def test_a_service_that_ends_before_it_is_up_failed(flow: WorkflowEngine) -> None:
    options: Any = {"info_pattern": "stdout:never"}
    serve = flow.executable_task(service=True, task_description=options)(command)
    with pytest.raises(ExecutableError, match="no port"):
        await serve("echo no port >&2; exit 3")


async def test_a_service_that_never_comes_up_harms_no_other_task(flow: WorkflowEngine) -> None:
    options: Any = {"info_pattern": "stderr:never"}
    serve = flow.executable_task(service=True, task_description=options, timeout=1.5)(command)
    service = serve("sleep 600")
    assert await flow.executable_task(command)("echo beside") == "beside\n"
    with pytest.raises(TaskTimeoutError):
        await service
    assert await flow.executable_task(command)("echo after") == "after\n"


async def test_the_end_of_a_service_is_logged(
    flow: WorkflowEngine, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    serve = flow.executable_task(service=True, name="brief")(command)
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        await serve(f"until test -e {tmp_path}/enough; do sleep 0.05; done; exit 4")
        (tmp_path / "enough").touch()
        await until(lambda: "service 'brief' ended: FAILED, exit code 4" in caplog.text)


async def test_a_service_is_an_executable(flow: WorkflowEngine) -> None:
    with pytest.raises(UnsupportedOptionError, match="a service is an executable task"):
        flow.function_task(service=True)(len)("x")


@pytest.mark.parametrize("pattern", ["no stream", "file:x", "stdout:("])
async def test_a_wrong_pattern_is_refused_at_the_call(flow: WorkflowEngine, pattern: str) -> None:
    options: Any = {"info_pattern": pattern}
    with pytest.raises(UnsupportedOptionError, match="info_pattern"):
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
