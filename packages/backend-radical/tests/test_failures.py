"""Failures end in the promised error, in time, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from asyncflow_backend_radical import RadicalExecutionBackend, __version__
from polling import until
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import BackendStartError, ConfigurationError
from radical.asyncflow.testing import LeakGuard, RecordingSink

from .support import below

pytestmark = pytest.mark.slow

_ROOT = Path(__file__).parents[3]
_BLOCKS = _ROOT / "tests/spec/blocks"
# The blocks use await outside of functions and share their names.
_RUN = """
import asyncio, pathlib, sys
from document_blocks import compile_block, run_code
async def main():
    names = {"__name__": "__main__"}
    for path in map(pathlib.Path, sys.argv[1:]):
        await run_code(compile_block(path.read_text(), path.name), names)
asyncio.run(main())
"""


def _names(folder: Path, pattern: str) -> list[str]:
    return [path.name for path in folder.glob(pattern)]


def test_the_specifications_example_runs_verbatim_without_activation(tmp_path: Path) -> None:
    env = {key: value for key, value in os.environ.items() if key != "VIRTUAL_ENV"}
    env |= {"PATH": os.defpath, "PYTHONPATH": str(_ROOT / "tests/support")}
    blocks = [str(_BLOCKS / f"{name}.py") for name in ("setup", "tasks", "workflow")]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, *blocks, str(_BLOCKS / "five_workflows.py")],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [f"Workflow {number} completed" in done.stdout for number in range(5)] == [True] * 5
    assert list(tmp_path.iterdir()) == []


async def test_nothing_outlives_a_killed_program(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(
        f"""
import asyncio
from radical.asyncflow import WorkflowEngine
async def main():
    flow = await WorkflowEngine.create("radical_pilot", work_dir={str(tmp_path)!r})
    @flow.executable_task
    async def sleep():
        return "touch {tmp_path}/began; sleep 100; sleep 100"
    await sleep()
asyncio.run(main())
"""
    )
    program = await asyncio.create_subprocess_exec(
        sys.executable, str(script), start_new_session=True
    )
    try:
        await until((tmp_path / "began").exists)
    finally:
        program.kill()
        await program.wait()
    await until(lambda: below(tmp_path) == [])


async def test_an_installation_without_its_agent_is_named_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    backend = RadicalExecutionBackend()
    with pytest.raises(BackendStartError, match="radical-pilot-agent_0"):
        await backend.start(RecordingSink(work_dir=tmp_path))
    assert _names(tmp_path, "*") == []


async def test_a_pilot_that_is_not_active_in_time_shows_its_logs(tmp_path: Path) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(startup_timeout=4)
        with pytest.raises(BackendStartError, match=r"within 4 s\nlogs: .*host.log"):
            await backend.start(RecordingSink(work_dir=tmp_path))
        await backend.shutdown()
    assert below(tmp_path) == []


@pytest.mark.parametrize("way", ["shutdown", "cancel"])
async def test_a_start_that_is_ended_leaves_nothing_and_does_not_wait(
    tmp_path: Path, way: str
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend()
        start = asyncio.create_task(backend.start(RecordingSink(work_dir=tmp_path)))
        await until(lambda: _names(tmp_path, "*/host.log") != [])
        if way == "cancel":
            start.cancel()
        await backend.shutdown()
        (error,) = await asyncio.gather(start, return_exceptions=True)
    expected = asyncio.CancelledError if way == "cancel" else BackendStartError
    assert isinstance(error, expected)
    assert below(tmp_path) == []


async def test_the_logs_of_a_failed_start_outlive_the_engine() -> None:
    with pytest.raises(BackendStartError) as caught:
        await WorkflowEngine.create(RadicalExecutionBackend(startup_timeout=4))
    logs = str(caught.value).partition("logs: ")[2].partition(",")[0].splitlines()[0]
    log = Path(logs)
    assert log.is_file()  # noqa: ASYNC240
    shutil.rmtree(log.parents[1])


async def test_an_unknown_attribute_of_the_pilot_is_refused_before_a_session(
    tmp_path: Path,
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(pilot={"job_nam": "x"})
        with pytest.raises(ConfigurationError, match="'job_nam'; did you mean 'job_name'"):
            await backend.start(RecordingSink(work_dir=tmp_path))
    assert _names(tmp_path, "**/rp.session.*") == []


async def test_a_setting_that_the_centre_demands_is_named_before_anything_starts(
    tmp_path: Path,
) -> None:
    backend = RadicalExecutionBackend(resource="tacc.frontera", nodes=1)
    with pytest.raises(ConfigurationError, match="demands project"):
        await backend.start(RecordingSink(work_dir=tmp_path))
    assert _names(tmp_path, "*") == []


def test_radical_stack_finds_what_it_reads_of_every_package() -> None:
    # It goes through the folders of the first part of the namespace only, in which an
    # editable installation is not; what it does there is this.
    code = "import radical.asyncflow as module; print(module.version, module.version_detail)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split()[-1] == __version__
