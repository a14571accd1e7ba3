"""``asyncflow doctor``: check the environment or a backend, and say how to fix what is wrong."""

from __future__ import annotations

from textwrap import indent
from typing import TYPE_CHECKING

import click

from .._text import printable_lines
from ..version import __version__
from ._environment import choice_options, completer, set_environment
from ._help import examples
from ._output import FAILED, debug_option, print_table, show_log

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._discovery.profiles import Choice
    from ..backend import ExecutionBackend
    from ._checks import Checks

__all__ = ["doctor"]

_DEFAULT_WAIT_S = 600.0  # in the queue


@click.command(
    epilog=examples("doctor", "doctor dask -s n_workers=2", "doctor radical_pilot --plan")
)
@click.argument("name", required=False, shell_complete=completer("backends"))
@choice_options
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    default=60.0,
    show_default=True,
    metavar="SECONDS",
    help="The time that each check of a backend may take.",
)
@click.option(
    "--plan",
    is_flag=True,
    help="Start nothing: show the resources that the backend would ask for, such as its pilot.",
)
@click.option(
    "--from-node",
    is_flag=True,
    help="Run the smallest job, or one worker, and check that it can connect to this machine; "
    "then end it.",
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="The time that the job of --from-node may wait in the queue.  [default: 600]",
)
@debug_option
def doctor(
    name: str | None,
    config: str | None,
    profile: str | None,
    settings: tuple[str, ...],
    timeout: float,
    plan: bool,
    from_node: bool,
    wait: float | None,
) -> None:
    """Check this environment, or a backend, and say what to fix.

    With NAME the check runs tasks on that backend.  NAME may be several names with commas between
    them: then each of them is checked.

    With --plan only the settings are checked: those of NAME, or else those of the backends
    that an engine uses if it names none.  With --from-node no task is run: a node of the
    machine on which NAME runs its tasks connects to this machine, at each of its addresses.

    The exit code is 0 if there is no problem, 1 if a check failed, and 2 if nothing could
    be checked.
    """
    from ._checks import Checks

    show_log()
    if settings and name is None:
        raise click.UsageError("--set needs a backend: asyncflow doctor NAME --set KEY=VALUE")
    _check_switches(name, plan=plan, from_node=from_node, wait=wait)
    set_environment(backend=name, profile=profile, config=config, settings=settings)
    if plan:
        _show_plans()
        return
    checks = Checks()
    if name is None:
        _check_environment(checks, timeout)
    elif from_node:
        _check_from_node(checks, _DEFAULT_WAIT_S if wait is None else wait, timeout)
    else:
        _check_backend(checks, timeout)
    checks.conclude()
    if checks.failed:
        click.get_current_context().exit(FAILED)


def _check_switches(name: str | None, *, plan: bool, from_node: bool, wait: float | None) -> None:
    """Refuse switches that mean nothing together."""
    if from_node and name is None:
        raise click.UsageError("--from-node needs a backend: asyncflow doctor NAME --from-node")
    if from_node and plan:
        raise click.UsageError("--plan starts nothing, and --from-node runs a job: give one")
    if wait is not None and not from_node:
        raise click.UsageError("--wait is for the job of --from-node")


def _check_backend(checks: Checks, timeout: float) -> None:
    import asyncio

    from ._checks import examine
    from ._from_node import has_node_check, mention_node_check

    for choice, backend in _chosen_backends(checks):
        click.echo(_title(choice))
        asyncio.run(examine(backend, checks, timeout))
        if has_node_check(backend):
            mention_node_check(choice.name, checks)


def _check_from_node(checks: Checks, wait: float, timeout: float) -> None:
    import asyncio

    from ._from_node import examine_from_node, has_node_check

    chosen = [*_chosen_backends(checks)]
    if not any(has_node_check(backend) for _, backend in chosen):
        names = " and ".join(repr(choice.name) for choice, _ in chosen)
        has = "have" if chosen[1:] else "has"
        raise click.UsageError(
            f"backend {names} {has} no nodes to check from: leave --from-node out"
        )
    for choice, backend in chosen:
        if has_node_check(backend):
            click.echo(f"{_title(choice)}, from a node")
            asyncio.run(examine_from_node(backend, checks, wait=wait, limit=timeout))


def _chosen_backends(checks: Checks) -> Iterator[tuple[Choice, ExecutionBackend]]:
    """Yield the chosen backends, which are not started, and how they were chosen.

    Of several in the order of preference, one that cannot be made is passed over, as an engine
    does it, and noted.
    """
    from .._discovery import profiles
    from .._discovery.registry import registry
    from ..errors import BackendError

    (choice,) = profiles.resolve(profile=_default_profile())
    errors: list[BackendError] = []
    for one in choice.candidates:
        try:
            backend = registry.create(one.name, one.config)
        except BackendError as error:
            errors.append(error)
            if len(errors) == len(choice.candidates):
                raise
            click.echo(_title(one))
            checks.note("passed over", str(error).partition("\n")[0])
        else:
            yield one, backend


def _show_plans() -> None:
    """Show what each of the chosen backends would ask for, without starting one."""
    from .._discovery import profiles
    from .._discovery.registry import registry
    from .._graph.plan import flatten_settings

    chosen = profiles.resolve(profile=_default_profile())
    for choice in (one for each in chosen for one in each.candidates):
        asked = registry.create(choice.name, choice.config).plan()
        click.echo(_title(choice) + (" would ask for" if asked else " asks for nothing"))
        if asked:
            rows = [*flatten_settings(asked)]
            print_table(("", ""), [row for row in rows if "\n" not in row[1]], indent=2)
            for key, script in (row for row in rows if "\n" in row[1]):
                click.echo(f"  {key}")
                click.echo(indent(printable_lines(script).rstrip("\n"), "    "))


