"""Profiles in ``asyncflow.toml`` and what overrides them."""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow._discovery.profiles import Choice, _read, load, resolve
from radical.asyncflow._discovery.settings import (
    environment,
    overlay,
    parse_setting,
    parse_settings,
)
from radical.asyncflow.errors import ConfigurationError

LAPTOP = """
default = "laptop"
[profiles.laptop]
backend = "concurrent"
config = { max_workers = 4 }
[profiles.cluster]
backend = "dask"
[profiles.cluster.config]
scheduler = "tcp://head:8786"
[profiles.both]
backends = [
    { backend = "concurrent", name = "local", config = { max_workers = 2 } },
    { backend = "concurrent", name = "big" },
]
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Write ``asyncflow.toml`` into the current folder; the user has none."""
    for variable in ("BACKEND", "PROFILE", "CONFIG", "SET"):
        monkeypatch.delenv(f"ASYNCFLOW_{variable}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    here = tmp_path / "project" / "deep"
    here.mkdir(parents=True)

    def file(text: str, folder: Path = here) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "asyncflow.toml"
        path.write_text(text)
        return path

    with contextlib.chdir(here):
        yield file


def test_without_any_profile_it_is_concurrent(write):
    assert resolve() == [Choice("concurrent", {})]


def test_the_default_profile_is_taken(write):
    write(LAPTOP)
    assert resolve() == [Choice("concurrent", {"max_workers": 4})]


def test_a_file_in_a_parent_folder_is_found(write, tmp_path):
    write(LAPTOP, tmp_path / "project")
    assert resolve(profile="cluster")[0].name == "dask"


def test_the_nearest_file_counts(write, tmp_path):
    write('backend = "noop"')
    write(LAPTOP, tmp_path / "project")
    assert resolve() == [Choice("noop", {})]


def test_a_named_file_is_read_instead_of_the_nearest(write, tmp_path, monkeypatch):
    write(LAPTOP)
    other = write('backend = "noop"', tmp_path / "other")
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(other))
    assert resolve() == [Choice("noop", {})]


def test_the_users_own_file_fills_in(write, tmp_path):
    write(LAPTOP)
    write(
        'default = "site"\n[profiles.site]\nbackend = "noop"\n[profiles.laptop]\nbackend = "noop"',
        tmp_path / "home" / "asyncflow",
    )
    assert resolve(profile="site") == [Choice("noop", {})]
    assert resolve() == [Choice("concurrent", {"max_workers": 4})]


def test_the_order_of_what_counts_is_argument_variable_profile_default(write, monkeypatch):
    write(LAPTOP)
    monkeypatch.setenv("ASYNCFLOW_PROFILE", "cluster")
    assert resolve()[0].name == "dask"
    assert resolve(profile="laptop")[0].name == "concurrent"
    monkeypatch.setenv("ASYNCFLOW_BACKEND", "noop")
    assert resolve()[0].name == "noop"
    assert resolve(backend="mine")[0].name == "mine"


def test_a_backend_by_name_takes_its_settings_from_the_profile_asked_for(write):
    write(LAPTOP)
    assert resolve(backend="dask", profile="cluster")[0].config == {"scheduler": "tcp://head:8786"}
    assert resolve(backend="noop", profile="cluster")[0].config == {}
    assert resolve(backend="concurrent")[0].config == {}


def test_a_backend_by_name_reads_no_file(write):
    write("this is no toml")
    assert resolve(backend="noop") == [Choice("noop", {})]


def test_a_profile_may_hold_several_backends(write):
    write(LAPTOP)
    choices = resolve(profile="both")
    assert [(choice.name, choice.instance) for choice in choices] == [
        ("concurrent", "local"),
        ("concurrent", "big"),
    ]
    assert choices[0].config == {"max_workers": 2, "name": "local"}


def test_config_lies_over_the_profile_and_settings_over_both(write):
    write(LAPTOP)
    config = {"max_workers": 5, "executor_type": "thread"}
    assert resolve(config=config, overrides=["max_workers=6"])[0].config == {
        "max_workers": 6,
        "executor_type": "thread",
    }


def test_the_command_line_passes_its_options_on_by_the_environment(write, monkeypatch, tmp_path):
    path = write(LAPTOP, tmp_path / "elsewhere")
    variables = environment(profile="cluster", config=path, settings=["tls.on=true", "n=1"])
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert resolve() == [
        Choice("dask", {"scheduler": "tcp://head:8786", "tls": {"on": True}, "n": 1})
    ]


def test_what_was_not_given_sets_no_variable():
    assert environment() == {}


