"""A run as one page of HTML that loads nothing from anywhere.

This module writes everything that can be read without scripts.  The script of the page
draws the timeline, the graph and the table of tasks from the columns that the page holds.
"""

from __future__ import annotations

import importlib.resources
import shlex
from collections.abc import Iterable, Mapping, Sequence
from string import Template
from typing import Any, Protocol

from .._html import Markup, cell, number, table, tag
from .._html.style import hash_source, shared_style
from .._public import public
from .._text import count, cut_middle, printable, printable_lines
from ..journal import ErrorRecord, RunRecord, TaskRecord
from ..version import __version__
from ._columns import columns, embedded
from ._distributions import distribution_table, environment_list
from ._facts import STATES, Facts, FunctionFacts
from ._sections import MadeSection, sections_html, sections_nav
from .words import brief, moment, outcome, seconds, share

__all__ = ["LIVE_SCRIPTS", "SCRIPTS", "render_html"]

SCRIPTS = ("record.js", "time.js", "timeline.js", "usage.js", "graph.js", "tasks.js", "page.js")
"""The parts of the script, each after those that it needs."""

LIVE_SCRIPTS = (*SCRIPTS, "live.js")
"""The same for the page of a run that goes on."""

MAX_POINTS = 100
"""The most tasks of one failure whose arguments are shown."""

MAX_FAILURES = 50
"""The most failures that are shown; equal ones count as one."""

OPEN_FAILURES = 3
"""The number of failures that are open when the page is."""

MAX_NAMED = 12
"""The most tasks of a failure that are named."""

MAX_FUNCTIONS = 60
"""The most functions that are listed."""

MAX_RETRIES = 25
"""The most retries that are listed."""

MAX_SLOWEST = 20
"""The most tasks in the list of the slowest."""

MAX_LINE = 200
"""The most characters of an error in one line."""

MAX_OUTPUT = 20_000
"""The most characters of a traceback, or of the output of a command."""


class Cause(Protocol):
    """The tasks that failed with one error: how many, and some or all of them."""

    @property
    def name(self) -> str: ...
    @property
    def error(self) -> ErrorRecord: ...
    @property
    def tasks(self) -> Sequence[TaskRecord]: ...
    @property
    def size(self) -> int: ...


