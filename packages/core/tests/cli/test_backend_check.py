"""``asyncflow backends check`` and ``badge``, on real backends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from radical.asyncflow._quality.promises import LEAKS, PROMISES
from radical.asyncflow._quality.report import MANIFEST, Check, Manifest, Report
from radical.asyncflow.testing._check import imports
from radical.asyncflow.testing._check import run as checking
from radical.asyncflow.testing._check.run import Found

from .conftest import COMMAND, Invoke

Plant = Callable[[str, str], None]

INFO = "Metadata-Version: 2.4\nName: {name}-dist\nVersion: 1.0\nRequires-Dist: radical.asyncflow\n"
PLUGIN = """
import os
from radical.asyncflow.backend import BackendSpec, hookimpl
from radical.asyncflow.testing import ScriptedBackend

class Faulty(ScriptedBackend):
    def __init__(self, *, name):
        super().__init__()
        self.name = name

    {fault}

@hookimpl
def asyncflow_backend():
    able = Faulty(name="x").capabilities
    return BackendSpec(name="{name}", summary="Waits", factory=Faulty, capabilities=able)
"""
DIES = """
    async def shutdown(self, *, cancel=True):
        await super().shutdown(cancel=cancel)
        if not cancel:
            os._exit(7)
"""
CANNOT_START = """
    async def start(self, sink):
        raise OSError("no such cluster")
"""


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Plant]:
    """Return a function that installs a plugin with a name and a fault."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_ROUNDS", 1)

    def call(name: str, fault: str) -> None:
        _install(tmp_path, name, fault)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))

    yield call
    for name in [name for name in sys.modules if name.startswith("module_of_")]:
        del sys.modules[name]


def _install(folder: Path, name: str, fault: str) -> None:
    info = folder / f"{name}_dist.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(INFO.format(name=name))
    (info / "entry_points.txt").write_text(
        f"[radical.asyncflow.backends]\n{name} = module_of_{name}\n"
    )
    (folder / f"module_of_{name}.py").write_text(PLUGIN.format(name=name, fault=fault))