def test_inherited_settings_do_not_reach_a_backend_that_the_program_names(
    write, monkeypatch, caplog
):
    monkeypatch.setenv("ASYNCFLOW_SET", '{"max_workers": 9}')
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        assert resolve(backend="noop") == [Choice("noop", {})]
    assert "max_workers" in caplog.text


def test_with_several_backends_a_setting_names_its_own(write):
    write(LAPTOP)
    choices = resolve(profile="both", overrides=["big.max_workers=8"])
    assert [choice.config.get("max_workers") for choice in choices] == [2, 8]


@pytest.mark.parametrize("setting", ["max_workers=8", "small.max_workers=8", "local=8"])
def test_with_several_backends_a_setting_for_none_is_refused(write, setting):
    write(LAPTOP)
    with pytest.raises(ConfigurationError, match=r"as local\.key=value"):
        resolve(profile="both", overrides=[setting])


def test_with_several_backends_config_is_refused(write):
    write(LAPTOP)
    with pytest.raises(ConfigurationError, match="'both' has 2"):
        resolve(profile="both", config={"max_workers": 1})


def test_an_unknown_profile_gets_the_closest(write):
    write(LAPTOP)
    with pytest.raises(ConfigurationError, match="no profile 'clutser'; did you mean 'cluster'"):
        resolve(profile="clutser")


def test_an_error_in_a_file_names_the_file_and_the_line(write):
    path = write("default = 'x'\n[profiles.x\n")
    with pytest.raises(ConfigurationError, match=r"line 2") as caught:
        load()
    assert str(caught.value).startswith(str(path))


def test_a_named_file_that_is_missing_is_an_error(write, monkeypatch):
    monkeypatch.setenv("ASYNCFLOW_CONFIG", "nowhere.toml")
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml cannot be read: No such file"):
        resolve()


def test_one_error_names_every_problem_in_a_file(write):
    write(
        """
        defualt = "a"
        [profiles.a]
        bakend = "noop"
        [profiles.b]
        backend = 3
        config = "x"
        [profiles.c]
        backends = [{ backend = "noop" }, { backend = "noop" }]
        """
    )
    with pytest.raises(ConfigurationError) as caught:
        load()
    text = str(caught.value)
    assert "unknown key 'defualt'; did you mean 'default'?" in text
    assert "unknown key 'profiles.a.bakend'; did you mean 'backend'?" in text
    assert "profiles.a.backend is missing" in text
    assert "profiles.b.backend must be the name of a backend, not 3" in text
    assert "profiles.b.config must be a table, not str" in text
    assert "two backends are named 'noop'" in text


@pytest.mark.parametrize(
    "text",
    [
        "profiles = 3",
        "default = 3",
        "[profiles]\nx = 1",
        "[profiles.x]\nbackends = []",
        "config={}",
    ],
)
def test_a_file_of_another_shape_is_refused(write, text):
    write(text)
    with pytest.raises(ConfigurationError, match=r"asyncflow\.toml:"):
        load()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=3", {"a": 3}),
        ("a.b.c = 2.5", {"a": {"b": {"c": 2.5}}}),
        ("a=true", {"a": True}),
        ("a=[1, 2]", {"a": [1, 2]}),
        ("a={b = 1}", {"a": {"b": 1}}),
        ('a="3"', {"a": "3"}),
        ("a=thread", {"a": "thread"}),
        ("a=x=y", {"a": "x=y"}),
        ("a=", {"a": ""}),
        ("a=12:30:00", {"a": "12:30:00"}),
        ("a=nan", {"a": "nan"}),
        ("a=1\nb=2", {"a": "1\nb=2"}),
    ],
)
def test_a_setting_is_read_as_a_literal_or_a_text(text, expected):
    assert parse_setting(text) == expected


@pytest.mark.parametrize("text", ["a", "=1", "a..b=1", ".=1", ""])
def test_what_is_no_setting_is_refused(text):
    with pytest.raises(ConfigurationError, match="not of the form key=value"):
        parse_setting(text)


def test_one_error_names_every_wrong_setting():
    with pytest.raises(ConfigurationError, match=r"'a'[^$]*'b'"):
        parse_settings(["a", "c=1", "b"])


def test_of_two_settings_for_one_key_the_later_counts():
    assert parse_settings(["a.b=1", "a.c=2", "a.b=3"]) == {"a": {"b": 3, "c": 2}}


def test_laying_over_changes_neither():
    below, above = {"a": {"b": 1}}, {"a": {"c": 2}}
    assert overlay(below, above) == {"a": {"b": 1, "c": 2}}
    assert (below, above) == ({"a": {"b": 1}}, {"a": {"c": 2}})


