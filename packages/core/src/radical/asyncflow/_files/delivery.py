"""Move what a task wrote to where its outputs belong, all of it or nothing.

Every function here that takes a *check* blocks, and runs in a thread that may be given up.
"""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import secrets
import stat
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from ..errors import FileError
from .copying import Check, StoppedError, duplicate, remove
from .declared import FileSet, OutputFile

__all__ = ["Delivered", "deliver", "facts_of", "replace_paths", "written"]

_NAMES_LISTED = 20  # names that an error lists
_LONGEST_PATH = 5000  # characters of a text that may be a path


class Delivered(NamedTuple):
    """One declared output at its place.

    Attributes:
        written: the path that the task got for it.
        names: the names of the files, as they were declared; several for a pattern.
        paths: their places.
    """

    written: str
    names: tuple[str, ...]
    paths: tuple[Path, ...]
    is_pattern: bool

    @property
    def value(self) -> Path | list[Path]:
        """The place, or for a pattern the list of places."""
        return list(self.paths) if self.is_pattern else self.paths[0]


class _Move(NamedTuple):
    """A file or folder on its way: *ready* is *source*, or its copy beside *target*."""

    source: Path
    ready: Path
    target: Path


def deliver(
    check: Check,
    files: FileSet,
    folder: Path,
    place: Callable[[str], Path],
) -> list[Delivered]:
    """Move the outputs of *files*, which a task wrote in *folder*, to their places.

    Args:
        place: returns the place of an output by its name, or raises the reason why it cannot
            be there.

    Raises:
        FileError: an output is missing, is neither a file nor a folder, or cannot be moved.
    """
    folder = folder.absolute()
    outputs = list({item.name: item for item in files.all_outputs}.values())
    found = [(item, written(item, folder, files.staged)) for item in outputs]
    there_already = {
        item.name: place(item.name)
        for item, names in found
        if not names and _is_at_its_place(item, files, place)
    }
    missing = [item.name for item, names in found if not names and item.name not in there_already]
    if missing:
        raise FileError(
            f"declared but not written: {_names(missing)}; the folder {str(folder)!r} "
            f"holds {_names(_listing(folder)) or 'nothing'}"
        )
    delivered = []
    pairs: dict[Path, Path] = {}
    for item, there in found:
        if item.name in there_already:
            at = there_already[item.name]
            _check_kind(check, at)
            delivered.append(Delivered(str(folder / item.inside), (item.name,), (at,), False))
            continue
        names = tuple(item.name_of_match(name) for name in there)
        paths = tuple(map(place, names))
        pairs.update(zip((folder / name for name in there), paths, strict=True))
        path = str(folder / item.inside)
        delivered.append(Delivered(path, names, paths, item.is_pattern))
    for source in pairs:
        _check_kind(check, source)
    _move(check, _outermost(pairs), folder)
    return delivered


def facts_of(path: Path) -> tuple[int, ...]:
    """Return what changes when somebody writes to *path*; nothing if there is nothing."""
    try:
        facts = path.stat()
    except OSError:
        return ()
    return facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns


def _is_at_its_place(item: OutputFile, files: FileSet, place: Callable[[str], Path]) -> bool:
    """Tell whether the task has written *item* by its name, and not by the path that it got."""
    if item.is_pattern or item.name not in files.before:
        return False
    facts = facts_of(place(item.name))
    return bool(facts) and facts != files.before[item.name]


def replace_paths(value: Any, places: Mapping[str, Path | list[Path]]) -> Any:
    """Replace the paths in *value*, a task's result, that are keys of *places*.

    A `str` remains one, so a line that a command printed keeps its end.
    """
    kind = type(value)
    if kind is str:
        if len(value) > _LONGEST_PATH:
            return value
        bare = value.rstrip("\r\n")
        place = places.get(bare)
        if place is None:
            return value
        return str(place) + value[len(bare) :] if isinstance(place, Path) else [*map(str, place)]
    if isinstance(value, PurePath):
        return places.get(str(value), value)
    if kind is list or kind is tuple:
        return kind([replace_paths(item, places) for item in value])
    if kind is dict:
        return {key: replace_paths(item, places) for key, item in value.items()}
    return value


