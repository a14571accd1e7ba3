"""What is inside the wheels and sdists, and what their metadata says."""

from __future__ import annotations

import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest
from radical.asyncflow.version import __version__

PACKAGES = Path(__file__).parents[2] / "packages"
BACKENDS = tuple(
    f"backend-{name}"
    for name in ("noop", "concurrent", "dask", "radical", "parsl", "inference", "rhapsody")
)
OURS = ("core", *BACKENDS, "plugin-otel")
LOCAL = {f"asyncflow-backend-{name}=={__version__}" for name in ("noop", "concurrent")}


def names(path: Path) -> list[str]:
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            return wheel.namelist()
    with tarfile.open(path) as sdist:
        return sdist.getnames()


def metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(archive.read(name))


def hard_requirements(wheel: Path) -> set[str]:
    return {
        requirement
        for requirement in metadata(wheel).get_all("Requires-Dist", [])
        if "extra ==" not in requirement
    }


@pytest.fixture(scope="session")
def release(build):
    return build(PACKAGES / "core", ASYNCFLOW_RELEASE="1")


@pytest.mark.parametrize("suffix", [".whl", ".gz"])
@pytest.mark.parametrize("name", OURS)
def test_no_distribution_claims_the_namespace(dists, name, suffix):
    inside = names(dists[name][suffix])
    assert inside
    assert not [path for path in inside if f"/{path}".endswith("/radical/__init__.py")]


@pytest.mark.parametrize("suffix", [".whl", ".gz"])
@pytest.mark.parametrize("name", OURS)
def test_every_distribution_is_typed_and_licensed(dists, name, suffix):
    inside = names(dists[name][suffix])
    assert [path for path in inside if path.endswith("/py.typed")]
    assert [path for path in inside if path.endswith("/LICENSE")]


@pytest.mark.parametrize("name", OURS)
def test_all_are_of_one_version(dists, name):
    assert metadata(dists[name][".whl"])["Version"] == __version__


def test_from_a_clone_an_extra_is_the_sibling_folder(dists):
    requirements = metadata(dists["core"][".whl"]).get_all("Requires-Dist", [])
    uri = (PACKAGES / "backend-noop").as_uri()
    assert f"asyncflow-backend-noop @ {uri}/src/.. ; extra == 'local'" in requirements


def test_the_extra_for_dask_brings_what_its_dashboard_needs(dists):
    requirements = metadata(dists["core"][".whl"]).get_all("Requires-Dist", [])
    assert [one for one in requirements if one.startswith("asyncflow-backend-dask[dashboard] @ ")]
    needed = metadata(dists["backend-dask"][".whl"]).get_all("Requires-Dist", [])
    assert "bokeh>=3.1; extra == 'dashboard'" in needed


def test_pip_does_not_keep_what_it_builds_of_a_sibling_folder(dists):
    # It does where the last part of a URL looks like a name with a version.
    requirements = metadata(dists["core"][".whl"]).get_all("Requires-Dist", [])
    assert [requirement for requirement in requirements if " @ file:" in requirement]
    for requirement in requirements:
        _, _, url = requirement.partition(" @ ")
        assert "-" not in url.partition(";")[0].strip().rpartition("/")[2]


def test_from_a_clone_the_core_requires_no_backend(dists):
    required = hard_requirements(dists["core"][".whl"])
    assert [requirement for requirement in required if requirement.startswith("pydantic")]
    assert not [requirement for requirement in required if "asyncflow" in requirement]


def test_a_release_names_no_folder(release):
    requirements = metadata(release[".whl"]).get_all("Requires-Dist", [])
    assert requirements
    assert not [requirement for requirement in requirements if "file:" in requirement]


def test_a_release_requires_the_local_backends(release):
    assert hard_requirements(release[".whl"]) >= LOCAL


def test_a_release_has_every_extra(release):
    assert set(metadata(release[".whl"]).get_all("Provides-Extra", [])) == {
        *("all", "local", "noop", "concurrent", "dask", "radicalpilot", "radical-pilot", "otel"),
        *("files", "inference", "mpi", "nvidia", "page", "parsl", "rhapsody", "testing", "watch"),
    }


def test_a_wheel_from_a_released_sdist_is_the_released_wheel(release, build, tmp_path):
    with tarfile.open(release[".gz"]) as sdist:
        # Python before 3.11.4 has no filters, Python 3.12 warns where none is named.
        sdist.extractall(
            tmp_path, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {})
        )
    (folder,) = tmp_path.iterdir()
    rebuilt = build(folder, "-t", "wheel")[".whl"]
    assert metadata(rebuilt).as_string() == metadata(release[".whl"]).as_string()
    assert sorted(names(rebuilt)) == sorted(names(release[".whl"]))


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_names_its_entry_point_and_requires_the_core(dists, name):
    wheel = dists[name][".whl"]
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith("/entry_points.txt"))
        text = archive.read(path).decode()
    kind = name.removeprefix("backend-")
    assert "[radical.asyncflow.backends]" in text
    entry = {"radical": "radical_pilot"}.get(kind, kind)
    assert f"{entry} = asyncflow_backend_{kind}.plugin" in text
    assert [r for r in hard_requirements(wheel) if r.startswith("radical-asyncflow")]


def test_a_plugin_names_its_entry_point_and_requires_the_core(dists):
    wheel = dists["plugin-otel"][".whl"]
    with zipfile.ZipFile(wheel) as archive:
        (path,) = (path for path in archive.namelist() if path.endswith("/entry_points.txt"))
        text = archive.read(path).decode()
    assert text.split() == [
        "[radical.asyncflow.plugins]", "otel", "=", "asyncflow_plugin_otel.plugin"
    ]  # fmt: skip
    required = {requirement.split(">")[0].split("<")[0] for requirement in hard_requirements(wheel)}
    assert required == {"opentelemetry-api", "radical-asyncflow"}
