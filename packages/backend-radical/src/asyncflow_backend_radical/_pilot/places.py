"""Where files go: the run's folder, what the nodes see, what RADICAL-Pilot reads."""

from __future__ import annotations

import itertools
import json
import os
import shlex
import sys
import tempfile
from pathlib import Path

from radical.asyncflow.errors import ConfigurationError

from .catalogue import find_resource, own_entries, user_folder
from .plan import PilotPlan

__all__ = ["BESIDE", "path_of", "run_folder", "search_path", "shared_folder", "write_overlay"]

BESIDE = "-radical"

_folders = itertools.count()


def run_folder(work_dir: Path) -> Path:
    """A new folder for one backend in the run's; or beside that, if it is a temporary one.

    That goes with the engine, and the logs of a failure must not go with it.
    """
    if _temporary(work_dir):
        work_dir = work_dir.with_name(work_dir.name + BESIDE)
    folder = work_dir / f"radical_pilot.{next(_folders)}"
    folder.mkdir(mode=0o700, parents=True)
    return folder


def shared_folder(plan: PilotPlan, work_dir: Path, name: str) -> Path | None:
    """A new folder for what program and nodes exchange; None if they share *work_dir*.

    That is so on one machine, and where *work_dir* is on the file system that the
    resource keeps its own files on.

    Raises:
        ConfigurationError: the user wants his files on another file system.
    """
    if plan.local:
        return None
    shared = Path(plan.shared)
    shared.mkdir(parents=True, exist_ok=True)
    if not _temporary(work_dir):
        if work_dir.stat().st_dev == shared.stat().st_dev:
            return None
        raise ConfigurationError(
            f"work_dir={str(work_dir)!r} is not on the file system of {str(shared)!r}, which the "
            "nodes of the pilot share: choose a work_dir there, or a sandbox= of the backend on "
            "that of the work_dir"
        )
    folder = shared / f"asyncflow.{name}"
    folder.mkdir(mode=0o700)
    return folder


def search_path() -> str:
    """The program's PATH; what is installed beside the interpreter is found last."""
    scripts = str(Path(sys.executable).parent)
    return os.pathsep.join([os.environ.get("PATH", os.defpath), scripts])


def write_overlay(plan: PilotPlan, folder: Path) -> Path:
    """RADICAL-Pilot's user configurations, with the program's PATH for this machine's pilots.

    A pilot begins with a login shell, which forgets it: tasks would not find what they
    find on other backends, nor RADICAL-Pilot an ``mpiexec`` in the virtual environment.

    Returns:
        What ``RADICAL_CONFIG_USER_DIR`` has to be.
    """
    label = str(plan.description["resource"])
    site, _, name = label.partition(".")
    script = folder / "environment.sh"
    script.write_text(f"export PATH={shlex.quote(search_path())}\n")
    configs = folder / "config" / ".radical" / "pilot" / "configs"
    configs.mkdir(parents=True)
    own = configs / f"resource_{site}.json"
    theirs = user_folder()
    _link_all(theirs.parents[1], configs.parents[1], but="pilot")
    _link_all(theirs.parent, configs.parent, but="configs")
    _link_all(theirs, configs, but=own.name)
    entries = own_entries(site)
    methods = dict(find_resource(label).get("launch_methods") or {})
    for method in plan.launchers:
        before = methods.get(method, {}).get("pre_exec_cached") or []
        line = f". {shlex.quote(str(script))}"
        methods[method] = {**methods.get(method, {}), "pre_exec_cached": [*before, line]}
    entries.setdefault(name, {})["launch_methods"] = methods
    own.write_text(json.dumps(entries))
    return folder / "config"


def _link_all(source: Path, target: Path, *, but: str) -> None:
    if source.is_dir():
        for path in source.iterdir():
            if path.name != but:
                (target / path.name).symlink_to(path)


def path_of(url: str) -> str:
    """The path of a ``file://host/path`` URL."""
    rest = url.partition("://")[2]
    return "/" + rest.partition("/")[2] if rest else url


def _temporary(folder: Path) -> bool:
    return folder.parent == Path(tempfile.gettempdir()).absolute()
