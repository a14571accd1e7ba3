"""The pages of a catalog; every text that comes from a plugin is escaped, and none is run."""

from __future__ import annotations

import importlib.resources
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from string import Template
from typing import NamedTuple

from .._groups import BACKEND_GROUP
from .._groups import GROUPS as PLUGIN_GROUPS
from .._html import Markup, cell, number, table, tag
from .._html.style import hash_source, shared_style
from .._quality.levels import GROUPS, LEVELS
from .._quality.report import Manifest, Report
from .._text import count, printable_lines, shorten
from ..version import __version__
from .abilities import abilities_of, limits_of
from .entries import Distribution, Link, Plugin, Problem
from .settings import Setting, settings_of

__all__ = ["Catalog", "index_page", "plugin_page", "report_path"]

MOST_CHECKS = 100
"""The most checks that did not pass, and gaps, that a page lists."""

MOST_ROWS = 100
"""The most kinds and options of tasks that a page lists."""

CHECKED_BY = {True: "by reports that this catalog was given", False: "by what its author ships"}
NO_MANIFEST = (
    "Its distribution has no manifest, so nothing is known without running it. Its author can add "
    "one by asyncflow backends check --manifest."
)


class Catalog(NamedTuple):
    """The content of all pages.

    Attributes:
        distributions: by name.
        problems: what was left out.
        built: the day.
    """

    title: str
    distributions: Sequence[Distribution]
    problems: Sequence[Problem]
    built: date


def report_path(one: Distribution, place: int) -> str:
    """Return the path, below the catalog, of one of the reports about a distribution."""
    return f"reports/{one.name}.{place}.json"


def index_page(catalog: Catalog) -> str:
    """Return the page with all plugins, and a search."""
    entries = [(one, plugin) for one in catalog.distributions for plugin in one.plugins]
    entries.sort(key=lambda entry: (-_rank(entry[1].level), entry[1].name, entry[0].name))
    many = f"{count(len(entries), 'plugin')} of {count(len(catalog.distributions), 'distribution')}"
    body = Markup.concat(
        tag(
            "header",
            Markup.concat(
                tag("p", "AsyncFlow", css="brand"),
                tag("h1", tag("span", catalog.title, css="name")),
                tag("p", f"{many}, as of {catalog.built}", css="about"),
            ),
        ),
        tag(
            "main",
            Markup.concat(
                _asset("search.html"),
                tag("ul", Markup.concat(*(_card(*entry) for entry in entries)), css="cards"),
                tag("p", "No plugin matches.", css="none empty", hidden="hidden"),
                _left_out(catalog.problems),
            ),
        ),
        _footer(catalog),
        sep="\n",
    )
    return _page(catalog.title, body, script=_asset("search.js"))


def plugin_page(catalog: Catalog, one: Distribution) -> str:
    """Return the page of a distribution, with all its plugins; it has no script."""
    parts: list[tuple[str, str, Markup]] = [("install", "Install", _install(one))]
    place = 0
    for position, plugin in enumerate(one.plugins, 1):
        parts.append((f"plugin-{position}", plugin.name, _plugin(one, plugin, place)))
        place += len(plugin.reports)
    if one.readme:
        parts.append(("readme", "README", tag("pre", one.readme, css="readme", tabindex="0")))
    links = [
        tag("li", tag("a", tag("span", title, css="name"), href=f"#{anchor}"))
        for anchor, title, _ in parts
    ]
    sections = [
        tag(
            "section",
            Markup.concat(_heading(anchor, title), content),
            id=anchor,
            aria_labelledby=f"{anchor}-head",
        )
        for anchor, title, content in parts
    ]
    body = Markup.concat(
        _head(catalog, one),
        tag("nav", tag("ul", Markup.concat(*links)), aria_label="Sections"),
        tag("main", Markup.concat(*sections, sep="\n")),
        _footer(catalog),
        sep="\n",
    )
    return _page(f"{one.title} · {catalog.title}", body)


def _page(title: str, body: Markup, script: str = "") -> str:
    """Return a whole page that may load nothing, and run nothing but *script*."""
    style = shared_style() + _asset("catalog.css")
    allowed = f"script-src {hash_source(script)}; " if script else ""
    policy = (
        f"default-src 'none'; {allowed}style-src {hash_source(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    return Template(_asset("frame.html")).substitute(
        title=tag("title", title),
        policy=policy,
        style=style,
        body=body,
        script=f"<script>{script}</script>" if script else "",
    )


