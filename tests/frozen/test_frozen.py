"""A plugin that somebody wrote for an earlier version of the contract runs on this core."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from radical.asyncflow.backend import API_VERSION

HERE = Path(__file__).parent
FOLDERS = sorted(path.name for path in HERE.glob("contract_*"))
PATIENCE_S = 300.0

CAMPAIGN = """
import asyncio, sys
from asyncflow_NAME.named import carried
from radical.asyncflow import RetryPolicy, TaskError, WorkflowEngine

async def main():
    journal, observed = sys.argv[1:]
    async with WorkflowEngine.create(
        profile="NAME",
        journal=journal,
        observers=["NAME:" + observed],
        carriers="NAME:hello",
    ) as flow:
        failures = iter([OSError("once"), None])

        @flow.function_task
        def double(number):
            return 2 * number

        @flow.function_task
        async def total(*numbers):
            await asyncio.sleep(0)
            return sum(numbers)

        @flow.executable_task
        async def count(number):
            return ["sh", "-c", f"echo {number} of $VARIABLE"]

        @flow.function_task(retries=RetryPolicy(2, on=OSError))
        def shaky():
            if (error := next(failures)) is not None:
                raise error
            return "at last"

        @flow.function_task
        def fail():
            raise ValueError("as it should")

        @flow.block
        async def both(number):
            return await double(double(number)), await count(double(number))

        assert flow.backend.name == "NAME", flow.backend.name
        assert flow.backend.capacity() == 3
        print(await total(*map(double, range(10))))
        four, text = await both(1)
        print(four, text.strip())
        print(await shaky())
        print((await flow.function_task(carried)()).rpartition(" ")[0])
        try:
            await double(fail())
        except TaskError as error:
            print(type(error).__name__, "from", repr(error.__cause__))
        print([value async for value in flow.map(double, range(5), ordered=True)])

