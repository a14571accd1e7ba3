"""The folder of a catalog: levels from reports, what is installed, and a second build."""

from __future__ import annotations

import json
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radical.asyncflow._catalog.site import INSTALLED, build_catalog
from radical.asyncflow._quality.report import MANIFEST
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.hookspecs import BACKEND_GROUP

from ..cli.conftest import Invoke
from ..cli.conftest import environment as environment
from ..cli.conftest import invoke as invoke
from .conftest import Build
from .shelf import make_manifest, make_report, make_wheel


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    folder = tmp_path / "reports"
    folder.mkdir()
    return folder


def text_of(path: Path) -> str:
    """Return the text of a page, as a reader has it."""
    parts: list[str] = []

    class Text(HTMLParser):
        def handle_data(self, data: str) -> None:
            parts.append(data)

    Text().feed(path.read_text(encoding="utf-8"))
    return " ".join(" ".join(parts).split())


def test_a_level_comes_from_the_reports_that_the_catalog_was_given(
    shelf: Path, site: Path, reports: Path, build: Build
) -> None:
    make_wheel(shelf, "crew")
    make_report(core="1.0.0").write(reports / "a.json")
    (reports / "below").mkdir()
    make_report(core="1.1.0").write(reports / "below" / "b.json")
    made = build(reports=reports)
    plugin = made.distributions[0].plugins[0]
    assert (plugin.level, len(plugin.reports), made.problems) == ("gold", 2, [])
    page = text_of(site / "plugins/asyncflow-crew.html")
    assert "It reaches gold, by reports that this catalog was given." in page
    assert "max_workers int >= 1 4 How many threads there are." in page
    assert "gpus no, because it has no GPUs" in page
    assert "it is slow on Mondays" in page
    assert "3.11.7, Linux-6.1-x86_64 max_workers=2 18 0 0 0 10,000 report" in page
    assert "bag 10,000 20.5 µs 10.0 µs" in page
    copies = sorted((site / "reports").iterdir())
    assert [json.loads(copy.read_text())["core"] for copy in copies] == ["1.0.0", "1.1.0"]
    for copy in copies:
        assert (
            f'href="../reports/{copy.name}"' in (site / "plugins/asyncflow-crew.html").read_text()
        )


def test_what_keeps_a_backend_from_the_next_level_is_listed_with_the_checks_that_failed(
    shelf: Path, site: Path, reports: Path, build: Build
) -> None:
    make_wheel(shelf, "crew")
    make_report(outcomes={"cancellation": "failed", "leaks": "not run"}).write(reports / "a.json")
    assert build(reports=reports).distributions[0].plugins[0].level == "bronze"
    page = text_of(site / "plugins/asyncflow-crew.html")
    assert "What keeps it from silver: test_cancellation failed with core 1.0.0" in page
    assert "test_leaks was not run with core 1.0.0" in page
    assert "test_cancellation 1.0.0 The promise about cancellation. it did not hold" in page


def test_a_level_of_the_manifest_is_marked_as_said_by_the_author(
    shelf: Path, site: Path, build: Build
) -> None:
    make_wheel(shelf, "crew", manifest=make_manifest())
    build()
    assert "silver, says its author" in text_of(site / "index.html")
    page = text_of(site / "plugins/asyncflow-crew.html")
    assert "It reaches silver, by what its author ships." in page
    entry = json.loads((site / "catalog.json").read_text())["plugins"][0]
    assert (entry["level"], entry["level_from"]) == ("silver", "manifest")


def test_reports_count_for_the_version_that_they_are_about(
    shelf: Path, reports: Path, build: Build
) -> None:
    make_wheel(shelf, "crew", "2.0", manifest=make_manifest())
    make_report(version="1.0", outcomes={"contract": "failed"}).write(reports / "old.json")
    make_report(version="2.0.0", outcomes={"leaks": "failed"}).write(reports / "new.json")
    made = build(reports=reports)
    plugin = made.distributions[0].plugins[0]
    assert [report.version for report in plugin.reports] == ["2.0.0"]
    assert (plugin.level, made.problems) == ("bronze", [])