def written(item: OutputFile, folder: Path, inputs: list[str]) -> list[str]:
    """Return what there is of *item* in *folder*, as relative paths."""
    if not item.is_pattern:
        return [item.inside] if os.path.lexists(folder / item.inside) else []
    pattern = item.inside.replace("[", "[[]")
    names = sorted(glob.glob(pattern, root_dir=folder, recursive=True))  # noqa: PTH207
    return [name for name in names if name not in inputs]


def _check_kind(check: Check, path: Path) -> None:
    """Raise FileError if *path* is, or holds, something that is no file, folder or link."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise FileError(f"the output {str(path)!r} is a link that leads to nothing") from None
    if not stat.S_ISDIR(mode):
        if not stat.S_ISREG(mode):
            raise _wrong_kind(path, mode)
        return
    for above, folders, names in os.walk(path):
        check()
        for name in (*names, *folders):
            inner = Path(above, name)
            mode = inner.lstat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
                raise _wrong_kind(inner, mode)


def _wrong_kind(path: Path, mode: int) -> FileError:
    kind = "a named pipe" if stat.S_ISFIFO(mode) else "a socket"
    if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        kind = "a device"
    return FileError(f"the output {str(path)!r} is {kind}, and neither a file nor a folder")


def _outermost(pairs: dict[Path, Path]) -> dict[Path, Path]:
    """Return those *pairs* of source and place that do not move inside of another one."""
    return {
        source: target
        for source, target in pairs.items()
        if not any(
            above in pairs and target.is_relative_to(pairs[above]) for above in source.parents
        )
    }


def _move(check: Check, pairs: dict[Path, Path], folder: Path) -> None:
    moves: list[_Move] = []
    placed: list[_Move] = []
    target = folder
    try:
        for source, target in pairs.items():
            check()
            moves.append(_prepare(check, source, target))
        for move in moves:
            target = move.target
            _put(move.ready, target, folder)
            placed.append(move)
    except BaseException as error:
        for move in placed:
            with contextlib.suppress(OSError):
                move.target.rename(move.ready)
        for move in moves:
            if move.ready != move.source:
                with contextlib.suppress(OSError):
                    remove(move.ready)
        if isinstance(error, OSError):
            raise FileError(f"the output {str(target)!r} cannot be put there: {error}") from error
        raise
    for move in moves:
        if move.ready != move.source:
            with contextlib.suppress(OSError):
                remove(move.source)


def _prepare(check: Check, source: Path, target: Path) -> _Move:
    """Make room for *target*, and a copy of *source* beside it if renaming is not enough."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir() is not source.is_dir() and os.path.lexists(target):
        there, new = ("folder", "file") if target.is_dir() else ("file", "folder")
        raise FileError(f"the output {str(target)!r} is a {new}, but there is a {there} already")
    facts = source.lstat()
    if not stat.S_ISLNK(facts.st_mode) and facts.st_dev == target.parent.stat().st_dev:
        return _Move(source, source, target)
    part = target.with_name(f".{secrets.token_hex(8)}.part")
    try:
        duplicate(check, str(source), part)
    except BaseException as error:
        with contextlib.suppress(OSError):
            remove(part)
        if isinstance(error, StoppedError | FileError | OSError):
            raise
        raise FileError(f"the output {str(target)!r} cannot be copied: {error}") from error
    return _Move(source, part, target)


def _put(ready: Path, target: Path, folder: Path) -> None:
    """Rename *ready* to *target*; a folder that is there goes to the task's *folder*."""
    if not ready.is_dir() or not os.path.lexists(target):
        ready.replace(target)
        return
    former = target.with_name(f".{secrets.token_hex(8)}.former")
    target.rename(former)
    try:
        ready.rename(target)
    except BaseException:
        former.rename(target)
        raise
    kept = folder / f"former-{target.name}"
    with contextlib.suppress(OSError):
        remove(kept)
    try:
        former.rename(kept)
    except OSError:  # on another file system
        duplicate(lambda: None, str(former), kept)
        remove(former)


def _listing(folder: Path) -> list[str]:
    """Return the paths of the files below *folder*, at most one more than an error lists."""
    files = (
        str(Path(top, name).relative_to(folder))
        for top, _, names in os.walk(folder)
        for name in names
    )
    return sorted(itertools.islice(files, _NAMES_LISTED + 1))


def _names(names: list[str]) -> str:
    more = " and more" if len(names) > _NAMES_LISTED else ""
    return ", ".join(map(repr, names[:_NAMES_LISTED])) + more