def _title(choice: Choice) -> str:
    from .._discovery.registry import registry

    info = registry.list_available_backends().get(choice.name)
    origin = f" ({info['distribution']} {info['version']})" if info and info["version"] else ""
    return f"Backend {choice.name}{origin}"


def _default_profile() -> str | None:
    """Return the default profile of the file that ``--config`` names."""
    import os

    from .._discovery import profiles
    from .._discovery.settings import CONFIG, PROFILE

    if os.environ.get(CONFIG) and not os.environ.get(PROFILE):
        return profiles.load().default
    return None


def _check_environment(checks: Checks, timeout: float) -> None:
    import sys

    from .._discovery.registry import registry

    click.echo("Environment")
    checks.ok(f"Python {sys.version.split()[0]}", sys.executable)
    checks.ok(f"radical.asyncflow {__version__}")
    _show_cores(checks)
    _show_gpus(checks)
    _check_plugins(checks)
    click.echo("\nBackends")
    for name in registry.list_available_backends():
        _check_loads(name, checks)
    click.echo("\nProfiles")
    _check_profiles(checks)
    _check_site(checks, timeout)


def _show_cores(checks: Checks) -> None:
    from ..worker import count_cores

    count = count_cores()
    checks.note(f"cores: {count.cores}", count.origin)


def _show_gpus(checks: Checks) -> None:
    from ..worker import found_gpus

    found = found_gpus()
    names = ", ".join(map(str, found.ids))
    checks.note(f"GPUs: {names or 'none'}", found.how.removeprefix("none: "))


def _check_plugins(checks: Checks) -> None:
    """Check that each plugin can be loaded, but the backends, which have a list of their own."""
    from .._discovery.registry import registry
    from .._groups import BACKEND_GROUP, GROUPS

    for each in registry.list_plugins(load=True):
        if each.group == BACKEND_GROUP:
            continue
        title = f"{GROUPS[each.group].noun} {each.name} of {each.distribution} {each.version}"
        if each.reason:
            checks.fail(title.rstrip(), each.reason, each.hint)
        elif each.status == "disabled":
            checks.note(title.rstrip(), "disabled")
        else:
            checks.ok(title.rstrip())


def _check_site(checks: Checks, timeout: float) -> None:
    """Run the checks of plugins."""
    from .._discovery.registry import registry
    from .._groups import CHECK_GROUP
    from ._site_checks import run_checks

    found = registry.named.load_all(CHECK_GROUP)
    if found:
        click.echo("\nThis site")
        run_checks(found, checks, timeout)


def _check_loads(name: str, checks: Checks) -> None:
    """Check that the backend *name* can be loaded, if it is installed."""
    from .._discovery.registry import registry
    from ..errors import BackendError

    info = registry.list_available_backends()[name]
    if info["status"] == "not-installed":
        checks.note(
            name, f"{info['failure_reason'] or 'not installed'}; {info['installation_hint']}"
        )
        return
    try:
        registry.load_factory(name)
    except BackendError as error:
        info = registry.list_available_backends()[name]
        checks.fail(name, info["failure_reason"] or str(error), info["installation_hint"])
    else:
        checks.ok(name, f"{info['distribution']} {info['version']}")


def _check_profiles(checks: Checks) -> None:
    from .._discovery import profiles
    from ..errors import ConfigurationError

    try:
        files = [str(path) for path in profiles.files()]
        known = profiles.load()
        known.add_site()
    except ConfigurationError as error:
        checks.fail("asyncflow.toml", str(error), "Correct the file.")
        return
    for file in files:
        checks.ok(file)
    if not files:
        checks.note(
            f"no {profiles.FILE}", "here, in a folder above, or in the user's configuration"
        )
    for profile in known.profiles.values():
        title = "the profile" if profile.name == profile.source else f"profile {profile.name}"
        for choice in (one for each in profile.choices for one in each.candidates):
            _check_choice(f"{title}: {choice.instance}", choice, checks)
    try:
        choices = profiles.resolve()
    except ConfigurationError as error:
        title = "an engine that names no backend"
        checks.fail(title, str(error), "Correct the name or the setting.")
    else:
        names = ", ".join(
            " or ".join(one.instance for one in choice.candidates) for choice in choices
        )
        checks.note("an engine that names no backend uses", names)


def _check_choice(title: str, choice: Choice, checks: Checks) -> None:
    from .._discovery.registry import registry
    from ..config import validate
    from ..errors import BackendError, ConfigurationError

    config = {key: value for key, value in choice.config.items() if key != "name"}
    try:
        spec = registry.get_backend_spec(choice.name)
        validate(spec.config_model, config, backend=choice.name)
    except BackendError as error:
        info = registry.list_available_backends().get(choice.name)
        if info is not None and info["status"] == "not-installed":
            # A file may hold profiles for other machines.
            checks.note(title, f"{choice.name} is not installed here")
        else:
            checks.fail(title, str(error))
    except ConfigurationError as error:
        checks.fail(title, str(error), f"See: asyncflow backends show {choice.name}")
    else:
        checks.ok(title)
