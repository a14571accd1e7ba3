"""The parts of the page that a server writes, from the model of a run and what it is now."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from .._html import Markup, cell, number, table, tag
from .._text import count, shorten
from ..journal import TaskRecord
from ..report import _page
from ..report.words import moment, seconds, share
from ._run import STATES, BackendState, FunctionState, LiveFailure, LiveRun

__all__ = ["Present", "parts"]

MAX_RUNNING = 30
"""The most running tasks that are listed."""

MAX_WAITING = 12
"""The most reasons to wait that are listed."""


@dataclass(frozen=True)
class Present:
    """A run at one moment, with the members of `Facts` that parts of the page ask for.

    Attributes:
        state: the outcome of the run, or its life.
        now: the seconds since it began, or until its end.
        waits: why tasks wait, and how many do for each reason.
    """

    live: LiveRun
    state: str
    reason: str
    now: float
    waits: Sequence[tuple[int, str]] = ()

    @property
    def total(self) -> int:
        return self.live.tasks

    @cached_property
    def states(self) -> Counter[str]:
        return Counter(dict(zip(STATES, self.live.states, strict=True)))

    @property
    def reused(self) -> int:
        return self.live.reused

    @property
    def retries(self) -> int:
        return self.live.retries

    @property
    def failures(self) -> Sequence[LiveFailure]:
        return self.live.failures

    @property
    def consequences(self) -> Sequence[TaskRecord]:
        return self.live.first_consequences

    @property
    def consequence_count(self) -> int:
        return self.live.consequences

    @cached_property
    def retried(self) -> tuple[TaskRecord, ...]:
        numbers = dict.fromkeys(number for number, _, _ in self.live.failed_attempts[:100])
        return tuple(self.live.record(number) for number in numbers)

    @property
    def origins(self) -> dict[str, int]:
        return self.live.reused_from

    @property
    def functions(self) -> Sequence[FunctionState]:
        return sorted(self.live.functions, key=lambda each: -each.tasks)

    def slowest(self, limit: int) -> list[tuple[TaskRecord, float]]:
        return [(self.live.record(number), took) for number, took in self.live.slowest[:limit]]


def parts(present: Present) -> dict[str, str]:
    """Return the parts of the page by name."""
    return {
        "head": _head(present),
        "nav": _page.nav(present, live=True),
        "figures": _figures(present),
        "states": _page.states(present),
        "functions": _functions(present),
        "backends": _backends(present),
        "now": _now(present),
        "slowest": _page.slowest(present),
        "failures": _page.failures(present, 0),
        "retries": _page.retries(present),
        "cache": _page.cache(present),
    }


TITLES = {
    "running": "running",
    "done": "done",
    "failed": "failed",
    "cancelled": "cancelled before its end",
    "preempted": "preempted: its time was over",
    "killed": "killed",
    "unknown": "running, or killed: nobody can say",
}


def _head(present: Present) -> Markup:
    run = present.live
    about = [moment(run.begun)]
    if run.host:
        about.append(f"on {run.host}" + (f", process {run.pid}" if run.pid else ""))
    if run.python:
        about.append(f"Python {run.python}")
    if present.state in ("killed", "unknown") and present.reason:
        about.append(present.reason)
    title = TITLES.get(present.state, present.state)
    lines = [
        tag(
            "h1",
            Markup.concat(
                tag("span", run.uid, css="uid"),
                tag("span", title, css=f"outcome is-{_page.css_name(present.state)}"),
            ),
        )
    ]
    if run.program:
        lines.append(tag("code", shlex.join(run.program), css="program"))
    lines.append(tag("p", " · ".join(about), css="about"))
    return Markup.concat(*lines)


def _figures(present: Present) -> Markup:
    run, states, goes_on = present.live, present.states, present.state == "running"
    ended = states["DONE"] + states["FAILED"] + states["CANCELLED"]
    busy = sum(each.busy for each in run.backends.values())
    slots = sum(each.slots for each in run.backends.values())
    rate = run.rate.at(present.now) if goes_on else (ended / present.now if present.now else 0.0)
    left = run.eta(present.now) if goes_on else None
    return _page.figures(
        [
            ("Wall time", seconds(present.now), "so far" if goes_on else "to its end"),
            ("Tasks", f"{run.tasks:,}", f"{ended:,} ended, {share(ended, run.tasks)}"),
            ("Rate", f"{rate:.3g} /s", "in the last half minute" if goes_on else "on average"),
            ("Left", seconds(left), "at this rate" if goes_on else "nothing goes on"),
            ("Busy", f"{busy:,}", f"of {count(slots, 'slot')} that were used"),
            ("Failed", f"{states['FAILED']:,}", count(len(run.failures), "cause")),
            ("Reused", f"{run.reused:,}", share(run.reused, run.tasks) + " of all tasks"),
            ("Retries", f"{run.retries:,}", f"in {count(run.retried, 'task')}"),
        ]
    )


def _functions(present: Present) -> Markup:
    now, goes_on = present.now, present.state == "running"
    shown = present.functions[: _page.MAX_FUNCTIONS]
    rows = [
        (
            tag("span", each.name, css="name"),
            _progress(each),
            number(share(each.ended, each.tasks)),
            number(f"{each.ended:,} / {each.tasks:,}"),
            number(_many(each.running)),
            number(_many(each.failed), css="bad"),
            number(_many(each.reused)),
            number(_many(each.retries)),
            number(f"{each.rate.at(now):.3g} /s" if goes_on and each.unfinished else ""),
            number(seconds(each.eta(now)) if goes_on and each.unfinished else ""),
            number(seconds(each.seconds / each.ran if each.ran else None)),
            number(_longest(each)),
        )
        for each in shown
    ]
    counts = ("#Ended", "#Tasks", "#Running", "#Failed", "#Reused", "#Retries")
    heads = ("Function", "", *counts, "#Rate", "#Left", "#Mean", "#Longest")
    listing = table("Functions", heads, rows)
    return Markup.concat(listing, _page.left_out(len(present.functions) - len(shown)))


def _many(value: int) -> str:
    return f"{value:,}" if value else ""


def _longest(each: FunctionState) -> Markup:
    if not each.longest:
        return Markup.escape("–")
    return _page.link(each.longest, seconds(each.longest_seconds))


def _progress(each: FunctionState) -> Markup:
    """Return a bar with the tasks that are done, reused, failed, cancelled and running."""
    done, failed, cancelled, running = each.states[:4]
    many = (done - each.reused, each.reused, failed, cancelled, running)
    names = ("done", "reused", "failed", "cancelled", "running")
    x = 0.0
    bars = []
    for name, part in zip(names, many, strict=True):
        if part:
            width = 100 * part / each.tasks
            place = {"x": f"{x:.2f}", "y": "0", "width": f"{width:.2f}", "height": "8"}
            bars.append(tag("rect", "", css=f"is-{name}", **place))
            x += width
    kept = {"viewBox": "0 0 100 8", "preserveAspectRatio": "none", "aria_hidden": "true"}
    return tag("svg", Markup.concat(*bars), css="progress", **kept)


def _backends(present: Present) -> Markup:
    rows = [
        (
            tag("span", each.name, css="name"),
            each.version,
            _state_of(each),
            number(f"{each.busy:,} / {each.slots:,}"),
            _page.gauge(each.busy, max(each.slots, 1)),
            number(f"{each.tasks:,}"),
            number(f"{len(each.workers):,}" if each.workers else "–"),
        )
        for each in present.live.backends.values()
    ]
    heads = ("Backend", "Version", "State", "#Busy slots", "", "#Tasks ended", "#Workers")
    return table("Backends", heads, rows, empty="No backend came up yet.")


def _state_of(each: BackendState) -> str:
    if each.lost:
        return shorten(f"lost: {each.lost}", 80)
    return "up" if each.down is None else "down"


def _now(present: Present) -> Markup:
    """Return what runs and what waits."""
    run = present.live
    oldest = list(run.running)[:MAX_RUNNING]
    rows = []
    for each in map(run.record, oldest):
        age = each.age(present.now)
        place = cell(" ".join(filter(None, (each.backend, each.worker))))
        row = (_page.link(each.number, each.id), tag("span", each.name, css="name"), place)
        rows.append((*row, number(str(each.attempt)), number(seconds(age))))
    killed = present.state != "running"
    title = "Ran when it was killed" if killed and rows else "Running, the oldest first"
    heads = ("Task", "Name", "Runs on", "#Attempt", "#For")
    found = [tag("h4", title), table(title, heads, rows, empty="No task is known to run.")]
    if len(run.running) > len(oldest):
        more = count(len(run.running) - len(oldest), "more task")
        found.append(tag("p", f"{more} in the table of tasks.", css="note"))
    waiting = present.states["PENDING"] + present.states["SUBMITTED"]
    if waiting:
        found.append(tag("h4", f"Waiting: {count(waiting, 'task')}"))
        reasons = [
            (number(f"{many:,}"), cell(why)) for many, why in present.waits[:MAX_WAITING]
        ] or [
            (number(f"{present.states[state]:,}"), cell(words))
            for state, words in WAITING_WORDS.items()
            if present.states[state]
        ]
        found.append(table("Waiting", ("#Tasks", "Wait for"), reasons))
    return Markup.concat(*found)


WAITING_WORDS = {
    "SUBMITTED": "their backend, which was given them and has not begun with them",
    "PENDING": "other tasks, a retry, or a place",
}
