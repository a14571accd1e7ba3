"""The environment of a run, as its journal has it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from radical.asyncflow._resume.environment import git_state, imported_packages
from radical.asyncflow.journal import RunRecord, read

PROGRAM = """
import asyncio, sys
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.journal import Journal

async def main():
    journal = Journal(sys.argv[1], mask_secrets="plain" not in sys.argv)
    async with WorkflowEngine.create(backend="noop", journal=journal) as flow:
        await flow.function_task(print)()
        import pytest  # imported while the run goes on

asyncio.run(main())
"""


def git(folder: Path, *words: str) -> str:
    settings = ("-c", "user.name=A", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    done = subprocess.run(
        ["git", *settings, *words], cwd=folder, check=True, capture_output=True, text=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    git(folder, "init", "-b", "trunk")
    (folder / "program.py").write_text(PROGRAM)
    git(folder, "add", ".")
    git(folder, "commit", "-m", "one")
    return folder


def run(folder: Path, *words: str) -> RunRecord:
    journal = folder.parent / "journal"
    subprocess.run(
        [sys.executable, "program.py", str(journal), *words], cwd=folder, check=True, timeout=60
    )
    return read(journal)[-1]


def test_the_record_has_commit_packages_command_folder_and_user(repository: Path) -> None:
    found = run(repository, "--token=abcdef", "--password", "hunter2", "plan").environment
    assert found["git"]["commit"] == git(repository, "rev-parse", "HEAD")
    assert (found["git"]["branch"], found["git"]["dirty"]) == ("trunk", False)
    assert found["command"][1:] == [
        *("program.py", str(repository.parent / "journal")),
        *("--token=***", "--password", "***", "plan"),
    ]
    assert found["folder"] == str(repository)
    assert found["python"].split()[1] == ".".join(map(str, sys.version_info[:3]))
    assert found["user"]
    assert found["host"] == os.uname().nodename
    assert found["packages"]["pytest"] == metadata.version("pytest")
    assert found["packages"]["pluggy"] == metadata.version("pluggy")


def test_a_command_that_is_not_to_be_masked_is_recorded_as_it_is(repository: Path) -> None:
    found = run(repository, "--token=abcdef", "plain").environment
    assert "--token=abcdef" in found["command"]


def test_a_repository_is_dirty_while_a_file_that_git_knows_has_changed(repository: Path) -> None:
    (repository / "other").touch()
    assert (git_state(str(repository)) or {})["dirty"] is False
    (repository / "program.py").write_text("changed")
    state = git_state(str(repository))
    assert state is not None
    assert state["dirty"] is True
    assert state["commit"] == git(repository, "rev-parse", "HEAD")


def test_the_commit_is_known_without_git_too(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    pack = git(repository, "pack-refs", "--all")
    assert not pack
    monkeypatch.setenv("PATH", str(repository))
    state = git_state(str(repository))
    assert state == {
        "folder": str(repository),
        "commit": commit,
        "branch": "trunk",
        "dirty": None,
    }


def test_a_folder_outside_of_a_repository_has_no_commit(tmp_path: Path) -> None:
    assert git_state(str(tmp_path)) is None


def test_a_module_with_another_name_than_its_distribution_counts() -> None:
    import markdown_it  # noqa: F401 - of markdown-it-py, which rich needs

    assert imported_packages()["markdown-it-py"] == metadata.version("markdown-it-py")
