"""The registry over real metadata and real modules in a folder on ``sys.path``."""

from __future__ import annotations

import json
import logging
import pickle
import runpy
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from radical.asyncflow._discovery.metadata import OFFICIAL
from radical.asyncflow._discovery.registry import Registry
from radical.asyncflow.backend import Capabilities, ExecutionBackend, TaskKind
from radical.asyncflow.errors import (
    BackendBrokenError,
    BackendError,
    BackendIncompatibleError,
    BackendNotFoundError,
    BackendStartError,
    ConfigurationError,
)

BACKENDS = "radical.asyncflow.backends"
PLUGINS = "radical.asyncflow.plugins"
GOOD = """
    from radical.asyncflow.backend import BackendSpec, Capabilities, TaskKind, hookimpl

    @hookimpl
    def asyncflow_backend():
        return BackendSpec(
            name="NAME", summary="in the spec", factory="no_such_heavy_module:Backend",
            capabilities=Capabilities(kinds={TaskKind.FUNCTION}), MORE
        )
"""

Install = Callable[..., None]

CLONE = '{"dir_info": {}, "url": "file:///home/me/a%20clone/packages/core"}'


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Write a distribution with one entry point and, if *code* is given, its module."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(
        name: str,
        code: str | None = GOOD,
        *,
        more: str = "",
        module: str = "",
        distribution: str = "",
        group: str = BACKENDS,
        headers: str = "",
        version: str = "1.0",
    ) -> None:
        distribution = distribution or f"{name}-dist"
        module = module or f"plugin_of_{name}"
        info = tmp_path / f"{distribution.replace('-', '_')}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n{headers}\n"
        )
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}\n")
        if code is not None:
            text = textwrap.dedent(code).replace("NAME", name).replace("MORE", more)
            (tmp_path / f"{module}.py").write_text(text)

    yield write
    for module in set(sys.modules) - before:
        if getattr(sys.modules[module], "__file__", None) and str(tmp_path) in str(
            sys.modules[module].__file__
        ):
            del sys.modules[module]


@pytest.fixture
def registry() -> Registry:
    return Registry()


class Mine(ExecutionBackend):
    capabilities = Capabilities(kinds={TaskKind.FUNCTION})

    def __init__(self, name: str) -> None:
        self.name = name

    def submit(self, batch):
        raise NotImplementedError

    def cancel(self, task_ids):
        raise NotImplementedError


def refusal(registry: Registry, name: str, kind: type[BackendError]) -> BackendError:
    with pytest.raises(kind) as caught:
        registry.get_backend_spec(name)
    return caught.value


def test_ours_are_listed_first_and_others_in_alphabetical_order(install, registry):
    install("zeta")
    install("alpha")
    registry.register_backend("mine", Mine)
    assert list(registry.list_available_backends()) == [
        *("noop", "concurrent", "dask", "radical_pilot", "parsl", "slurm", "pbs"),
        *("inference", "rhapsody"),
        *("alpha", "mine", "zeta"),
    ]


def test_the_listing_says_what_the_metadata_says(install, registry):
    install("acme", headers="Summary: Runs on anvils\n")
    assert registry.list_available_backends()["acme"] == {
        "available": True,
        "installation_hint": "",
        "status": "available",
        "distribution": "acme-dist",
        "version": "1.0",
        "summary": "Runs on anvils",
        "failure_reason": None,
    }


def test_listing_imports_no_plugin(install, registry):
    install("acme")
    registry.list_available_backends()
    assert "plugin_of_acme" not in sys.modules


def test_asking_for_one_backend_imports_no_other(install, registry):
    install("acme")
    install("other")
    registry.get_backend_spec("acme")
    assert "plugin_of_acme" in sys.modules
    assert "plugin_of_other" not in sys.modules


def test_a_missing_official_backend_is_refused_in_the_words_of_the_specification(registry):
    # An empty path: nothing but what is registered here exists.
    registry.register_backend("noop", Mine)
    registry.register_backend("concurrent", Mine)
    assert str(refusal(registry, "dask", BackendNotFoundError)) == (
        "Backend 'dask' is not available.\n"
        "Available backends: noop, concurrent\n"
        "Installation hint: Try: pip install 'radical.asyncflow[dask]'"
    )


def test_a_missing_official_backend_is_listed_with_its_hint(registry):
    info = registry.list_available_backends()["radical_pilot"]
    assert (info["available"], info["status"], info["installation_hint"]) == (
        False,
        "not-installed",
        "Try: pip install 'radical.asyncflow[radicalpilot]'",
    )


