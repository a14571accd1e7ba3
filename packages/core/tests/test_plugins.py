"""Plugins by name: what is found, what is imported when, and what is said of one that fails."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow.errors import (
    PluginBrokenError,
    PluginIncompatibleError,
    PluginNotFoundError,
)
from radical.asyncflow.hookspecs import (
    BACKEND_GROUP,
    CHECK_GROUP,
    COMMAND_GROUP,
    GROUPS,
    OBSERVER_GROUP,
    PLUGIN_GROUP,
    PROFILE_GROUP,
    STORE_GROUP,
)

from .conftest import Distribution

OWN = [group for group in GROUPS if group not in (BACKEND_GROUP, PLUGIN_GROUP)]
"""The groups in which the name of an entry point is what users ask for."""

ANY = """
    import click

    def function(*args):
        return args

    command = click.Command("command")
"""


def short(group: str) -> str:
    return group.removeprefix("radical.asyncflow.")


def right(group: str) -> str:
    return "any_plugin:command" if group == COMMAND_GROUP else "any_plugin:function"


def lines(**options: bool) -> dict[tuple[str, str], tuple[str, str]]:
    """Return the status of everything that the test installed, and what is wrong with it."""
    return {
        (short(each.group), each.name): (each.status, each.reason)
        for each in registry.list_plugins(**options)
        if each.distribution.startswith("acme")
    }


@pytest.mark.parametrize("group", OWN)
def test_a_plugin_of_each_group_is_imported_when_it_is_asked_for(
    distribution: Distribution, group: str
) -> None:
    distribution("acme", {short(group): {"thing": right(group)}}, {"any_plugin": ANY})
    assert registry.named.found(group)["thing"].is_available
    assert lines() == {(short(group), "thing"): ("available", "")}
    assert "any_plugin" not in sys.modules
    loaded = registry.named.load(group, "thing")
    assert loaded is getattr(sys.modules["any_plugin"], right(group).partition(":")[2])
    assert lines() == {(short(group), "thing"): ("loaded", "")}


@pytest.mark.parametrize("group", OWN)
def test_an_unknown_name_is_answered_with_the_nearest(
    distribution: Distribution, group: str
) -> None:
    distribution("acme", {short(group): {"thing": right(group)}}, {"any_plugin": ANY})
    with pytest.raises(PluginNotFoundError) as caught:
        registry.named.load(group, "thingg")
    assert str(caught.value).splitlines() == [
        f"{GROUPS[group].noun.capitalize()} 'thingg' is not available.",
        f"Available {GROUPS[group].noun}s: thing",
        "Closest known names: thing",
    ]


@pytest.mark.parametrize("group", OWN)
def test_two_distributions_with_one_name_are_both_named(
    distribution: Distribution, group: str
) -> None:
    entries = {short(group): {"thing": right(group)}}
    distribution("acme-one", entries, {"any_plugin": ANY})
    distribution("acme-two", entries, {}, version="2.0")
    with pytest.raises(PluginBrokenError, match=r"acme-one 1\.0 and acme-two 2\.0 both declare"):
        registry.named.load(group, "thing")
    assert [status for status, _ in lines().values()] == ["broken"]
    assert len([one for one in registry.list_plugins() if one.name == "thing"]) == 2
    assert "any_plugin" not in sys.modules


def test_of_two_that_clash_one_can_be_disabled(
    distribution: Distribution, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"observers": {"thing": "any_plugin:function"}}
    distribution("acme-one", entries, {"any_plugin": ANY})
    distribution("acme-two", entries, {})
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "acme-two")
    assert registry.named.load(OBSERVER_GROUP, "thing")(1) == (1,)
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "acme-one,acme-two")
    with pytest.raises(PluginNotFoundError, match="Take it out of ASYNCFLOW_DISABLE_PLUGINS"):
        registry.named.load(OBSERVER_GROUP, "thing")
    assert set(lines().values()) == {("disabled", "")}


@pytest.mark.parametrize("group", OWN)
@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError('no licence')", "OSError: no licence"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("command = function = 7", "must be"),
        ("", "AttributeError"),
    ],
)
def test_one_that_does_not_load_is_named_with_its_reason_and_harms_no_other(
    distribution: Distribution, group: str, code: str, reason: str
) -> None:
    bad = right(group).replace("any_plugin", "bad_plugin")
    distribution("acme-bad", {short(group): {"bad": bad}}, {"bad_plugin": code})
    distribution("acme-good", {short(group): {"good": right(group)}}, {"any_plugin": ANY})
    with pytest.raises(PluginBrokenError) as caught:
        registry.named.load(group, "bad")
    assert reason in str(caught.value)
    assert f"Available {GROUPS[group].noun}s: good" in str(caught.value)
    assert isinstance(caught.value.__cause__, BaseException)
    assert [one.name for one, _ in registry.named.load_all(group)] == ["good"]
    found = lines(load=True)
    assert found[short(group), "good"] == ("loaded", "")
    assert found[short(group), "bad"][0] == "broken"
    assert reason in found[short(group), "bad"][1]


def test_the_log_names_one_that_is_left_out_once(
    distribution: Distribution, caplog: pytest.LogCaptureFixture
) -> None:
    distribution("acme", {"checks": {"bad": "bad_plugin:check"}}, {"bad_plugin": "1 / 0"})
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        assert registry.named.load_all(CHECK_GROUP) == []
        assert registry.named.load_all(CHECK_GROUP) == []
    assert [record.getMessage() for record in caplog.records] == [
        "check bad of acme 1.0 is left out: ZeroDivisionError: division by zero"
    ]


@pytest.mark.parametrize(
    ("headers", "kind", "reason"),
    [
        ("Requires-Dist: no-such-library>=3\n", PluginNotFoundError, "no-such-library>=3"),
        ("Requires-Dist: radical.asyncflow>=99\n", PluginIncompatibleError, "needs radical"),
        ("Requires-Python: >=9\n", PluginIncompatibleError, "needs Python >=9"),
    ],
)
def test_what_the_metadata_say_is_seen_without_an_import(
    distribution: Distribution, headers: str, kind: type[Exception], reason: str
) -> None:
    distribution(
        "acme", {"stores": {"thing": "any_plugin:function"}}, {"any_plugin": ANY}, headers=headers
    )
    with pytest.raises(kind, match=reason):
        registry.named.load(STORE_GROUP, "thing")
    (found,) = lines().values()
    assert reason in found[1]
    assert "any_plugin" not in sys.modules


def test_a_broken_one_works_again_when_it_was_replaced(distribution: Distribution) -> None:
    entries = {"observers": {"thing": "any_plugin:function"}}
    site = distribution("acme", entries, {"any_plugin": "1 / 0"})
    with pytest.raises(PluginBrokenError):
        registry.named.load(OBSERVER_GROUP, "thing")
    (site / "any_plugin.py").unlink()
    distribution("acme", entries, {"other_plugin": ANY}, version="2.0")
    (site / "acme-2.0.dist-info/entry_points.txt").write_text(
        "[radical.asyncflow.observers]\nthing = other_plugin:function\n"
    )
    assert registry.named.load(OBSERVER_GROUP, "thing")(2) == (2,)


def test_many_threads_import_a_plugin_once(distribution: Distribution) -> None:
    code = "import threading\nseen = []\nseen.append(1)\ndef function(): ...\n"
    distribution("acme", {"observers": {"thing": "any_plugin:function"}}, {"any_plugin": code})
    barrier = threading.Barrier(8)
    found = []

    def load() -> None:
        barrier.wait()
        found.append(registry.named.load(OBSERVER_GROUP, "thing"))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len({id(each) for each in found}) == 1
    assert sys.modules["any_plugin"].seen == [1]


def test_the_list_has_backends_and_hooks_too_in_the_order_of_the_groups(
    distribution: Distribution,
) -> None:
    distribution(
        "acme",
        {
            "profiles": {"site": "any_plugin:function"},
            "plugins": {"hooks": "hook_plugin"},
            "backends": {"iron": "bad_plugin"},
        },
        {"any_plugin": ANY, "hook_plugin": "1 / 0", "bad_plugin": "1 / 0"},
    )
    assert list(lines()) == [("backends", "iron"), ("plugins", "hooks"), ("profiles", "site")]
    assert {status for status, _ in lines().values()} == {"available"}
    assert not {"any_plugin", "hook_plugin", "bad_plugin"} & {*sys.modules}
    found = lines(load=True)
    reason = "ZeroDivisionError: division by zero"
    assert found["backends", "iron"] == ("broken", reason)
    assert found["plugins", "hooks"] == ("broken", reason)
    assert found["profiles", "site"] == ("loaded", "")


def test_the_names_of_profiles_come_without_an_import(distribution: Distribution) -> None:
    distribution("acme", {"profiles": {"b": "none:x", "a": "none:x"}}, {})
    assert [*registry.named.found(PROFILE_GROUP)] == ["a", "b"]


def test_the_groups_are_in_one_place_and_on_the_page() -> None:
    page = (Path(__file__).parents[3] / "docs/plugins.md").read_text(encoding="utf-8")
    rows = [
        f"| `{short(each.group)}` | {each.noun} | {each.names} | {each.used} |"
        for each in GROUPS.values()
    ]
    assert [line for line in page.splitlines() if line.startswith("| `")] == rows


def test_the_groups_can_be_read_without_any_library() -> None:
    code = (
        "import sys\n"
        "from radical.asyncflow._groups import GROUPS\n"
        "from radical.asyncflow._discovery.metadata import scan\n"
        "scan(*GROUPS)\n"
        "print(sorted({'pluggy', 'pydantic', 'asyncio', 'click'} & {*sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
