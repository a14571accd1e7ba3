"""Outlets for the stdout and stderr of a command: memory, or files."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from ..model import ExecutableResult, Written
from ._output import Output, Stream

__all__ = ["FileOutlets", "MemoryOutlets", "Outlets"]

_KINDS = ("stdout", "stderr")

_log = logging.getLogger("radical.asyncflow.worker")


class Outlets(Protocol):
    """The two outlets of one command.

    Attributes:
        streams: for what comes through the pipes.
    """

    streams: list[Stream]

    @property
    def descriptors(self) -> tuple[int | None, int | None]:
        """The descriptors that the command gets as stdout and stderr; None for a pipe."""

    def written(self, most: int) -> Written:
        """Return what came so far, at most *most* bytes of each stream; from any thread."""

    def close(self) -> None:
        """Close what is open; any number of times."""

    def result(self, outcome: int | ExecutableResult) -> ExecutableResult:
        """Return the result of a command that ended with the exit code *outcome*.

        An *outcome* that is a whole result is that of a program that could not be executed.
        """


class MemoryOutlets:
    """Outlets to memory; of what is too long for it the rest goes to a file."""

    def __init__(self, name: str, limit: int, new_path: Callable[[str], Path]) -> None:
        """Make the outlets of the task *name*, with *limit* bytes of memory for each."""
        self.descriptors: tuple[int | None, int | None] = (None, None)
        self.streams = [
            Stream(limit, lambda kind=kind: new_path(kind))  # type: ignore[misc]
            for kind in _KINDS
        ]
        self._name = name
        self._limit = limit

    def written(self, most: int) -> Written:
        (stdout, before), (stderr, before_stderr) = (stream.end(most) for stream in self.streams)
        return Written(stdout, stderr, (before, before_stderr))

    def close(self) -> None:
        for stream in self.streams:
            stream.close()

    def result(self, outcome: int | ExecutableResult) -> ExecutableResult:
        self.close()
        if isinstance(outcome, ExecutableResult):
            return outcome
        stdout, stderr = (stream.text() for stream in self.streams)
        for kind, text in zip(_KINDS, (stdout, stderr), strict=True):
            if isinstance(text, Output):
                _log.warning(
                    "task %r wrote %d bytes to %s, more than the %d that are kept in memory; "
                    "all of it is in %s",
                    self._name,
                    text.size,
                    kind,
                    self._limit,
                    text.path,
                )
        return ExecutableResult(outcome, stdout, stderr)


class FileOutlets:
    """Outlets to files, whose paths are the result."""

    def __init__(self, new_path: Callable[[str], Path]) -> None:
        self._paths = [new_path(kind) for kind in _KINDS]
        with ExitStack() as undo:
            stdout, stderr = (undo.enter_context(path.open("xb")) for path in self._paths)
            self._files = undo.pop_all()
        self._stderr = stderr
        self.descriptors: tuple[int | None, int | None] = (stdout.fileno(), stderr.fileno())
        self.streams: list[Stream] = []

    def written(self, most: int) -> Written:  # noqa: ARG002 - it names the files
        stdout, stderr = self._paths
        return Written((str(stdout),), (str(stderr),))

    def close(self) -> None:
        self._files.close()

    def result(self, outcome: int | ExecutableResult) -> ExecutableResult:
        if isinstance(outcome, ExecutableResult):
            self._stderr.write(outcome.stderr.encode())
            outcome = outcome.exit_code
        self.close()
        return ExecutableResult(outcome, *map(str, self._paths))