def test_an_unknown_name_gets_the_closest_known_one_and_no_command(registry):
    text = str(refusal(registry, "conkurrent", BackendNotFoundError))
    assert "Closest known names: concurrent" in text
    assert "pip" not in text


@pytest.mark.parametrize("name", [None, 3, "", " "])
def test_a_name_must_be_a_text(registry, name):
    with pytest.raises(ConfigurationError, match="must be a string"):
        registry.get_backend_spec(name)


def test_a_missing_requirement_is_refused_with_its_import_error(install, registry):
    install("acme", headers="Requires-Dist: no-such-thing\n")
    assert registry.list_available_backends()["acme"]["status"] == "missing-dependency"
    error = refusal(registry, "acme", BackendNotFoundError)
    assert "Reason: acme-dist 1.0 needs no-such-thing, which is not installed" in str(error)
    assert "Installation hint: Try: pip install 'no-such-thing'" in str(error)
    assert isinstance(error.__cause__, ImportError)
    assert "plugin_of_acme" not in sys.modules


def test_a_missing_requirement_of_the_spec_is_refused(install, registry):
    install("acme", more="requirements=['no-such-thing>=2'],")
    error = refusal(registry, "acme", BackendNotFoundError)
    assert "backend 'acme' needs no-such-thing>=2, which is not installed" in str(error)
    assert registry.list_available_backends()["acme"]["status"] == "missing-dependency"


def test_another_core_is_refused_without_an_import(install, registry):
    install("acme", headers="Requires-Dist: radical.asyncflow>=7\n")
    error = refusal(registry, "acme", BackendIncompatibleError)
    assert "needs radical.asyncflow>=7; this is" in str(error)
    assert "plugin_of_acme" not in sys.modules


@pytest.mark.parametrize(
    ("version", "origin", "hint"),
    [
        ("(1, 99)", "", "pip install --upgrade 'radical.asyncflow'"),
        ("(2, 0)", "", "pip install --upgrade 'radical.asyncflow'"),
        ("(2, 0)", CLONE, "update /home/me/a clone/packages/core, where it was installed from"),
        ("(2, 0)", "no JSON", "pip install --upgrade 'radical.asyncflow'"),
        ("(0, 9)", "", "pip install --upgrade 'acme-dist'"),
    ],
)
def test_another_contract_is_refused_with_what_to_upgrade(
    install, registry, tmp_path, version, origin, hint
):
    install("acme", more=f"api_version={version},")
    core = tmp_path / "radical_asyncflow-1.0.0.dist-info"
    core.mkdir()
    (core / "METADATA").write_text("Metadata-Version: 2.1\nName: radical.asyncflow\nVersion: 1.0\n")
    (core / "direct_url.json").write_text(origin)
    assert hint in str(refusal(registry, "acme", BackendIncompatibleError))
    assert registry.list_available_backends()["acme"]["status"] == "incompatible"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("import asyncio\nraise asyncio.CancelledError", "CancelledError"),
        ("this is no python", "SyntaxError"),
        ("x = 1", "has no @hookimpl asyncflow_backend()"),
        (GOOD.replace("return", "return 3 or"), "(got 3)"),
        (GOOD.replace("NAME", "somebody_else"), "'somebody_else', its entry point 'acme'"),
        (GOOD.replace("backend():", "backend(x):"), "Argument(s) {'x'} are declared"),
        (GOOD.replace("asyncflow_backend", "asyncflow_bakkend"), "asyncflow_bakkend"),
        (GOOD.replace("return", "1 / 0; return"), "ZeroDivisionError"),
        (GOOD.replace("MORE", "api_version='1.0'"), "api_version must be two whole numbers"),
    ],
)
def test_a_plugin_that_does_not_load_is_broken_with_the_real_error(install, registry, code, reason):
    install("acme", code)
    error = refusal(registry, "acme", BackendBrokenError)
    assert reason in str(error)
    assert isinstance(error.__cause__, BaseException)
    assert "Try: pip install --upgrade 'acme-dist'" in str(error)
    info = registry.list_available_backends()["acme"]
    assert info["status"] == "broken"
    assert reason in (info["failure_reason"] or "")


def test_a_broken_plugin_harms_no_other(install, registry):
    install("bad", GOOD.replace("asyncflow_backend", "asyncflow_bakkend"))
    install("good")
    refusal(registry, "bad", BackendBrokenError)
    assert registry.get_backend_spec("good").name == "good"


