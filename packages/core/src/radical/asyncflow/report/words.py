"""Times and shares as people read them; foreign text as a page may show it."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Mapping
from typing import Any

from .._text import first_line, size_text
from ..journal import ErrorRecord, RunRecord, TaskRecord
from ..model import LogLine, TaskUsage

__all__ = [
    "at",
    "brief",
    "environment_words",
    "log_line",
    "moment",
    "outcome",
    "seconds",
    "share",
    "state",
    "unknown_figures",
    "usage_figures",
]

MEASURED_KINDS = ("function", "executable")
"""The kinds of tasks that use something here."""


def seconds(value: float | None) -> str:
    """Return a time in the unit that fits it.

    ``850 µs``, ``12.3 ms``, ``4.21 s``, ``3:07 min``, ``1:02:33 h`` or ``2 d 03:10 h``.
    """
    if value is None:
        return "–"
    value = max(value, 0.0)
    if value == 0:
        return "0 s"
    if value < 0.9995e-3:
        return f"{value * 1e6:.0f} µs"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    if value < 59.95:
        return f"{value:.3g} s" if value < 9.995 else f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes}:{rest:02} min"
    if hours < 24:
        return f"{hours}:{minutes:02}:{rest:02} h"
    return f"{hours // 24} d {hours % 24:02}:{minutes:02} h"


def at(value: float | None) -> str:
    """Return a moment in a run, in seconds since it began, as a clock shows it: ``0:03:07.250``.

    So nobody takes it for a duration.
    """
    if value is None:
        return "–"
    ticks = round(max(value, 0.0) * 1000)
    minutes, rest = divmod(ticks, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest // 1000:02}.{rest % 1000:03}"


def outcome(run: RunRecord) -> str:
    """Return how *run* ended; or whether it goes on or was killed, and how that is known."""
    if run.outcome:
        return run.outcome
    words = {
        "running": "running",
        "killed": "killed, or its end could not be written, as on a full disk",
    }.get(run.life, "not known: it goes on, or was killed")
    return f"{words} ({run.life_reason})" if run.life_reason else words


def state(task: TaskRecord, run: RunRecord) -> str:
    """Return the state of *task*, which a killed *run* left as it was when the program died."""
    if task.reused is not None:
        return "reused"
    word = task.state.lower()
    if not task.is_unfinished or run.life != "killed":
        return word
    return f"was {word} when the program died"


def moment(epoch: float) -> str:
    """Return date and time of *epoch* seconds, in the time zone of this machine."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(epoch))
    except (OverflowError, ValueError, OSError):
        return "–"


def share(part: float, whole: float) -> str:
    """Return *part* of *whole* in per cent, or – if there is no whole."""
    if whole <= 0:
        return "–"
    percent = 100 * part / whole
    return f"{percent:.0f} %" if percent >= 10 or not percent else f"{percent:.1f} %"


def brief(error: ErrorRecord) -> str:
    """Return the last part of the type's name and the first line of the text."""
    return ": ".join(filter(None, (error.type.rpartition(".")[2], first_line(error.text))))


def log_line(line: LogLine) -> str:
    """Return a log record as text: its time, level, logger and message."""
    clock = moment(line.wall).rpartition(" ")[2]
    return f"{clock} {logging.getLevelName(line.level)} {line.logger}: {line.text}"


def usage_figures(usage: TaskUsage) -> list[tuple[str, str]]:
    """Return what is known of *usage*, as a list of words and figures."""
    cpu, peak, read, written = usage
    figures = [] if cpu is None else [("CPU time", seconds(cpu))]
    figures += [
        (what, size_text(size))
        for what, size in (("peak memory", peak), ("read", read), ("written", written))
        if size is not None
    ]
    return figures


def unknown_figures(task: TaskRecord) -> list[str]:
    """Return what nobody can tell of what the last attempt of *task* used, in words.

    It is empty if there is nothing to know: for a task that has not ended, that did not run or
    that ran elsewhere, such as on the server that answers prompts.
    """
    runs_on = task.is_unfinished or task.is_serving
    if runs_on or task.started is None or task.reused or task.kind not in MEASURED_KINDS:
        return []
    cpu, peak, read, written = task.usage or TaskUsage()
    figures = (("CPU time", cpu), ("peak memory", peak), ("bytes", written if read is None else 0))
    return [what for what, figure in figures if figure is None]


def environment_words(environment: Mapping[str, Any], *, most: int = 12) -> list[tuple[str, str]]:
    """Return what is known of the environment of a run, as a list of words and text.

    Args:
        most: how many packages are named.
    """
    found = []
    if command := environment.get("command"):
        found.append(("command", shlex.join(command)))
    if folder := environment.get("folder"):
        found.append(("folder", str(folder)))
    if user := environment.get("user"):
        found.append(("user", str(user)))
    git = environment.get("git")
    if git and git.get("commit"):
        branch = f" on {git['branch']}" if git.get("branch") else ""
        dirty = {True: ", with changes", False: ", no changes"}.get(git.get("dirty"), "")
        found.append(("commit", f"{git['commit'][:12]}{branch}{dirty}"))
    if packages := environment.get("packages"):
        words = [f"{name} {version}" for name, version in packages.items()]
        rest = f", and {len(words) - most} more" if len(words) > most else ""
        found.append(("packages", ", ".join(words[:most]) + rest))
    return found
