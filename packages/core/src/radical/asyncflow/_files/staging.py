"""Copy declared files into a task's folder, each in a thread of its own; and deliver outputs.

A source may hang for ever (a pipe, a lost file server).  So each copy runs in a daemon thread
that can be left behind: neither the loop nor the end of the program waits for it.  A copy
that is given up is told so, and checks this between any two blocks of data.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from ..errors import ConfigurationError, FileError
from .copying import Check, StoppedError, copy, remove
from .declared import FileSet, OutputFile
from .delivery import Delivered, deliver, facts_of, written
from .linking import Source, link_files
from .sources import URL_TIMEOUT_S, check_targets, is_url, locate, name_of, show

__all__ = ["deliver_outputs", "link_dependencies", "make_room", "stage"]

T = TypeVar("T")

_COPIES_AT_ONCE = 16  # copies under way in one loop
_STOP_GRACE_S = 0.5  # seconds that stopped work has to clean up before it is left behind

_slots: WeakValueDictionary[int, asyncio.Semaphore] = WeakValueDictionary()
"""The semaphores of the loops by the id of the loop, as long as copies use them."""


async def stage(
    files: FileSet,
    folder: Path,
    resolve: Callable[[asyncio.Future[Any]], Any],
    folder_of: Callable[[asyncio.Future[Any]], Path | None],
    place: Callable[[str], Path] = Path,
) -> dict[int, str]:
    """Copy the inputs into *folder*, and make room for the outputs.

    A copy appears under its name only when it is whole.  Inputs that an earlier attempt left
    in the folder are replaced, and its outputs are removed.  A cancellation stops the copying
    and leaves no part of a file.

    Args:
        resolve: returns the value of a future that is a source.
        folder_of: returns the folder of the task behind such a future, or None if it is not a
            task of this engine.
        place: returns the place of an output by its name.

    Returns:
        The paths that the body gets: ``{id(InputFile or OutputFile): absolute path}``.

    Raises:
        FileError: an input is missing, cannot be read or takes too long.
        ConfigurationError: two inputs have the same name.
    """
    return await Staging(folder).stage(files, resolve, folder_of, place)


async def deliver_outputs(
    files: FileSet, folder: Path, place: Callable[[str], Path]
) -> list[Delivered]:
    """Move the declared outputs from *folder* to their places, all of them or none.

    Args:
        place: returns the place of an output by its name.

    Raises:
        FileError: some do not exist; it names them, and what *folder* holds instead.  Or one
            is neither a file nor a folder, or cannot be moved.
    """
    return await _in_own_thread(lambda check: deliver(check, files, folder, place))


async def link_dependencies(files: FileSet, folder: Path, sources: Sequence[Source]) -> None:
    """Link what the tasks of *sources* wrote into *folder*, which has *files*."""
    own = [*files.staged, *(item.inside for item in files.outputs)]
    files.staged += await _in_own_thread(lambda _: link_files(folder, sources, own))


def make_room(output: OutputFile, folder: Path, inputs: list[str]) -> None:
    """Remove what an earlier attempt wrote as *output*, and make the folders above it; blocks."""
    target = folder / output.inside
    target.parent.mkdir(parents=True, exist_ok=True)
    for name in written(output, folder, inputs):
        if not any(f"{one}/".startswith(f"{name}/") for one in inputs):
            remove(folder / name)


class Staging:
    """The staging of one task's files in its *folder*."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    async def stage(
        self,
        files: FileSet,
        resolve: Callable[[asyncio.Future[Any]], Any],
        folder_of: Callable[[asyncio.Future[Any]], Path | None],
        place: Callable[[str], Path],
    ) -> dict[int, str]:
        """Copy the inputs and make room for the outputs, as the function `stage` says."""
        files.check()
        paths: dict[int, str] = {}
        inputs: dict[str, tuple[str, float | None, bool]] = {}
        found: list[tuple[str, str]] = []
        for item in files.inputs:
            source = item.source if item._output is None else str(place(item._output))
            if not isinstance(source, str):
                result = _Result(source, resolve(source), folder_of(source), item.name)
                source = await _in_own_thread(result.locate)
            name = item.name or name_of(source)
            found.append((name, source))
            # An input that is wanted as a link and as a copy is copied, so that it may be changed.
            link = item.link and inputs.get(name, ("", None, True))[2]
            inputs[name] = source, item.timeout, link
            paths[id(item)] = str(self._folder / name)
        check_targets(found)
        failure: Exception | None = None
        try:
            async with asyncio.TaskGroup() as group:
                for name, what in inputs.items():
                    group.create_task(self._copy(name, *what))
        except ExceptionGroup as several:
            failure = several.exceptions[0]
        if failure is not None:
            raise failure  # outside of the except clause, so that it keeps its own cause
        files.staged = list(inputs)
        await _in_own_thread(lambda _: self._make_room(files, place))
        paths |= {id(item): str(self._folder / item.inside) for item in files.outputs}
        return paths

    def _make_room(self, files: FileSet, place: Callable[[str], Path]) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for item in files.outputs:
                make_room(item, self._folder, files.staged)
                files.before[item.name] = facts_of(place(item.name))
        except OSError as error:
            raise FileError(f"the task's folder cannot be prepared: {error}") from error

    async def _copy(self, name: str, source: str, timeout: float | None, link: bool) -> None:
        if timeout is None and is_url(source):
            timeout = URL_TIMEOUT_S
        target = self._folder / name
        part = target.with_name(f".{secrets.token_hex(8)}.part")

        def work(check: Check) -> None:
            copy(check, name, source, part, target, link=link)

        slots = _slots.setdefault(
            id(asyncio.get_running_loop()), asyncio.Semaphore(_COPIES_AT_ONCE)
        )
        async with slots:
            try:
                await _in_own_thread(work, timeout, lambda: remove(part))
            except StoppedError:
                raise FileError(
                    f"input {name!r}: staging {show(source)} took longer than {timeout:g} s"
                ) from None


