"""The files that tasks declare: objects that are passed as arguments in place of paths.

Before a task runs, each `InputFile` is copied into the task's own folder, and the body gets
the path of the copy.  For an `OutputFile` it gets a path in that folder; when the task has
succeeded, what it wrote there is moved to the place that the `OutputFile` names.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from .._graph.items import ItemOf
from .._public import public
from ..deprecation import warn_deprecated
from ..errors import ConfigurationError
from .sources import (
    check_name,
    check_targets,
    is_url,
    locate,
    name_of,
    output_name,
    relative_name,
    show,
)

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["OUTPUT_PATH", "BodyPath", "FileSet", "InputFile", "OutputFile"]

T = TypeVar("T")

OUTPUT_PATH: ContextVar[Callable[[OutputFile], str] | None] = ContextVar(
    "asyncflow_output_path", default=None
)
"""A function that declares an output and returns its path, while an executable's body runs."""


@public("radical.asyncflow")
class InputFile:
    """A file or folder that a task reads, copied into its folder before it runs.

    The task gets the absolute path of the copy, as a `str`, and may change the copy; the
    original is never changed.  Where the file system can share blocks between copies, a copy
    costs next to nothing.  Times and permissions are kept, except that the owner may always
    write.  Links inside a folder are followed.

    Args:
        source: a local path, a ``file://`` URL, any other URL that fsspec reads (extra
            ``files``), or the future of a task.  Then it is the output of that task that *name*
            names, or the path or URL that is its result, or its only output; or the item of a
            result, such as ``future["path"]``, that is the path or URL.  A relative path is
            also the name, or the end of the name, of an `OutputFile` of a task whose future is
            another argument of the call: then it is that file.
        name: the name of the copy, relative to the task's folder; by default that of the source.
        timeout: seconds that staging may take; by default 300 for a URL, and unlimited for a
            local path.  ``math.inf`` means no limit.
        link: create a symbolic link instead of a copy, for a large file that is only read; a
            task that writes to it changes the original.

    Raises:
        ConfigurationError: the source, the name or the timeout is not valid, a URL is to be
            linked, or fsspec is needed and not installed.
    """

    __slots__ = ("_given", "_output", "link", "name", "source", "timeout")

    if TYPE_CHECKING:  # lets type checkers accept it wherever a call may take the future of a path

        def __await__(self) -> Generator[Any, Any, str]: ...

    def __init__(
        self,
        source: str | os.PathLike[str] | Awaitable[Any],
        name: str | None = None,
        timeout: float | None = None,
        *,
        link: bool = False,
    ) -> None:
        if timeout is not None and not (
            isinstance(timeout, int | float) and not isinstance(timeout, bool) and timeout > 0
        ):
            raise ConfigurationError(f"timeout must be seconds above 0, not {timeout!r}")
        is_item = isinstance(source, ItemOf) and hasattr(type(source), "__await__")
        is_result = is_item or asyncio.isfuture(source)
        self.source: Any = source if is_result else locate(source)
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
        self._given = None if is_result else relative_name(source)
        self._output: str | None = None

    def from_task(self, future: asyncio.Future[Any], output: str) -> InputFile:
        """Return the same input with the output of that name of *future*'s task as its source."""
        made = InputFile(future, self.name or output, self.timeout, link=self.link)
        made._output = output
        return made

    def __repr__(self) -> str:
        source = show(self.source) if isinstance(self.source, str) else repr(self.source)
        return f"InputFile({source}, name={self.name!r})"


