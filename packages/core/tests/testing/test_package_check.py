"""What a package needs is checked; each fault is caught by the check that is about it."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow._quality.promises import PROMISES
from radical.asyncflow.backend import Capabilities, TaskKind
from radical.asyncflow.errors import BackendError, BackendNotFoundError
from radical.asyncflow.testing import ScriptedBackend
from radical.asyncflow.testing._check import imports, package

METADATA = """\
Metadata-Version: 2.4
Name: asyncflow-sample
Version: 1.0
Summary: Runs samples
License-Expression: MIT
Requires-Python: >=3.11
Requires-Dist: radical.asyncflow>=1.0,<2
Classifier: Development Status :: 4 - Beta
Classifier: Programming Language :: Python :: 3

# asyncflow-sample

A backend that runs nothing at all, and is described here in more than one hundred characters.
"""
ENTRY = "[radical.asyncflow.backends]\nsample = asyncflow_sample.plugin\n"
PLUGIN = """
from radical.asyncflow.backend import BackendSpec, Capabilities, TaskKind, hookimpl

@hookimpl
def asyncflow_backend():
    return BackendSpec(
        name="sample",
        summary="Runs samples",
        factory="asyncflow_sample.backend:SampleBackend",
        config_model="asyncflow_sample.config:SampleConfig",
        capabilities=Capabilities(kinds={TaskKind.FUNCTION}),
    )
"""
BACKEND = """
from radical.asyncflow.testing import ScriptedBackend

class SampleBackend(ScriptedBackend):
    pass
"""
CONFIG = """
from pydantic import BaseModel, Field

class Section(BaseModel):
    depth: int = Field(default=1, description="levels")

class SampleConfig(BaseModel):
    workers: int = Field(default=1, description="threads")
    section: Section = Field(default=Section(), description="the rest")
