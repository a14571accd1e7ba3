"""``asyncflow backends check`` and ``badge``: what an installed backend keeps of its promises."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .._text import printable
from ._environment import completer, set_option
from ._help import examples
from ._output import FAILED, debug_option, print_table, show_log

if TYPE_CHECKING:
    from .._quality.report import Check, Report
    from ..testing._check.run import Found

__all__ = ["badge", "check"]

_SHOWN_LINES = 12
"""Lines of the message of a failed check; the report has all of them."""


@click.command(
    epilog=examples(
        "backends check crew",
        "backends check crew --fast -s max_workers=2",
        "backends check crew --json crew.json --manifest",
    )
)
@click.argument("name", shell_complete=completer("backends"))
@set_option
@click.option("--fast", is_flag=True, help="Leave out what takes seconds.")
@click.option(
    "--json",
    "file",
    type=click.Path(dir_okay=False, allow_dash=True),
    metavar="FILE",
    help="Write the report to FILE; - is the standard output.",
)
@click.option(
    "--manifest",
    is_flag=True,
    help="Write the manifest into the package, beside the module of its entry point.",
)
@click.option(
    "--load",
    type=click.IntRange(min=20),
    metavar="TASKS",
    help="The tasks in the biggest bag.  [default: 10000; with --fast 1000]",
)
@click.option(
    "--slots",
    type=click.IntRange(min=1),
    metavar="NUMBER",
    help="How many functions run at once; by default that is measured.",
)
@click.option(
    "--patience",
    type=click.FloatRange(min=0, min_open=True),
    default=30.0,
    show_default=True,
    metavar="SECONDS",
    help="The time after which a step counts as hanging.",
)
@click.option(
    "--travel",
    type=click.FloatRange(min=0),
    metavar="SECONDS",
    help="How long news may be on its way to a worker.  [default: 0; 1 if the start is slow]",
)
@debug_option
def check(
    name: str,
    settings: tuple[str, ...],
    fast: bool,
    file: str | None,
    manifest: bool,
    load: int | None,
    slots: int | None,
    patience: float,
    travel: float | None,
) -> None:
    """Check NAME against the contract, and its package.

    This needs no test file: it runs the conformance kit on the installed backend, and looks at its
    package.  It prints what failed, with the promise that is broken and the page that explains it,
    and the level that is reached.

    The exit code is 0 if everything passed, 1 if a check failed, and 2 if nothing could be checked.
    """
    from .._discovery.settings import parse_settings
    from ..testing._check.run import check_backend, require_kit
    from ..testing._check.subject import FAST_LOAD, FULL_LOAD, Subject

    show_log()
    require_kit()
    place = _manifest_place(name) if manifest else None
    subject = Subject(
        name=name,
        settings=parse_settings(settings),
        fast=fast,
        load=load or (FAST_LOAD if fast else FULL_LOAD),
        patience=patience,
        slots=slots,
        travel=travel,
    )
    with _Progress(quiet=file == "-") as progress:
        report = check_backend(subject, progress.tell)
    if file == "-":
        click.echo(report.to_json(), nl=False)
    else:
        _show(report)
        if file is not None:
            report.write(file)
            click.echo(f"The report is in {file}")
    if place is not None:
        told = _write_manifest(place, report)
        click.echo(told, err=file == "-")
    if report.failed:
        click.get_current_context().exit(FAILED)


class _Progress:
    """Shows failures as they come, and on a terminal what is checked now."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._has_line = sys.stderr.isatty()

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def tell(self, found: Found, failed: Check | None) -> None:
        if failed is not None and not self._quiet:
            self._clear()
            click.echo(f"{click.style('failed', fg='red')}  {printable(failed.name)}")
        if self._has_line and found.running:
            self._clear()
            count = f"{found.ended + 1} of {found.total} " if found.total else ""
            click.echo(f"{count}{printable(found.running)}"[:78], nl=False, err=True)

    def _clear(self) -> None:
        if self._has_line:
            click.echo("\r\x1b[2K", nl=False, err=True)