asyncio.run(main())
"""


def _sums() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sums", HERE / "sums.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def install(folder: str, site: Path) -> None:
    """Write the metadata that an installation of the plugin in *folder* has."""
    text = (HERE / folder / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    fields = [
        "Metadata-Version: 2.4",
        f"Name: {project['name']}",
        f"Version: {project['version']}",
        f"Summary: {project['description']}",
        f"Requires-Python: {project['requires-python']}",
        f"License-Expression: {project['license']}",
        *(f"Classifier: {each}" for each in project["classifiers"]),
        *(f"Requires-Dist: {each}" for each in project["dependencies"]),
        "",
        (HERE / folder / project["readme"]).read_text(encoding="utf-8"),
    ]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("\n".join(fields), encoding="utf-8")
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines), encoding="utf-8")


@pytest.fixture(params=FOLDERS)
def name(request: pytest.FixtureRequest) -> str:
    """Return the name of the plugin: ``frozen_1_0``."""
    return str(request.param).replace("contract", "frozen")


Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(name: str, tmp_path: Path) -> Run:
    """Return a function that runs Python where the plugin is installed, and nothing of a user."""
    folder = name.replace("frozen", "contract")
    site = tmp_path / "site"
    site.mkdir()
    install(folder, site)
    path = [site, HERE / folder / "src", os.environ.get("PYTHONPATH")]
    variables = {key: text for key, text in os.environ.items() if not key.startswith("ASYNCFLOW_")}
    variables["PYTHONPATH"] = os.pathsep.join(str(each) for each in path if each)
    variables["XDG_CONFIG_HOME"] = str(tmp_path)
    variables["PYTHONDONTWRITEBYTECODE"] = "1"  # what is frozen stays as it is

    def call(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args],
            cwd=tmp_path,
            env={**variables, **more},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )

    return call


def asyncflow(run: Run, *args: str) -> str:
    """Return what a command prints, which must succeed."""
    done = run("-m", "radical.asyncflow", *args)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


@pytest.mark.parametrize("folder", FOLDERS)
def test_nobody_edits_a_frozen_plugin(folder: str) -> None:
    known = [
        line
        for line in (HERE / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
        if line.partition("  ")[2].startswith(f"{folder}/")
    ]
    assert [*_sums().lines_of(folder)] == known, "add a folder for a new contract instead"


def test_each_version_of_the_contract_has_one() -> None:
    major, minor = API_VERSION
    assert {f"contract_{major}_{each}" for each in range(minor + 1)} <= {*FOLDERS}


def test_the_sums_of_a_frozen_plugin_are_never_written_again(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = (HERE / "SHA256SUMS").read_bytes()
    assert _sums().main(FOLDERS[0]) == 1
    assert "is frozen already" in capsys.readouterr().err
    assert (HERE / "SHA256SUMS").read_bytes() == before


def test_the_oldest_core_that_is_supported_is_named() -> None:
    oldest = tomllib.loads((HERE / "oldest.toml").read_text(encoding="utf-8"))
    assert {*oldest} <= {"version", "commit"}
    assert oldest["version"].split(".")[0] == str(API_VERSION[0])
    commit = oldest.get("commit", 40 * "0")
    assert len(commit) == 40
    assert int(commit, 16) >= 0


def test_it_passes_the_kit(run: Run, name: str, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = run(
        *("-m", "radical.asyncflow", "backends", "check", name),
        *("--fast", "--load", "200", "--slots", "2", "-s", "max_workers=2"),
        *("--json", str(report)),
    )
    found = json.loads(report.read_text(encoding="utf-8"))
    # The needs of a package may grow, and the time of its import is that of this machine.
    failed = [
        (check["name"], check["message"])
        for check in found["checks"]
        if check["outcome"] == "failed" and check["group"] != "package"
    ]
    assert failed == [], done.stdout + done.stderr
    assert sum(check["outcome"] == "passed" for check in found["checks"]) > 120


def test_its_parts_work_in_a_run_and_in_what_is_said_of_it(
    run: Run, name: str, tmp_path: Path
) -> None:
    version = name.removeprefix("frozen_").replace("_", ".")
    journal, observed, events = (tmp_path / each for each in ("journal", "observed", "events"))
    variable = name.upper()
    code = CAMPAIGN.replace("NAME", name).replace("VARIABLE", variable)
    done = run("-c", code, str(journal), str(observed), **{f"{variable}_FILE": str(events)})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "90",
        "4 2 of hello count 16",
        "at last",
        "hello carried",
        "DependencyFailureError from ValueError('as it should')",
        "[0, 2, 4, 6, 8]",
    ]
    seen = events.read_text(encoding="utf-8").splitlines()
    assert seen[:2] == ["run begun ", f"backend {name} up"]
    assert seen[-1].startswith("run ended ")
    uid, _, counted = observed.read_text(encoding="utf-8").partition(": ")
    assert counted == "23 done"

    ran = ("--journal", str(journal))
    assert f"Frozen {version}" in asyncflow(run, "show", *ran)
    kept = asyncflow(run, "report", *ran, "--store", f"{name}:{tmp_path}").strip()
    assert Path(kept).name == f"{uid}-{uid}.html"
    assert "Counted by a plugin." in Path(kept).read_text(encoding="utf-8")


def test_the_command_line_has_its_parts(run: Run, name: str) -> None:
    version = name.removeprefix("frozen_").replace("_", ".")
    word = name.replace("_", "-")
    assert asyncflow(run, word, "--number", "7") == "named 7.0\n"
    assert asyncflow(run, f"{word}-hook") == f"hook {version}\n"
    assert f"frozen {version} is well" in asyncflow(run, "doctor")
    assert "No problems found." in asyncflow(
        run, "doctor", name, "--profile", name, "--set", "max_workers=2"
    )
    found = json.loads(asyncflow(run, "plugins", "list", "--load", "--json"))
    mine = [each for each in found if each["distribution"].endswith(word)]
    assert [each["reason"] for each in mine] == 9 * [""]
    assert {each["status"] for each in mine} == {"loaded"}
