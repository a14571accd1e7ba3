"""Files that tasks declare: values that stand in the arguments in place of paths.

Before a task runs, each `InputFile` is copied into the task's own folder, and the body
gets the path of the copy.  An `OutputFile` is a path in that folder which has to be
there once the task has succeeded.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from .errors import ConfigurationError

__all__ = ["FileSet", "InputFile", "OutputFile", "check_outputs", "stage"]

URL_TIMEOUT = 300.0
"""Seconds that staging a URL may take, unless the input says otherwise."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(://|::)")


class InputFile:
    """A file or folder that a task reads, copied into its folder before it runs.

    The task gets the absolute path of its copy, as a `str`, and may change the copy:
    the original is never touched (where the file system shares blocks between copies,
    copying costs next to nothing).  Times and permissions are kept, except that the
    owner may write.  In folders links are followed.

    Args:
        source: a local path, a ``file://`` URL, any other URL that fsspec reads (extra
            ``files``), or the future of a task: its result is the path or URL, or, with
            *name*, that of an output which the task declared.
        name: of the copy, relative to the task's folder; the source's own by default.
        timeout: seconds that staging may take; by default 300 for a URL, unlimited for
            a local path.  ``math.inf`` is no limit.
        link: put a symbolic link there instead of a copy, for what is large and only
            read; a task that writes to it changes the original.

    Raises:
        ConfigurationError: the source, the name or the timeout is none, a URL is to be
            linked, or fsspec is needed and not installed.
    """

    __slots__ = ("link", "name", "source", "timeout")

    def __init__(
        self,
        source: str | os.PathLike[str] | asyncio.Future[Any],
        name: str | None = None,
        timeout: float | None = None,
        *,
        link: bool = False,
    ) -> None:
        if timeout is not None and not (
            isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
        ):
            raise ConfigurationError(f"timeout must be seconds above 0, not {timeout!r}")
        self.source = source if isinstance(source, asyncio.Future) else locate(source)
        if name is not None:
            name = check_name(name)
        elif isinstance(self.source, str):
            name = name_of(self.source)
        if link and isinstance(self.source, str) and is_url(self.source):
            raise ConfigurationError(f"a URL cannot be linked, only copied: {show(self.source)}")
        self.name = name
        self.timeout = timeout
        self.link = link

    def __repr__(self) -> str:
        source = show(self.source) if isinstance(self.source, str) else repr(self.source)
        return f"InputFile({source}, name={self.name!r})"


class OutputFile:
    """A file or folder that a task promises to write, under *name* in its own folder.

    The task gets its absolute path, as a `str`; folders on the way there exist.  A task
    that ends without it fails with a `FileError`.
    """

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = check_name(name)

    def __repr__(self) -> str:
        return f"OutputFile({self.name!r})"


@dataclass(slots=True)
class FileSet:
    """All files that one call declares."""

    inputs: list[InputFile] = field(default_factory=list)
    outputs: list[OutputFile] = field(default_factory=list)

    def check(self) -> None:
        """Refuse inputs that would be copied to the same place.

        Raises:
            ConfigurationError: two inputs have one name, or one name lies in another.
        """
        check_targets((item.name, item.source) for item in self.inputs if item.name is not None)


async def stage(
    files: FileSet,
    folder: Path,
    resolve: Callable[[asyncio.Future[Any]], Any],
    folder_of: Callable[[asyncio.Future[Any]], Path | None],
) -> dict[int, str]:
    """Copy the inputs into *folder*, and make room for the outputs.

    A copy appears under its name when it is whole.  What an earlier attempt left there
    is replaced, its outputs are removed.  Cancelling stops the copying and leaves no
    part of a file.

    Args:
        resolve: gives the value of a future that is a source.
        folder_of: gives the folder of the task behind such a future, or None if it is
            not one of this engine's tasks.

    Returns:
        What the body gets: ``{id(InputFile or OutputFile): absolute path}``.

    Raises:
        FileError: an input is missing, cannot be read or takes too long.
        ConfigurationError: two inputs have one name.
    """
    from ._staging import Staging  # here, because most programs stage nothing

    return await Staging(folder).stage(files, resolve, folder_of)


async def check_outputs(files: FileSet, folder: Path) -> None:
    """See that all declared outputs are there.

    Raises:
        FileError: some are not; it names them, and what *folder* holds instead.
    """
    from ._staging import Staging

    await Staging(folder).check(files)


def locate(source: object) -> str:
    """*source* as an absolute path or as a URL that fsspec reads."""
    try:
        text = os.fspath(source)  # type: ignore[call-overload]
    except TypeError:
        text = None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ConfigurationError(
            f"an input file's source must be a path, a URL or the future of a task, not {source!r}"
        )
    if not is_url(text):
        return os.path.abspath(text)  # noqa: PTH100 - keeps links, unlike Path.resolve
    if text.lower().startswith("file://"):
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost") or not parts.path:
            raise ConfigurationError(
                f"{text!r} names a file of another machine; a local one is written file:///path"
            )
        return os.path.abspath(unquote(parts.path))  # noqa: PTH100
    if importlib.util.find_spec("fsspec") is None:
        raise ConfigurationError(
            f"staging {show(text)} needs fsspec: pip install 'radical.asyncflow[files]'"
        )
    return text


def is_url(source: str) -> bool:
    return _URL.match(source) is not None


def name_of(source: str) -> str:
    """Under which name a copy of *source* stands in the folder, if none was given."""
    if is_url(source):
        # In a chain such as "zip://inner.csv::https://host/all.zip" the first one is read.
        parts = urlsplit(next(part for part in source.split("::") if "://" in part))
        last = unquote(parts.path.rstrip("/").rpartition("/")[2]) or parts.netloc
    else:
        last = Path(source).name
    try:
        return check_name(last)
    except ConfigurationError:
        raise ConfigurationError(
            f"no file name can be derived from {show(source)}; give one: InputFile(source, 'name')"
        ) from None


def check_name(name: object) -> str:
    """*name* in its shortest form, if it stays below the folder that it is relative to."""
    if not isinstance(name, str) or not name or "\0" in name:
        raise ConfigurationError(f"a file's name must be a text that is not empty, not {name!r}")
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ConfigurationError(
            f"a file's name must stay in the task's folder, so neither be absolute nor "
            f"hold '..': {name!r}"
        )
    return str(path)


def check_targets(inputs: Any) -> None:
    """Refuse ``(name, source)`` pairs that could not stand beside each other."""
    sources: dict[str, Any] = {}
    for name, source in inputs:
        if sources.setdefault(name, source) != source:
            raise ConfigurationError(
                f"two inputs of one task have the name {name!r}; give one of them another: "
                "InputFile(source, 'name')"
            )
    for name in sources:
        for parent in map(str, PurePosixPath(name).parents):
            if parent in sources:
                raise ConfigurationError(
                    f"the input {name!r} lies inside another input of the task, {parent!r}"
                )


def show(source: str) -> str:
    """*source* as messages may quote it: a URL without its password and its query."""
    if is_url(source):
        source = re.sub(r"//[^/@]*@", "//...@", source)
        source = re.sub(r"\?.*", "?...", source)
    return repr(source)
