"""The manifests of our backends, which a catalog reads, say what the backends declare."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from radical.asyncflow._quality.levels import level_of
from radical.asyncflow._quality.report import Manifest

ROOT = Path(__file__).parents[1]


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("manifests", ROOT / "scripts/manifests.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()
MANIFESTS = {f"{path.parts[-4]}/{path.name}": Manifest.read(path) for path in SCRIPT.PATHS}
# Those of backends that do not load here are for the sessions of these backends.
HERE = {name: new for name, old in MANIFESTS.items() if (new := SCRIPT.declared(old))}


@pytest.mark.parametrize("name", HERE)
def test_a_manifest_says_what_its_backend_declares(name: str) -> None:
    assert MANIFESTS[name] == HERE[name], "run python scripts/manifests.py"


def test_each_backend_has_a_manifest_and_what_was_checked_reaches_a_level() -> None:
    packages = {path.name for path in ROOT.glob("packages/backend-*")}
    assert {name.partition("/")[0] for name in MANIFESTS} == packages
    checked = {name: level_of([found]) for name, found in MANIFESTS.items() if found.checks}
    assert checked
    assert None not in checked.values()
