"""``asyncflow run``: run a script on the backends that the options name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import click

from ._environment import check_named, choice_options, completer, set_environment
from ._help import examples
from ._output import debug_option, debugging, warn, warn_former

if TYPE_CHECKING:
    from .._display.watched import Watched

__all__ = ["run"]

DEFAULT_JOURNAL = "asyncflow.journal"
"""The file that ``--journal`` means if it names none."""


class _Run(click.Command):
    """The command that takes options on both sides of SCRIPT, and hands the rest to the script.

    The word behind ``--journal`` is its file, unless it is an option or a Python program.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        takes_value = {
            word: not option.is_flag
            for option in self.params
            if isinstance(option, click.Option)
            for word in option.opts
        }
        options: list[str] = []
        script: list[str] = []
        rest = list(args)
        while rest:
            word = rest[0]
            name, equals, _ = word.partition("=")
            if word == "--journal":
                del rest[0]
                named = rest and not rest[0].startswith("-") and not rest[0].endswith(".py")
                options.append(f"--journal={rest.pop(0) if named else DEFAULT_JOURNAL}")
                continue
            if word == "--":
                del rest[0]
                if not script:
                    script, rest = rest[:1], rest[1:]
                break
            if name in takes_value and (name.startswith("--") or not equals):
                length = 2 if takes_value[name] and not equals else 1
                options += rest[:length]
                del rest[:length]
            elif script:
                break
            elif word.startswith("-") and word != "-":
                options.append(rest.pop(0))  # --help, or an error that click reports
            else:
                script = [rest.pop(0)]
        return super().parse_args(ctx, [*options, "--", *script, *rest])


@click.command(
    cls=_Run,
    epilog=examples(
        "run campaign.py --samples 60",
        "run --backend dask -s n_workers=4 campaign.py",
        "run --journal --walltime 2:00:00 campaign.py",
    ),
)
@click.argument(
    "script",
    type=click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True),
)
@click.argument("args", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--backend",
    metavar="NAME",
    help="The backend for engines that name none; of NAME,NAME the first that can be used.",
    shell_complete=completer("backends"),
)
@choice_options
@click.option(
    "--journal",
    metavar="[PATH]",
    help=f"Record results in a file ({DEFAULT_JOURNAL}), and reuse those that it has.",
)
@click.option(
    "--walltime",
    metavar="TIME",
    help="Seconds or HH:MM:SS; the run stops in time before that, with the exit code 75.",
)
@click.option(
    "--observer",
    "observers",
    multiple=True,
    metavar="NAME[:TEXT]",
    help="A plugin that observes each run; TEXT is for the plugin.  May be repeated.",
    shell_complete=completer("observers"),
)
@click.option(
    "--carrier",
    "carriers",
    multiple=True,
    metavar="NAME[:TEXT]",
    help="A plugin that sends something along with tasks.  May be repeated.",
    shell_complete=completer("carriers"),
)
@click.option("--page", is_flag=True, help="Serve a live page of each run on this machine.")
@click.option("--port", type=click.IntRange(0, 65535), help="The port of the page; 0 for any.")
@click.option("-q", "--quiet", is_flag=True, help="Show neither the table of tasks nor lines.")
@click.option("--no-progress", is_flag=True, hidden=True)
@debug_option
def run(
    script: str,
    args: tuple[str, ...],
    backend: str | None,
    profile: str | None,
    config: str | None,
    settings: tuple[str, ...],
    journal: str | None,
    walltime: str | None,
    observers: tuple[str, ...],
    carriers: tuple[str, ...],
    page: bool,
    port: int | None,
    quiet: bool,
    no_progress: bool,
) -> None:
    """Run a Python program on the chosen backend.

    SCRIPT is the program (- for stdin), and ARGS are its arguments.

    An engine that names no backend uses the one that the options, the environment or
    asyncflow.toml name.  Options stand before SCRIPT or directly behind it.  The first word
    that is no option, and everything behind --, goes to the script.
    """
    from ..model import Preemption
    from ._script import Script

    if no_progress:
        warn_former("--no-progress", "run --quiet")
    if walltime is not None:
        Preemption(walltime=walltime)  # a wrong one is refused before the script begins
    check_named(observers, carriers)
    set_environment(
        backend=backend,
        profile=profile,
        config=config,
        settings=settings,
        journal=journal,
        walltime=walltime,
        observers=observers,
        carriers=carriers,
    )
    wanted = _backends_to_use() if backend or profile or config else []
    if settings:
        _check_settings(is_chosen=bool(backend or profile))
    engines: list[list[str]] = []
    close = _watch(engines, progress=not (quiet or no_progress))
    if page or port is not None:
        close = _serve(close, port or 0)
    program = Script(script, args)
    failure = None
    try:
        program.run()
    except SystemExit:
        raise
    except BaseException as error:
        failure = error
    finally:
        close()  # before any message: the display owns the screen until then
        if engines and wanted and not any(_are_among(names, wanted) for names in engines):
            names = ", ".join(" or ".join(each) for each in wanted)
            warn(f"the script names its own backend, so the options for {names} were not used")
    if failure is not None:
        raise SystemExit(program.report(failure, debug=debugging()))