def test_a_report_counts_once_also_where_a_build_has_copied_it(
    shelf: Path, site: Path, reports: Path, build: Build
) -> None:
    make_wheel(shelf, "crew")
    make_report().write(reports / "a.json")
    make_report().write(reports / "same.json")
    for _ in range(2):
        made = build(reports=site.parent)
        assert len(made.distributions[0].plugins[0].reports) == 1
        assert made.problems == []


def test_what_is_wrong_with_reports_is_said_and_the_rest_is_built(
    shelf: Path, reports: Path, build: Build
) -> None:
    make_wheel(shelf, "crew")
    make_report(distribution="asyncflow-other").write(reports / "other.json")
    (reports / "bad.json").write_text("[]")
    made = build(reports=reports)
    assert [one.origin for one in made.problems] == ["bad.json", "other.json"]
    assert made.problems[0].reason.startswith("it is not a report of asyncflow backends check: ")
    assert "about asyncflow-other, which is not in the catalog" in made.problems[1].reason
    with pytest.raises(ConfigurationError, match="no folder of reports"):
        build(reports=reports / "none")


def test_the_newest_version_is_shown_and_a_prerelease_only_if_it_is_alone(
    shelf: Path, site: Path, build: Build
) -> None:
    for version in ("1.9", "1.10", "2.0rc1"):
        make_wheel(shelf, "crew", version)
    make_wheel(shelf, "early", "0.1rc1")
    made = build()
    found = {one.name: (one.version, one.earlier) for one in made.distributions}
    assert found == {
        "asyncflow-crew": ("1.10", ("1.9", "2.0rc1")),
        "asyncflow-early": ("0.1rc1", ()),
    }
    assert "Earlier versions 1.9, 2.0rc1" in text_of(site / "plugins/asyncflow-crew.html")


def test_our_own_backends_are_in_a_catalog_of_what_is_installed(site: Path) -> None:
    made = build_catalog(site, [INSTALLED], title="Here")
    names = {plugin.name for one in made.distributions for plugin in one.plugins}
    assert {"concurrent", "noop"} <= names
    assert "radical.asyncflow <2,>=1.0" in text_of(
        site / "plugins/asyncflow-backend-concurrent.html"
    )


def test_no_code_of_an_installed_plugin_runs_and_its_manifest_is_found(
    tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "installed"
    package = folder / "asyncflow_crew" / "inner"
    package.mkdir(parents=True)
    for path in (package.parent / "__init__.py", package / "__init__.py", package / "plugin.py"):
        path.write_text("raise RuntimeError('code of a plugin runs')")
    (package / MANIFEST).write_text(make_manifest())
    info = folder / "asyncflow_crew-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: asyncflow-crew\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{BACKEND_GROUP}]\ncrew = asyncflow_crew.inner.plugin\n"
    )
    monkeypatch.syspath_prepend(folder)
    made = build_catalog(site, [INSTALLED], title="Here")
    found = {plugin.name: plugin for one in made.distributions for plugin in one.plugins}
    assert found["crew"].level == "silver"
    assert not [name for name in sys.modules if name.startswith("asyncflow_crew")]


def test_a_second_build_takes_away_what_is_gone(shelf: Path, site: Path, build: Build) -> None:
    gone = make_wheel(shelf, "gone")
    make_wheel(shelf, "crew")
    build()
    assert (site / "plugins/asyncflow-gone.html").is_file()
    (site / "plugins/of-the-host.txt").write_text("stays")
    gone.unlink()
    build()
    assert sorted(path.name for path in (site / "plugins").iterdir()) == [
        "asyncflow-crew.html",
        "of-the-host.txt",
    ]


def test_the_same_wheels_give_the_same_pages(shelf: Path, site: Path, build: Build) -> None:
    make_wheel(shelf, "crew", manifest=make_manifest())
    build()
    before = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    build()
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == before
    assert "as of 2026-05-28" in text_of(site / "index.html")


