"""``asyncflow logs``: the output and the errors of one task."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._text import count, printable, printable_lines
from ..errors import ConfigurationError
from ._environment import completer
from ._errors import find_entry, more_about
from ._help import examples
from ._lookup import LAST, find_journal, find_run, journal_option, one_task, run_and_task
from ._output import debug_option

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..backend import LogLine
    from ..journal import ErrorRecord, RunRecord, TaskRecord
    from ..journal._output import Tail

__all__ = ["logs"]

OWN = ("radical.asyncflow.", "asyncflow_backend_")
"""The beginnings of the names of our own errors, as a journal has them."""

MAX_ALIKE = 8
"""The most tasks that are named because they failed like another one."""


@click.command(
    epilog=examples("logs 12", "logs last simulate --stderr", "logs --failed", "logs run.3f2a 12")
)
@click.argument("words", nargs=-1, metavar="[RUN] TASK", shell_complete=completer("runs_and_tasks"))
@journal_option
@click.option("--failed", is_flag=True, help="Show all failed tasks of RUN, equal ones together.")
@click.option("--stdout", "stream", flag_value="stdout", help="Print only the stdout of TASK.")
@click.option("--stderr", "stream", flag_value="stderr", help="Print only the stderr of TASK.")
@debug_option
def logs(words: tuple[str, ...], journal: str | None, failed: bool, stream: str | None) -> None:
    """Show the output and the errors of a task.

    RUN is the uid of a run or its beginning, "last" (the default), or a journal.  TASK is a
    number (12, task.000012) or a name, which must belong to one task only, or to one failed
    task only.  --stdout and --stderr print what the journal has of that stream, unchanged
    unless stdout is a terminal.
    """
    if failed:
        _print_failed(words, journal, stream)
        return
    given, word = run_and_task(words)
    if word is None:
        raise click.UsageError("Missing argument 'TASK': give a task, or --failed for all failures")
    run = find_run(given, journal)[1]
    task = one_task(run, word)
    tails = _tails(task, run, given, journal)
    if stream is None:
        _print_all(task, run, tails)
        return
    text = task.stdout if stream == "stdout" else task.stderr
    if text is None and tails:
        text = "".join(tail.text for tail in tails if tail.stream == stream)
    if text is None:
        raise ConfigurationError(
            f"the journal has no {stream} of {task.id} ({task.name})"
            + (", which has not ended" if task.is_unfinished else "")
        )
    if sys.stdout.isatty():
        text = printable_lines(text)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def _tails(task: TaskRecord, run: RunRecord, given: str, journal: str | None) -> list[Tail]:
    """Return the ends of what *task* has written to files, or so far."""
    from ..journal._output import tails

    if journal is None and given != LAST and Path(given).is_file():
        journal = given
    return tails(task, run.uid, find_journal(journal))


def _print_failed(words: tuple[str, ...], journal: str | None, stream: str | None) -> None:
    """Print the first task of each kind of failure in the run, and name the others."""
    from ..report import Facts

    if len(words) > 1:
        raise ConfigurationError("--failed shows all failed tasks of a run: give one RUN, no TASK")
    if stream is not None:
        raise ConfigurationError(f"--{stream} is for one TASK: leave --failed out")
    given = words[0] if words else LAST
    facts = Facts(find_run(given, journal)[1])
    for place, failure in enumerate(facts.failures):
        if place:
            click.echo()
        first, *others = failure.tasks
        _print_all(first, facts.run, _tails(first, facts.run, given, journal))
        if others:
            ids = ", ".join(task.id for task in others[:MAX_ALIKE])
            more = ", ..." if len(others) > MAX_ALIKE else ""
            _print_title(f"{count(len(others), 'more task')} failed in the same way: {ids}{more}")
    if facts.consequences:
        tasks = count(len(facts.consequences), "more task")
        click.echo(f"\n{tasks} failed because a dependency failed.")
    if not facts.states["FAILED"]:
        click.echo(f"No task of {facts.run.uid} failed.")


def _print_all(task: TaskRecord, run: RunRecord, tails: list[Tail]) -> None:
    from ..model import TaskUsage
    from ..report.words import unknown_figures, usage_figures

    click.secho(f"{task.id}: {', '.join(_about(task, run))}", bold=True)
    if task.arguments is not None:
        click.echo(f"arguments: {printable(task.arguments)}")
    for failed in task.failed:
        where = f" on {printable(failed.worker)}" if failed.worker else ""
        _print_title(f"attempt {failed.attempt} failed{where}")
        _print_error(failed.error)
        _print_output(*failed.trace[:4])
    if task.error is not None:
        _print_title(f"attempt {task.attempt} failed" if task.failed else "error")
        _print_error(task.error)
    if task.exit_code is not None:
        _print_title(f"exit code {task.exit_code}")
    _print_output(task.stdout, task.stderr, task.logs, task.cut)
    for tail in tails:
        _print_title(f"{tail.stream} ({printable(tail.about)})")
        if tail.text:
            click.echo(printable_lines(tail.text).rstrip("\n"))
    unknown = unknown_figures(task)
    if task.usage is not None or unknown:
        _print_title("used")
        for what, figure in usage_figures(task.usage or TaskUsage()):
            click.echo(f"{what}: {figure}")
        if unknown:
            click.echo(f"not known: {', '.join(unknown)}")
    if not (task.stdout or task.stderr or task.logs or tails):
        if task.is_unfinished or task.is_serving:
            click.echo(_not_ended(task, run))
        elif not (task.failed or task.error):
            click.echo("The journal has neither output nor an error of this task.")


def _about(task: TaskRecord, run: RunRecord) -> list[str]:
    """Return the state, the place and the times of *task*, in words."""
    from ..report.words import at, seconds, state

    about = [
        printable(task.name),
        f"reused from {task.reused}" if task.reused else state(task, run),
    ]
    if task.backend:
        about.append("on " + printable(" ".join(filter(None, (task.backend, task.worker)))))
    if task.serves and task.ended is not None:
        ended = "until the run ended" if run.ended is not None else "and runs"
        gone = ended if task.served is None else f"until {at(task.served)}"
        about.append(f"a service, up from {at(task.ended)} {gone}")
    elif task.started is not None and task.ended is not None:
        about.append(seconds(task.ended - task.started))
    elif task.is_unfinished:
        least = "" if run.life == "running" else " at least"
        about.append(f"for {seconds(task.age(run.length))}{least}")
    if task.started is not None:
        about.append(f"begun at {at(task.started)} of the run")
    return about


def _print_output(
    stdout: str | None,
    stderr: str | None,
    logs: Sequence[LogLine],
    cut: tuple[int, int, int],
) -> None:
    from ..report.words import log_line

    for title, text, missing in (("stdout", stdout, cut[0]), ("stderr", stderr, cut[1])):
        if text:
            more = f"{count(missing, 'character')} before it are not kept" if missing else ""
            _print_title(f"{title} ({more or 'the last part, as the journal has it'})")
            click.echo(printable_lines(text).rstrip("\n"))
    if logs:
        more = f" ({count(cut[2], 'record')} before them are not kept)" if cut[2] else ""
        _print_title(f"log records{more}")
        for line in logs:
            click.echo(printable_lines(log_line(line)).rstrip("\n"))


def _not_ended(task: TaskRecord, run: RunRecord) -> str:
    if run.life == "killed":
        return "Its output was not kept, because the program died before it ended."
    if task.kind == "executable" and (task.state == "RUNNING" or task.is_serving):
        return "It has written nothing yet that is known here."
    if task.state == "RUNNING" or task.is_serving:
        return "The journal gets its output when it has ended."
    return "It has not begun."


def _print_title(text: str) -> None:
    click.secho(f"\n{text}", dim=True)


def _print_error(error: ErrorRecord) -> None:
    text = error.traceback or ": ".join(filter(None, (error.type, error.text)))
    click.echo(printable_lines(text).rstrip("\n"))
    if error.type.startswith(OWN) and (entry := find_entry(error.type)) is not None:
        click.echo(more_about(entry[0]))