@public("radical.asyncflow")
class OutputFile:
    """A file or folder that a task writes, and that is at the path *name* when it has succeeded.

    A relative path begins in the folder that the program was started in.  The task gets another
    path, an absolute one in its own folder, as a `str`; the folders above it exist.  When the
    task has succeeded, what it wrote there is moved to *name* in one step, and replaces what was
    there.  A failed attempt leaves nothing at *name*, and a task that ends without writing the
    file fails with a `FileError`.  A command that writes to *name* itself has written it, too.

    A name with ``*`` or ``?`` is a pattern: it stands for all files that match, which are at
    least one.

    In the body of an executable task, an `OutputFile` may stand in the command: in the list of
    words, and in a text such as ``f"sort data > {OutputFile('sorted')}"``.

    Raises:
        ConfigurationError: the name is not one of a file; or it stands for a path outside of the
            body of an executable.
    """

    __slots__ = ("name",)

    if TYPE_CHECKING:  # lets type checkers accept it wherever a call may take the future of a path

        def __await__(self) -> Generator[Any, Any, str]: ...

    def __init__(self, name: str | os.PathLike[str]) -> None:
        self.name = output_name(name)

    @property
    def is_pattern(self) -> bool:
        """True if it stands for all files that match its name."""
        return "*" in self.name or "?" in self.name

    @property
    def inside(self) -> str:
        """The path below the folder of its task, where the task writes."""
        path = PurePosixPath(self.name)
        if not path.is_absolute() and path.parts[0] != "..":
            return self.name
        digest = blake2b(str(path.parent).encode("utf-8", "surrogateescape"), digest_size=4)
        return f"elsewhere-{digest.hexdigest()}/{path.name}"

    def name_of_match(self, inside: str) -> str:
        """Return the name of *inside*, a path below the task's folder that this stands for."""
        if self.inside == self.name:
            return inside
        return str(PurePosixPath(self.name).parent / PurePosixPath(inside).name)

    def __fspath__(self) -> str:
        path = OUTPUT_PATH.get()
        if path is None:
            raise ConfigurationError(
                f"{self!r} stands for a path only in the body of an executable task; anywhere "
                "else pass it to a task as an argument"
            )
        return path(self)

    def __str__(self) -> str:
        return repr(self) if OUTPUT_PATH.get() is None else self.__fspath__()

    def __repr__(self) -> str:
        return f"OutputFile({self.name!r})"


class BodyPath(str):
    """The path that the body of a command gets for a file: a `str`, and nothing else elsewhere.

    The public package gives a body the file itself, so it has the attributes of that.
    """

    __slots__ = ()

    @property
    def filename(self) -> str:
        """The path."""
        return _former("filename", str(self))

    @property
    def filepath(self) -> Path:
        """The path."""
        return _former("filepath", Path(self))

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)


def _former(name: str, value: T) -> T:
    warn_deprecated(
        f"the attribute {name} of a file in a body",
        since="1.0",
        removal="2.0",
        instead="use the file itself, which is a path there",
    )
    return value


@dataclass(slots=True)
class FileSet:
    """All files that one task declares.

    Attributes:
        inputs, outputs: those among the arguments of its call.
        named: the outputs that the body of an executable named in its latest attempt.
        staged: the names of what the engine put into the task's folder: inputs, and links.
        before: what was at the place of each of *outputs* before the latest attempt, by its name.
    """

    inputs: list[InputFile] = field(default_factory=list)
    outputs: list[OutputFile] = field(default_factory=list)
    named: list[OutputFile] = field(default_factory=list)
    staged: list[str] = field(default_factory=list)
    before: dict[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def all_outputs(self) -> list[OutputFile]:
        """The outputs of the call and those that the body named."""
        return [*self.outputs, *self.named]

    def after_end(self) -> FileSet | None:
        """Return what is of use after the end of the task: the names of what was staged."""
        return FileSet(staged=self.staged) if self.staged else None

    def paths_in(self, folder: Path) -> dict[int, str]:
        """Return the paths that a body gets where *folder* is that of its task, by file id."""
        inputs = {id(item): str(folder / (item.name or "input")) for item in self.inputs}
        return inputs | {id(item): str(folder / item.inside) for item in self.outputs}

    def check(self) -> None:
        """Refuse inputs that would be copied to the same place.

        Raises:
            ConfigurationError: two inputs have the same name, or one would lie inside another.
        """
        check_targets(
            (item.name, (item.source, item._output))
            for item in self.inputs
            if item.name is not None
        )