def _asset(name: str) -> Markup:
    text = (importlib.resources.files(__package__) / "assets" / name).read_text("utf-8")
    return Markup(text)


def _footer(catalog: Catalog) -> Markup:
    text = (
        f"Written by AsyncFlow {__version__} on {catalog.built}. What stands here comes from the "
        "authors of the plugins; none of their code was run to write it. This page loads nothing "
        "and sends nothing."
    )
    return tag("footer", tag("p", text))


def _heading(anchor: str, title: str) -> Markup:
    return tag("h2", tag("span", title, css="name"), id=f"{anchor}-head")


# The cards of the first page.


def _card(one: Distribution, plugin: Plugin) -> Markup:
    runs = _runs(plugin)
    summary = (plugin.manifest.summary if plugin.manifest else "") or one.summary
    facts = [
        ("Version", _version(one)),
        ("Distribution", one.title),
        ("Licence", one.licence or "not named"),
        ("Core", one.core or "any version"),
        *([("Runs", ", ".join(runs))] if runs else []),
    ]
    title = tag("a", tag("span", plugin.name, css="name"), href=f"plugins/{one.name}.html")
    return tag(
        "li",
        Markup.concat(
            tag("h2", Markup.concat(title, _chips(plugin))),
            tag("p", shorten(summary, 500), css="what"),
            _list(facts),
        ),
        css="card",
        data_name=plugin.name,
        data_level=plugin.level or "",
        data_date=one.released.isoformat() if one.released else "",
        data_runs=" ".join(runs),
        data_search=_searched(one, plugin, summary),
    )


def _searched(one: Distribution, plugin: Plugin, summary: str) -> str:
    """Return the words by which a plugin is found."""
    settings = settings_of(plugin.source.settings) if plugin.source else []
    words = [
        *(plugin.name, plugin.kind, one.title, one.name, summary, one.summary, one.licence),
        *(one.author, plugin.level or "", *_runs(plugin)),
        *(setting.key for setting in settings),
        *_resources(plugin),
    ]
    return shorten(" ".join(words), 5000)


def _version(one: Distribution) -> str:
    return f"{one.version}, {one.released}" if one.released else one.version


def _chips(plugin: Plugin) -> Markup:
    """Return the kind and the level of a plugin."""
    chips = [tag("span", plugin.kind, css="chip")]
    if plugin.group == BACKEND_GROUP:
        chips.append(_chip(plugin))
    return tag("span", Markup.concat(*chips), css="chips")


def _chip(plugin: Plugin) -> Markup:
    if not plugin.judged:
        return tag("span", "not checked", css="chip")
    word = plugin.level or "no level"
    if not plugin.reports:
        word += ", says its author"
    return tag("span", word, css=f"chip is-{plugin.level or 'none'}")


def _rank(level: str | None) -> int:
    return LEVELS.index(level) + 1 if level else 0


def _runs(plugin: Plugin) -> list[str]:
    return _words(plugin, "kinds")


def _resources(plugin: Plugin) -> list[str]:
    return _words(plugin, "resources")


def _words(plugin: Plugin, field: str) -> list[str]:
    values = plugin.source.capabilities.get(field) if plugin.source else None
    return [shorten(str(value), 50) for value in values[:20]] if isinstance(values, list) else []


def _left_out(problems: Sequence[Problem]) -> Markup:
    if not problems:
        return Markup()
    rows = [(cell(shorten(one.origin, 200)), _cell(shorten(one.reason, 2000))) for one in problems]
    return tag(
        "section",
        Markup.concat(
            tag("h2", "Left out", id="left-out"),
            table("Left out", ("Where", "Why"), rows),
        ),
        aria_labelledby="left-out",
    )


