"""Files that tasks declare: values that stand in the arguments in place of paths.

Before a task runs, each `InputFile` is copied into the task's own folder, and the body
gets the path of the copy.  An `OutputFile` is a path in that folder which has to be
there once the task has succeeded.
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

    if TYPE_CHECKING:  # checkers accept it wherever a call may have the future of a path

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


@public("radical.asyncflow")
class OutputFile:
    """A file or folder that a task promises to write, under *name* in its own folder.

    The task gets its absolute path, as a `str`; folders on the way there exist.  A task
    that ends without it fails with a `FileError`.
    """

    __slots__ = ("name",)

    if TYPE_CHECKING:  # checkers accept it wherever a call may have the future of a path

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
            ConfigurationError: two inputs have one name, or one name lies in another.
        """
        check_targets((item.name, item.source) for item in self.inputs if item.name is not None)
