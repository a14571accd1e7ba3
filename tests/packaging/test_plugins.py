"""Strangers' plugins, really installed, all in one environment with ours."""

from __future__ import annotations

from typing import Any

import pytest

SNIPPET = """
import json, sys, logging
from radical.asyncflow import factory, registry
from radical.asyncflow.errors import AsyncFlowError

def refusal(name):
    try:
        factory.create_backend_sync(name)
    except AsyncFlowError as error:
        return [type(error).__name__, str(error), repr(error.__cause__)]

result = None
{code}
print(json.dumps(result))
"""


def run(venv: Any, code: str, **variables: str) -> Any:
    return venv.run(SNIPPET.replace("{code}", code), **variables)


@pytest.fixture(scope="session")
def listing(plugin_venv):
    return run(plugin_venv, "result = factory.list_available_backends()")


def test_all_are_listed_ours_first(listing):
    assert list(listing) == [
        *("noop", "concurrent", "dask", "radical_pilot", "parsl", "slurm", "pbs"),
        *("inference", "rhapsody"),
        *("explosive", "futuristic", "garbage", "inline", "needy", "twin"),
    ]


def test_listing_imports_none_of_them(plugin_venv):
    code = "factory.list_available_backends(); result = sorted(sys.modules)"
    loaded = run(plugin_venv, code)
    assert "radical.asyncflow" in loaded
    assert not [name for name in loaded if name.startswith(("acme", "asyncflow_"))]


def test_the_summary_is_the_metadata_s(listing):
    assert listing["inline"]["summary"] == "A backend that knows only the published contract."
    assert listing["inline"]["version"] == "1.2.3"


def test_a_good_one_is_made_with_its_settings(plugin_venv):
    code = "b = factory.create_backend_sync('inline', repeat=3); result = [b.name, b.repeat]"
    assert run(plugin_venv, code) == ["inline", 3]


def test_a_good_one_is_described(plugin_venv):
    details = run(plugin_venv, "result = registry.describe('inline')")
    assert details["config_schema"]["properties"]["repeat"]["minimum"] == 1
    assert details["distribution"] == "acme-asyncflow-inline"


def test_the_one_that_raises_at_import_is_broken(plugin_venv):
    kind, text, cause = run(plugin_venv, "result = refusal('explosive')")
    assert kind == "BackendBrokenError"
    assert "Reason: OSError: the licence server does not answer" in text
    assert cause == "OSError('the licence server does not answer')"


def test_the_one_with_a_missing_requirement_says_which(plugin_venv, listing):
    kind, text, cause = run(plugin_venv, "result = refusal('needy')")
    assert listing["needy"]["status"] == "missing-dependency"
    assert kind == "BackendNotFoundError"
    assert "pip install 'asyncflow-needs-this-which-nobody-made>=3'" in text
    assert cause.startswith("PackageNotFoundError")


def test_the_one_for_a_newer_contract_is_incompatible(plugin_venv):
    kind, text, _ = run(plugin_venv, "result = refusal('futuristic')")
    assert kind == "BackendIncompatibleError"
    assert "version 1.999 of the backend contract" in text
    assert "Try: pip install --upgrade 'radical.asyncflow'" in text


def test_two_with_one_name_are_both_named(plugin_venv, listing):
    kind, text, _ = run(plugin_venv, "result = refusal('twin')")
    assert kind == "BackendBrokenError"
    for name in ("asyncflow-twin-one 1.2.3", "asyncflow-twin-two 1.2.3"):
        assert name in text
        assert name in listing["twin"]["failure_reason"]


def test_garbage_is_broken_and_breaks_nothing(plugin_venv, listing):
    assert listing["garbage"]["status"] == "broken"
    assert run(plugin_venv, "result = refusal('garbage')")[0] == "BackendBrokenError"


def test_metadata_that_cannot_be_parsed_breaks_nothing(plugin_venv, listing, tmp_path):
    info = tmp_path / "unparsable-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_bytes(b"\xff\xfe no metadata")
    (info / "entry_points.txt").write_text("[radical.asyncflow.backends]\nno equals sign\n[")
    code = "result = factory.list_available_backends()"
    with_garbage = run(plugin_venv, code, PYTHONPATH=str(tmp_path))
    assert with_garbage.pop("no equals sign")["status"] == "broken"
    assert with_garbage == listing


def test_third_parties_can_be_disabled(plugin_venv):
    code = "result = list(factory.list_available_backends())"
    assert run(plugin_venv, code, ASYNCFLOW_DISABLE_PLUGINS="1") == [
        *("noop", "concurrent", "dask", "radical_pilot", "parsl", "slurm", "pbs"),
        *("inference", "rhapsody"),
    ]


def test_one_can_be_disabled_by_its_distribution(plugin_venv):
    code = "result = factory.list_available_backends()['twin']['distribution']"
    disabled = {"ASYNCFLOW_DISABLE_PLUGINS": "asyncflow-twin-two,garbage"}
    assert run(plugin_venv, code, **disabled) == "asyncflow-twin-one"


def test_a_missing_dask_is_refused_in_the_words_of_the_specification(plugin_venv):
    assert run(plugin_venv, "result = refusal('dask')", ASYNCFLOW_DISABLE_PLUGINS="all")[1] == (
        "Backend 'dask' is not available.\n"
        "Available backends: noop, concurrent\n"
        "Installation hint: Try: pip install 'radical.asyncflow[dask]'"
    )


def test_a_site_profile_is_found_and_a_plugin_with_a_wrong_hook_is_left_out(plugin_venv):
    code = """
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("radical.asyncflow").addHandler(handler)
from radical.asyncflow._discovery.profiles import resolve
result = [resolve(profile="acme"), lines]
"""
    choices, lines = run(plugin_venv, code)
    # Nothing to take instead, and no container.
    assert choices == [["inline", {"repeat": 2}, [], None]]
    assert len(lines) == 1
    assert "acme_typo" in lines[0]
    assert "asyncflow_profile" in lines[0]


def test_listing_reads_the_metadata_of_backends_alone(plugin_venv):
    code = """
from importlib.metadata import PathDistribution, distributions
read, text = set(), PathDistribution.read_text
def noting(self, name):
    if name == "METADATA":
        read.add(self._path.name)
    return text(self, name)
backends = {
    distribution._path.name
    for distribution in distributions()
    if any(point.group == "radical.asyncflow.backends" for point in distribution.entry_points)
}
everything = len(list(distributions()))
PathDistribution.read_text = noting
factory.list_available_backends()
result = sorted(read), sorted(backends), everything
"""
    # To parse it is what costs most of the time that a listing takes.
    read, backends, everything = run(plugin_venv, code)
    assert read
    assert set(read) <= set(backends)
    assert len(backends) < everything / 2
