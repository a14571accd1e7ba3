"""What a catalog reads of wheels, whoever made them."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from datetime import date
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radical.asyncflow._catalog.entries import Distribution, Link, _plugin, read_distribution
from radical.asyncflow._catalog.wheels import LARGEST_FILE, WheelFiles
from radical.asyncflow._quality.report import MANIFEST
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.hookspecs import BACKEND_GROUP

from .conftest import Build
from .shelf import make_manifest, make_wheel

METADATA = """Summary: Runs functions in a crew of threads
License-Expression: MIT
Author-email: Ada Example <ada@example.org>
Requires-Python: >=3.11
Requires-Dist: radical.asyncflow<2,>=1.0
Requires-Dist: radical.asyncflow[testing]>=9; extra == "test"
Requires-Dist: numpy>=1.24
Requires-Dist: pytest>=8; extra == "test"
Project-URL: Source, https://example.org/crew
"""


def read(path: Path) -> Distribution:
    with WheelFiles(path) as files:
        found = read_distribution(files)
    assert found is not None
    return found


def test_a_wheel_tells_what_its_distribution_is(shelf: Path) -> None:
    found = read(make_wheel(shelf, "crew", metadata=METADATA, readme="# Crew\n\nThreads.\n"))
    assert (found.name, found.title, found.version) == ("asyncflow-crew", "asyncflow-crew", "1.0")
    assert found.summary == "Runs functions in a crew of threads"
    assert (found.licence, found.author) == ("MIT", "Ada Example")
    assert (found.python, found.core, found.requires) == (">=3.11", "<2,>=1.0", ("numpy>=1.24",))
    assert found.links == (Link("Source", "https://example.org/crew"),)
    assert found.readme == "# Crew\n\nThreads."
    assert found.released == date(2026, 3, 14)
    assert [(one.name, one.kind, one.manifest) for one in found.plugins] == [
        ("crew", "backend", None)
    ]


def test_a_manifest_lies_beside_the_module_of_the_entry_point(shelf: Path) -> None:
    plain = read(make_wheel(shelf, "crew", manifest=make_manifest())).plugins[0]
    assert plain.manifest is not None
    assert plain.level == "silver"
    for value, place in (
        ("asyncflow_deep.inner.plugin:hook", "asyncflow_deep/inner"),
        ("asyncflow_deep.inner", "asyncflow_deep/inner"),
        ("single", ""),
    ):
        wheel = make_wheel(
            shelf,
            "deep",
            entry_points=f"[{BACKEND_GROUP}]\ndeep = {value}\n",
            files={
                "asyncflow_deep/inner/__init__.py": "",
                "asyncflow_deep/inner/plugin.py": "",
                "single.py": "",
                f"{place}/{MANIFEST}".lstrip("/"): make_manifest("deep"),
            },
        )
        assert read(wheel).plugins[0].manifest is not None, value


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License: BSD\n        Copyright (c)\n", "BSD"),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved :: MIT License\n", "MIT License"),
        ("License: Old\nLicense-Expression: MIT OR Apache-2.0\n", "MIT OR Apache-2.0"),
        ("", ""),
    ],
)
def test_a_licence_is_an_expression_a_text_or_a_classifier(
    shelf: Path, metadata: str, licence: str
) -> None:
    assert read(make_wheel(shelf, "crew", metadata=metadata)).licence == licence


@pytest.mark.parametrize(
    "day", [(1980, 1, 1, 0, 0, 0), (2020, 2, 2, 0, 0, 0), (2101, 1, 1, 0, 0, 0)]
)
def test_a_day_that_a_builder_made_up_is_no_release(
    shelf: Path, day: tuple[int, int, int, int, int, int]
) -> None:
    assert read(make_wheel(shelf, "crew", day=day)).released is None


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " JaVaScRiPt:alert(1)",
        "data:text/html;base64,PHNjcmlwdD4=",
        "https://",
        "//example.org",
        "https://exa mple.org",
        "https://[::1",
        "file:///etc/passwd",
        "https://example.org/\u202e",
    ],
)
def test_a_link_leads_to_the_web_or_nowhere(shelf: Path, address: str) -> None:
    wheel = make_wheel(shelf, "crew", metadata=f"Project-URL: Trap, {address}\n")
    assert read(wheel).links == (Link("Trap", ""),)


def test_plugins_of_other_groups_have_their_kind_and_foreign_groups_are_none(shelf: Path) -> None:
    lines = "[radical.asyncflow.plugins]\nwatch = a.b\n[console_scripts]\nx = y:z\n"
    found = read(make_wheel(shelf, "crew", entry_points=lines))
    assert [(one.name, one.kind) for one in found.plugins] == [("watch", "plugin")]
    with WheelFiles(
        make_wheel(shelf, "crew", entry_points="[console_scripts]\nx = y:z\n")
    ) as files:
        assert read_distribution(files) is None


def test_a_long_readme_is_cut(shelf: Path) -> None:
    found = read(make_wheel(shelf, "crew", readme="x" * 1_000_000))
    assert len(found.readme) < 21_000
    assert found.readme.endswith("(980,000 more characters)")


def renamed(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def rewritten(path: Path, change: Callable[[bytes], bytes]) -> Path:
    path.write_bytes(change(path.read_bytes()))
    return path


def bomb(shelf: Path) -> Path:
    """Make a wheel of some 20 KB with metadata of 20 MB."""
    return make_wheel(shelf, "bomb", readme="0" * 20_000_000)


def crowd(shelf: Path) -> Path:
    """Make a wheel whose directory says that it is larger than a catalog reads."""
    return rewritten(
        make_wheel(shelf, "crowd"), lambda data: data[:-10] + b"\xff\xff\xff\x0f" + data[-6:]
    )


def huge_directory(shelf: Path) -> Path:
    """Make a wheel with the record by which an archive of more than 4 GB is read."""
    return rewritten(
        make_wheel(shelf, "huge"), lambda data: data[:-22] + b"PK\x06\x07" + bytes(16) + data[-22:]
    )


BAD: dict[str, tuple[Callable[[Path], Path], str]] = {
    "no archive": (
        lambda shelf: rewritten(make_wheel(shelf, "bad"), lambda _: b"not an archive"),
        "no archive of the format zip",
    ),
    "empty": (lambda shelf: rewritten(make_wheel(shelf, "bad"), lambda _: b""), "no archive"),
    "half": (
        lambda shelf: rewritten(make_wheel(shelf, "bad"), lambda data: data[len(data) // 2 :]),
        "no sound archive",
    ),
    "no name": (
        lambda shelf: renamed(make_wheel(shelf, "bad"), "bad.whl"),
        "no name of a wheel",
    ),
    "other name": (
        lambda shelf: renamed(make_wheel(shelf, "bad"), "other-1.0-py3-none-any.whl"),
        "metadata are those of another distribution",
    ),
    "other version": (
        lambda shelf: renamed(make_wheel(shelf, "bad"), "asyncflow_bad-2.0-py3-none-any.whl"),
        "metadata are those of asyncflow-bad 1.0",
    ),
    "traversal": (
        lambda shelf: make_wheel(shelf, "bad", files={"../../evil.txt": "x"}),
        "'../../evil.txt' would be outside",
    ),
    "traversal of Windows": (
        lambda shelf: make_wheel(shelf, "bad", files={"a/..\\..\\evil.txt": "x"}),
        "would be outside",
    ),
    "absolute": (
        lambda shelf: make_wheel(shelf, "bad", files={"/etc/evil": "x"}),
        "'/etc/evil' would be outside",
    ),
    "drive": (lambda shelf: make_wheel(shelf, "bad", files={"C:/evil": "x"}), "would be outside"),
    "bomb": (bomb, "METADATA has more than 5 MB when it is unpacked"),
    "crowd": (crowd, "directory has more than 10 MB"),
    "huge": (huge_directory, "directory has more than 10 MB"),
    "two folders": (
        lambda shelf: make_wheel(shelf, "bad", files={"x-1.0.dist-info/METADATA": "x"}),
        "2 folders of metadata",
    ),
    "no version": (
        lambda shelf: make_wheel(
            shelf, "bad", files={"asyncflow_bad-1.0.dist-info/METADATA": "Name: asyncflow-bad\n\n"}
        ),
        "metadata have no Version",
    ),
    "bad version": (
        lambda shelf: make_wheel(
            shelf,
            "bad",
            files={"asyncflow_bad-1.0.dist-info/METADATA": "Name: asyncflow-bad\nVersion: new\n\n"},
        ),
        "'new' is no version",
    ),
    "bad distribution": (
        lambda shelf: make_wheel(
            shelf,
            "bad",
            files={"asyncflow_bad-1.0.dist-info/METADATA": "Name: ../../x\nVersion: 1.0\n\n"},
        ),
        "'../../x' is no name of a distribution",
    ),
    "no module": (
        lambda shelf: make_wheel(shelf, "bad", entry_points=f"[{BACKEND_GROUP}]\nbad = 1 + 1\n"),
        "names no module",
    ),
    "too many": (
        lambda shelf: make_wheel(
            shelf, "bad", entry_points=f"[{BACKEND_GROUP}]\n" + "x = a.b\n" * 1000
        ),
        "declares 1,000 plugins",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_wheel_is_left_out_with_the_reason_and_the_rest_is_built(
    shelf: Path, site: Path, build: Build, kind: str
) -> None:
    make, reason = BAD[kind]
    bad = make(shelf)
    make_wheel(shelf, "good")
    made = build()
    assert [one.name for one in made.distributions] == ["asyncflow-good"]
    assert [one.origin for one in made.problems] == [bad.name]
    assert reason in made.problems[0].reason
    assert bad.name in (site / "index.html").read_text()
    assert sorted(path.name for path in site.parent.iterdir()) == ["site", "wheels"]


def test_a_file_that_is_declared_smaller_than_it_is_is_no_sound_archive(shelf: Path) -> None:
    path = make_wheel(shelf, "liar", readme="0" * (LARGEST_FILE + 1))
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("asyncflow_liar-1.0.dist-info/METADATA").file_size
    rewritten(
        path, lambda data: data.replace(size.to_bytes(4, "little"), (99).to_bytes(4, "little"))
    )
    with pytest.raises(ConfigurationError, match="no sound archive"):
        read(path)


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("{", "is not a manifest"),
        ('{"format": 2}', "format: Input should be 1"),
        ("[" * 100_000, "is not a manifest"),
        ("x" * 6_000_000, "more than 5 MB"),
        (make_manifest("other"), "is about the backend 'other'"),
    ],
    ids=["json", "format", "deep", "long", "other"],
)
def test_a_bad_manifest_is_named_and_the_plugin_stays(
    shelf: Path, build: Build, manifest: str, reason: str
) -> None:
    make_wheel(shelf, "crew", manifest=manifest)
    made = build()
    plugin = made.distributions[0].plugins[0]
    assert (plugin.manifest, plugin.level) == (None, None)
    assert made.problems[0].origin == "asyncflow-crew 1.0"
    assert reason in made.problems[0].reason


def test_no_code_of_a_plugin_runs(
    shelf: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = make_wheel(shelf, "raising", manifest=make_manifest("raising"))
    monkeypatch.syspath_prepend(wheel)
    with pytest.raises(RuntimeError, match="code of a plugin runs"):
        __import__("asyncflow_raising")
    before = set(sys.modules)
    made = build()
    assert made.distributions[0].plugins[0].level == "silver"
    assert not [name for name in set(sys.modules) - before if name.startswith("asyncflow_")]


@pytest.mark.hypothesis
@given(place=st.integers(0, 3000), byte=st.binary(min_size=1, max_size=6))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_wrong_with_an_archive_is_one_error(
    shelf: Path, place: int, byte: bytes
) -> None:
    path = make_wheel(shelf, "crew", metadata=METADATA, manifest=make_manifest())
    data = path.read_bytes()
    place %= len(data)
    path.write_bytes(data[:place] + byte + data[place + len(byte) :])
    with suppress(ConfigurationError):
        read(path)


def test_each_backend_of_a_distribution_may_have_a_manifest_of_its_own() -> None:
    class Shelf:
        def beside(self, module: str, name: str) -> bytes | None:
            assert module == "asyncflow_both.plugin"
            return {
                "asyncflow-manifest.json": make_manifest("first").encode(),
                "asyncflow-manifest.second.json": make_manifest("second").encode(),
            }.get(name)

    for name in ("first", "second"):
        plugin = _plugin(Shelf(), BACKEND_GROUP, name, "asyncflow_both.plugin")  # type: ignore[arg-type]
        assert plugin.manifest is not None
        assert plugin.manifest.backend == name
