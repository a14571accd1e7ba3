"""``asyncflow runs`` and ``asyncflow show``: the runs in a journal, their folders, one run."""

from __future__ import annotations

import re
import shlex
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .._files.copying import remove
from .._files.work_dir import RUNS, is_in_use
from .._text import count, printable, safe_str, shorten, task_id_text
from ._environment import completer
from ._help import Group, examples
from ._lookup import LAST, find_journal, find_run, find_tasks, journal_option, load
from ._output import debug_option, print_json, print_table, warn_former

if TYPE_CHECKING:
    from ..backend import LogLine, TaskUsage
    from ..journal import ErrorRecord, RunRecord, TaskRecord
    from ..report import Facts, Failure

__all__ = ["runs", "show"]

DAY_S = 86400.0
DEFAULT_AGE_S = 30 * DAY_S
"""The age of the folders of runs from which they are removed unless the user says another."""

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([hdw]?)")
_UNITS = {"h": 3600.0, "d": DAY_S, "w": 7 * DAY_S}

MAX_FAILURES = 10
MAX_FUNCTIONS = 40
MAX_UNFINISHED = 20
MAX_ARGUMENTS = 20
MAX_ARGUMENTS_CHARS = 100


def _seconds(_: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Return a time such as ``12h``, ``7d`` or ``2w`` in seconds; a plain number counts days."""
    if value is None:
        return None
    found = _AGE.fullmatch(value)
    if found is None:
        raise click.BadParameter(
            f"{value!r} is no time: write it like 12h, 7d or 2w", param=parameter
        )
    return float(found[1]) * _UNITS[found[2] or "d"]


@click.group(
    cls=Group,
    invoke_without_command=True,
    epilog=examples("runs", "runs --json", "runs clean --older-than 2w --dry-run"),
)
@journal_option
@click.option("--json", "as_json", is_flag=True, help="Print the runs as JSON.")
@debug_option
@click.pass_context
def runs(context: click.Context, journal: str | None, as_json: bool) -> None:
    """List the runs in a journal, or clean up after them."""
    if context.invoked_subcommand is not None:
        return
    from ..report import Facts
    from ..report.words import moment, seconds

    found = [Facts(run) for run in load(find_journal(journal))]
    if as_json:
        print_json([_summary(facts) for facts in found])
        return
    if not found:
        click.echo("The journal holds no runs yet.")
        return
    print_table(
        ("RUN", "BEGUN", "TIME", "OUTCOME", "TASKS", "FAILED", "REUSED", "PROGRAM"),
        [
            (
                facts.run.uid,
                moment(facts.run.begun),
                seconds(facts.run.length),
                facts.run.state,
                f"{len(facts.run.tasks):,}",
                f"{facts.states['FAILED']:,}",
                f"{facts.reused:,}",
                shorten(shlex.join(facts.run.program), 60) or "-",
            )
            for facts in found
        ],
    )


@runs.command(
    epilog=examples("runs clean --dry-run", "runs clean --older-than 2w", "runs clean --keep 5")
)
@click.argument(
    "folder", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path)
)
@click.option(
    "--older-than",
    metavar="TIME",
    callback=_seconds,
    help="Remove what has not changed for so long: 12h, 7d, 2w, or a number of days.  "
    "[default: 30d, or with --keep no limit]",
)
@click.option(
    "--keep", metavar="N", type=click.IntRange(min=0), help="Keep the latest N, whatever their age."
)
@click.option("--days", type=click.FloatRange(min=0), hidden=True)
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@debug_option
def clean(
    folder: Path | None,
    older_than: float | None,
    keep: int | None,
    days: float | None,
    dry_run: bool,
) -> None:
    """Remove the folders of old runs.

    FOLDER is asyncflow-runs by default.  The folders hold what tasks wrote beside their outputs,
    and captured output.  The folder of a run that goes on stays, and so do the outputs, because
    they are elsewhere.
    """
    if older_than is None:
        older_than = DEFAULT_AGE_S if keep is None else 0.0
        if days is not None:
            warn_former("--days", f"runs clean --older-than {days:g}d")
            older_than = days * DAY_S
    folder = folder or Path(RUNS)
    if not folder.is_dir():
        click.echo(f"There is nothing to remove: no folder {RUNS} is here.")
        return
    latest = time.time() - older_than
    found = [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]
    found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    removed = 0
    for path in sorted(found[keep or 0 :]):
        if path.stat().st_mtime > latest:
            continue
        if is_in_use(path):
            click.echo(f"{path} stays: its run goes on, or went on on another machine")
            continue
        click.echo(f"{'would remove' if dry_run else 'removed'} {path}")
        removed += 1
        if not dry_run:
            remove(path)
    if not removed:
        click.echo("There is nothing to remove.")
    elif not dry_run and not any(folder.iterdir()):
        folder.rmdir()


@click.command(
    epilog=examples("show", "show last simulate", "show run.3f2a --state failed", "show --json")
)
@click.argument("run", default=LAST, shell_complete=completer("runs"))
@click.argument("task", required=False, shell_complete=completer("tasks"))
@journal_option
@click.option("--tasks", "each", is_flag=True, help="List the tasks.")
@click.option("--task", "former_task", metavar="TASK", hidden=True)
@click.option(
    "--state",
    type=click.Choice(
        ["done", "failed", "cancelled", "running", "submitted", "pending"], case_sensitive=False
    ),
    help="List only the tasks in this state.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
@debug_option
def show(
    run: str,
    task: str | None,
    journal: str | None,
    each: bool,
    former_task: str | None,
    state: str | None,
    as_json: bool,
) -> None:
    """Show a run: its tasks, backends and failures.

    RUN is the uid of a run or its beginning, "last" (the default), or a journal.  With TASK,
    a number (12, task.000012) or a name, it lists only that task, or those of that name.
    """
    from ..report import Facts
    from ._sections import plugin_sections, print_sections

    if former_task is not None:
        warn_former("--task", "show RUN TASK")
        task = former_task if task is None else task
    _, chosen = find_run(run, journal)
    facts = Facts(chosen)
    listed = find_tasks(chosen, task) if task is not None else [*chosen.tasks.values()]
    if state is not None:
        listed = [one for one in listed if one.state == state.upper()]
    listing = each or task is not None or state is not None
    if as_json:
        data = {**_summary(facts), **_details(facts)}
        data["sections"] = [
            {
                "plugin": each.plugin,
                "error": None if each.error is None else safe_str(each.error),
                **({} if each.section is None else asdict(each.section)),
            }
            for each in plugin_sections(chosen)
        ]
        if listing:
            data["tasks"] = [_task(one) for one in listed]
        print_json(data)
    elif listing:
        _print_tasks(listed, chosen)
    else:
        _print_run(facts)
        print_sections(plugin_sections(chosen))


def _print_run(facts: Facts) -> None:
    click.secho(printable(facts.run.uid), bold=True)
    print_table(("", ""), list(_about(facts)), indent=2)
    if facts.functions:
        _print_functions(facts)
    if facts.backends:
        _print_backends(facts)
    _print_failures(facts)
    _print_unfinished(facts)


def _print_functions(facts: Facts) -> None:
    from ..report.words import seconds

    click.secho("\nTasks", bold=True)
    print_table(
        ("NAME", "TASKS", "DONE", "FAILED", "REUSED", "RETRIES", "TIME", "MEAN", "LONGEST"),
        [
            (
                one.name,
                f"{one.tasks:,}",
                f"{one.states['DONE']:,}",
                f"{one.states['FAILED']:,}",
                f"{one.reused:,}",
                f"{one.retries:,}",
                seconds(one.seconds + one.running_seconds),
                seconds(one.mean),
                "–" if one.longest is None else seconds(one.longest_seconds),
            )
            for one in facts.functions[:MAX_FUNCTIONS]
        ],
        indent=2,
    )
    if len(facts.functions) > MAX_FUNCTIONS:
        click.echo(f"  and {len(facts.functions) - MAX_FUNCTIONS:,} more names")


def _print_backends(facts: Facts) -> None:
    from ..report.words import share

    click.secho("\nBackends", bold=True)
    print_table(
        ("NAME", "VERSION", "TASKS", "WORKERS", "SLOTS", "UTILISATION"),
        [
            (
                one.name,
                one.version or "-",
                f"{one.tasks:,}",
                f"{one.workers:,}" if one.workers else "-",
                f"{one.slots:,}",
                share(min(one.busy, one.capacity), one.capacity),
            )
            for one in facts.backends
        ],
        indent=2,
    )
    for name, known in facts.run.backends.items():
        if "lost" in known:
            moved = count(int(str(known["moved"])), "task")
            click.echo(f"  {name} was lost, and {moved} went on elsewhere: {known['lost']}")


def _about(facts: Facts) -> Iterator[tuple[str, str]]:
    from ..report.words import environment_words, moment, outcome, seconds, share

    run = facts.run
    yield "outcome", outcome(run)
    if run.program:
        yield "program", shlex.join(run.program)
    yield "begun", moment(run.begun)
    where = f"{run.host}, process {run.pid}" if run.host else ""
    if where:
        yield "on", where + (f", Python {run.python}" if run.python else "")
    for what, text in environment_words(run.environment):
        if what != "command":
            yield what, shorten(text, 200)
    if run.life == "running":
        yield "wall time", f"{seconds(run.length)} by now"
    elif run.life:
        yield "wall time", f"{seconds(run.length)} to its last sign of life"
    else:
        yield "wall time", seconds(run.length)
    yield "task time", seconds(facts.task_seconds)
    path = facts.critical_path
    if path:
        tasks = count(len(path), "task")
        yield "critical path", f"{seconds(facts.critical_seconds)} ({tasks}, to {path[-1].id})"
    if facts.utilisation is not None:
        yield "utilisation", share(facts.utilisation, 1)
    states = [f"{many:,} {state.lower()}" for state, many in facts.states.items()]
    yield "tasks", ", ".join(states) or "none"
    yield "reused", f"{facts.reused:,}"
    yield "retries", f"{facts.retries:,}"


def _print_failures(facts: Facts) -> None:
    if not facts.states["FAILED"]:
        return
    click.secho("\nFailures", bold=True)
    print_table(
        ("TASK", "NAME", "TIMES", "ARGUMENTS", "ERROR"),
        [
            (
                failure.tasks[0].id,
                failure.name,
                f"{len(failure.tasks):,}",
                _arguments(failure),
                _line(failure.error),
            )
            for failure in facts.failures[:MAX_FAILURES]
        ],
        indent=2,
    )
    more = len(facts.failures) - MAX_FAILURES
    if more > 0:
        click.echo(f"  and {more:,} more: asyncflow show {facts.run.uid} --state failed")
    if facts.consequences:
        tasks = count(len(facts.consequences), "more task")
        click.echo(f"  {tasks} failed because a dependency failed.")
    if facts.failures:
        first = facts.failures[0].tasks[0]
        click.echo(f"\n  asyncflow logs {facts.run.uid} {first.number}   shows the first in full")


def _print_unfinished(facts: Facts) -> None:
    """Print what runs and what waits; or did when the program was killed."""
    from ..report.words import seconds

    run = facts.run
    left = run.unfinished
    if not left:
        return
    died = run.life == "killed"
    click.secho("\nWas not finished when the program died" if died else "\nNot finished", bold=True)
    print_table(
        (
            "TASK",
            "NAME",
            "STATE",
            "BACKEND",
            "WORKER",
            "ATTEMPT",
            "AGE, AT LEAST" if died else "AGE",
        ),
        [
            (
                task.id,
                task.name,
                f"was {task.state.lower()}" if died else task.state.lower(),
                task.backend or "-",
                task.worker or "-",
                str(task.attempt),
                seconds(task.age(run.length)),
            )
            for task in left[:MAX_UNFINISHED]
        ],
        indent=2,
    )
    rest = Counter(task.state.lower() for task in left[MAX_UNFINISHED:])
    for state, many in rest.items():
        click.echo(f"  and {many:,} more {state}: asyncflow show {run.uid} --state {state}")


def _print_tasks(tasks: list[TaskRecord], run: RunRecord) -> None:
    from ..report import busy_seconds
    from ..report.words import seconds

    length = run.length
    was = "was " if run.life == "killed" else ""

    if not tasks:
        click.echo("No task matches.")
        return
    print_table(
        ("TASK", "NAME", "STATE", "BACKEND", "WORKER", "ATTEMPT", "TIME", "ARGUMENTS", "ERROR"),
        [
            (
                task.id,
                task.name,
                "reused" if task.reused else f"{was * task.is_unfinished}{task.state.lower()}",
                task.backend or "-",
                task.worker or "-",
                str(task.attempt),
                seconds(busy_seconds(task, length)),
                "-" if task.arguments is None else shorten(task.arguments, MAX_ARGUMENTS_CHARS),
                _line(task.error),
            )
            for task in tasks
        ],
    )


def _arguments(failure: Failure) -> str:
    """Return the arguments of the first few tasks that failed alike, which tell them apart."""
    given = [f"({task.arguments})" for task in failure.tasks if task.arguments is not None]
    shown: list[str] = []
    for text in given[:MAX_ARGUMENTS]:
        if shown and sum(map(len, shown)) + len(text) > MAX_ARGUMENTS_CHARS:
            break
        shown.append(shorten(text, MAX_ARGUMENTS_CHARS))
    more = len(given) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more else "") or "-"


def _line(error: ErrorRecord | None) -> str:
    if error is None:
        return ""
    from ..report.words import brief

    return shorten(brief(error), 160)


def _summary(facts: Facts) -> dict[str, Any]:
    run = facts.run
    return {
        "run": run.uid,
        "outcome": run.outcome or "unfinished",
        "state": run.state,
        "state_reason": run.life_reason,
        "begun": run.begun,
        "seconds": run.length,
        "host": run.host,
        "pid": run.pid,
        "python": run.python,
        "environment": run.environment,
        "program": list(run.program),
        "states": dict(facts.states),
        "reused": facts.reused,
        "retries": facts.retries,
    }


def _details(facts: Facts) -> dict[str, Any]:
    return {
        "task_seconds": facts.task_seconds,
        "critical_seconds": facts.critical_seconds,
        "critical_path": [task.id for task in facts.critical_path],
        "utilisation": facts.utilisation,
        "backends": [one._asdict() for one in facts.backends],
        "functions": [
            {
                "name": one.name,
                "kind": one.kind,
                "tasks": one.tasks,
                "states": dict(one.states),
                "reused": one.reused,
                "retries": one.retries,
                "seconds": one.seconds,
                "longest": None if one.longest is None else one.longest.id,
            }
            for one in facts.functions
        ],
        "failures": [
            {
                "name": failure.name,
                "error": failure.error._asdict(),
                "tasks": [task.id for task in failure.tasks],
                "arguments": [task.arguments for task in failure.tasks],
            }
            for failure in facts.failures
        ],
    }


def _traced(logs: Sequence[LogLine], usage: TaskUsage | None) -> dict[str, Any]:
    return {
        "logs": [line._asdict() for line in logs],
        "usage": None if usage is None else usage._asdict(),
    }


def _task(task: TaskRecord) -> Mapping[str, Any]:
    fields = task._asdict()
    del fields["function"], fields["number"]
    fields["after"] = [task_id_text(number) for number in task.after]
    fields["error"] = None if task.error is None else task.error._asdict()
    fields["failed"] = [
        {
            **failed._asdict(),
            "error": failed.error._asdict(),
            "trace": {**failed.trace._asdict(), **_traced(failed.trace.logs, failed.trace.usage)},
        }
        for failed in task.failed
    ]
    fields.update(_traced(task.logs, task.usage))
    return {"task": task.id, "name": task.name, "kind": task.kind, **fields}
