"""Every example runs to its end, as a program and by ``asyncflow run``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from example_runs import EXAMPLES, OPTIONS, run_example
from slurm_cluster import demand_slurm, serve_slurm

SAYS = {
    "01_hello.py": ["HELLO, ASYNCFLOW! has 17 characters", "greet ran on 'concurrent': DONE"],
    "02_diamond.py": ["13 words, 3 of them 'the'", "report: exit code 0"],
    "03_five_workflows.py": ["Starting workflow 4", "Workflow 4 completed", "Total time"],
    "04_fallback.py": ["Backend 'concurrent': ✅", os.uname().sysname],
    "05_parameter_sweep.py": ["← peak", "52 tasks", "exact, for an infinite lattice: 2.269"],
    "06_dry_run.py": ["41 tasks, 40 edges, depth 3, width 20"],
    "07_prompts.py": ["4 explanations for ", " tokens; best score "],
    "08_map_reduce.py": ["a   15 times\nis   8 times\nof   6 times\n"],
    "09_search.py": ["is at 1.05: -1.000"],
    "10_retries.py": ["alpha: 1.1176\n", "gamma: 2.5474 by bisection, because of no convergence"],
    "11_ensemble.py": ["a member says 3.152\n", "the ensemble says 3.1520"],
    "12_service.py": ["1111 bytes in 4 files"],
    "13_resume.py": [
        "measure day 0\nmeasure day 1\nmeasure day 2\nfailed: published is there already\n",
        "already\npublished [0, 1, 4]\n",
    ],
    "14_active_learning.py": ["computed 0.70: +0.00\ncomputed 0.65: -0.91\n"],
    "15_random_search.py": ["loss 0.100 with rate 0.01074 and 4 layers\n"],
    "16_everywhere.py": ["278 steps from 17673\n275 steps from 13255\n", "208 steps from 2463\n"],
}
KEEPS = {"07_prompts.py": ["asyncflow-runs"], "12_service.py": ["asyncflow-runs"]}
"""What examples leave: the output of a service stays."""

PLACES = {
    "laptop": "asyncio",
    "dask": "distributed",
    "pilot": "radical.pilot",
    "slurm": "parsl",
}
"""The profiles of the example that runs everywhere, and the module that each needs."""


def run(command: list[str], folder: Path, limit_s: float = 100) -> str:
    done = run_example(command, folder, limit_s)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_what_it_found(example: Path, tmp_path: Path) -> None:
    output = run([sys.executable, str(example), *OPTIONS.get(example.name, [])], tmp_path)
    assert [text for text in SAYS[example.name] if text not in output] == []
    left = [path.name for path in tmp_path.iterdir()]
    assert left == KEEPS.get(example.name, []), "it left files behind"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs_by_the_command_line(example: Path, tmp_path: Path) -> None:
    asyncflow = str(Path(sys.executable).with_name("asyncflow"))
    output = run([asyncflow, "run", str(example), *OPTIONS.get(example.name, [])], tmp_path)
    assert [text for text in SAYS[example.name] if text not in output] == []


@pytest.fixture
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Run a Slurm that programs find, with the programs of this environment."""
    demand_slurm()
    with (
        serve_slurm(tmp_path_factory.mktemp("slurm")) as cluster,
        pytest.MonkeyPatch.context() as patch,
    ):
        for key, value in cluster.environment.items():
            patch.setenv(key, value)
        patch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
        yield


@pytest.mark.parametrize("profile", [name for name in PLACES if find_spec(PLACES[name])])
def test_the_same_program_prints_the_same_on(
    profile: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if profile == "slurm":
        request.getfixturevalue("slurm")
    example = next(path for path in EXAMPLES if path.name == "16_everywhere.py")
    asyncflow = str(Path(sys.executable).with_name("asyncflow"))
    profiles = str(example.with_name("asyncflow.toml"))
    command = [asyncflow, "run", "--config", profiles, "--profile", profile, str(example)]
    assert run(command, tmp_path, 300).split("\n") == [
        "278 steps from 17673",
        "275 steps from 13255",
        "270 steps from 15039",
        "267 steps from 10971",
        "261 steps from 6171",
        "259 steps from 9257",
        "237 steps from 3711",
        "208 steps from 2463",
        "",
    ]


def test_the_fan_in_finds_the_physics(tmp_path: Path) -> None:
    example = next(path for path in EXAMPLES if path.name == "05_parameter_sweep.py")
    output = run([sys.executable, str(example), "--size", "24", "--sweeps", "800"], tmp_path)
    peak = float(output.split("peaks at T = ")[1].split()[0])
    assert 2.1 <= peak <= 2.6