@pytest.mark.parametrize("epoch", ["today", "1" * 30])
def test_a_day_that_is_none_is_an_error(
    shelf: Path, build: Build, monkeypatch: pytest.MonkeyPatch, epoch: str
) -> None:
    make_wheel(shelf, "crew")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", epoch)
    with pytest.raises(ConfigurationError, match="SOURCE_DATE_EPOCH is"):
        build()


def test_files_of_somebody_else_are_never_replaced(shelf: Path, site: Path, build: Build) -> None:
    make_wheel(shelf, "crew")
    site.mkdir()
    (site / "index.html").write_text("mine")
    with pytest.raises(ConfigurationError, match="has files, and no catalog"):
        build()
    assert (site / "index.html").read_text() == "mine"


def test_a_list_of_files_that_was_tampered_with_removes_nothing_else(
    shelf: Path, site: Path, build: Build
) -> None:
    make_wheel(shelf, "crew")
    build()
    victim = site.parent / "victim.html"
    victim.write_text("stays")
    index = site / "catalog.json"
    facts = json.loads(index.read_text())
    facts["files"] += ["../victim.html", "plugins/../../victim.html", str(victim), 7]
    index.write_text(json.dumps(facts))
    build()
    assert victim.read_text() == "stays"


def test_a_catalog_of_nothing_is_an_error(shelf: Path, site: Path, build: Build) -> None:
    (shelf / "bad.whl").write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"no plugin in .*\n  bad.whl: it has no name"):
        build()
    assert not site.exists()
    with pytest.raises(ConfigurationError, match="is no folder of wheels; name one"):
        build_catalog(site, [str(shelf / "none")], title="")


@pytest.mark.hypothesis
@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
        | st.sampled_from(["</pre>", "<script>", "<!--", '" onload="x', "$body", "&lt;", "\x00"]),
        min_size=4,
        max_size=4,
    )
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_of_a_plugin_becomes_markup(
    shelf: Path, site: Path, build: Build, texts: list[str]
) -> None:
    summary, licence, title, readme = texts
    lines = [f"Summary: {summary}", f"License: {licence}", f"Project-URL: {title}, http://a.b/"]
    metadata = "\n".join(" ".join(line.split()) for line in lines)
    make_wheel(shelf, "crew", metadata=metadata + "\n", readme=readme)
    build()
    assert tags(site / "index.html") <= {
        *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer"),
        *("form", "input", "label", "select", "option", "output", "script"),
        *("ul", "li", "p", "h1", "h2", "a", "span", "dl", "dt", "dd"),
    }
    assert tags(site / "plugins/asyncflow-crew.html") <= {
        *("html", "head", "meta", "link", "title", "style", "body", "header", "main", "footer"),
        *("nav", "section", "ul", "li", "p", "pre", "h1", "h2", "a", "span", "dl", "dt", "dd"),
    }


def tags(page: Path) -> set[str]:
    """Return the names of all elements; each has only attributes that we write."""
    found: set[str] = set()

    class Tags(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            found.add(tag)
            assert not [name for name, _ in attributes if name.startswith("on")]

    Tags().feed(page.read_text(encoding="utf-8"))
    return found


def test_the_command_writes_a_catalog_and_says_what_it_left_out(
    shelf: Path, site: Path, reports: Path, invoke: Invoke
) -> None:
    make_wheel(shelf, "crew")
    make_report().write(reports / "a.json")
    words = ["catalog", "build", "--from", str(shelf), "--reports", str(reports), str(site)]
    result = invoke(*words, "--title", "Ours")
    assert (result.exit_code, result.output) == (0, f"1 plugin in {site / 'index.html'}\n")
    assert "Ours" in text_of(site / "index.html")
    (shelf / "bad.whl").write_bytes(b"")
    result = invoke(*words)
    assert result.exit_code == 1
    assert "Warning: bad.whl: it has no name of a wheel" in result.stderr
    assert "1 plugin in" in result.stdout