def _list(facts: Iterable[tuple[str, Markup | str]]) -> Markup:
    parts = [Markup.concat(tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag("dl", Markup.concat(*parts), css="facts")


# The page of a distribution.


def _head(catalog: Catalog, one: Distribution) -> Markup:
    about = [f"Version {one.version}"]
    if one.released:
        about.append(f"released on {one.released}")
    if one.author:
        about.append(f"by {one.author}")
    back = tag("a", f"← {catalog.title}", href="../index.html")
    return tag(
        "header",
        Markup.concat(
            tag("p", back, css="brand"),
            tag("h1", tag("span", one.title, css="name")),
            tag("p", one.summary, css="lead") if one.summary else Markup(),
            tag("p", " · ".join(about), css="about"),
        ),
    )


def _install(one: Distribution) -> Markup:
    facts: list[tuple[str, Markup | str]] = [
        ("Licence", one.licence or "not named"),
        ("Core", f"radical.asyncflow {one.core}" if one.core else "any version of the core"),
        ("Python", one.python or "any version"),
        ("Requires", ", ".join(one.requires) or "nothing else"),
    ]
    if one.earlier:
        facts.append(("Earlier versions", ", ".join(one.earlier[:20])))
    facts += [(link.title, _link(link)) for link in one.links]
    return Markup.concat(
        tag("pre", f"pip install '{one.title}=={one.version}'", css="command"), _list(facts)
    )


def _link(link: Link) -> Markup | str:
    if not link.address:
        return tag("span", "not an address of the web", css="note")
    return tag("a", link.address, href=link.address, rel="noopener noreferrer nofollow")


def _plugin(one: Distribution, plugin: Plugin, place: int) -> Markup:
    """Return the section of a plugin.

    Args:
        place: the number of the first of its reports among those of the distribution.
    """
    parts = [tag("p", _chips(plugin))]
    if plugin.group != BACKEND_GROUP:
        return Markup.concat(*parts, tag("p", _use(plugin)))
    parts.append(tag("pre", f"WorkflowEngine.create(backend={plugin.name!r})", css="command"))
    if plugin.problem:
        parts.append(tag("p", f"Its manifest cannot be used: {plugin.problem}", css="bad"))
    source = plugin.source
    if source is None:
        return Markup.concat(*parts, *([] if plugin.problem else [tag("p", NO_MANIFEST)]))
    if isinstance(source, Manifest) and source.summary and source.summary != one.summary:
        parts.append(tag("p", source.summary, css="what"))
    parts += [
        tag("h3", "Settings"),
        _settings(settings_of(source.settings)),
        tag("h3", "Capabilities"),
        *_capabilities(source.capabilities),
        tag("h3", "Tasks and options"),
        _portability(source.portability),
        tag("h3", "Quality"),
        _quality(one, plugin, place),
    ]
    return Markup.concat(*parts)


def _use(plugin: Plugin) -> str:
    group = PLUGIN_GROUPS.get(plugin.group)
    if group is None:
        return f"It is for a newer AsyncFlow, which knows the group {plugin.group}."
    return f"It is used {group.used.replace('`', '')}."


def _settings(found: Sequence[Setting]) -> Markup:
    rows = [
        (
            tag("code", setting.key, css="key"),
            tag("code", f"{setting.type}, {setting.unit}" if setting.unit else setting.type),
            tag("code", setting.default) if setting.default else Markup(),
            _cell(_prose(setting.description, 1000)),
        )
        for setting in found
    ]
    heads = ("Setting", "Type", "Default", "Meaning")
    listing = table("Settings", heads, rows, empty="It takes no settings.")
    return tag("div", listing, css="stack settings")


def _capabilities(capabilities: Mapping[str, object]) -> Iterator[Markup]:
    answers = list(abilities_of(capabilities))[:MOST_ROWS]
    rows = [(ability.title, answer, _cell(ability.meaning)) for ability, answer in answers]
    heads = ("What it does", "", "Meaning")
    listing = table("Capabilities", heads, rows, empty="It declares none.")
    yield tag("div", listing, css="stack")
    if limits := limits_of(capabilities):
        yield tag("p", "Its limits:")
        yield _bullets(_prose(limit, 1000) for limit in limits)


def _prose(text: str, limit: int) -> Markup:
    """Return a text in which words between backquotes are code."""
    parts = re.split(r"`([^`]+)`", shorten(text, limit))
    return Markup.concat(
        *(tag("code", part) if place % 2 else part for place, part in enumerate(parts))
    )


def _cell(content: Markup | str) -> Markup:
    """Return sentences for a table: they keep a width in which they can be read."""
    return tag("span", content, css="what")


def _bullets(lines: Iterable[str]) -> Markup:
    return tag("ul", Markup.concat(*(tag("li", line) for line in lines)), css="plain")


def _portability(cells: Mapping[str, str]) -> Markup:
    rows = [
        (
            _prose(title, 200),
            _cell(f"no, because {shorten(lacking, 500)}")
            if lacking
            else tag("span", "yes", css="yes"),
        )
        for title, lacking in list(cells.items())[:MOST_ROWS]
    ]
    return table("Tasks and options", ("Task or option", ""), rows, empty="Nothing is known.")


# The level, and the reports behind it.


def _quality(one: Distribution, plugin: Plugin, place: int) -> Markup:
    if not plugin.judged:
        return tag("p", "It was not checked, so it has no level.", css="empty")
    level = f"It reaches {plugin.level}" if plugin.level else "It reaches no level"
    parts = [
        tag("p", f"{level}, {CHECKED_BY[bool(plugin.reports)]}. A level is computed from checks."),
        _reports(one, plugin, place),
        _groups(plugin),
        _costs(plugin.reports),
    ]
    if gaps := plugin.gaps:
        parts.append(tag("p", f"What keeps it from {gaps[0].level}:"))
        nearest = [gap.text for gap in gaps if gap.level == gaps[0].level]
        parts.append(_bullets(_some([shorten(text, 500) for text in nearest])))
    parts.append(_failures(plugin.reports))
    return Markup.concat(*parts)


def _some(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_CHECKS
    return [*lines[:MOST_CHECKS], *([f"and {more:,} more"] if more > 0 else [])]


def _reports(one: Distribution, plugin: Plugin, place: int) -> Markup:
    rows = []
    for position, each in enumerate(plugin.judged):
        ends = Counter(check.outcome for check in each.checks)
        file: Markup | str = "in its wheel"
        if isinstance(each, Report):
            file = tag("a", "report", href=f"../{report_path(one, place + position)}")
        rows.append(
            (
                each.date[:10],
                shorten(each.core, 40),
                *_conditions(each),
                *(
                    number(f"{ends[outcome]:,}")
                    for outcome in ("passed", "failed", "not run", "not applicable")
                ),
                number(f"{each.load:,}"),
                file,
            )
        )
    heads = (
        "Checked",
        "Core",
        "Python, platform",
        "Settings",
        "#Passed",
        "#Failed",
        "#Not run",
        "#Not applicable",
        "#Biggest bag",
        "File",
    )
    return table("Reports", heads, rows)


def _conditions(each: Manifest | Report) -> tuple[str, str]:
    """Return where a backend was checked, and with which settings."""
    if isinstance(each, Manifest):
        return "", ""
    given = ", ".join(f"{key}={value}" for key, value in each.given.items())
    return shorten(f"{each.python}, {each.platform}", 100), shorten(given, 200) or "defaults"


def _costs(reports: Sequence[Report]) -> Markup:
    """Return what a task costs, by the newest of *reports* that has measured it."""
    measured = next((report.benchmarks for report in reports if report.benchmarks), ())
    rows = [
        (
            shorten(one.name, 100),
            number(f"{one.tasks:,}"),
            number(f"{one.microseconds:,.1f} µs"),
            number(f"{one.engine:,.1f} µs"),
        )
        for one in measured[:MOST_ROWS]
    ]
    heads = ("Work", "#Tasks", "#Time for a task", "#With nothing to run")
    return table("Costs", heads, rows)


def _groups(plugin: Plugin) -> Markup:
    """Return how the checks of each group ended, in all reports together."""
    ends: dict[str, Counter[str]] = {}
    for each in plugin.judged:
        for check in each.checks:
            ends.setdefault(check.group, Counter())[check.outcome] += 1
    names = [*(name for name in GROUPS if name in ends), *sorted(ends.keys() - GROUPS.keys())]
    rows = [
        (
            shorten(name, 100),
            GROUPS.get(name, LEVELS[0]),
            number(f"{ends[name]['passed']:,}"),
            number(f"{ends[name]['failed']:,}", css="bad" if ends[name]["failed"] else ""),
            number(f"{ends[name]['not run']:,}"),
        )
        for name in names[:MOST_ROWS]
    ]
    heads = ("Checks of", "Needed for", "#Passed", "#Failed", "#Not run")
    closed = tag("summary", f"{count(sum(map(Counter.total, ends.values())), 'check')} by group")
    return tag("details", Markup.concat(closed, table("Groups", heads, rows)))


def _failures(reports: Sequence[Report]) -> Markup:
    failed = [(report, check) for report in reports for check in report.failed]
    rows = [
        (
            tag("code", shorten(check.name, 200)),
            shorten(report.core, 40),
            shorten(check.promise, 500),
            tag("pre", printable_lines(check.message[:2000])) if check.message else Markup(),
        )
        for report, check in failed[:MOST_CHECKS]
    ]
    if not rows:
        return Markup()
    heads = ("Failed check", "Core", "Promise", "Message")
    return Markup.concat(tag("h3", "Checks that failed"), table("Failed checks", heads, rows))
