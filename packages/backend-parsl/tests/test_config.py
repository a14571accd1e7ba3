"""The settings, and the batch script that comes of them."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_parsl import ParslExecutionBackend
from asyncflow_backend_parsl._site.order import Ports
from asyncflow_backend_parsl._site.reading import read_site
from asyncflow_backend_parsl.config import ParslConfig, SlurmConfig
from parsl.config import Config
from parsl.executors import HighThroughputExecutor, ThreadPoolExecutor
from parsl.providers import LocalProvider
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import BackendStartError, ConfigurationError
from radical.asyncflow.factory import create_backend


@pytest.mark.parametrize(
    ("name", "config", "words"),
    [
        ("parsl", {"provider": "slrm"}, "did you mean 'slurm'"),
        ("parsl", {"launcher": "srn"}, "did you mean 'srun'"),
        ("parsl", {"queue": "debug"}, "LocalProvider has no such setting"),
        ("parsl", {"provider": "grid_engine", "account": "a"}, "account"),
        ("parsl", {"max_blocks": 1, "init_blocks": 2}, "max_blocks must not be less"),
        ("slurm", {"cores_per_worker": 8, "cores_per_node": 4}, "more than cores_per_node"),
        ("slurm", {"launcher": "single_node", "nodes_per_block": 2}, "nodes_per_block is 2"),
        ("slurm", {"provider_options": {"partition": "x"}}, "as the setting 'partition'"),
        ("parsl", {"provider_options": {"max_blocks": 3}}, "as the setting 'max_blocks'"),
        (
            *("pbs", {"provider_options": {"account": "x"}}),
            "give 'account' as the setting 'project'",
        ),
        ("parsl", {"config": "no_such_module:config"}, "no_such_module"),
        ("parsl", {"config": "nothing.py"}, "neither a file nor"),
        ("parsl", {"config": 7}, "must be a parsl.Config"),
        ("parsl", {"config": "a:b", "max_blocks": 3}, "config says what max_blocks would say"),
        ("slurm", {"walltime": 30}, '"HH:MM:SS"'),
        ("slurm", {"walltime": "30"}, '"HH:MM:SS"'),
        ("slurm", {"queue": "debug"}, "queue"),
        ("pbs", {"partition": "debug"}, "partition"),
    ],
)
async def test_a_wrong_setting_is_refused_at_the_call(
    name: str, config: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        await create_backend(name, config=config)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("walltime", "shown"),
    [
        ("01:30:00", "--time=90"),
        ("1-00:00:00", "--time=1440"),
        (timedelta(minutes=90), "--time=90"),
        (None, "--time=60"),
    ],
)
async def test_the_settings_reach_the_batch_script_of_slurm(walltime: Any, shown: str) -> None:
    config = {
        "partition": "long",
        "account": "projekt",
        "qos": "high",
        "constraint": "gpu",
        "nodes_per_block": 3,
        "cores_per_node": 8,
        "gpus_per_node": 2,
        "memory_per_node": "64GB",
        "worker_init": "module load python",
        "scheduler_options": "#SBATCH --reservation=x",
    }
    if walltime is not None:
        config["walltime"] = walltime
    script = str((await create_backend("slurm", config=config)).plan()["script"])
    for line in (
        shown,
        "--partition=long",
        "--account=projekt",
        "--qos=high",
        "--constraint=gpu",
        "--nodes=3",
        "--cpus-per-task=8",
        "--gpus-per-node=2",
        "--mem=64g",
        "--exclusive",
        "--reservation=x",
        "module load python",
        "srun",
        "asyncflow_backend_parsl._node",
    ):
        assert line in script


async def test_the_settings_reach_the_batch_script_of_pbs() -> None:
    config = {
        "queue": "long",
        "project": "projekt",
        "cores_per_node": 8,
        "nodes_per_block": 2,
        "select_options": "ngpus=4",
        "walltime": "02:00:00",
    }
    plan = (await create_backend("pbs", config=config)).plan()
    script = plan["command"] + plan["script"]
    for line in ("-A projekt", "-q long", "select=2:ncpus=8", "ngpus=4", "walltime=02:00:00"):
        assert line in script
    assert "mpiexec" in script


@pytest.mark.parametrize(
    ("worker_init", "python"), [("", sys.executable), ("module load python", "python3")]
)
async def test_a_node_runs_the_python_of_the_program_or_of_worker_init(
    worker_init: str, python: str
) -> None:
    plan = (await create_backend("slurm", config={"worker_init": worker_init})).plan()
    assert f"{python} -P -m asyncflow_backend_parsl._node" in plan["script"]


async def test_a_plan_names_the_blocks_and_submits_nothing() -> None:
    plan = (await create_backend("parsl", config={"max_blocks": 3, "min_blocks": 1})).plan()
    assert (plan["system"], plan["min_blocks"], plan["max_blocks"]) == ("local", 1, 3)


def _config() -> Config:
    provider = LocalProvider(max_blocks=4, init_blocks=2, worker_init="export COLOUR=blue")
    executor = HighThroughputExecutor(
        label="cpu", provider=provider, address="127.0.0.1", max_workers_per_node=2
    )
    return Config(executors=[executor])


def test_a_configuration_of_parsl_says_what_the_settings_would(tmp_path: Path) -> None:
    file = tmp_path / "site.py"
    file.write_text(
        "from parsl.config import Config\n"
        "from parsl.executors import HighThroughputExecutor\n"
        "from parsl.providers import LocalProvider\n"
        "provider = LocalProvider(max_blocks=4, init_blocks=2)\n"
        "executor = HighThroughputExecutor(address='127.0.0.1', provider=provider)\n"
        "config = Config(executors=[executor])\n"
    )
    for config in (_config(), str(file), file, f"{__name__}:_config"):
        plan = ParslExecutionBackend(config=config).plan()
        assert (plan["system"], plan["init_blocks"], plan["max_blocks"]) == ("local", 2, 4)


def test_the_ports_of_a_configuration_of_parsl_are_kept() -> None:
    executor = HighThroughputExecutor(
        label="cpu", address="127.0.0.1", worker_port=54321, worker_port_range=(54000, 54400)
    )
    site = ParslExecutionBackend(config=Config(executors=[executor]))._site
    assert site.ports == Ports(54000, 54400, 54321)


def test_a_configuration_with_several_executors_is_refused() -> None:
    there, more = (
        HighThroughputExecutor(label=label, address="127.0.0.1") for label in ("there", "more")
    )
    executors = [ThreadPoolExecutor(label="here"), there]
    assert ParslExecutionBackend(config=Config(executors=executors)).plan()
    executors.append(more)
    with pytest.raises(ConfigurationError, match=r"there.*more"):
        ParslExecutionBackend(config=Config(executors=executors))


async def test_a_folder_that_parsl_would_take_apart_is_refused_at_the_start(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "my $data"
    folder.mkdir()
    with pytest.raises(ConfigurationError, match=r"my \$data.*its path has ' ', '\$'; start"):
        await WorkflowEngine.create("parsl", work_dir=folder)


async def test_an_address_that_nobody_knows_is_refused_at_the_start() -> None:
    with pytest.raises(ConfigurationError, match=r"address 'no\.such\.host\.invalid'"):
        await WorkflowEngine.create("parsl", config={"address": "no.such.host.invalid"})


async def test_a_batch_system_that_is_not_here_is_told_in_the_words_of_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendStartError, match=r"takes no block: .*qsub.* not found"):
        await WorkflowEngine.create("parsl", config={"provider": "grid_engine"})


def test_a_plan_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    backend = ParslExecutionBackend(SlurmConfig(partition="debug"), name="slurm")
    assert "#SBATCH --partition=debug" in backend.plan()["script"]
    assert not [record for record in caplog.records if record.name.startswith("parsl.providers")]


def test_the_gpus_of_a_configuration_of_parsl_are_numbers_or_names() -> None:
    gpus = ["3", "GPU-5f3a"]
    executor = HighThroughputExecutor(
        address="127.0.0.1", available_accelerators=gpus, provider=LocalProvider()
    )
    site = read_site(ParslConfig(config=Config(executors=[executor])), "parsl")
    assert site.workers.available_gpus == [3, "GPU-5f3a"]
    assert site.workers.most == len(gpus)
