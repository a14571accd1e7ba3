"""The end of a run in words, and the commands to run next."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from .._text import count, duration, mask_secrets
from .tally import Tally

__all__ = ["counts", "logs_command", "next_steps", "took"]

DEFAULT_JOURNAL = "asyncflow.journal"


def counts(tally: Tally, now: float) -> list[tuple[str, str]]:
    """Return the counts of the tasks, each with the name of its column; none that is 0."""
    total = tally.total(now)
    skipped = f" ({tally.skipped:,} by a dependency)" if tally.skipped else ""
    reused = f" ({total.reused:,} reused)" if total.reused else ""
    parts = [
        (f"{total.done:,} done{reused}", "done" if total.done else ""),
        (f"{total.failed:,} failed{skipped}" if total.failed else "", "failed"),
        (f"{total.cancelled:,} cancelled" if total.cancelled else "", "cancelled"),
        (f"{total.unfinished:,} unfinished" if total.unfinished else "", ""),
        (f"{total.retried:,} retried" if total.retried else "", "retried"),
    ]
    return [(text, column) for text, column in parts if text]


def took(tally: Tally, now: float) -> str:
    """Return how long the tasks took, from the first to the last, and that blocks called them."""
    blocks = tally.blocks()
    inside = "" if blocks is None else f" ({count(blocks.total, 'block')})"
    return duration(tally.total(now).elapsed(now)) + inside


def logs_command(run: str, journal: str, task: int) -> str:
    """Return the command that shows the output of the task with the number *task*."""
    return f"asyncflow logs {run} {task}{_journal_option(journal)}"


def next_steps(
    tally: Tally, run: str, journal: str | None, outcome: str, now: float
) -> Iterator[tuple[str, str]]:
    """Yield what the user may want to do next, each as the purpose and the command."""
    total = tally.total(now)
    undone = total.total - total.done
    if journal is None:
        if undone and outcome not in ("", "done"):
            yield "to keep what is done the next time", "asyncflow run --journal SCRIPT"
        return
    option = _journal_option(journal)
    if total.failed:
        yield "what failed", f"asyncflow show {run}{option}"
    elif undone == 0:
        yield "the whole run", f"asyncflow show {run}{option}"
    if undone and outcome:
        yield f"to go on, with {total.done:,} done", _this_command()


def _this_command() -> str:
    """Return the command line of this process, as the user may have written it."""
    program, *words = sys.orig_argv
    if words and Path(words[0]).name == "asyncflow":
        program, *words = words
    return shlex.join(mask_secrets([Path(program).name, *words]))


def _journal_option(journal: str) -> str:
    """Return the option that names *journal*; "" if the commands find it by themselves."""
    try:
        if journal == os.path.realpath(DEFAULT_JOURNAL):
            return ""
        path = Path(journal).relative_to(Path.cwd())
    except (OSError, ValueError):  # elsewhere, or the current folder was deleted
        path = Path(journal)
    return f" --journal {shlex.quote(str(path))}"
