"""Entry points and requirements, read from real metadata in a folder on ``sys.path``."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radical.asyncflow._discovery import metadata
from radical.asyncflow._discovery.metadata import (
    DISABLE,
    Declaration,
    Status,
    _allows,
    check_distribution,
    check_requirements,
    is_disabled,
    may_have,
    scan,
)
from radical.asyncflow._reference import load_reference

GROUP = "radical.asyncflow.backends"


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    monkeypatch.syspath_prepend(tmp_path)

    def write(distribution: str, entry_points: str | bytes, headers: str = "") -> Path:
        folder = tmp_path / f"{distribution}-1.0.dist-info"
        folder.mkdir(exist_ok=True)
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n{headers}\n"
        )
        data = entry_points if isinstance(entry_points, bytes) else entry_points.encode()
        (folder / "entry_points.txt").write_bytes(data)
        return folder

    return write


def declared(name: str = "mine", value: str = "mine", **facts: object) -> Declaration:
    defaults: dict[str, object] = {
        "distribution": "mine-dist",
        "version": "1.0",
        "summary": "",
        "requires_python": "",
        "requires": (),
        "group": GROUP,
    }
    return Declaration(name, value, **{**defaults, **facts})  # type: ignore[arg-type]


def found() -> dict[str, Declaration]:
    return {one.name: one for one in scan(GROUP)}


def test_an_entry_point_comes_with_the_facts_of_its_distribution(install):
    install(
        "acme",
        f"[{GROUP}]\nacme = acme_plugin\n",
        "Summary: Runs on anvils\nRequires-Python: >=3.9\nRequires-Dist: numpy\n",
    )
    assert found()["acme"] == Declaration(
        "acme", "acme_plugin", "acme", "1.0", "Runs on anvils", ">=3.9", ("numpy",), GROUP
    )


def beside(folder: Path, name: str, version: str, plugin: str, *more: str) -> Path:
    """Install one more version of the distribution *name*, whatever is there already."""
    info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *more]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    if plugin:
        (info / "entry_points.txt").write_text(f"[{GROUP}]\nalpha = {plugin}\n")
    return info


@pytest.mark.parametrize("old", ["0.9", "0.8", "0.10rc1", "0.7.1", "0.6", "unversioned"])
def test_of_two_versions_in_one_folder_the_newer_counts(tmp_path, monkeypatch, caplog, old):
    monkeypatch.syspath_prepend(tmp_path)
    left = beside(tmp_path, "alpha-plugin", old, "old", "Requires-Dist: radical.asyncflow<0.0.1")
    beside(tmp_path, "alpha-plugin", "0.10", "new")
    for _ in range(2):
        assert found()["alpha"].value == "new"
        assert found()["alpha"].version == "0.10"
    assert caplog.text.count(f"{left} can be removed") <= 1


def test_what_the_newer_version_does_not_declare_any_more_is_gone(tmp_path, monkeypatch, caplog):
    monkeypatch.syspath_prepend(tmp_path)
    left = beside(tmp_path, "alpha-plugin", "1.0", "old")
    beside(tmp_path, "alpha-plugin", "2.0", "")
    assert "alpha" not in found()
    assert "alpha-plugin: the metadata of version 1.0 are passed over" in caplog.text
    assert str(left) in caplog.text


def test_of_two_folders_on_the_path_the_first_counts(tmp_path, monkeypatch):
    for name, version in (("later", "2.0"), ("first", "1.0")):
        (tmp_path / name).mkdir()
        monkeypatch.syspath_prepend(tmp_path / name)
        beside(tmp_path / name, "alpha-plugin", version, name)
    assert found()["alpha"].value == "first"


def test_what_pip_moved_out_of_the_way_is_no_plugin(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    beside(tmp_path, "alpha-plugin", "1.0", "old").rename(tmp_path / "~lpha_plugin-1.0.dist-info")
    assert "alpha" not in found()


def test_distributions_with_like_names_are_no_versions_of_one(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    beside(tmp_path, "alpha", "1.0", "alpha")
    other = beside(tmp_path, "beta", "2.0", "")
    other.rename(tmp_path / "alpha-beta-2.0.dist-info")
    assert found()["alpha"].value == "alpha"


def test_a_requirement_is_checked_against_the_newer_of_two_versions(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    for version in ("1.0", "1.10", "1.9", "0.5"):
        beside(tmp_path, "alpha-library", version, "")
    assert check_requirements(["alpha-library>=1.10"], "it").status is Status.AVAILABLE
    assert check_requirements(["alpha-library<1.10"], "it").status is Status.MISSING_DEPENDENCY


def test_what_is_no_text_on_the_path_is_passed_over(install, tmp_path, monkeypatch):
    install("acme", f"[{GROUP}]\nacme = needs_metadata\n")
    (tmp_path / "needs_metadata.py").write_text(
        "import importlib.metadata\nfound = importlib.metadata.version('acme')\n"
    )
    others = [b"folder", None, tmp_path]
    monkeypatch.setattr(sys, "path", [b"first", *sys.path, *others])
    assert found()["acme"].value == "needs_metadata"
    assert check_requirements(["acme==1.0"], "it").status is Status.AVAILABLE
    assert load_reference("needs_metadata:found") == "1.0"
    assert [each for each in sys.path if not isinstance(each, str)] == [b"first", *others]


def test_other_groups_are_left_out(install):
    install("acme", f"[console_scripts]\nacme = acme:main\n[{GROUP}]\n\n[x]\ny = z\n")
    assert not {"acme", "y"} & found().keys()


def test_scanning_imports_nothing(install):
    install("acme", f"[{GROUP}]\nacme = json.decoder\nother = antigravity\n")
    before = set(sys.modules)
    assert {"acme", "other"} <= found().keys()
    assert "antigravity" not in set(sys.modules) - before


def test_a_distribution_installed_a_moment_ago_is_found(install):
    assert "late" not in found()
    install("late", f"[{GROUP}]\nlate = late\n")
    assert "late" in found()


def test_a_distribution_earlier_on_the_path_hides_its_namesake(
    install, tmp_path_factory, monkeypatch
):
    install("acme", f"[{GROUP}]\nold = old\n")
    first = tmp_path_factory.mktemp("first")
    info = first / "Acme-2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: Acme\nVersion: 2.0\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\nnew = new\n")
    monkeypatch.syspath_prepend(first)
    assert found()["new"].version == "2.0"
    assert "old" not in found()


@pytest.mark.parametrize(
    "text",
    [
        f"[{GROUP}]\nno equals sign\n",
        f"[{GROUP}\nunclosed = x\n",
        f"[{GROUP}]\n= no name\n",
        b"\xff\xfe[" + GROUP.encode(),
        f"]]][[[\n=\n[{GROUP}]\n[\n",
    ],
)
def test_garbage_of_one_distribution_does_not_hide_another(install, text):
    install("garbage", text)
    install("good", f"[{GROUP}]\ngood = good\n")
    assert "good" in found()


def test_a_distribution_without_metadata_is_still_listed(install):
    (install("nameless", f"[{GROUP}]\nnameless = x\n") / "METADATA").unlink()
    assert found()["nameless"].distribution == "a distribution without a name"


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(), headers=st.text())
def test_no_metadata_breaks_scanning_and_judging(install, text, headers):
    folder = install("fuzz", "")
    body = f"[{GROUP}]\n{text}\n".encode(errors="replace")
    (folder / "entry_points.txt").write_bytes(body)
    head = f"Name: fuzz\nRequires-Dist: {headers}\n{headers}".encode(errors="replace")
    (folder / "METADATA").write_bytes(head)
    assert all(check_distribution(one).status in Status for one in scan(GROUP))


def test_a_fitting_distribution_is_available():
    fitting = declared(requires=("radical.asyncflow>=1.0,<2", "pytest"), requires_python=">=3.8")
    assert check_distribution(fitting).status is Status.AVAILABLE


def test_a_missing_requirement_is_named_with_its_import_error():
    availability = check_distribution(declared(requires=("no-such-thing>=3", "pytest>=1")))
    assert availability.status is Status.MISSING_DEPENDENCY
    assert availability.reason == "mine-dist 1.0 needs no-such-thing>=3, which is not installed"
    assert availability.hint == "Try: pip install 'no-such-thing>=3'"
    assert isinstance(availability.cause, ImportError)


def test_a_requirement_in_the_wrong_version_counts_as_missing():
    availability = check_distribution(declared(requires=("pytest>=9999",)))
    assert availability.status is Status.MISSING_DEPENDENCY
    assert "pytest>=9999, which is installed as" in availability.reason


@pytest.mark.parametrize(
    "requirement",
    [
        "no-such-thing; python_version < '3'",
        "no-such-thing; extra == 'gpu'",
        "!! not a requirement",
        "radical-asyncflow",
    ],
)
def test_a_requirement_that_does_not_apply_is_not_missing(requirement):
    assert check_distribution(declared(requires=(requirement,))).status is Status.AVAILABLE


def test_an_official_distribution_is_mended_by_its_extra():
    dask = declared(
        "dask", distribution="asyncflow_backend_dask", requires=("no-such-dask[distributed]",)
    )
    assert check_distribution(dask).hint == "Try: pip install 'radical.asyncflow[dask]'"


def test_an_installed_release_candidate_counts():
    assert _allows(">=1", "2.0rc1")


@pytest.mark.parametrize(
    ("folder", "hint"),
    [
        (None, "Try: pip install 'Radical_AsyncFlow>=2'"),
        ("/home/me/a clone", "Try: get version >=2 of /home/me/a clone, where this one is from, "),
    ],
)
def test_another_core_makes_it_incompatible(monkeypatch, folder, hint):
    monkeypatch.setattr(metadata, "folder_of", {metadata.CORE: folder}.get)
    availability = check_distribution(declared(requires=("Radical_AsyncFlow>=2",)))
    assert availability.status is Status.INCOMPATIBLE
    assert availability.hint.startswith(hint)


def test_another_python_makes_it_incompatible():
    availability = check_distribution(declared(requires_python=">=4"))
    assert availability.status is Status.INCOMPATIBLE
    assert "needs Python >=4" in availability.reason


@pytest.mark.parametrize("value", ["", "not a module", "a..b", "1x", "a:b:c", "a/b", "os; rm"])
def test_a_value_that_names_no_module_is_broken(value):
    assert check_distribution(declared(value=value)).status is Status.BROKEN


@pytest.mark.parametrize("value", ["a", "a.b", "a.b:C", "a:C.d", "a.b [gpu]"])
def test_a_value_that_names_a_module_is_not_checked_by_its_form(value):
    assert check_distribution(declared(value=value)).status is Status.AVAILABLE


def test_every_missing_requirement_is_named():
    availability = check_requirements(["no-such-a", "no-such-b>2"], "it")
    assert availability.hint == "Try: pip install 'no-such-a' 'no-such-b>2'"


@pytest.mark.parametrize(
    ("setting", "disabled"),
    [
        ("", False),
        ("0", False),
        ("1", True),
        ("all", True),
        ("mine", True),
        ("other, mine", True),
        ("Mine.Dist", True),
        ("other", False),
    ],
)
def test_the_switch_disables_third_parties(monkeypatch, setting, disabled):
    monkeypatch.setenv(DISABLE, setting)
    assert is_disabled(declared()) is disabled


def test_the_switch_for_all_spares_our_own(monkeypatch):
    monkeypatch.setenv(DISABLE, "1")
    assert not is_disabled(declared("noop", distribution="asyncflow-backend-noop"))


def test_a_reference_is_imported():
    assert load_reference("re:Pattern.match") is re.Pattern.match
    assert load_reference("re") is re


@pytest.mark.parametrize(
    ("reference", "error"),
    [("no form", ValueError), ("re:nothing", AttributeError), ("no_such_module:X", ImportError)],
)
def test_a_reference_to_nothing_raises(reference, error):
    with pytest.raises(error):
        load_reference(reference)


def test_whether_a_group_has_anything_is_known_without_reading_the_metadata(install, tmp_path):
    group = "radical.asyncflow.sections"
    assert may_have(GROUP)  # our own backends
    assert not may_have(group)
    install("acme", f"[{group}]\nacme = acme_plugin\n")
    assert may_have(group)


@pytest.mark.parametrize("name", ["plugins.egg", "plugins.zip"])
def test_what_only_the_metadata_can_tell_may_have_anything(tmp_path, monkeypatch, name):
    place = tmp_path / name
    place.write_bytes(b"")
    monkeypatch.syspath_prepend(place if name.endswith("zip") else tmp_path)
    assert may_have("no.such.group")


def test_a_finder_of_distributions_may_have_anything(monkeypatch):
    class Finder:
        find_distributions = find_spec = classmethod(lambda *_: ())

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    assert may_have("no.such.group")