class Counted(Protocol):
    """The tasks of one name, counted."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def tasks(self) -> int: ...
    @property
    def reused(self) -> int: ...
    @property
    def ran(self) -> int: ...


class Shown(Protocol):
    """The members of `Facts` that parts of the page ask for; a run that runs has them, too."""

    @property
    def total(self) -> int: ...
    @property
    def states(self) -> Mapping[str, int]: ...
    @property
    def reused(self) -> int: ...
    @property
    def origins(self) -> Mapping[str, int]: ...
    @property
    def retries(self) -> int: ...
    @property
    def retried(self) -> Sequence[TaskRecord]: ...
    @property
    def failures(self) -> Sequence[Cause]: ...
    @property
    def consequences(self) -> Sequence[TaskRecord]: ...
    @property
    def consequence_count(self) -> int: ...
    @property
    def functions(self) -> Sequence[Counted]: ...
    def slowest(self, limit: int) -> Sequence[tuple[TaskRecord, float]]: ...


@public("radical.asyncflow.report")
def render_html(run: RunRecord, sections: Sequence[MadeSection] = ()) -> str:
    """Return *run* as one page, which grows by some 60 bytes with each task.

    Args:
        sections: those of plugins, which stand before the table of tasks.
    """
    facts = Facts(run)
    data = columns(facts)
    return fill(
        SCRIPTS,
        data,
        title=run.uid,
        live=Markup(),
        connection=Markup(),
        footer="Written by AsyncFlow $version from the journal of the run. "
        "This page loads nothing and sends nothing.",
        head=_head(facts),
        nav=nav(facts, more=sections_nav(sections)),
        plugins=sections_html(sections),
        figures=_figures(facts),
        states=states(facts),
        functions=Markup.concat(_functions(facts.functions), distribution_table(run)),
        backends=Markup.concat(_backends(facts), environment_list(run)),
        slowest=slowest(facts),
        failures=failures(facts, data["dropped"]),
        retries=retries(facts),
        cache=cache(facts),
    )[0]


def fill(
    scripts: Iterable[str],
    data: Mapping[str, Any],
    *,
    title: str,
    footer: str,
    policy: str = "",
    **parts: Markup,
) -> tuple[str, str]:
    """Return a page and its content security policy.

    Args:
        footer: the words in which ``$version`` stands for the version of this release.
        policy: further rules.
    """
    style = shared_style() + _asset("style.css")
    script = "(() => {\n'use strict';\n" + "\n".join(map(_asset, scripts)) + "})();\n"
    rules = (
        f"default-src 'none'; script-src {hash_source(script)}; style-src {hash_source(style)}; "
        f"img-src data:; base-uri 'none'; form-action 'none'{policy}"
    )
    page = Template(_asset("template.html")).substitute(
        title=tag("title", f"{title} · AsyncFlow"),
        policy=rules,
        style=style,
        script=script,
        data=embedded(data),
        footer=Template(footer).substitute(version=__version__),
        **parts,
    )
    return page, rules


def _asset(name: str) -> str:
    return (importlib.resources.files(__package__) / "assets" / name).read_text("utf-8")


def _head(facts: Facts) -> Markup:
    run = facts.run
    titles = {
        "cancelled": "cancelled before its end",
        "preempted": "preempted: its time was over",
    }
    title = titles.get(run.outcome) or outcome(run)
    css = css_name(run.outcome or "unfinished")
    line: list[Markup] = []
    if run.program:
        line.append(tag("code", shlex.join(run.program), css="program"))
    about = [moment(run.begun)]
    if run.host:
        about.append(f"on {run.host}" + (f", process {run.pid}" if run.pid else ""))
    if run.python:
        about.append(f"Python {run.python}")
    return Markup.concat(
        tag(
            "h1",
            Markup.concat(
                tag("span", run.uid, css="uid"),
                tag("span", title, css=f"outcome is-{css}"),
            ),
        ),
        *line,
        tag("p", " · ".join(about), css="about"),
    )


def css_name(text: str) -> str:
    """Return the word of a state as a class may have it."""
    return text if text.isalpha() and text.isascii() else "other"


def nav(facts: Shown, *, live: bool = False, more: Markup | None = None) -> Markup:
    """Return the links to the sections, with their figures.

    Args:
        more: the links to the sections of plugins.
    """
    entries: list[tuple[str, str, int | None]] = [
        ("summary", "Summary", None),
        *([("now", "Now", None)] if live else []),
        ("timeline", "Timeline", None),
        ("utilisation", "Utilisation", None),
        ("graph", "Graph", None),
        ("slowest", "Slowest", None),
        ("failures", "Failures", facts.states["FAILED"]),
        ("retries", "Retries", facts.retries),
        ("cache", "Cache", facts.reused),
        ("tasks", "Tasks", facts.total),
    ]
    items = []
    for anchor, title, many in entries:
        if anchor == "tasks" and more is not None:
            items.append(more)
        parts = [Markup.escape(title)]
        if many:
            css = "many bad" if anchor == "failures" else "many"
            parts.append(tag("span", f"{many:,}", css=css))
        items.append(tag("li", tag("a", Markup.concat(*parts, sep=" "), href=f"#{anchor}")))
    return tag("ul", Markup.concat(*items))


def _figures(facts: Facts) -> Markup:
    run = facts.run
    used = "–" if facts.utilisation is None else share(facts.utilisation, 1)
    slots = sum(backend.slots for backend in facts.backends)
    return figures(
        [
            (
                "Wall time",
                seconds(run.length),
                _until(run),
            ),
            ("Tasks", f"{len(run.tasks):,}", count(len(facts.functions), "function")),
            ("Task time", seconds(facts.task_seconds), "all attempts together"),
            (
                "Critical path",
                seconds(facts.critical_seconds),
                f"longest chain: {count(len(facts.critical_path), 'task')}",
            ),
            ("Utilisation", used, f"of {count(slots, 'slot')} that were used"),
            ("Failed", f"{facts.states['FAILED']:,}", count(len(facts.failures), "cause")),
            (
                "Cache hits",
                f"{facts.reused:,}",
                share(facts.reused, len(run.tasks)) + " of all tasks",
            ),
            ("Retries", f"{facts.retries:,}", f"in {count(len(facts.retried), 'task')}"),
        ]
    )


def figures(entries: Iterable[tuple[str, str, str]]) -> Markup:
    """Return figures with their names and notes."""
    return Markup.concat(
        *(
            tag(
                "div", Markup.concat(tag("dt", name), tag("dd", value), tag("dd", note, css="note"))
            )
            for name, value, note in entries
        )
    )


def _until(run: RunRecord) -> str:
    if run.outcome:
        return "to the end"
    return "by now" if run.life == "running" else "to its last sign of life"


def states(facts: Shown) -> Markup:
    """Return a bar with the share of each state, and its legend."""
    total = facts.total
    parts = [(state.lower(), facts.states[state]) for state in STATES]
    parts[0] = ("done", facts.states["DONE"] - facts.reused)
    parts.insert(1, ("reused", facts.reused))
    parts = [(name, many) for name, many in parts if many]
    x = 0.0
    bars, legend = [], []
    for name, many in parts:
        width = 1000 * many / total
        bars.append(
            tag(
                "rect", "", css=f"is-{name}", x=f"{x:.2f}", y="0", width=f"{width:.2f}", height="10"
            )
        )
        x += width
        legend.append(
            tag(
                "li",
                Markup.concat(
                    tag("span", "", css=f"mark is-{name}"),
                    tag("b", f"{many:,}"),
                    Markup.escape(f" {name} "),
                    tag("span", share(many, total), css="note"),
                ),
            )
        )
    if not parts:
        return tag("p", "The run called no tasks.", css="note")
    bar = tag(
        "svg",
        Markup.concat(*bars),
        css="shares",
        viewBox="0 0 1000 10",
        preserveAspectRatio="none",
        aria_hidden="true",
    )
    return Markup.concat(bar, tag("ul", Markup.concat(*legend), css="legend"))


def _functions(functions: Sequence[FunctionFacts]) -> Markup:
    rows = [
        (
            tag("span", each.name, css="name"),
            each.kind,
            number(f"{each.tasks:,}"),
            number(f"{each.states['FAILED']:,}" if each.states["FAILED"] else "", css="bad"),
            number(f"{each.reused:,}" if each.reused else ""),
            number(f"{each.retries:,}" if each.retries else ""),
            number(seconds(each.seconds)),
            number(seconds(each.mean)),
            number(_longest(each)),
        )
        for each in functions[:MAX_FUNCTIONS]
    ]
    heads = ("Function", "Kind", "#Tasks", "#Failed", "#Reused", "#Retries", "#Total time")
    listing = table("Functions", (*heads, "#Mean", "#Longest"), rows)
    return Markup.concat(listing, left_out(len(functions) - len(rows)))


def left_out(many: int) -> Markup:
    """Return the note below a list of functions that leaves out so many."""
    if many <= 0:
        return Markup()
    return tag("p", f"{count(many, 'more function')} in the table of tasks.", css="note")


def _longest(each: FunctionFacts) -> Markup:
    if each.longest is None:
        return Markup.escape("–")
    return link(each.longest.number, seconds(each.longest_seconds))


def _backends(facts: Facts) -> Markup:
    rows = [
        (
            tag("span", each.name, css="name"),
            each.version,
            number(f"{each.tasks:,}"),
            number(f"{each.workers:,}" if each.workers else "–"),
            number(f"{each.slots:,}"),
            number(share(min(each.busy, each.capacity), each.capacity)),
            number(seconds(each.up)),
            number(seconds(each.down)),
        )
        for each in facts.backends
    ]
    heads = ("Backend", "Version", "#Tasks", "#Workers", "#Slots", "#Utilisation", "#Up", "#Down")
    return table("Backends", heads, rows, empty="No backend came up.")


def slowest(facts: Shown) -> Markup:
    """Return the list of the slowest tasks."""
    found = facts.slowest(MAX_SLOWEST)
    worst = found[0][1] if found else 0.0
    rows = [
        (
            link(task.number, task.id),
            tag("span", task.name, css="name"),
            _state(task),
            cell(" ".join(filter(None, (task.backend, task.worker)))),
            number(seconds(took)),
            gauge(took, worst),
        )
        for task, took in found
    ]
    heads = ("Task", "Name", "State", "Ran on", "#Time", "")
    return table("Slowest tasks", heads, rows, empty="No task ran.")


def gauge(part: float, whole: float) -> Markup:
    """Return a bar that is full if *part* is the *whole*."""
    bar = tag("rect", "", x="0", y="0", width=f"{100 * part / whole:.1f}", height="6")
    kept = {"viewBox": "0 0 100 6", "preserveAspectRatio": "none", "aria_hidden": "true"}
    return tag("svg", bar, css="gauge", **kept)


def _state(task: TaskRecord) -> Markup:
    word = "reused" if task.reused is not None else task.state.lower()
    return tag("span", word, css=f"state is-{css_name(word)}")


def failures(facts: Shown, dropped: int) -> Markup:
    """Return all failures; *dropped* is the number of tasks whose texts found no room."""
    if not facts.states["FAILED"]:
        return tag("p", "No task failed.", css="empty")
    shown = facts.failures[:MAX_FAILURES]
    parts = [_failure(failure, opened=place < OPEN_FAILURES) for place, failure in enumerate(shown)]
    if len(facts.failures) > len(shown):
        more = facts.failures[len(shown) :]
        tasks = sum(failure.size for failure in more)
        text = f"{count(len(more), 'more cause')} ({count(tasks, 'task')}) in the table of tasks."
        parts.append(tag("p", text, css="note"))
    if facts.consequences:
        waiting = count(facts.consequence_count, "more task")
        parts.append(
            tag(
                "p",
                Markup.concat(
                    Markup.escape(f"{waiting} failed because a dependency failed: "),
                    _named(facts.consequences, facts.consequence_count),
                ),
                css="note",
            )
        )
    if dropped:
        text = f"The page has no room for the output or traceback of {count(dropped, 'task')}"
        parts.append(tag("p", f"{text}; asyncflow logs shows it.", css="note"))
    return Markup.concat(*parts)


def _point(task: TaskRecord) -> Markup:
    """Return the link to a task that failed, and the arguments that tell it from the others."""
    return Markup.concat(
        _named([task], 1), tag("code", f"({printable(task.arguments or '')})"), sep=" "
    )


def _failure(failure: Cause, *, opened: bool) -> Markup:
    first = failure.tasks[0]
    head = Markup.concat(
        tag("span", failure.name, css="name"),
        tag("span", brief(failure.error)[:MAX_LINE], css="what"),
        tag("span", f"×{failure.size:,}", css="many bad") if failure.size > 1 else "",
    )
    body = [tag("p", _named(failure.tasks, failure.size), css="note")]
    given = [task for task in failure.tasks if task.arguments is not None]
    if given:
        points = [tag("li", _point(task)) for task in given[:MAX_POINTS]]
        if failure.size > len(points):
            points.append(tag("li", f"and {failure.size - len(points):,} more", css="note"))
        body.append(tag("ul", Markup.concat(*points), css="points"))
    if first.exit_code is not None:
        body.append(tag("p", f"exit code {first.exit_code}", css="note"))
    text = failure.error.traceback or f"{failure.error.type}: {failure.error.text}"
    body.append(_output("Traceback" if failure.error.traceback else "Error", text))
    if first.stdout:
        body.append(_output(f"stdout of {first.id}", first.stdout))
    if first.stderr:
        body.append(_output(f"stderr of {first.id}", first.stderr))
    return tag(
        "details",
        Markup.concat(tag("summary", head), *body),
        css="failure",
        **({"open": ""} if opened else {}),
    )


def _output(title: str, text: str) -> Markup:
    text = cut_middle(printable_lines(text), MAX_OUTPUT, head=0.2)
    pre = tag("pre", text, tabindex="0", role="region", aria_label=title)
    return Markup.concat(tag("h4", title), pre)


def _named(tasks: Sequence[TaskRecord], size: int) -> Markup:
    links = [link(task.number, task.id) for task in tasks[:MAX_NAMED]]
    if size > len(links):
        links.append(Markup.escape(f"and {size - len(links):,} more"))
    return Markup.concat(*links, sep=", ")


def retries(facts: Shown) -> Markup:
    if not facts.retries:
        return tag("p", "No task was retried.", css="empty")
    rows: list[Iterable[Markup | str]] = []
    for task in facts.retried:
        for failed in task.failed:
            if len(rows) < MAX_RETRIES:
                last = failed is task.failed[-1]
                rows.append(
                    (
                        link(task.number, task.id),
                        tag("span", task.name, css="name"),
                        number(str(failed.attempt)),
                        cell(failed.worker or ""),
                        tag("span", brief(failed.error)[:MAX_LINE], css="what"),
                        _state(task) if last else tag("span", "retried", css="note"),
                    )
                )
    parts = [table("Retries", ("Task", "Name", "#Attempt", "Worker", "Error", "Then"), rows)]
    if facts.retries > len(rows):
        rest = count(facts.retries - len(rows), "more retry", "more retries")
        parts.append(tag("p", f"{rest}; the table of tasks can be filtered for them.", css="note"))
    return Markup.concat(*parts)


def cache(facts: Shown) -> Markup:
    if not facts.reused:
        return tag("p", "No earlier result was reused.", css="empty")
    sources = ", ".join(f"{many:,} from {origin}" for origin, many in facts.origins.items())
    functions = [each for each in facts.functions if each.kind != "block"]
    rows = [
        (
            tag("span", each.name, css="name"),
            number(f"{each.tasks:,}"),
            number(f"{each.reused:,}"),
            number(share(each.reused, each.tasks)),
            gauge(each.reused, each.tasks),
            number(f"{each.ran:,}"),
        )
        for each in functions[:MAX_FUNCTIONS]
    ]
    heads = ("Function", "#Tasks", "#Reused", "#Share", "", "#Ran")
    saved = f"{count(facts.reused, 'result')} reused: {sources}."
    listing = table("Reuse by function", heads, rows)
    return Markup.concat(tag("p", saved), listing, left_out(len(functions) - len(rows)))


def link(task: int, text: str) -> Markup:
    """Return a link to the panel of *task*, which the script of the page opens."""
    return tag("a", text, css="task", href=f"#task-{task}")
