"""New projects, written by the installed core, built, installed and used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow._scaffold.project import BACKENDS, PLUGINS

from .conftest import Scratch, execute

USE = """
import asyncio, json
from radical.asyncflow import WorkflowEngine, factory, registry

async def use(name):
    async with WorkflowEngine.create(name) as flow:
        return await flow.function_task(pow)(2, 5)

listing = factory.list_available_backends()
names = [name for name in listing if name.startswith("my_")]
print(json.dumps({
    "backends": {name: listing[name]["status"] for name in names},
    "results": {name: asyncio.run(use(name)) for name in names},
}))
"""
TALK = """
import asyncio, json, subprocess, sys
from radical.asyncflow import WorkflowEngine

async def talk():
    async with WorkflowEngine.create("my_processes", journal="talk.journal") as flow:
        await flow.function_task(lambda: print("a word of the task", file=sys.stderr))()
        await flow.executable_task(lambda: ["true"])()

asyncio.run(talk())
told = []
for task in ("1", "2"):
    words = [sys.executable, "-m", "radical.asyncflow", "logs", "talk.journal", task]
    told.append(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
print(json.dumps(told))
"""
LIST = """
import json, subprocess, sys
words = [sys.executable, "-m", "radical.asyncflow", "plugins", "list", "--load", "--json"]
print(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
"""


@pytest.fixture(scope="session")
def installed(
    wheel_venv: Scratch,
    build: Callable[..., dict[str, Path]],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """Return the folder into which a new project of each kind is installed, as a wheel."""
    root = tmp_path_factory.mktemp("new")
    for group, kinds in (("backends", BACKENDS), ("plugins", PLUGINS)):
        for kind in kinds:
            # What writes it is the wheel of the core, so that has all templates.
            words = (group, "new", f"my-{kind}", "--kind", kind, "--folder", root / kind)
            execute(wheel_venv.interpreter, "-m", "radical.asyncflow", *words, cwd=root)
    wheels = [build(root / kind, "-t", "wheel")[".whl"] for kind in (*BACKENDS, *PLUGINS)]
    target = root / "site"
    wheel_venv.pip("--no-deps", "--quiet", "--target", target, *wheels)
    return str(target)


def test_each_backend_runs_a_task(wheel_venv: Scratch, installed: str) -> None:
    names = [f"my_{kind}" for kind in BACKENDS]
    found: Any = wheel_venv.run(USE, PYTHONPATH=installed)
    assert found["backends"] == dict.fromkeys(names, "available")
    assert found["results"] == dict.fromkeys(names, 32)


def test_processes_tell_what_a_task_printed_and_used(wheel_venv: Scratch, installed: str) -> None:
    function, command = wheel_venv.run(TALK, PYTHONPATH=installed)
    assert "a word of the task" in function
    assert "CPU time: " in function
    assert "CPU time: " in command


def test_each_plugin_is_listed_and_loads(wheel_venv: Scratch, installed: str) -> None:
    found = wheel_venv.run(LIST, PYTHONPATH=installed)
    status = {each["name"]: each["status"] for each in found if each["name"].startswith("my_")}
    assert status == {f"my_{kind}": "loaded" for kind in (*BACKENDS, *PLUGINS)}


@pytest.mark.parametrize("kind", [*BACKENDS, *PLUGINS])
def test_each_wheel_is_typed_and_licensed(installed: str, kind: str) -> None:
    assert (Path(installed) / f"asyncflow_my_{kind}" / "py.typed").exists()
    (info,) = Path(installed).glob(f"asyncflow_my_{kind}-*.dist-info")
    names = {path.name for _, _, files in os.walk(info) for path in map(Path, files)}
    assert {"LICENSE", "METADATA", "entry_points.txt"} <= names
