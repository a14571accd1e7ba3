"""A report is read as it was written; what a third party made up is refused with the reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow._quality.levels import GROUPS
from radical.asyncflow._quality.report import MANIFEST, Benchmark, Check, Manifest, Report
from radical.asyncflow.errors import ConfigurationError


def report(**changes: Any) -> Report:
    """Return a report in which everything passed."""
    checks = [
        Check(name=f"check of {group}", group=group, outcome="passed", seconds=0.5)
        for group in GROUPS
    ]
    facts: dict[str, Any] = {
        "backend": "crew",
        "distribution": "asyncflow-crew",
        "version": "1.0",
        "core": "1.0.0",
        "python": "3.12.1",
        "platform": "Linux",
        "date": "2026-11-26T12:00:00+00:00",
        "load": 10_000,
        "checks": checks,
        "benchmarks": [Benchmark(name="bag", tasks=10_000, microseconds=20.5, engine=10)],
        "capabilities": {"kinds": ["function"], "isolates": False},
        "settings": {"properties": {"max_workers": {"type": "integer"}}},
        "portability": {"async functions": "", "executables": "it runs functions only"},
    }
    return Report(**{**facts, **changes})


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    report().write(path)
    assert Report.read(path) == report()
    assert json.loads(path.read_text())["level"] == "silver"


def test_the_level_that_a_file_claims_is_not_read() -> None:
    text = json.loads(report(load=10).to_json())
    assert text["level"] == "bronze"
    text["level"] = "gold"
    assert Report.from_json(json.dumps(text)).level == "bronze"


def test_keys_that_a_reader_does_not_know_are_ignored() -> None:
    text = json.loads(report().to_json())
    text["of a later core"] = text["checks"][0]["of a later core"] = {}
    assert Report.from_json(json.dumps(text)) == report()


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("format", 2, "format: Input should be 1"),
        ("backend", "", "backend: "),
        ("backend", 3, "backend: "),
        ("core", "new", "core: "),
        ("date", "today", "date: "),
        ("load", -1, "load: "),
        ("checks", [{"name": "a", "group": "b", "outcome": "great"}], "checks.0.outcome: "),
        ("checks", {}, "checks: "),
    ],
)
def test_what_is_no_report_is_refused_by_the_name_of_the_field(
    key: str, value: Any, reason: str
) -> None:
    text = json.dumps({**json.loads(report().to_json()), key: value})
    with pytest.raises(ConfigurationError) as caught:
        Report.from_json(text, origin="their.json")
    said = str(caught.value)
    assert said.startswith("their.json is not a report of asyncflow backends check: ")
    assert reason in said


@pytest.mark.parametrize("text", ["", "{", "[]", "nonsense", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ConfigurationError, match="is not a manifest of asyncflow backends check"):
        Manifest.from_json(text)


def test_a_file_that_is_missing_or_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.json: No such file"):
        Report.read(tmp_path / "none.json")
    (tmp_path / "long.json").write_bytes(b" " * 10_000_001)
    with pytest.raises(ConfigurationError, match="too long for a report"):
        Report.read(tmp_path / "long.json")


def test_a_manifest_has_what_a_catalog_shows(tmp_path: Path) -> None:
    manifest = Manifest.of(report(), "Runs functions in a crew of threads")
    manifest.write(tmp_path / MANIFEST)
    read = Manifest.read(tmp_path / MANIFEST)
    assert read == manifest
    assert read.summary == "Runs functions in a crew of threads"
    assert (read.backend, read.capabilities) == (report().backend, report().capabilities)
    assert (read.settings, read.portability) == (report().settings, report().portability)
    assert [check.name for check in read.checks] == [check.name for check in report().checks]