def test_ctrl_c_during_an_import_is_no_failure_of_the_plugin(install, registry):
    install("acme", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        registry.get_backend_spec("acme")
    assert registry.list_available_backends()["acme"]["status"] == "available"


def test_a_failed_import_is_not_repeated_until_refresh(install, registry):
    install("acme", "import radical.asyncflow as m; m.tried = getattr(m, 'tried', 0) + 1; 1 / 0")
    import radical.asyncflow

    try:
        refusal(registry, "acme", BackendBrokenError)
        refusal(registry, "acme", BackendBrokenError)
        assert radical.asyncflow.tried == 1
        registry.refresh()
        assert registry.list_available_backends()["acme"]["status"] == "available"
        refusal(registry, "acme", BackendBrokenError)
        assert radical.asyncflow.tried == 2
    finally:
        del radical.asyncflow.tried


def test_a_mended_version_is_tried_without_refresh(install, registry):
    install("acme", "1 / 0")
    refusal(registry, "acme", BackendBrokenError)
    install("acme", module="plugin_mended", version="1.1")
    assert registry.get_backend_spec("acme").name == "acme"


def test_two_distributions_with_one_name_are_refused_naming_both(install, registry):
    install("acme", distribution="anvil", version="1.0")
    install("acme", distribution="bellows", version="2.0")
    text = str(refusal(registry, "acme", BackendBrokenError))
    assert "anvil 1.0" in text
    assert "bellows 2.0" in text
    assert "bellows 2.0" in (registry.list_available_backends()["acme"]["failure_reason"] or "")


def test_two_with_one_name_are_one_when_the_other_is_disabled(install, registry, monkeypatch):
    install("acme", distribution="anvil")
    install("acme", distribution="bellows")
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "bellows")
    assert registry.list_available_backends()["acme"]["distribution"] == "anvil"


def test_an_official_distribution_wins_its_name(install, registry):
    install("dask", "1 / 0", module="impostor", distribution="impostor")
    install("dask", module="genuine", distribution="asyncflow-backend-dask")
    assert registry.list_available_backends()["dask"]["distribution"] == "asyncflow-backend-dask"
    assert registry.get_backend_spec("dask").name == "dask"


def test_a_disabled_plugin_is_not_listed_and_says_why_when_asked_for(
    install, registry, monkeypatch
):
    install("acme")
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "1")
    assert "acme" not in registry.list_available_backends()
    error = refusal(registry, "acme", BackendNotFoundError)
    assert "acme-dist 1.0 is disabled" in str(error)
    assert "ASYNCFLOW_DISABLE_PLUGINS" in str(error)


def test_one_of_ours_can_be_disabled_by_name_and_stays_listed(install, registry, monkeypatch):
    install("dask", distribution="asyncflow-backend-dask")
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "dask")
    info = registry.list_available_backends()["dask"]
    assert (info["available"], info["failure_reason"]) == (
        False,
        "asyncflow-backend-dask 1.0 is disabled",
    )


def test_an_entry_point_that_names_no_module_is_listed_as_broken(install, registry):
    install("acme", None, module="!!! not a module")
    assert registry.list_available_backends()["acme"]["status"] == "broken"
    refusal(registry, "acme", BackendBrokenError)


def test_every_refusal_can_be_pickled(install, registry):
    install("acme", "1 / 0")
    for name, kind in (("acme", BackendBrokenError), ("dask", BackendNotFoundError)):
        error = refusal(registry, name, kind)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_registered_backend_comes_before_an_installed_one(install, registry):
    install("acme")
    registry.register_backend("acme", Mine, summary="by hand")
    assert registry.list_available_backends()["acme"]["summary"] == "by hand"
    assert registry.get_backend_spec("acme").capabilities is Mine.capabilities
    registry.unregister_backend("acme")
    assert registry.get_backend_spec("acme").summary == "in the spec"


def test_a_name_cannot_be_registered_twice(registry):
    registry.register_backend("mine", Mine)
    with pytest.raises(ConfigurationError, match="registered already"):
        registry.register_backend("mine", Mine)


@pytest.mark.parametrize("factory", [dict, 3, "no colon", "module:", ":Class"])
def test_what_cannot_make_backends_cannot_be_registered(registry, factory):
    with pytest.raises(ConfigurationError, match="backend 'mine'"):
        registry.register_backend("mine", factory)


def test_a_registered_reference_is_imported_when_asked_for(registry):
    registry.register_backend("mine", "no_such_module:Backend")
    assert registry.list_available_backends()["mine"]["available"]
    error = refusal(registry, "mine", BackendBrokenError)
    assert isinstance(error.__cause__, ModuleNotFoundError)


