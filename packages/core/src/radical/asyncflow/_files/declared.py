"""The files that tasks declare: objects that are passed as arguments in place of paths.

Before a task runs, each `InputFile` is copied into the task's own folder, and the body gets
the path of the copy.  An `OutputFile` is a path in that folder; the file has to exist when the
task ends.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .._public import public
from ..errors import ConfigurationError
from .sources import check_name, check_targets, is_url, locate, name_of, show

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["FileSet", "InputFile", "OutputFile"]


@public("radical.asyncflow")
class InputFile:
    """A file or folder that a task reads, copied into its folder before it runs.

    The task gets the absolute path of the copy, as a `str`, and may change the copy; the
    original is never changed.  Where the file system can share blocks between copies, a copy
    costs next to nothing.  Times and permissions are kept, except that the owner may always
    write.  Links inside a folder are followed.

    Args:
        source: a local path, a ``file://`` URL, any other URL that fsspec reads (extra
            ``files``), or the future of a task.  The result of that task is the path or URL;
            or, with *name*, the task declared an output of that name.
        name: the name of the copy, relative to the task's folder; by default that of the source.
        timeout: seconds that staging may take; by default 300 for a URL, and unlimited for a
            local path.  ``math.inf`` means no limit.
        link: create a symbolic link instead of a copy, for a large file that is only read; a
            task that writes to it changes the original.

    Raises:
        ConfigurationError: the source, the name or the timeout is not valid, a URL is to be
            linked, or fsspec is needed and not installed.
    """

    __slots__ = ("link", "name", "source", "timeout")

    if TYPE_CHECKING:  # lets type checkers accept it wherever a call may take the future of a path

        def __await__(self) -> Generator[Any, Any, str]: ...

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
        self.source = source if asyncio.isfuture(source) else locate(source)
        if name is not None:
            name = check_name(name)
        elif isinstance(self.source, str):
            name = name_of(self.source)
        if link and isinstance(self.source, str) and is_url(self.source):
            raise ConfigurationError(
                f"a URL cannot be linked, only copied; leave out link=True: {show(self.source)}"
            )
        self.name = name
        self.timeout = timeout
        self.link = link

    def __repr__(self) -> str:
        source = show(self.source) if isinstance(self.source, str) else repr(self.source)
        return f"InputFile({source}, name={self.name!r})"


@public("radical.asyncflow")
class OutputFile:
    """A file or folder that a task promises to write, under *name* in its own folder.

    The task gets the absolute path, as a `str`; the folders above it exist.  A task that ends
    without writing it fails with a `FileError`.
    """

    __slots__ = ("name",)

    if TYPE_CHECKING:  # lets type checkers accept it wherever a call may take the future of a path

        def __await__(self) -> Generator[Any, Any, str]: ...

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
            ConfigurationError: two inputs have the same name, or one would lie inside another.
        """
        check_targets((item.name, item.source) for item in self.inputs if item.name is not None)