class _Result:
    """The file or URL that a task, given by its future, left for another task to read."""

    def __init__(
        self, future: asyncio.Future[Any], value: Any, folder: Path | None, name: str | None
    ) -> None:
        self._task = f"task {getattr(future, 'name', future)!r}"
        self._value = value
        self._folder = folder
        self._name = name
        self._outputs: list[Path] = getattr(future, "outputs", [])

    def locate(self, _: Check) -> str:
        """Return the path or URL: the output *name*, the task's result, or its only output."""
        if self._name is not None:
            parts = PurePosixPath(self._name).parts
            for path in self._outputs:
                if path.parts[-len(parts) :] == parts:
                    return str(path)
            if self._folder is not None and (self._folder / self._name).exists():
                return str(self._folder / self._name)
        value = self._value
        if len(self._outputs) == 1 and not self._is_path(value):
            return str(self._outputs[0])
        if isinstance(value, str):
            value = value.rstrip("\r\n")  # a command that prints a path ends it with a newline
        try:
            if self._folder is not None and not is_url(os.fspath(value)):
                inside = self._folder / value
                value = inside if inside.exists() else value
            source = locate(value)
        except (TypeError, ConfigurationError):
            source = None
        if source is None or (self._name is not None and not _reachable(source)):
            wrote = f"wrote no file {self._name!r}, and " if self._name is not None else ""
            raise FileError(
                f"{self._task} {wrote}returned no path or URL of a file, but an object of type "
                f"{type(self._value).__name__}; return the path that its OutputFile argument is, "
                "or name one of its outputs: InputFile(future, 'name')"
            )
        return source

    def _is_path(self, value: object) -> bool:
        """Tell whether *value*, a task's result, is the path of something, or a URL."""
        if isinstance(value, os.PathLike):
            return True
        if not isinstance(value, str) or not value.strip() or "\0" in value:
            return False
        value = value.rstrip("\r\n")
        if is_url(value):
            return True
        try:
            return Path(value).exists() or (
                self._folder is not None and (self._folder / value).exists()
            )
        except OSError:  # a text that is too long for a path
            return False


def _reachable(source: str) -> bool:
    return is_url(source) or Path(source).exists()


async def _in_own_thread(
    work: Callable[[Check], T],
    timeout: float | None = None,
    left_behind: Callable[[], None] | None = None,
) -> T:
    """Return the result of *work*, which runs in a daemon thread of its own.

    The work is stopped when the caller is cancelled, and after *timeout* seconds, when this
    raises `StoppedError`.  If the work does not stop in time, *left_behind* cleans up for it.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise StoppedError

    def settle(settler: Callable[[Any], None], what: Any) -> None:
        if stopped.is_set():
            outcome.cancel()
        else:
            settler(what)

    def run() -> None:
        try:
            settler, what = outcome.set_result, work(check)
        except BaseException as error:
            settler, what = outcome.set_exception, error  # type: ignore[assignment]
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits
            loop.call_soon_threadsafe(settle, settler, what)

    threading.Thread(target=run, name="asyncflow-files", daemon=True).start()
    try:
        await asyncio.wait([outcome], timeout=timeout)
    finally:
        if not outcome.done():
            stopped.set()
            await asyncio.wait([outcome], timeout=_STOP_GRACE_S)
            if left_behind is not None and not outcome.done():
                threading.Thread(target=left_behind, daemon=True).start()
    check()
    return outcome.result()