"""

Write = Callable[..., dict[str, package.Result]]


@pytest.fixture
def judge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Return a function that installs the sample, changed by its arguments, and checks it."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(imports, "_ROUNDS", 1)

    def call(
        *,
        imported: imports.Imported | None = None,
        metadata: str = METADATA,
        entry: str = ENTRY,
        plugin: str = PLUGIN,
        config: str = CONFIG,
        files: dict[str, str] | None = None,
        without: str = "",
    ) -> dict[str, package.Result]:
        texts = {
            "asyncflow_sample-1.0.dist-info/METADATA": metadata,
            "asyncflow_sample-1.0.dist-info/entry_points.txt": entry,
            "asyncflow_sample/__init__.py": "",
            "asyncflow_sample/py.typed": "",
            "asyncflow_sample/plugin.py": plugin,
            "asyncflow_sample/backend.py": BACKEND,
            "asyncflow_sample/config.py": config,
            **(files or {}),
        }
        for name, text in texts.items():
            if name != without:
                path = tmp_path / name
                path.parent.mkdir(exist_ok=True)
                path.write_text(textwrap.dedent(text))
        registry.refresh()
        if imported is not None:
            monkeypatch.setattr(package, "measure_import", lambda _: imported)
        return {one.name: one for one in package.check(package.declarations("sample"))}

    yield call
    for name in [name for name in sys.modules if name.startswith("asyncflow_sample")]:
        del sys.modules[name]
    registry.refresh()


def test_a_good_package_passes_every_check_of_packages(judge: Write) -> None:
    found = judge()
    assert {one.outcome for one in found.values()} == {"passed"}, found
    groups = ("plugin", "typing", "settings", "package")
    names = {name for one in PROMISES if one.group in groups for name in one.checks}
    assert set(found) == {name for name in names if not name.startswith("test_")}


BURNS = "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
OTHER = {
    "other-1.0.dist-info/METADATA": "Metadata-Version: 2.4\nName: other\nVersion: 1.0\n",
    "other-1.0.dist-info/entry_points.txt": ENTRY,
}
HEAVY = {"heavy_library/__init__.py": "", "heavy_library/core.py": ""}
FAULTS: dict[str, tuple[str, dict[str, Any], str]] = {
    "its plugin works long": (
        "import cost",
        {"plugin": BURNS + PLUGIN},
        "the import of asyncflow_sample.plugin takes ",
    ),
    "its plugin imports a library": (
        "light import",
        {"plugin": "import heavy_library.core\n" + PLUGIN, "files": HEAVY},
        "it imports heavy_library",
    ),
    "its plugin imports its backend": (
        "light import",
        {"plugin": "from . import backend\n" + PLUGIN},
        "asyncflow_sample.backend, which only its use should import",
    ),
    "its package imports its settings": (
        "light import",
        {"files": {"asyncflow_sample/__init__.py": "from .config import SampleConfig"}},
        "asyncflow_sample.config",
    ),
    "its hook imports its backend": (
        "light import",
        {"plugin": PLUGIN.replace("return", "from . import backend\n    return")},
        "asyncflow_sample.backend",
    ),
    "its plugin holds the class": (
        "light import",
        {
            "plugin": "from .backend import SampleBackend\n"
            + PLUGIN.replace('"asyncflow_sample.backend:SampleBackend"', "SampleBackend")
        },
        "SampleBackend as a class",
    ),
    "its plugin cannot be imported": (
        "entry point",
        {"plugin": "import a_module_that_nobody_has"},
        "a_module_that_nobody_has",
    ),
    "its plugin has no hook": ("entry point", {"plugin": "x = 1"}, "has no @hookimpl"),
    "its spec has another name": (
        "entry point",
        {"plugin": PLUGIN.replace('"sample"', '"simple"')},
        "named 'simple'",
    ),
    "its entry point names the function": (
        "entry point",
        {"entry": ENTRY.replace("plugin", "plugin:asyncflow_backend")},
        "name the module alone: 'asyncflow_sample.plugin'",
    ),
    "its class is missing": (
        "entry point",
        {"plugin": PLUGIN.replace("SampleBackend", "NoBackend")},
        "NoBackend",
    ),
    "its settings are missing": (
        "entry point",
        {"plugin": PLUGIN.replace("SampleConfig", "NoConfig")},
        "NoConfig",
    ),
    "its name is taken": ("name clash", {"files": OTHER}, "other 1.0"),
    "it requires no core": (
        "requirement of the core",
        {"metadata": METADATA.replace("Requires-Dist: radical.asyncflow>=1.0,<2\n", "")},
        "does not require radical.asyncflow",
    ),
    "it requires the core in an extra only": (
        "requirement of the core",
        {"metadata": METADATA.replace(",<2", ',<2; extra == "all"')},
        "does not require radical.asyncflow",
    ),
    "it takes any later core": (
        "requirement of the core",
        {"metadata": METADATA.replace(",<2", "")},
        "allows the next major version",
    ),
    "it takes any earlier core": (
        "requirement of the core",
        {"metadata": METADATA.replace(">=1.0,", "")},
        "too old for it",
    ),
    "it is not typed": ("py.typed", {"without": "asyncflow_sample/py.typed"}, "no file py.typed"),
    "a setting has no description": (
        "described settings",
        {"config": CONFIG.replace(', description="levels"', "")},
        "no description: section.depth",
    ),
    "it has no summary": (
        "summary",
        {"metadata": METADATA.replace("Summary: Runs samples\n", "")},
        "description in [project]",
    ),
    "it has no README": ("README", {"metadata": METADATA.partition("\n\n")[0]}, "0 characters"),
    "it has no licence": (
        "licence",
        {"metadata": METADATA.replace("License-Expression: MIT\n", "")},
        'license = "MIT"',
    ),
    "it has no classifiers": (
        "classifiers",
        {"metadata": METADATA.replace("Classifier: Development Status :: 4 - Beta\n", "")},
        "'Development Status :: '",
    ),
    "it supports any Python": (
        "supported Python",
        {"metadata": METADATA.replace("Requires-Python: >=3.11\n", "")},
        "no requires-python",
    ),
}
ABLE = Capabilities(kinds={TaskKind.FUNCTION})
LIGHT = imports.Imported(1.0, frozenset(), ())
SIDE_EFFECTS = {
    "its name is taken": {"entry point"},
    "its package imports its settings": {"import cost"},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_a_package_is_caught(judge: Write, fault: str) -> None:
    name, changes, words = FAULTS[fault]
    # Two interpreters are started only for what is about the import.
    found = judge(**changes, imported=None if "import" in name else LIGHT)
    assert found[name].outcome == "failed", found
    assert words in found[name].message
    others = {one.name for one in found.values() if one.outcome == "failed"} - {name}
    assert others <= SIDE_EFFECTS.get(fault, set())


def test_a_section_may_be_described_by_the_words_of_its_model(judge: Write) -> None:
    config = CONFIG.replace(
        "(BaseModel):\n    depth", '(BaseModel):\n    """the rest"""\n\n    depth'
    )
    found = judge(config=config, imported=LIGHT)["described settings"]
    assert (found.outcome, found.message) == ("passed", "")


def test_settings_that_are_not_there_need_no_description(judge: Write) -> None:
    plugin = PLUGIN.replace('config_model="asyncflow_sample.config:SampleConfig",', "")
    assert judge(plugin=plugin, imported=LIGHT)["described settings"].outcome == "not applicable"


def test_a_licence_may_be_a_classifier(judge: Write) -> None:
    classifier = "Classifier: License :: OSI Approved :: MIT License"
    found = judge(metadata=METADATA.replace("License-Expression: MIT", classifier), imported=LIGHT)
    assert found["licence"].outcome == "passed"


def test_a_bound_may_be_written_as_compatible(judge: Write) -> None:
    found = judge(metadata=METADATA.replace(">=1.0,<2", "~=1.0"), imported=LIGHT)
    assert found["requirement of the core"].outcome == "passed"


def test_a_backend_that_is_not_installed_cannot_be_checked() -> None:
    with pytest.raises(BackendNotFoundError, match="Closest known names: noop"):
        package.declarations("nop")
    registry.register_backend("of-a-program", ScriptedBackend, capabilities=ABLE)
    try:
        with pytest.raises(BackendError, match="only what is installed can be checked"):
            package.declarations("of-a-program")
    finally:
        registry.unregister_backend("of-a-program")
