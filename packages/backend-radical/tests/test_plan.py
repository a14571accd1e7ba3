"""Settings become the pilot that would be submitted, or an error that says what would work."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_radical import RadicalExecutionBackend
from document_blocks import compile_block, run_code
from radical.asyncflow import AsyncFlowDeprecationWarning, WorkflowEngine, factory
from radical.asyncflow.errors import ConfigurationError

BLOCKS = Path(__file__).parents[3] / "tests/spec/blocks"


def _pilot(**config: Any) -> dict[str, Any]:
    return dict(RadicalExecutionBackend(**config).plan()["pilot"])


def test_the_gpu_example_of_the_specification_asks_for_its_nodes_and_queue() -> None:
    pilot = _pilot(resource="ornl.summit", queue="gpu", nodes=100, gpus_per_node=6, walltime=120)
    assert pilot == {
        "resource": "ornl.summit",
        "queue": "gpu",
        "nodes": 100,
        "runtime": 120,
        "exit_on_error": False,
    }


def test_the_cpu_example_of_the_specification_has_all_its_cores() -> None:
    plan = RadicalExecutionBackend(
        resource="tacc.frontera", queue="normal", nodes=1000, cores_per_node=56, walltime=240
    ).plan()
    assert (plan["nodes"], plan["cores"], plan["queued"]) == (1000, 56_000, True)


@pytest.mark.parametrize("block", ["hpc", "gpu", "cpu", "fallback"])
async def test_a_block_of_the_specification_makes_the_pilots_backend(block: str) -> None:
    names: dict[str, Any] = {"factory": factory}
    source = (BLOCKS / f"{block}.py").read_text(encoding="utf-8")
    await run_code(compile_block(source, block), names)
    assert isinstance(names["backend"], RadicalExecutionBackend)


def test_the_plan_says_which_settings_the_centre_demands_beside() -> None:
    assert RadicalExecutionBackend(resource="tacc.frontera", nodes=1).plan()["missing"] == [
        "project"
    ]
    plan = RadicalExecutionBackend(resource="tacc.frontera", nodes=1, project="X1").plan()
    assert plan["missing"] == []


@pytest.mark.parametrize(
    ("walltime", "minutes"),
    [
        (120, 120),
        (1.5, 2),  # RADICAL-Pilot has whole minutes only
        ("2:00:00", 120),
        ("00:00:30", 1),
        ("1-00:00:00", 1440),
        (timedelta(hours=1, seconds=1), 61),
        (None, 60),
    ],
)
def test_a_walltime_is_minutes_as_a_number_and_else_what_it_is_everywhere(
    walltime: Any, minutes: int
) -> None:
    assert _pilot(walltime=walltime)["runtime"] == minutes


@pytest.mark.parametrize(
    "walltime", [0, -1, "90", "1:75:00", timedelta(0), True, math.nan, math.inf]
)
def test_a_walltime_that_has_no_or_two_meanings_is_refused(walltime: Any) -> None:
    with pytest.raises(ConfigurationError, match="'walltime': write minutes as a number above 0"):
        RadicalExecutionBackend(walltime=walltime)


def test_settings_may_be_one_mapping() -> None:
    backend = RadicalExecutionBackend({"cores": 3}, walltime=5)
    assert (backend.plan()["pilot"]["cores"], backend.plan()["pilot"]["runtime"]) == (3, 5)


def test_a_mapping_of_the_public_package_becomes_settings() -> None:
    given = {"resource": "local.localhost", "cores": 4, "runtime": 15, "exit_on_error": False}
    with pytest.warns(AsyncFlowDeprecationWarning, match="use walltime") as caught:
        backend = RadicalExecutionBackend(given)
    assert [warning.filename for warning in caught] == [__file__]
    assert backend.plan()["pilot"]["runtime"] == 15
    assert given["runtime"] == 15
    with pytest.raises(ConfigurationError, match="unknown key 'runtime'"):
        RadicalExecutionBackend({"runtime": 15, "walltime": 15})
    with pytest.raises(ConfigurationError, match=r"raptor_config: leave it out, .* raptor=\{"):
        RadicalExecutionBackend({}, {"masters": []})


def test_a_local_resource_needs_no_size() -> None:
    assert _pilot(resource="local.localhost")["nodes"] == 1


def test_any_other_resource_must_be_told_its_size() -> None:
    with pytest.raises(ConfigurationError, match=r"nodes=.* or cores=.*a node has 42 cores"):
        _pilot(resource="ornl.summit")


def test_a_retired_resource_is_said_to_be_gone() -> None:
    with pytest.raises(ConfigurationError, match=r"'anl.theta'.*no longer lists it.*'anl.polaris'"):
        _pilot(resource="anl.theta", nodes=1)


def test_an_unknown_resource_names_the_closest_and_how_to_add_one() -> None:
    with pytest.raises(ConfigurationError, match=r"'ornl.summit'.*resource_ornl.json"):
        _pilot(resource="ornl.sumit", nodes=1)


def test_a_node_size_that_differs_from_the_known_one_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"cores_per_node=48.*'tacc.frontera' says 56"):
        _pilot(resource="tacc.frontera", nodes=2, cores_per_node=48)


def test_an_unknown_access_schema_names_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match="local, ssh, interactive"):
        _pilot(resource="tacc.frontera", nodes=1, access_schema="gsissh")


def test_nodes_and_cores_exclude_each_other() -> None:
    with pytest.raises(ConfigurationError, match="either nodes, or cores and gpus"):
        _pilot(nodes=1, cores=4)


def test_further_attributes_of_the_pilot_are_passed_on() -> None:
    assert _pilot(pilot={"job_name": "mine"})["job_name"] == "mine"


def test_an_attribute_that_a_setting_stands_for_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'runtime'; use walltime"):
        _pilot(pilot={"runtime": 5})


def test_a_configuration_of_the_users_own_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / ".radical" / "pilot" / "configs"
    folder.mkdir(parents=True)
    (folder / "resource_uni.json").write_text(
        """{
        # the cluster in the cellar
        "cellar": {"default_schema": "local", "cores_per_node": 16, # per node
                   "schemas": {"local": {"job_manager_endpoint": "slurm://localhost/",
                                         "filesystem_endpoint": "file://localhost/#here"}},},
    }"""
    )
    monkeypatch.setenv("RADICAL_CONFIG_USER_DIR", str(tmp_path))
    plan = RadicalExecutionBackend(resource="uni.cellar", nodes=2).plan()
    assert (plan["cores"], plan["job_manager"]) == (32, "slurm://localhost/")


_EXAMPLES: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        {"resource": "ornl.summit", "queue": "gpu", "nodes": 100, "gpus_per_node": 6},
        {"pilot.resource": "ornl.summit", "pilot.queue": "gpu", "gpus": "600", "queued": "True"},
    ),
    (
        {"resource": "tacc.frontera", "queue": "normal", "nodes": 1000, "cores_per_node": 56},
        {"pilot.nodes": "1000", "cores": "56000", "missing": "project"},
    ),
    ({"resource": "local.localhost"}, {"pilot.nodes": "1", "queued": "False", "missing": "none"}),
]


def _doctor(config: dict[str, Any], folder: Path) -> subprocess.CompletedProcess[str]:
    settings = [word for key, value in config.items() for word in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "radical.asyncflow", "doctor", "radical_pilot", "--plan"]
    return subprocess.run(
        [*command, *settings], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(("config", "expected"), _EXAMPLES, ids=["gpu", "cpu", "local"])
def test_the_doctor_shows_the_pilot_of_the_specifications_examples(
    config: dict[str, Any], expected: dict[str, Any], tmp_path: Path
) -> None:
    done = _doctor(config, tmp_path)
    assert done.returncode == 0, done.stderr
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines()[1:]]
    shown = {key: value.strip() for key, value in lines}
    assert {key: shown[key] for key in expected} == expected


def test_the_doctor_says_that_theta_is_gone(tmp_path: Path) -> None:
    done = _doctor({"resource": "anl.theta", "nodes": 1}, tmp_path)
    assert "no longer lists it" in done.stderr
    assert done.returncode == 2


async def test_a_dry_run_tells_the_pilot_of_the_real_one() -> None:
    config = {"resource": "tacc.frontera", "nodes": 2, "project": "MCB00001"}
    async with WorkflowEngine.create("radical_pilot", config=config, dry_run=True) as flow:

        @flow.executable_task(resources={"ranks": 112})
        def simulate() -> str:
            return "simulate"

        await simulate()
        plan = flow.plan()
    assert plan.backends["radical_pilot"]["pilot"]["nodes"] == 2
    assert "    pilot.project: MCB00001" in str(plan).splitlines()


def test_workers_that_no_node_has_room_for_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"cores_per_worker=64.*has 56 cores"):
        _pilot(resource="tacc.frontera", nodes=1, raptor={"cores_per_worker": 64})