def test_a_registered_callable_must_tell_its_capabilities(registry):
    registry.register_backend("mine", lambda name: Mine(name))
    assert "pass capabilities=" in str(refusal(registry, "mine", BackendBrokenError))


def test_what_was_not_registered_cannot_be_unregistered(registry):
    with pytest.raises(BackendNotFoundError, match="'noop' was not registered"):
        registry.unregister_backend("noop")


def test_a_description_is_ready_for_json(install, registry, tmp_path):
    install("acme", GOOD.replace("MORE", "config_model='model_of_acme:Model'"))
    (tmp_path / "model_of_acme.py").write_text(
        "from pydantic import BaseModel\nclass Model(BaseModel):\n    size: int = 1\n"
    )
    details = json.loads(json.dumps(registry.describe("acme")))
    assert details["capabilities"]["kinds"] == ["function"]
    assert details["config_schema"]["properties"]["size"]["default"] == 1
    assert details["distribution"] == "acme-dist"
    assert details["api_version"] == details["core_api_version"] == "1.0"


def test_a_broken_backend_can_be_described(install, registry):
    install("acme", "1 / 0")
    details = registry.describe("acme")
    assert details["failure_reason"] == "ZeroDivisionError: division by zero"
    assert "capabilities" not in details


def test_a_missing_official_backend_can_be_described_and_an_unknown_one_cannot(registry):
    assert registry.describe("radical_pilot")["status"] == "not-installed"
    with pytest.raises(BackendNotFoundError):
        registry.describe("nobody")


PROFILES = """
    from radical.asyncflow.hookspecs import hookimpl

    @hookimpl
    def asyncflow_profiles():
        return {"NAME": {"backend": "noop"}}
"""


def test_plugins_are_loaded_and_their_hooks_can_be_called_one_by_one(install, registry):
    install("one", PROFILES, group=PLUGINS)
    install("two", PROFILES, group=PLUGINS)
    hooks = registry.hooks("asyncflow_profiles")
    assert {plugin: hook() for plugin, hook in hooks} == {
        "one of one-dist 1.0": {"one": {"backend": "noop"}},
        "two of two-dist 1.0": {"two": {"backend": "noop"}},
    }


@pytest.mark.parametrize(
    "code", ["1 / 0", "raise SystemExit", PROFILES.replace("_profiles", "_nonsense")]
)
def test_a_broken_plugin_is_logged_once_and_left_out(install, registry, caplog, code):
    install("bad", code, group=PLUGINS)
    install("good", PROFILES, group=PLUGINS)
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        registry.load_plugins()
        hooks = registry.hooks("asyncflow_profiles")
    assert [plugin for plugin, _ in hooks] == ["good of good-dist 1.0"]
    assert [record.getMessage()[:10] for record in caplog.records] == ["plugin bad"]


def test_where_a_plugin_raised_is_told_to_who_debugs_it_alone(install, registry, caplog):
    install("bad", "1 / 0", group=PLUGINS)
    with caplog.at_level(logging.DEBUG, "radical.asyncflow"):
        registry.load_plugins()
    told = [(record.levelname, record.exc_info is not None) for record in caplog.records]
    assert told == [("WARNING", False), ("DEBUG", True)]


def test_plugins_can_be_disabled(install, registry, monkeypatch):
    install("one", PROFILES, group=PLUGINS)
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "one-dist")
    assert registry.hooks("asyncflow_profiles") == []


def test_loading_a_backend_calls_no_other_plugins_hook(install, registry):
    install("one")
    install("two", GOOD.replace("return", "return None and"))
    assert registry.get_backend_spec("one").name == "one"
    assert "(got None)" in str(refusal(registry, "two", BackendBrokenError))


def test_nothing_of_a_backend_that_does_not_load_stays_active(install, registry):
    install("acme", GOOD.replace("return", "1 / 0; return") + PROFILES)
    refusal(registry, "acme", BackendBrokenError)
    assert registry.hooks("asyncflow_profiles") == []


def test_the_class_of_a_backend_is_loaded_by_name(registry):
    registry.register_backend(
        "mine", f"{Capabilities.__module__}:ExecutionBackend", capabilities=Mine.capabilities
    )
    assert registry.load_factory("mine") is ExecutionBackend


def test_a_class_that_does_not_load_is_refused(install, registry):
    install("acme")
    with pytest.raises(BackendBrokenError, match="no_such_heavy_module"):
        registry.load_factory("acme")
    assert registry.list_available_backends()["acme"]["status"] == "broken"


