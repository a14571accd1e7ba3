"""The files of a new project: the layers of the templates that make it up, renamed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from .._groups import (
    BACKEND_GROUP,
    CARRIER_GROUP,
    COMMAND_GROUP,
    OBSERVER_GROUP,
    PROFILE_GROUP,
)
from ..errors import ConfigurationError
from .name import Name

__all__ = ["BACKENDS", "PLUGINS", "Kind", "write_project"]

_CACHES = ("__pycache__", "_cache")
"""The ends of the names of folders that tools leave behind, which are no part of a template."""

TEMPLATES = Path(__file__).with_name("templates")


class Kind(NamedTuple):
    """A kind of new project.

    Attributes:
        layers: the folders of templates that make it up; a file of a later one replaces that of
            an earlier one.
        summary: what it is.
        group: the group of its entry point.
    """

    layers: tuple[str, ...]
    summary: str
    group: str


BACKENDS: Mapping[str, Kind] = {
    name: Kind(("project", "backend", name), summary, BACKEND_GROUP)
    for name, summary in (
        ("minimal", "functions on an executor that somebody else wrote"),
        ("threads", "functions in threads of its own, in the order of their priority"),
        ("processes", "functions and commands in worker processes, which may die"),
        ("batch", "each task as a job of a batch system, such as Slurm"),
    )
}
"""The kinds of backends."""

PLUGINS: Mapping[str, Kind] = {
    name: Kind(("project", name), summary, group)
    for name, summary, group in (
        ("observer", "is told of everything that happens in a run", OBSERVER_GROUP),
        ("carrier", "sends something along with each task, to where it runs", CARRIER_GROUP),
        ("profile", "gives the users of a site a backend with the right settings", PROFILE_GROUP),
        ("command", "adds a command to asyncflow", COMMAND_GROUP),
    )
}
"""The kinds of other plugins."""


def write_project(name: Name, kind: Kind, folder: Path) -> list[Path]:
    """Write a project of this *kind* into *folder*, which must not exist; return its files.

    Raises:
        ConfigurationError: there is such a folder, or it cannot be written.  Then nothing is left.
    """
    if folder.exists() or folder.is_symlink():
        raise ConfigurationError(
            f"{folder} exists: name a new folder with --folder, or remove that one"
        )
    files = {path: source for layer in kind.layers for path, source in _files(name, layer)}
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise ConfigurationError(f"cannot make the folder {folder}: {error.strerror}") from error
    from shutil import rmtree  # here, because the command line is to answer soon

    try:
        for path, source in files.items():
            target = folder / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(name.put_into(source.read_text("utf-8")), "utf-8")
    except OSError as error:
        rmtree(folder, ignore_errors=True)
        raise ConfigurationError(f"cannot write {error.filename}: {error.strerror}") from error
    return sorted(folder / path for path in files)


def _files(name: Name, layer: str) -> Iterator[tuple[Path, Path]]:
    """Yield the files of one layer: the path in the new project, and where the template is."""
    root = TEMPLATES / layer
    for source in sorted(root.rglob("*")):
        path = source.relative_to(root)
        if source.is_file() and not any(part.endswith(_CACHES) for part in path.parts):
            yield Path(name.put_into(str(path))), source
