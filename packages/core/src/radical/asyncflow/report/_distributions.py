"""The distributions of what the tasks of each function took and used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from .._html import Markup, table, tag
from .._text import count, size_text
from ..journal import RunRecord, TaskRecord
from ._lanes import end_of, start_of
from .words import environment_words, seconds

__all__ = ["Distribution", "distribution_of", "distribution_table", "environment_list"]

BINS = 12
"""The number of bars of a histogram."""

MAX_FUNCTIONS = 60
"""The most functions that are listed."""

_BAR_WIDTH, _HEIGHT = 4, 16

_Measure = tuple[str, Callable[[TaskRecord], float | None], Callable[[float], str]]


class Distribution(NamedTuple):
    """The distribution of some figures.

    Attributes:
        size: how many figures there are.
        high: the least figure that 95 % of them do not exceed.
        bins: how many are in each of equal steps from the least to the most.
    """

    size: int
    least: float
    median: float
    high: float
    most: float
    bins: tuple[int, ...]


def distribution_of(figures: Iterable[float]) -> Distribution | None:
    """Return the distribution of *figures*; None if there are none."""
    ordered = sorted(figures)
    if not ordered:
        return None
    last = len(ordered) - 1
    middle = (ordered[last // 2] + ordered[(last + 1) // 2]) / 2
    high = ordered[max(-(-95 * len(ordered) // 100) - 1, 0)]
    least, most = ordered[0], ordered[-1]
    bins = [0] * BINS
    step = (most - least) / BINS
    for figure in ordered:
        bins[min(int((figure - least) / step), BINS - 1) if step else 0] += 1
    return Distribution(len(ordered), least, middle, high, most, tuple(bins))


def distribution_table(run: RunRecord) -> Markup:
    """Return a table of the distributions for each function, those that took longest first."""
    tasks: dict[tuple[str, str], list[TaskRecord]] = {}
    for task in run.tasks.values():
        if task.kind != "block" and task.reused is None and _duration(task) is not None:
            tasks.setdefault((task.name, task.kind), []).append(task)
    found = []
    for (name, _), theirs in tasks.items():
        known = [
            distribution_of(figure for task in theirs if (figure := of(task)) is not None)
            for _, of, _ in _MEASURES
        ]
        found.append((name, known, len(theirs)))
    if not found:
        return Markup()
    found.sort(key=lambda each: -_total(each[1][0]))
    measures = [
        place for place in range(len(_MEASURES)) if any(known[place] for _, known, _ in found)
    ]
    rows = [
        (tag("span", name, css="name"), *(_spread(known[place], place, of) for place in measures))
        for name, known, of in found[:MAX_FUNCTIONS]
    ]
    heads = ("Function", *(_MEASURES[place][0] for place in measures))
    note = (
        "Of each attempt that ended a task: bars from the least to the most; then the median, what "
        "95 % stay within, and the most. Where a figure is not known of all tasks, it says of how "
        "many; – is known of none."
    )
    return Markup.concat(
        table("What tasks took and used", heads, rows), tag("p", note, css="note"), _more(found)
    )


def environment_list(run: RunRecord) -> Markup:
    """Return what is known of the environment of *run*, as a table; nothing if nothing is."""
    words = environment_words(run.environment, most=1000)
    rows = [(what, tag("span", text, css="foreign")) for what, text in words]
    return table("Environment", ("Environment", ""), rows)


def _duration(task: TaskRecord) -> float | None:
    began, ended = start_of(task), end_of(task)
    return None if began is None or ended is None else max(ended - began, 0.0)


def _cpu(task: TaskRecord) -> float | None:
    return None if task.usage is None else task.usage.cpu_seconds


def _memory(task: TaskRecord) -> float | None:
    return None if task.usage is None else task.usage.peak_memory


_MEASURES: Sequence[_Measure] = (
    ("Duration", _duration, seconds),
    ("CPU time", _cpu, seconds),
    ("Peak memory", _memory, size_text),
)


def _total(known: Distribution | None) -> float:
    return 0.0 if known is None else known.size * known.median


def _more(found: Sequence[object]) -> Markup:
    left = len(found) - MAX_FUNCTIONS
    return (
        tag("p", f"{count(left, 'more function')} not listed.", css="note")
        if left > 0
        else Markup()
    )


def _spread(known: Distribution | None, place: int, of: int) -> Markup:
    """Return a histogram, and the figures beside it; *of* is the number of all tasks."""
    if known is None:
        return Markup.escape("–")
    written = _MEASURES[place][2]
    some = "" if known.size == of else f" ({known.size:,} of {of:,} tasks)"
    if known.size == 1:
        return Markup.escape(written(known.median) + some)
    high = max(known.bins)
    bars = [
        tag(
            "rect",
            "",
            x=str(at * _BAR_WIDTH),
            y=f"{_HEIGHT - _height(many, high):.1f}",
            width=str(_BAR_WIDTH - 1),
            height=f"{_height(many, high):.1f}",
            fill="currentColor",
        )
        for at, many in enumerate(known.bins)
        if many
    ]
    width = BINS * _BAR_WIDTH
    text = " · ".join(map(written, (known.median, known.high, known.most)))
    drawn = tag(
        "svg",
        Markup.concat(*bars),
        viewBox=f"0 0 {width} {_HEIGHT}",
        width=str(width),
        height=str(_HEIGHT),
        role="img",
        aria_label=f"{count(known.size, 'task')} from {written(known.least)} on",
    )
    return Markup.concat(drawn, Markup.escape(f" {text}{some}"))


def _height(many: int, high: int) -> float:
    return max(_HEIGHT * many / high, 1.0)