def test_many_threads_load_one_plugin_once(install, registry):
    install(
        "acme",
        "import radical.asyncflow as m; m.loads = getattr(m, 'loads', 0) + 1\n"
        + textwrap.dedent(GOOD),
    )
    import radical.asyncflow

    try:
        with ThreadPoolExecutor(8) as pool:
            specs = list(pool.map(registry.get_backend_spec, ["acme"] * 16))
        assert radical.asyncflow.loads == 1
        assert all(spec is specs[0] for spec in specs)
    finally:
        del radical.asyncflow.loads


def test_the_part_of_a_plugin_that_does_not_import_is_named(install, registry):
    install("acme", more="config_model='no_such_model:Model'")
    with pytest.raises(BackendBrokenError, match=r"its config_model is 'no_such_model:Model'"):
        registry.create("acme")
    install("other")
    with pytest.raises(BackendBrokenError, match=r"its factory is 'no_such_heavy_module:Backend'"):
        registry.create("other")


def test_the_author_of_a_plugin_is_not_told_to_upgrade_it(install, registry, tmp_path):
    install("acme", "raise LookupError('a slip of mine')")
    url = '{"dir_info": {"editable": true}, "url": "file:///home/me/acme"}'
    (tmp_path / "acme_dist.dist-info/direct_url.json").write_text(url)
    error = refusal(registry, "acme", BackendBrokenError)
    assert "a slip of mine" in str(error)
    assert "--upgrade" not in str(error)


def test_a_factory_that_takes_no_name_is_told_what_it_is_called_with(registry):
    registry.register_backend("mine", lambda: None, capabilities=Mine.capabilities)
    with pytest.raises(BackendStartError, match=r"its factory is called with name="):
        registry.create("mine")


def test_what_is_said_of_our_backends_before_they_are_installed_holds():
    root = Path(__file__).parents[3]
    said = {}
    for name, official in OFFICIAL.items():
        source = official.distribution.replace("-", "_")
        (file,) = root.glob(f"packages/*/src/{source}/capabilities.py")
        found = runpy.run_path(str(file))
        if "local_capabilities" in found:
            able = found["local_capabilities"]("thread")
        else:
            able = found.get("CAPABILITIES") or found["dask_capabilities"]()
        options = {
            "service": able.service,
            "instances": able.instances,
            "priority": able.priorities,
        }
        if able.executes:
            words = {*map(str, able.kinds), *able.resources}
            said[name] = words | {option for option, takes in options.items() if takes}
    assert {name: {*OFFICIAL[name].able} for name in said} == said


# ------------------------------------------------------------- objects of others

ADOPTS = (
    GOOD
    + """
    @hookimpl
    def asyncflow_adopt_backend(backend):
        if type(backend).__name__ != "Foreign":
            return None
        return backend.becomes
"""
)


class Foreign:
    """An object of a library that a plugin knows."""

    def __init__(self, becomes: object) -> None:
        self.becomes = becomes


def test_a_plugin_of_a_backend_makes_one_of_an_object_that_it_knows(
    registry: Registry, install: Install
) -> None:
    install("broken", "raise RuntimeError('no')")
    install("adopting", ADOPTS)
    mine = Mine("mine")
    assert registry.adopt(Foreign(mine)) is mine
    assert registry.adopt(object()) is None


async def test_one_object_gives_one_backend_until_that_is_shut_down(
    registry: Registry, install: Install
) -> None:
    install("adopting", ADOPTS.replace("backend.becomes", "backend.becomes()"))
    foreign = Foreign(lambda: Mine("mine"))
    first = registry.adopt(foreign)
    assert first is not None
    assert registry.adopt(foreign) is first
    assert registry.adopt(Foreign(lambda: Mine("mine"))) is not first
    await first.shutdown()
    assert registry.adopt(foreign) is not first


def test_a_plugin_of_the_other_group_may_take_objects_too(
    registry: Registry, install: Install
) -> None:
    hook = ADOPTS.removeprefix(GOOD)
    imports = "    from radical.asyncflow.hookspecs import hookimpl\n"
    install("adopting", imports + hook, group=PLUGINS)
    mine = Mine("mine")
    assert registry.adopt(Foreign(mine)) is mine


def test_what_a_plugin_makes_of_an_object_must_be_a_backend(
    registry: Registry, install: Install
) -> None:
    install("adopting", ADOPTS)
    with pytest.raises(BackendBrokenError, match=r"took a Foreign, and returned no .* but a str"):
        registry.adopt(Foreign("text"))
