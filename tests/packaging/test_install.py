"""Every documented way to install, in a scratch environment."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from hatchling.metadata.core import ProjectMetadata
from hatchling.plugin.manager import PluginManager
from packaging.requirements import Requirement
from radical.asyncflow import __version__

PACKAGES = Path(__file__).parents[2] / "packages"

LIST = """
import json
from radical.asyncflow import factory
print(json.dumps(factory.list_available_backends()))
"""
IMPORT = """
import json, {first}, {second}
import radical.asyncflow.factory, radical.utils
print(json.dumps([radical.asyncflow.factory.__file__, radical.utils.__file__]))
"""


def available(listing: dict[str, dict[str, object]]) -> list[str]:
    return [name for name, info in listing.items() if info["available"]]


def test_pip_installs_a_clone_with_its_extra(scratch):
    made = scratch()
    made.pip("./packages/core[local]")
    assert available(made.run(LIST)) == ["noop", "concurrent"]


def test_an_extra_of_a_clone_brings_what_is_on_no_index():
    core = ProjectMetadata(str(PACKAGES / "core"), PluginManager()).core
    needed_by = {}
    for file in PACKAGES.glob("*/pyproject.toml"):
        project = tomllib.loads(file.read_text())["project"]
        needed = {Requirement(line).name for line in project.get("dependencies", ())}
        needed_by[project["name"]] = {name for name in needed if name.startswith("asyncflow-")}
    for extra, lines in core.optional_dependencies.items():
        named = {Requirement(line).name for line in lines}
        for name in named & needed_by.keys():
            assert needed_by[name] <= named, extra


def test_pip_installs_a_clone_editable(editable_venv):
    assert available(editable_venv.run(LIST)) == ["noop", "concurrent"]


@pytest.mark.parametrize(
    "what",
    [
        ["./packages/core[local]"],
        ["-e", "packages/core", "-e", "packages/backend-noop", "-e", "packages/backend-concurrent"],
    ],
    ids=["extra", "editable"],
)
def test_uv_installs_a_clone(scratch, uv, what):
    made = scratch()
    uv("pip", "install", "--python", made.interpreter, *what)
    assert available(made.run(LIST)) == ["noop", "concurrent"]


def test_the_core_alone_has_no_backend_and_says_how_to_get_one(scratch):
    made = scratch()
    made.pip("packages/core")
    listing = made.run(LIST)
    assert available(listing) == []
    assert listing["noop"]["installation_hint"] == "Try: pip install 'radical.asyncflow[noop]'"
    # It keeps the core that is installed, whatever an index has under this name.
    made.pip("radical.asyncflow[noop]")
    assert available(made.run(LIST)) == ["noop"]
    assert made.run("import radical.asyncflow as a; print(f'\"{a.__version__}\"')") == __version__


@pytest.mark.parametrize("order", [("utils", "asyncflow"), ("asyncflow", "utils")])
@pytest.mark.parametrize("kind", ["wheel_venv", "editable_venv"])
def test_we_share_the_namespace_with_the_real_radical_utils(request, kind, order):
    made = request.getfixturevalue(kind)
    first, second = (f"radical.{name}" for name in order)
    ours, theirs = made.run(IMPORT.format(first=first, second=second))
    assert ours != theirs
