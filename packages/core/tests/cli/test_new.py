"""`asyncflow backends new` and `asyncflow plugins new`."""

from __future__ import annotations

from pathlib import Path

import pytest

from .conftest import Install, Invoke


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run each test in an empty folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_a_backend_is_written_and_the_next_steps_are_said(invoke: Invoke, elsewhere: Path) -> None:
    result = invoke("backends", "new", "my-cluster", "--kind", "batch")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "Wrote asyncflow-my-cluster: the backend 'my_cluster', "
        "each task as a job of a batch system, such as Slurm.",
        "Next:",
        "  cd asyncflow-my-cluster",
        "  pip install -e '.[test]'",
        "  pytest",
        "  asyncflow doctor my_cluster",
    ]
    assert result.stderr == ""
    assert (elsewhere / "asyncflow-my-cluster/src/asyncflow_my_cluster/jobs.py").exists()


def test_a_plugin_is_written_into_the_folder_that_is_named(invoke: Invoke, elsewhere: Path) -> None:
    result = invoke("plugins", "new", "log", "--folder", "a/b")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Wrote a/b: a plugin that is told of everything that happens")
    assert (elsewhere / "a/b/src/asyncflow_log/observer.py").exists()


@pytest.mark.parametrize("group", ["backends", "plugins"])
def test_a_wrong_name_writes_nothing(invoke: Invoke, elsewhere: Path, group: str) -> None:
    result = invoke(group, "new", "My Cluster")
    assert result.exit_code == 2
    assert "'my-cluster' would do" in result.stderr
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("group", ["backends", "plugins"])
def test_a_folder_that_exists_is_not_touched(invoke: Invoke, elsewhere: Path, group: str) -> None:
    (elsewhere / "asyncflow-mine").mkdir()
    result = invoke(group, "new", "mine")
    assert result.exit_code == 2
    assert "Error: asyncflow-mine exists: name a new folder with --folder" in result.stderr
    assert list((elsewhere / "asyncflow-mine").iterdir()) == []


def test_the_name_of_an_installed_backend_is_warned_of(invoke: Invoke, elsewhere: Path) -> None:
    result = invoke("backends", "new", "noop")
    assert result.exit_code == 0
    assert "there is a backend 'noop' already, of asyncflow-backend-noop" in result.stderr
    assert (elsewhere / "asyncflow-noop").is_dir()


def test_the_name_of_an_installed_plugin_is_warned_of(
    invoke: Invoke, elsewhere: Path, install: Install
) -> None:
    install("radical.asyncflow.observers", "mine", "def mine(run, text): ...")
    result = invoke("plugins", "new", "mine", "--kind", "observer")
    assert "there is such a plugin 'mine' already, of mine-dist 1.0" in result.stderr
    other = invoke("plugins", "new", "mine", "--kind", "carrier", "--folder", "other")
    assert other.stderr == ""
    assert (elsewhere / "other").is_dir()