def _show(report: Report) -> None:
    """Print what was found, group by group, then each failure, and the level."""
    from .._quality.levels import GROUPS, gaps

    label = f"{report.distribution} {report.version}"
    core = f"radical.asyncflow {report.core}, Python {report.python}"
    click.secho(f"\nBackend {printable(report.backend)} ({printable(label)})", bold=True)
    click.echo(f"with {core}\n")
    outcomes = ("passed", "failed", "not applicable", "not run")
    rows = [
        (group, *(str(_count(report, group, outcome) or "-") for outcome in outcomes))
        for group in GROUPS
    ]
    print_table(("GROUP", *(outcome.upper() for outcome in outcomes)), rows)
    for failed in report.failed:
        _show_failure(failed)
    for one in report.benchmarks:
        cost = f"{one.microseconds:,.1f} µs a task (in the engine's loop {one.engine:,.1f} µs)"
        click.echo(f"{'' if one is not report.benchmarks[0] else chr(10)}{one.name}: {cost}")
    click.secho(f"\nLevel: {report.level or 'none'}", bold=True)
    if report.level is None and report.conditions.get("fast"):
        click.echo("A fast run leaves checks out, so it gives no level.")
        return
    missing = gaps([report])
    for gap in missing[:10]:
        if gap.level == missing[0].level:
            click.echo(f"  for {gap.level}: {printable(gap.text)}")


def _count(report: Report, group: str, outcome: str) -> int:
    return sum(check.group == group and check.outcome == outcome for check in report.checks)


def _show_failure(failed: Check) -> None:
    click.secho(f"\n{printable(failed.name)}", fg="red")
    lines = [line for line in failed.message.splitlines() if line.strip()]
    if len(lines) > _SHOWN_LINES:
        lines[_SHOWN_LINES:] = [f"... and {len(lines) - _SHOWN_LINES} more lines"]
    for title, text in (("promise", [failed.promise]), ("page", [failed.page]), ("why", lines)):
        for place, line in enumerate(text):
            head = "" if place else f"{title}:"
            click.echo(f"  {head:<9}{printable(line)}")


def _manifest_place(name: str) -> Path:
    """Return where the manifest of the backend *name* belongs.

    Raises:
        ConfigurationError: the package is no folder of sources.
    """
    from importlib.util import find_spec

    from .._quality.report import MANIFEST, Manifest, own_manifest
    from ..errors import ConfigurationError
    from ..testing._check.package import declarations

    declaration = declarations(name)[0]
    spec = find_spec(declaration.value.partition(":")[0])
    if spec is None or spec.origin is None:
        raise ConfigurationError(f"the module {declaration.value} of {name!r} cannot be found")
    folder = Path(spec.origin).parent
    if {"site-packages", "dist-packages"} & set(folder.parts):
        raise ConfigurationError(
            f"--manifest writes into the sources, and {declaration.distribution} is installed in "
            f"{folder}\nTry: pip install --editable . in the folder of its pyproject.toml"
        )
    place = folder / MANIFEST
    if place.exists() and Manifest.read(place).backend != name:
        return folder / own_manifest(name)
    return place


def _write_manifest(place: Path, report: Report) -> str:
    """Write the manifest, and return what was done, for the user."""
    from .._discovery.registry import registry
    from .._quality.report import Manifest
    from ..errors import BackendError

    try:
        summary = registry.get_backend_spec(report.backend).summary
    except BackendError:
        return "There is no manifest, because the plugin cannot be loaded"
    Manifest.of(report, summary).write(place)
    return f"The manifest is in {place}"


@click.command(epilog=examples("backends badge crew.json", "backends badge 1.0.json 1.1.json"))
@click.argument(
    "reports",
    nargs=-1,
    required=True,
    metavar="REPORT...",
    type=click.Path(exists=True, dir_okay=False, readable=True),
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="The image.  [default: asyncflow-NAME.svg]",
)
@debug_option
def badge(reports: tuple[str, ...], output: str | None) -> None:
    """Draw the level that reports prove, as an image.

    It also prints a line of Markdown that shows the image.  The level is computed from what
    REPORT... say of each check, and from nothing else; all are about one backend.  Gold needs
    reports with two minor versions of the core.
    """
    from .._quality.badge import badge_markdown, badge_svg
    from .._quality.levels import gaps, level_of
    from .._quality.report import Report

    read = [Report.read(path) for path in reports]
    try:
        level, missing = level_of(read), gaps(read)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    name = read[0].backend
    place = Path(output or f"asyncflow-{''.join(_in_file_names(name))}.svg")
    place.write_text(badge_svg(name, level), encoding="utf-8")
    click.echo(badge_markdown(name, level, str(place)), nl=False)
    click.echo(f"{printable(name)}: {level or 'no level'}; the image is in {place}", err=True)
    for gap in missing[:10]:
        if gap.level == missing[0].level:
            click.echo(f"  for {gap.level}: {printable(gap.text)}", err=True)


def _in_file_names(name: str) -> Iterator[str]:
    return (char if char.isalnum() or char in "-_" else "_" for char in name)