def _backends_to_use() -> list[list[str]]:
    """Return, for each backend that an engine will have, its name or those that it may have.

    Raises:
        ConfigurationError: a file, a profile or a setting is wrong; better now than late.
    """
    from .._discovery import profiles

    return [[one.instance for one in choice.candidates] for choice in profiles.resolve()]


def _check_settings(*, is_chosen: bool) -> None:
    """Check the settings of the backends that are chosen, as far as these can be used.

    Args:
        is_chosen: whether the options choose the backend.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    from .._discovery import profiles
    from .._discovery.registry import registry
    from ..errors import BackendError, ConfigurationError

    for choice in profiles.resolve():
        for one in choice.candidates:
            try:
                registry.check_settings(one.name, one.config)
            except ConfigurationError as error:
                if is_chosen:
                    raise
                raise ConfigurationError(
                    f"{error}\n--set is for the backend that --backend, a profile or the "
                    "environment chooses; an engine that names its own backend gets none of it"
                ) from error
            except BackendError:
                continue  # another one may take its place, or the engine will say so


def _are_among(names: Sequence[str], wanted: Sequence[Sequence[str]]) -> bool:
    """Tell whether an engine with the backends *names* has those that are *wanted*."""
    return len(names) == len(wanted) and all(
        name in each for name, each in zip(names, wanted, strict=True)
    )


def _serve(close: Callable[[], None], port: int) -> Callable[[], None]:
    """Serve a page of each engine that begins, and return *close* with the end of that.

    Raises:
        ConfigurationError: a library is missing.
    """
    from .._live._serving import needs
    from ..engine import WorkflowEngine
    from ..engine._serving import serve_page
    from ..engine._watchers import watchers

    needs()

    def serve(engine: Watched) -> None:
        assert isinstance(engine, WorkflowEngine)
        serve_page(engine, port)

    watchers.append(serve)

    def close_both() -> None:
        watchers.remove(serve)
        close()

    return close_both


def _watch(engines: list[list[str]], *, progress: bool) -> Callable[[], None]:
    """Add the backends of every engine to *engines*, and show its progress.

    Returns:
        The function that ends this.

    Raises:
        ConfigurationError: ``ASYNCFLOW_PROGRESS`` has a wrong value.
    """
    from .._display.choice import choose
    from ..engine._watchers import early_watchers, watchers

    def note(engine: Watched) -> None:
        names = [*engine.backends]
        if names not in engines:
            engines.append(names)

    early: list[Callable[[Watched], object]] = []
    later: list[Callable[[Watched], object]] = [note]
    end: Callable[[], None] = _nothing
    match choose() if progress else "off":
        case "table":
            from .._display.board import Board

            board = Board.shared()
            board.open()
            later.append(board.watch)
            end = board.close
        case "lines":
            from .._display.lines import Lines

            early.append(Lines.announce)
            later.append(Lines.watch)
    early_watchers.extend(early)
    watchers.extend(later)

    def close() -> None:
        for known, added in ((early_watchers, early), (watchers, later)):
            for watch in added:
                known.remove(watch)
        end()

    return close


def _nothing() -> None:
    """Do nothing."""