@pytest.mark.parametrize("value", ["{", "[1]", "3"])
def test_inherited_settings_of_another_shape_are_refused(write, monkeypatch, value):
    monkeypatch.setenv("ASYNCFLOW_SET", value)
    with pytest.raises(ConfigurationError, match="ASYNCFLOW_SET"):
        resolve()


@given(st.text(), st.text())
def test_any_setting_survives_the_way_through_json(key, value):
    try:
        setting = parse_setting(f"{key}={value}")
    except ConfigurationError:
        return
    assert json.loads(json.dumps(setting)) == setting


KEYS = st.sampled_from(["default", "profiles", "backend", "backends", "name", "config", "x"])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "x", "noop"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(KEYS, VALUES))
def test_a_document_of_any_shape_gives_profiles_or_our_own_error(document):
    try:
        profiles = _read(document, "file")[1]
    except ConfigurationError:
        return
    assert all(choice.name for profile in profiles for choice in profile.choices)


@given(
    st.fixed_dictionaries(
        {"profiles": st.dictionaries(KEYS, st.fixed_dictionaries({"backend": st.text(min_size=1)}))}
    )
)
def test_every_profile_of_a_right_document_is_read(document):
    default, profiles = _read(document, "file")
    assert default is None
    assert {profile.name: profile.choices[0].name for profile in profiles} == {
        name: table["backend"] for name, table in document["profiles"].items()
    }


def test_a_site_profile_of_a_plugin_comes_last_and_a_broken_one_is_left_out(
    write, tmp_path, monkeypatch, caplog
):
    from radical.asyncflow._discovery.registry import registry

    site = tmp_path / "site"
    (site / "site_plugin.dist-info").mkdir(parents=True)
    (site / "site_plugin.dist-info" / "METADATA").write_text("Name: site-plugin\nVersion: 1\n")
    (site / "site_plugin.dist-info" / "entry_points.txt").write_text(
        "[radical.asyncflow.plugins]\ngood = site_good\nbad = site_bad\n"
    )
    code = "from radical.asyncflow.hookspecs import hookimpl\n@hookimpl\ndef asyncflow_profiles():"
    (site / "site_good.py").write_text(
        f"{code}\n    return {{'hpc': {{'backend': 'noop'}}, 'laptop': {{'backend': 'noop'}}}}"
    )
    (site / "site_bad.py").write_text(f"{code}\n    return {{'worse': {{'bakend': 'noop'}}}}")
    write(LAPTOP)
    monkeypatch.syspath_prepend(site)
    registry.refresh()
    try:
        assert resolve(profile="hpc") == [Choice("noop", {})]
        assert resolve(profile="laptop")[0].name == "concurrent"
        assert "profiles of plugin bad of site-plugin 1 are left out" in caplog.text
    finally:
        registry.refresh()


def test_a_profile_may_prefer_one_backend_to_another(write):
    write(
        'prefer = ["radical_pilot", { backend = "dask", config = { n_workers = 4 } }, "concurrent"]'
    )
    (choice,) = resolve()
    assert choice.candidates == (
        Choice("radical_pilot", {}),
        Choice("dask", {"n_workers": 4}),
        Choice("concurrent", {}),
    )


def test_each_preferred_backend_has_settings_by_its_name(write):
    write('[profiles.any]\nprefer = ["dask", { backend = "concurrent", name = "local" }]')
    (choice,) = resolve(profile="any", overrides=["dask.n_workers=2", "local.max_workers=3"])
    assert [one.config for one in choice.candidates] == [
        {"n_workers": 2},
        {"name": "local", "max_workers": 3},
    ]
    with pytest.raises(ConfigurationError, match=r"dask\.key=value \(backends: dask, local\)"):
        resolve(profile="any", overrides=["max_workers=3"])


def test_a_preferred_backend_by_name_takes_its_settings_from_the_profile(write):
    write('[profiles.any]\nprefer = ["dask", { backend = "concurrent", config = { grace = 1 } }]')
    assert resolve(backend="concurrent", profile="any") == [Choice("concurrent", {"grace": 1})]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("prefer = []", "must be a list of names"),
        ('prefer = "dask"', "must be a list of names"),
        ('prefer = ["dask", 3]', r"prefer\[1\] must be a table"),
        ('prefer = ["dask", "dask"]', "'dask' is there twice"),
        ('prefer = ["dask"]\nbackend = "noop"', "unknown key 'backend'"),
        ('prefer = ["noop", { prefer = ["dask", "concurrent"] }]', "cannot hold another"),
    ],
)
def test_a_wrong_preference_is_refused(write, text, why):
    write(text)
    with pytest.raises(ConfigurationError, match=why):
        resolve()