@pytest.fixture(scope="module")
def noop(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Report, int]:
    """Check a backend, fast, and return the output, the report and the exit code."""
    file = tmp_path_factory.mktemp("noop") / "report.json"
    ended = subprocess.run(
        [*COMMAND, "backends", "check", "noop", "--fast", "--json", str(file)],
        env={name: text for name, text in os.environ.items() if not name.startswith("ASYNCFLOW_")},
        cwd=file.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.stdout + ended.stderr, Report.read(file), ended.returncode


def test_a_good_backend_passes_all_that_is_run(noop: tuple[str, Report, int]) -> None:
    output, report, code = noop
    # The metadata of a package that was installed long ago may lack what its sources have.
    assert [check for check in report.failed if check.group != "package"] == [], output
    assert code == bool(report.failed)
    assert (report.backend, report.distribution) == ("noop", "asyncflow-backend-noop")
    assert (report.load, report.conditions["inline"]) == (1_000, True)
    assert report.capabilities["executes"] is False
    assert report.portability["command"] == ""


def test_a_report_has_every_check_with_its_promise_and_page(noop: tuple[str, Report, int]) -> None:
    report = noop[1]
    expected = [(name, one.text, one.page) for one in PROMISES for name in one.checks]
    assert [(one.name, one.promise, one.page) for one in report.checks] == expected
    passed = {check.name for check in report.checks if check.outcome == "passed"}
    assert {"test_shutdown_twice", "entry point", LEAKS} <= passed
    outcomes = {check.name: check.outcome for check in report.checks}
    assert outcomes["test_a_lambda_runs"] == "not applicable"
    assert outcomes["bag"] == "not run"


def test_a_fast_run_is_not_enough_for_silver(noop: tuple[str, Report, int]) -> None:
    assert noop[1].level == "bronze"
    assert "for silver: the biggest bag had 1,000 tasks with core 1.0.0" in noop[0]


def test_what_ends_the_process_is_blamed_on_the_check_that_ran(
    invoke: Invoke, plant: Plant, tmp_path: Path
) -> None:
    plant("deadly", DIES)
    file = tmp_path / "report.json"
    ended = invoke("backends", "check", "deadly", "--fast", "--json", str(file))
    assert ended.exit_code == 1, ended.stderr
    checks = {check.name: check for check in Report.read(file).checks}
    culprit = checks["test_shutdown_without_cancel_finishes_everything"]
    assert culprit.outcome == "failed"
    assert "the process ended with code 7" in culprit.message
    assert checks["test_submitting_after_the_end_is_refused"].outcome == "not run"
    assert checks[LEAKS].outcome == "not run"
    assert checks["test_shutdown_right_after_the_start"].outcome == "passed"
    assert "  promise: A shutdown without cancel finishes what was submitted first." in ended.stdout
    assert "  page:    writing-a-backend.md#the-contract" in ended.stdout
    assert "Level: none\nA fast run leaves checks out, so it gives no level." in ended.stdout


def test_a_backend_that_does_not_start_has_a_report_and_a_manifest(
    invoke: Invoke, plant: Plant, tmp_path: Path
) -> None:
    plant("idle", CANNOT_START)
    ended = invoke("backends", "check", "idle", "--fast", "--json", "-", "--manifest")
    report = Report.from_json(ended.stdout)
    (check,) = [check for check in report.checks if check.name == "test_a_lambda_runs"]
    assert (check.outcome, ended.exit_code) == ("not run", 1)
    assert "no such cluster" in check.message
    # It lies beside the module of the entry point.
    manifest = Manifest.read(tmp_path / MANIFEST)
    assert f"The manifest is in {tmp_path / MANIFEST}" in ended.stderr
    assert (manifest.backend, manifest.summary) == ("idle", "Waits")
    assert manifest.capabilities["kinds"] == ["function"]
    assert [check.name for check in manifest.checks] == [check.name for check in report.checks]


def test_a_wrong_setting_is_an_error_before_anything_runs(invoke: Invoke) -> None:
    result = invoke("backends", "check", "concurrent", "-s", "max_worker=2")
    assert result.exit_code == 2
    assert "unknown key 'max_worker'; did you mean 'max_workers'?" in result.stderr


def test_an_unknown_backend_is_an_error(invoke: Invoke) -> None:
    result = invoke("backends", "check", "nop")
    assert result.exit_code == 2
    assert "Closest known names: noop" in result.stderr


def test_a_missing_kit_is_named_with_what_installs_it(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checking, "_KIT", ("pytest", "a_package_that_nobody_has"))
    result = invoke("backends", "check", "noop")
    assert result.exit_code == 2
    assert "the checks need a_package_that_nobody_has" in result.stderr
    assert "pip install 'radical.asyncflow[testing]'" in result.stderr


def test_a_process_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    lines = tmp_path / "lines"
    lines.write_text(json.dumps({"begins": "test_a_lambda_runs"}) + "\n")
    told: list[Check | None] = []
    found = Found(lambda _, check: told.append(check))
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        how = checking._follow(process, lines, found, 0.2)
        process.kill()
    assert how == "nothing happened for 0.2 s"
    found.conclude(how)
    assert "nothing happened for 0.2 s" in found.checks["test_a_lambda_runs"].message
    assert [check.name for check in told if check is not None] == ["test_a_lambda_runs"]


def test_one_bad_case_fails_its_check_and_a_leak_the_check_of_leaks() -> None:
    found = Found(lambda *_: None)
    name = "test_a_lambda_runs"
    found.hear({"check": name, "outcome": "passed", "seconds": 1.0})
    found.hear({"check": name, "outcome": "failed", "seconds": 2.0, "message": "a case"})
    found.hear({"check": name, "outcome": "passed", "seconds": 4.0})
    found.hear({"check": name, "outcome": "leak", "message": "a thread"})
    found.hear({"end": True})
    found.conclude("")
    check = found.checks[name]
    assert (check.outcome, check.message, check.seconds) == ("failed", "a case", 7.0)
    assert found.checks[LEAKS].message == f"{name}: a thread"
    assert found.checks[LEAKS].outcome == "failed"


def test_a_plugin_that_cannot_be_loaded_has_its_checks_but_no_manifest(
    invoke: Invoke, plant: Plant, tmp_path: Path
) -> None:
    plant("broken", "raise ValueError('in the class')")
    ended = invoke("backends", "check", "broken", "--manifest")
    assert ended.exit_code == 1, ended.stderr
    assert "ValueError: in the class" in ended.stdout
    assert "There is no manifest, because the plugin cannot be loaded" in ended.stdout
    assert not (tmp_path / MANIFEST).exists()


def test_a_badge_shows_the_level_of_several_reports(
    invoke: Invoke, noop: tuple[str, Report, int], tmp_path: Path
) -> None:
    checks = [one.model_copy(update={"outcome": "passed"}) for one in noop[1].checks]
    for core in ("1.0.0", "1.1.0"):
        changes = {"checks": tuple(checks), "core": core, "load": 10_000}
        noop[1].model_copy(update=changes).write(tmp_path / f"{core}.json")
    image = tmp_path / "badge.svg"
    both = [str(tmp_path / f"{core}.json") for core in ("1.0.0", "1.1.0")]
    result = invoke("backends", "badge", *both, "-o", str(image))
    assert result.stdout == f"![AsyncFlow: noop gold](<{image}>)\n"
    assert "noop gold" in image.read_text()
    alone = invoke("backends", "badge", both[0], "-o", str(image))
    assert alone.stdout == f"![AsyncFlow: noop silver](<{image}>)\n"
    assert "for gold: it was checked with core 1.0 only" in alone.stderr


def test_reports_of_two_backends_give_no_badge(
    invoke: Invoke, noop: tuple[str, Report, int], tmp_path: Path
) -> None:
    noop[1].write(tmp_path / "a.json")
    noop[1].model_copy(update={"backend": "other"}).write(tmp_path / "b.json")
    result = invoke("backends", "badge", str(tmp_path / "a.json"), str(tmp_path / "b.json"))
    assert result.exit_code == 2
    assert "about one backend, not about: noop, other" in result.stderr


def test_a_file_that_is_no_report_gives_no_badge(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    result = invoke("backends", "badge", str(tmp_path / "x.json"))
    assert result.exit_code == 2
    assert "is not a report of asyncflow backends check: backend: Field required" in result.stderr
