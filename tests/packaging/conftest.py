"""Scratch environments with the distributions really installed, made once a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "packages"
PLUGINS = Path(__file__).parent / "plugins"
OURS = ("core", "backend-noop", "backend-concurrent")
OTHERS = tuple(f"backend-{name}" for name in ("dask", "radical", "parsl", "inference", "rhapsody"))
BUILT = (*OURS, *OTHERS, "plugin-otel")
PATIENCE = 600  # seconds for one command; pip waits for an index, and for a busy machine


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test that needs an environment waits for all the commands that make it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(4 * PATIENCE))


def execute(*command: object, cwd: Path = ROOT, **variables: str) -> str:
    """Standard output of a command that must succeed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ASYNCFLOW_", "PYTHON", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


class Scratch:
    """A virtual environment of its own, without pip."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=False, symlinks=True)
        self.folder = folder
        self.interpreter = folder / "bin" / "python"

    def pip(self, *arguments: object) -> None:
        """``pip install`` into it, from the root of the checkout."""
        execute(sys.executable, "-m", "pip", "--python", self.interpreter, "install", *arguments)

    def run(self, code: str, **variables: str) -> Any:
        """What *code* prints, read as JSON; it runs in an empty folder."""
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        home = {"HOME": str(empty), "XDG_CONFIG_HOME": str(empty)}
        return json.loads(execute(self.interpreter, "-c", code, cwd=empty, **{**home, **variables}))


@pytest.fixture(scope="session")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Scratch]:
    return lambda: Scratch(tmp_path_factory.mktemp("scratch") / "venv")


@pytest.fixture(scope="session")
def build(
    scratch: Callable[[], Scratch], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, Path]]:
    """Build a project; the paths of what was built, by suffix."""
    builder = scratch()
    builder.pip("hatchling>=1.27")

    def run(project: Path, *arguments: str, **variables: str) -> dict[str, Path]:
        out = tmp_path_factory.mktemp("dist")
        execute(
            *(builder.interpreter, "-m", "hatchling", "build", "-d", out, *arguments),
            cwd=project,
            **variables,
        )
        return {path.suffix: path for path in out.iterdir()}

    return run


@pytest.fixture(scope="session")
def dists(build: Callable[..., dict[str, Path]]) -> dict[str, dict[str, Path]]:
    """Wheel (``.whl``) and sdist (``.gz``) of each of our distributions, from the clone."""
    return {name: build(PACKAGES / name) for name in BUILT}


@pytest.fixture(scope="session")
def wheel_venv(scratch: Callable[[], Scratch], dists: dict[str, dict[str, Path]]) -> Scratch:
    """Our wheels and the real radical.utils."""
    made = scratch()
    made.pip("radical.utils", *(dists[name][".whl"] for name in OURS))
    return made


@pytest.fixture(scope="session")
def editable_venv(scratch: Callable[[], Scratch]) -> Scratch:
    """Our packages installed editable, as the README says, and the real radical.utils."""
    made = scratch()
    made.pip(*(part for name in OURS for part in ("-e", f"packages/{name}")))
    made.pip("radical.utils")
    return made


@pytest.fixture(scope="session")
def plugin_venv(
    scratch: Callable[[], Scratch],
    dists: dict[str, dict[str, Path]],
    build: Callable[..., dict[str, Path]],
) -> Scratch:
    """Our wheels and every plugin of ``plugins/``, the misbehaving ones among them."""
    made = scratch()
    made.pip(*(dists[name][".whl"] for name in OURS))
    plugins = [build(folder, "-t", "wheel")[".whl"] for folder in sorted(PLUGINS.iterdir())]
    # One has a requirement that cannot be met, which is what it is for.
    made.pip("--no-deps", *plugins)
    return made


@pytest.fixture(scope="session")
def uv(scratch: Callable[[], Scratch]) -> Callable[..., str]:
    """The ``uv`` command, from an environment of its own."""
    made = scratch()
    made.pip("uv")
    return lambda *arguments: execute(made.folder / "bin" / "uv", *arguments)
