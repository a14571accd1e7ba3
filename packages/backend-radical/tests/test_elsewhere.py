"""A resource that is not this machine alone: files go where its nodes see them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from radical.asyncflow import InputFile, OutputFile, WorkflowEngine
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.testing import LeakGuard, RecordingSink

from .support import below

pytestmark = pytest.mark.slow


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the shared folder of ``uni.cellar``, whose only node is this machine."""
    configs = tmp_path / "user" / ".radical" / "pilot" / "configs"
    configs.mkdir(parents=True)
    folder = tmp_path / "shared"
    entry = {
        "default_schema": "local",
        "schemas": {
            "local": {
                "job_manager_endpoint": "fork://localhost/",
                "filesystem_endpoint": "file://localhost/",
            }
        },
        "default_remote_workdir": str(folder),
        "resource_manager": "FORK",
        "agent_config": "default",
        "agent_scheduler": "CONTINUOUS",
        "agent_spawner": "POPEN",
        "launch_methods": {"order": ["FORK"], "FORK": {}},
        "rp_version": "installed",
        "virtenv_mode": "local",
        "python_dist": "default",
        "cores_per_node": 4,
        "fake_resources": True,
    }
    (configs / "resource_uni.json").write_text(json.dumps({"cellar": entry}))
    monkeypatch.setenv("RADICAL_CONFIG_USER_DIR", str(tmp_path / "user"))
    return folder


async def test_files_are_where_the_nodes_see_them_and_gone_in_the_end(
    shared: Path, tmp_path: Path
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(resource="uni.cellar", nodes=1, walltime=10)
        async with WorkflowEngine.create(backend) as flow:

            @flow.executable_task
            async def make(target: OutputFile | str) -> str:
                return f"echo made > {target}; echo {target}"

            @flow.function_task
            def read(path: InputFile | str) -> tuple[str, str]:
                return str(path), Path(str(path)).read_text()

            made = make(OutputFile(tmp_path / "out.txt"))
            path, text = await read(InputFile(made, "out.txt"))
            assert (Path(path).is_relative_to(shared), text) == (True, "made\n")
            assert await made == f"{tmp_path / 'out.txt'}\n"

            @flow.executable_task
            async def simulate(seed: int) -> str:
                return f"echo {seed} > seed.{seed}; echo of {seed} > {OutputFile('of/x')}"

            @flow.executable_task(link_dependencies=True)
            async def gather(*_: object) -> str:
                return "cat seed.7 of/x"

            assert await gather(simulate(7)) == "7\nof 7\n"
            shutil.rmtree("of")  # the place of the output
    left = [*shared.glob("asyncflow*"), *shared.glob("*/rp.session*")]  # noqa: ASYNC240
    assert left == []


async def test_a_work_dir_that_the_nodes_do_not_see_is_refused(
    shared: Path, tmp_path: Path
) -> None:
    async with LeakGuard():
        backend = RadicalExecutionBackend(resource="uni.cellar", nodes=1, sandbox="/dev/shm")
        with pytest.raises(ConfigurationError, match="not on the file system of '/dev/shm'"):
            await backend.start(RecordingSink(work_dir=tmp_path))
        await backend.shutdown()
    assert below(tmp_path) == []
