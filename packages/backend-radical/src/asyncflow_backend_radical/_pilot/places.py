"""The folders of a run, the one that the nodes see, and RADICAL-Pilot's configurations."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from radical.asyncflow.errors import ConfigurationError

from .._host.environment import is_plain, plain_path
from .catalogue import find_resource, user_folder, user_resources
from .plan import NAME_PROBLEM, PilotPlan

__all__ = [
    "make_run_folder",
    "make_shared_folder",
    "path_in_url",
    "remove_folders",
    "write_overlay",
]

_BESIDE_SUFFIX = "-radical"
_TEMPORARY_FOLDERS = ("/tmp", "/var/tmp")

_folder_numbers = itertools.count()


def make_run_folder(work_dir: Path) -> Path:
    """Make a folder for one backend in *work_dir*; beside it, if the user did not choose it.

    If RADICAL-Pilot cannot use the name of *work_dir*, make the folder in that for temporary
    files.

    Raises:
        ConfigurationError: RADICAL-Pilot cannot use the name of that either.
    """
    if not is_plain(work_dir):
        parent = _plain_temporary_folder(work_dir)
        work_dir = Path(tempfile.mkdtemp(prefix="asyncflow-", suffix=_BESIDE_SUFFIX, dir=parent))
    elif _is_default(work_dir):
        work_dir = work_dir.with_name(work_dir.name + _BESIDE_SUFFIX)
    folder = work_dir / f"radical_pilot.{next(_folder_numbers)}"
    folder.mkdir(mode=0o700, parents=True)
    return folder


def _plain_temporary_folder(work_dir: Path) -> Path:
    for place in (tempfile.gettempdir(), *_TEMPORARY_FOLDERS):
        if is_plain(place) and os.access(place, os.W_OK | os.X_OK):
            return Path(place)
    raise ConfigurationError(
        f"work_dir={str(work_dir)!r}: {NAME_PROBLEM}, and nothing can be written to "
        f"{' or '.join(_TEMPORARY_FOLDERS)} instead; choose another work_dir"
    )


def make_shared_folder(plan: PilotPlan, work_dir: Path, name: str) -> Path | None:
    """Make a folder for what the program and the nodes exchange.

    Returns:
        None if they both see *work_dir*: on one machine, and where *work_dir* is on the
        file system on which the resource keeps its files.

    Raises:
        ConfigurationError: *work_dir* was chosen by the user, and the nodes do not see it.
    """
    if plan.is_local:
        return None
    shared = Path(plan.shared)
    shared.mkdir(parents=True, exist_ok=True)
    if not _is_default(work_dir):
        if not is_plain(work_dir):
            raise ConfigurationError(
                f"work_dir={str(work_dir)!r}: {NAME_PROBLEM} on {plan.label!r}; choose another "
                "work_dir"
            )
        if work_dir.stat().st_dev == shared.stat().st_dev:
            return None
        raise ConfigurationError(
            f"work_dir={str(work_dir)!r} is not on the file system of {str(shared)!r}, which the "
            "nodes of the pilot share: choose a work_dir on that file system, or a sandbox= of the "
            "backend on that of the work_dir"
        )
    folder = shared / f"asyncflow.{name}"
    folder.mkdir(mode=0o700)
    return folder


def remove_folders(run_folder: Path, shared: Path | None, sandbox: str) -> None:
    """Remove the files of a run, and of RADICAL-Pilot's session if its *sandbox* is known."""
    if shared is not None:
        shutil.rmtree(shared, ignore_errors=True)
    shutil.rmtree(run_folder, ignore_errors=True)
    if run_folder.parent.name.endswith(_BESIDE_SUFFIX):
        with suppress(OSError):  # another backend keeps something there
            run_folder.parent.rmdir()
    if sandbox:
        session = Path(sandbox).parent
        shutil.rmtree(session, ignore_errors=True)
        counters = session.parent / ".radical/utils" / session.name
        shutil.rmtree(counters, ignore_errors=True)


def write_overlay(plan: PilotPlan, folder: Path, *, node_line: str = "") -> Path | None:
    """Write RADICAL-Pilot's user configurations, with what this pilot needs beside them.

    A local pilot gets the program's PATH.  It begins with a login shell, which sets a PATH of
    its own: tasks would not find what they find on other backends, nor RADICAL-Pilot an
    ``mpiexec`` in the virtual environment.

    Args:
        node_line: a line that the shell of the pilot's job runs before it starts the agent.

    Returns:
        The value for ``RADICAL_CONFIG_USER_DIR``; None if the user's own will do.
    """
    label = str(plan.description["resource"])
    changes: dict[str, Any] = {}
    if plan.is_local:
        changes["launch_methods"] = _with_path(plan, folder / "environment.sh")
    if node_line:
        lines = find_resource(label).get("pre_bootstrap_0") or []
        changes["pre_bootstrap_0"] = [*lines, node_line]
    if not changes:
        return None
    site, _, name = label.partition(".")
    configs = folder / "config" / ".radical" / "pilot" / "configs"
    configs.mkdir(parents=True)
    file = configs / f"resource_{site}.json"
    users = user_folder()
    _link_all(users.parents[1], configs.parents[1], but="pilot")
    _link_all(users.parent, configs.parent, but="configs")
    _link_all(users, configs, but=file.name)
    resources = user_resources(site)
    resources.setdefault(name, {}).update(changes)
    file.write_text(json.dumps(resources))
    return folder / "config"


def _with_path(plan: PilotPlan, script: Path) -> dict[str, Any]:
    """Write *script*, which sets PATH, and return launch methods that begin with it."""
    script.write_text(f"export PATH={shlex.quote(plain_path())}\n")
    methods = dict(find_resource(plan.label).get("launch_methods") or {})
    for method in plan.launchers:
        before = methods.get(method, {}).get("pre_exec_cached") or []
        line = f". {shlex.quote(str(script))}"
        methods[method] = {**methods.get(method, {}), "pre_exec_cached": [*before, line]}
    return methods


def _link_all(source: Path, target: Path, *, but: str) -> None:
    if source.is_dir():
        for path in source.iterdir():
            if path.name != but:
                (target / path.name).symlink_to(path)


def path_in_url(url: str) -> str:
    """Return the path of a ``file://host/path`` URL; *url* itself, if it is none."""
    rest = url.partition("://")[2]
    return "/" + rest.partition("/")[2] if rest else url


def _is_default(folder: Path) -> bool:
    """Tell whether the engine chose *folder*, and not the user."""
    return folder.parent.name == "asyncflow-runs" or (
        folder.parent == Path(tempfile.gettempdir()).absolute()
    )
