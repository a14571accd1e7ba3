"""New projects are good as they are: style, types, and the tests that they bring along."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from packaging.requirements import Requirement
from radical.asyncflow._scaffold.name import Name
from radical.asyncflow._scaffold.project import BACKENDS, PLUGINS, write_project
from radical.asyncflow.version import __version__

SOURCES = sorted(Path(__file__).parents[3].glob("*/src"))
KINDS = {**BACKENDS, **PLUGINS}
LONGEST = 24

QUICK = {
    "minimal": "lambda or failure or shutdown or plugin or unmet_needs",
    "threads": "lambda or context or priority or plugin or unmet_needs",
    "processes": "lambda or process_tree or signal or plugin or unmet_needs",
    "batch": "lambda or read_by_a_shell or plugin_declares or unmet_needs or readme",
}
"""Some checks of each kind of backend; the soak tests run all of them."""


class Project(NamedTuple):
    """A new project."""

    folder: Path
    name: Name

    @property
    def metadata(self) -> dict[str, Any]:
        text = (self.folder / "pyproject.toml").read_text()
        return tomllib.loads(text)


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Project]:
    """One project of each kind, all in one folder, and installed as far as metadata goes."""
    root = tmp_path_factory.mktemp("projects")
    made = {}
    for kind in KINDS:
        name = Name.of(f"my-{kind}")
        project = made[kind] = Project(root / kind, name)
        write_project(name, KINDS[kind], project.folder)
        info = project.folder / "src" / f"{name.package}-0.1.0.dist-info"
        info.mkdir()
        about = project.metadata["project"]
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
        )
        points = (
            f"[{group}]\n{entry} = {value}\n"
            for group, entries in about["entry-points"].items()
            for entry, value in entries.items()
        )
        (info / "entry_points.txt").write_text("\n".join(points))
    return made


def execute(folder: Path, *command: str, **variables: str) -> str:
    """Run a command of Python that must succeed, and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **variables},
        capture_output=True,
        text=True,
        timeout=550,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    return done.stdout


def run_tests(*made: Project, arguments: tuple[str, ...] = ()) -> str:
    """Run pytest in the folder of the first of these projects, as if all were installed."""
    folders = [str(project.folder / "src") for project in made]
    path = os.pathsep.join([*folders, *map(str, SOURCES)])
    options = ("-p", "no:cacheprovider", "-p", "no:randomly", *arguments)
    return execute(made[0].folder, "pytest", *options, PYTHONPATH=path)


@pytest.mark.parametrize("kind", QUICK)
def test_a_backend_passes_some_checks_of_the_kit(projects: dict[str, Project], kind: str) -> None:
    assert re.search(r"\d+ passed", run_tests(projects[kind], arguments=("-k", QUICK[kind])))


@pytest.mark.soak
@pytest.mark.parametrize("kind", BACKENDS)
def test_a_backend_passes_the_whole_kit(projects: dict[str, Project], kind: str) -> None:
    assert re.search(r"1\d\d passed|2\d\d passed", run_tests(projects[kind]))


def test_each_plugin_passes_its_tests(projects: dict[str, Project]) -> None:
    made = [projects[kind] for kind in PLUGINS]
    folders = [str(project.folder / "tests") for project in made]
    # All in one process, because a start takes longer than these tests.
    said = run_tests(*made, arguments=("--import-mode=importlib", "-v", *folders))
    assert set(re.findall(r"::(\w+)\S* PASSED", said)) >= {
        "test_each_task_that_ended_has_a_line",
        "test_a_task_knows_the_label",
        "test_it_suits_the_machine",
        "test_it_counts_the_tasks",
    }


def test_mypy_finds_nothing(projects: dict[str, Project]) -> None:
    root = projects["minimal"].folder.parent
    sources = [f"{kind}/src" for kind in projects]
    path = os.pathsep.join([*sources, ".", *map(str, SOURCES)])
    options = ("--strict", "--config-file=", "--namespace-packages", "--explicit-package-bases")
    # The tests of all projects have equal names, so that each is a module of its own folder.
    tests = [f"{kind}/tests" for kind in projects]
    said = execute(root, "mypy", *options, *sources, *tests, MYPYPATH=path)
    assert "no issues found" in said


@pytest.mark.skipif(not importlib.util.find_spec("ruff"), reason="ruff is not installed")
@pytest.mark.parametrize("length", [1, LONGEST])
def test_ruff_finds_nothing_whatever_the_length_of_the_name(length: int, tmp_path: Path) -> None:
    for number, kind in enumerate(KINDS):
        letter = "abcdefgh"[number]
        write_project(Name.of(letter * length), KINDS[kind], tmp_path / kind)
    execute(tmp_path, "ruff", "check", "--no-cache")
    execute(tmp_path, "ruff", "format", "--no-cache", "--check")


@pytest.mark.parametrize("kind", KINDS)
def test_the_metadata_fit_this_core(projects: dict[str, Project], kind: str) -> None:
    about = projects[kind].metadata["project"]
    required = {each.name: each for each in map(Requirement, about["dependencies"])}
    core = required["radical.asyncflow"].specifier
    assert core.contains(__version__)
    assert not core.contains(f"{int(__version__.split('.')[0]) + 1}.0")
    assert list(about["entry-points"]) == [KINDS[kind].group]
    assert "Typing :: Typed" in about["classifiers"]
    package = projects[kind].folder / "src" / projects[kind].name.package
    assert (package / "py.typed").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_all_kinds_have_the_same_tools(projects: dict[str, Project], kind: str) -> None:
    tools = projects[kind].metadata["tool"]
    tools.pop("hatch")
    expected = projects["minimal"].metadata["tool"]
    expected.pop("hatch")
    assert tools == expected
