"""Link the files that other tasks left in their folders into that of a task."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from ..errors import FileError
from .copying import remove

__all__ = ["Source", "link_files"]


class Source(NamedTuple):
    """The folder of another task.

    Attributes:
        task: what to call the task.
        given: the names of those files in it that the task did not write.
    """

    task: str
    folder: Path
    given: Collection[str]


def link_files(folder: Path, sources: Iterable[Source], own: Collection[str]) -> list[str]:
    """Link what the tasks of *sources* wrote into *folder*, in place of earlier links.

    Args:
        own: the names of the task's own files below *folder*, which nothing replaces.

    Returns:
        The names of the links.

    Raises:
        FileError: two tasks left a file of one name, or it cannot be linked.
    """
    taken = _first_parts(own)
    found: dict[str, tuple[str, Path]] = {}
    for task, source, given in sources:
        left_out = taken | _first_parts(given)
        for path in sorted(source.iterdir()) if source.is_dir() else ():
            name = path.name
            if name.startswith(".") or name in left_out or _is_empty_folder(path):
                continue
            if name in found:
                raise FileError(
                    f"{found[name][0]} and {task} have both left {name!r} in their folders, and "
                    "link_dependencies=True finds a place for one only: let them write it as an "
                    "OutputFile, each with a name of its own"
                )
            found[name] = task, path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, (_, path) in found.items():
            remove(folder / name)
            (folder / name).symlink_to(path)
    except OSError as error:
        raise FileError(f"the files of a dependency cannot be linked: {error}") from error
    return list(found)


def _first_parts(names: Iterable[str]) -> set[str]:
    return {PurePosixPath(name).parts[0] for name in names}


def _is_empty_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink() and not os.listdir(path)  # noqa: PTH208
