"""The catalog in a real browser, from files and without a network."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import pytest
from browser import Page
from radical.asyncflow._catalog.site import INSTALLED, build_catalog

from .conftest import Build
from .shelf import make_manifest, make_report, make_wheel

NASTY = "</script></pre><script>alert(1)</script><img src=x onerror=alert(2)>"


def visible(page: Page) -> list[str]:
    """Return the names of the plugins that are shown, in their order."""
    script = "[...document.querySelectorAll('.card:not([hidden]) h2 a')].map((a) => a.textContent)"
    return list(page.run(script))


def search(page: Page, words: str) -> None:
    """Type *words* into the search, in place of what is there."""
    page.run("document.querySelector('#search input').select()")
    page.run("document.querySelector('#search input').focus()")
    page.type(words)
    page.until(f"document.querySelector('#search input').value === {json.dumps(words)}")


def choose(page: Page, name: str, value: str) -> None:
    page.run(
        f"""(() => {{
            const field = document.querySelector('#search').elements[{json.dumps(name)}];
            field.value = {json.dumps(value)};
            field.dispatchEvent(new Event('input', {{ bubbles: true }}));
        }})()"""
    )


def follow(page: Page, path: Path) -> None:
    """Load a page that has no script."""
    page.send("Page.navigate", url=path.as_uri())
    page.until(
        f"document.readyState === 'complete' && location.href === {json.dumps(path.as_uri())}"
    )


@pytest.fixture
def full(shelf: Path, site: Path, tmp_path: Path, build: Build) -> Path:
    """Build a catalog of some plugins, and return its folder."""
    reports = tmp_path / "reports"
    reports.mkdir()
    make_wheel(shelf, "crew", metadata="Summary: Threads\nLicense: MIT\n")
    make_report().write(reports / "a.json")
    make_report(core="1.1.0").write(reports / "b.json")
    make_wheel(
        shelf,
        "slurm",
        metadata="Summary: Jobs of a batch system\nLicense: GPL\n",
        manifest=make_manifest("slurm", capabilities={"kinds": ["executable"]}),
        day=(2026, 5, 1, 0, 0, 0),
    )
    make_wheel(shelf, "asker", manifest=make_manifest("asker", capabilities={"kinds": ["prompt"]}))
    make_wheel(shelf, "plain")
    build(reports=reports)
    return site


def test_the_search_finds_by_words_level_and_kind_and_orders(page: Page, full: Path) -> None:
    page.open(full / "index.html")
    assert visible(page) == ["crew", "asker", "slurm", "plain"]
    assert page.text("#search output") == "4 plugins"
    search(page, "batch gpl")
    assert visible(page) == ["slurm"]
    assert page.text("#search output") == "1 of 4 plugins"
    search(page, "max_workers threads")
    assert visible(page) == ["crew", "asker", "slurm"]
    choose(page, "runs", "prompt")
    assert visible(page) == ["asker"]
    choose(page, "runs", "")
    choose(page, "level", "gold")
    assert visible(page) == ["crew"]
    choose(page, "level", "")
    search(page, "")
    choose(page, "order", "name")
    assert visible(page) == ["asker", "crew", "plain", "slurm"]
    choose(page, "order", "date")
    assert visible(page)[0] == "slurm"
    search(page, "nothing has this")
    assert visible(page) == []
    assert page.text(".none") == "No plugin matches."
    # What is searched is in the address, so that it can be sent to somebody.
    search(page, "")
    page.run("document.activeElement.blur()")
    page.key("/")
    page.type("slurm")
    page.until("location.hash === '#q=slurm&order=date'")
    page.run("location.hash = '#q=crew&runs=function&level=silver&order=name'")
    page.until("document.querySelector('#search').elements.order.value === 'name'")
    assert visible(page) == ["crew"]
    page.run("location.hash = '#level=platinum&order=chaos'")
    page.until("document.querySelector('#search').elements.q.value === ''")
    assert visible(page) == ["crew", "asker", "slurm", "plain"]


def test_our_own_backends_are_found_and_the_pages_ask_nobody_for_anything(
    page: Page, site: Path
) -> None:
    build_catalog(site, [INSTALLED], title="Here")
    index, entry = site / "index.html", site / "plugins/asyncflow-backend-concurrent.html"
    page.open(index)
    search(page, "threads executor_type")
    assert visible(page) == ["concurrent"]
    page.run("document.querySelector('.card:not([hidden]) a').click()")
    page.until(f"location.href === {json.dumps(entry.as_uri())}")
    page.until("document.readyState === 'complete'")
    assert page.text("#plugin-1 h2") == "concurrent"
    assert "1 <= int <= 10000 | None" in page.text("#plugin-1")
    assert "silver, says its author" in page.text("#plugin-1")
    page.run("document.querySelector('header a').click()")
    page.until(f"location.pathname === {json.dumps(str(index))}")
    page.until("document.documentElement.dataset.ready === 'true'")
    assert {request.partition("#")[0] for request in page.requests} == {
        index.as_uri(),
        entry.as_uri(),
    }
    assert page.errors == []


def test_a_hostile_wheel_gets_no_further_than_text(
    page: Page, shelf: Path, site: Path, build: Build
) -> None:
    fields = ("Summary", "License", "Author", "Requires-Python", "Requires-Dist")
    metadata = "".join(f"{field}: {NASTY}{'x' * 300}\n" for field in fields)
    trap = f"Project-URL: {NASTY}, javascript:alert(3)\nProject-URL: b, data:text/html,{NASTY}\n"
    long = NASTY + "y" * 300
    schema = {"properties": {NASTY: {"description": long, "default": long, "unit": NASTY}}}
    manifest = make_manifest(
        "evil",
        summary=NASTY,
        settings=schema,
        capabilities={"kinds": [NASTY], NASTY: NASTY, "limits": [NASTY]},
        portability={NASTY: NASTY},
    )
    make_wheel(shelf, "evil", metadata=metadata + trap, readme=NASTY * 50, manifest=manifest)
    (shelf / f"{NASTY.replace('/', '_')}.whl").write_bytes(b"")
    build(title=NASTY)
    page.open(site / "index.html")
    assert NASTY in page.text(".card")
    assert NASTY in page.text("h1")
    follow(page, site / "plugins/asyncflow-evil.html")
    assert NASTY in page.text("#readme")
    assert NASTY in page.text("#plugin-1")
    addresses = page.run("[...document.querySelectorAll('a')].map((a) => a.protocol)")
    assert set(addresses) == {"file:"}
    assert page.run("document.querySelectorAll('img, script').length") == 0
    page.resize(360, 900)
    assert page.run("document.documentElement.scrollWidth") <= 360
    assert (page.errors, page.dialogs) == ([], [])
    # A script that got into a page all the same would not run.
    path = site / "plugins/asyncflow-evil.html"
    text = path.read_text().replace("<main>", "<main><script>alert(1)</script><b onclick='x'>")
    path.write_text(text)
    follow(page, site / "index.html")
    follow(page, path)
    assert page.run("document.scripts.length") == 1
    assert page.dialogs == []
    assert any("Content Security Policy" in error for error in page.errors)


def test_the_pages_fit_every_screen_and_can_be_read_in_light_and_dark(
    page: Page, full: Path
) -> None:
    for dark, width in product((False, True), (360, 768, 1280)):
        page.open(full / "index.html", width=width, dark=dark)
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(CONTRAST) >= 4.5
        follow(page, full / "plugins/asyncflow-crew.html")
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(CONTRAST) >= 4.5


CONTRAST = """(() => {
    const light = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => {
            const value = part / 255;
            return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        });
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const behind = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (colour !== 'rgba(0, 0, 0, 0)') return colour;
        }
        return 'rgb(255, 255, 255)';
    };
    const all = [...document.querySelectorAll('body *')].filter((element) =>
        element.checkVisibility() && [...element.childNodes].some((node) =>
            node.nodeType === 3 && node.data.trim()));
    return Math.min(...all.map((element) => {
        const both = [light(getComputedStyle(element).color), light(behind(element))];
        return (Math.max(...both) + 0.05) / (Math.min(...both) + 0.05);
    }));
})()"""
"""The worst contrast of a text with what is behind it; WCAG AA asks for 4.5."""
