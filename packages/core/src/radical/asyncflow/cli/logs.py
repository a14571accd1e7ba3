"""``asyncflow logs``: what one task printed, and what went wrong with it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from .._text import printable
from ..errors import ConfigurationError
from ._output import debug_option
from ._record import LAST, find_run, journal_option, one_task

if TYPE_CHECKING:
    from ..journal import ErrorRecord, TaskRecord

__all__ = ["logs"]


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[RUN] TASK")
@journal_option
@click.option("--stdout", "stream", flag_value="stdout", help="Print only what it wrote to stdout.")
@click.option("--stderr", "stream", flag_value="stderr", help="Print only what it wrote to stderr.")
@debug_option
def logs(words: tuple[str, ...], journal: str | None, stream: str | None) -> None:
    """Show output and errors of TASK of RUN (by default the last).

    TASK is a number (12, task.000012) or a name that only one task has, or only one that
    failed.  --stdout and --stderr print what the journal has of a stream, unchanged unless
    to a terminal.
    """
    if len(words) > 2:
        raise ConfigurationError(f"one RUN and one TASK, not {len(words)} words")
    run = words[0] if len(words) == 2 else LAST
    task = one_task(find_run(run, journal)[1], words[-1])
    if stream is None:
        _print_all(task)
        return
    text = task.stdout if stream == "stdout" else task.stderr
    if text is None:
        raise ConfigurationError(f"the journal has no {stream} of {task.id} ({task.name})")
    if sys.stdout.isatty():
        text = _shown(text)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))


def _print_all(task: TaskRecord) -> None:
    from ..report.words import seconds

    state = f"reused from {task.reused}" if task.reused else task.state.lower()
    about = [printable(task.name), state]
    if task.backend:
        about.append("on " + printable(" ".join(filter(None, (task.backend, task.worker)))))
    if task.started is not None and task.ended is not None:
        about.append(seconds(task.ended - task.started))
    click.secho(f"{task.id}: {', '.join(about)}", bold=True)
    for failed in task.failed:
        where = f" on {printable(failed.worker)}" if failed.worker else ""
        _head(f"attempt {failed.attempt} failed{where}")
        _print_error(failed.error)
    if task.error is not None:
        _head(f"attempt {task.attempt} failed" if task.failed else "error")
        _print_error(task.error)
    if task.exit_code is not None:
        _head(f"exit code {task.exit_code}")
    for title, text in (("stdout", task.stdout), ("stderr", task.stderr)):
        if text:
            _head(f"{title} (the end of it, as the journal has it)")
            click.echo(_shown(text).rstrip("\n"))
    if not (task.failed or task.error or task.stdout or task.stderr):
        click.echo("The journal has no output of it and no error.")


def _head(text: str) -> None:
    click.secho(f"\n{text}", dim=True)


def _print_error(error: ErrorRecord) -> None:
    text = error.traceback or ": ".join(filter(None, (error.type, error.text)))
    click.echo(_shown(text).rstrip("\n"))


def _shown(text: str) -> str:
    from ..report.words import block

    return block(text)
