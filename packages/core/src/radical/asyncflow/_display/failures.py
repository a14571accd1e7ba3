"""The failures of a run: the first of each kind in words, and the number of the others."""

from __future__ import annotations

import re
import traceback
from collections import Counter
from typing import NamedTuple

from .._text import error_line, mask_secrets, printable, shorten, task_id_text
from ..errors import ExecutableError
from ..events import TaskEvent
from ..model import TaskKind

__all__ = ["FailureLine", "Failures"]

MAX_FAILURES = 50
"""The most failures that are described; further ones are only counted."""

MAX_ALIKE = 5
"""The most failures of one kind that are described."""

MAX_KINDS = 200
"""The most kinds that are counted apart."""

MAX_DETAIL = 160
"""The most characters of a command, or of the place of an error."""

_NUMBER = re.compile(r"(\\x[0-9a-f]{2}|\\u[0-9a-f]{4}|\\U[0-9a-f]{8})|\d+")
"""A number, or an escape in a printable text, which is none."""

_COLOUR = re.compile(r"\\x1b\[[\d;]*m")
"""A colour in a printable text."""


class FailureLine(NamedTuple):
    """A task that failed, with its error in one line.

    Attributes:
        detail: its command, or its arguments and the line of the program that raised the
            error, as far as they are known.
    """

    name: str
    task_id: int
    text: str
    detail: str = ""

    @property
    def id(self) -> str:
        """The same as `TaskFuture.id`."""
        return task_id_text(self.task_id)


class Failures:
    """The failures that no other task caused, with those of the same kind together.

    Failures are of the same kind if their tasks have the same name, and their errors the same
    type and the same first line but for numbers.

    Attributes:
        listed, unlisted: the number of failures that `take` described, and did not.
    """

    def __init__(self) -> None:
        self.listed = 0
        self.unlisted = 0
        self._kinds: Counter[tuple[str, str]] = Counter()
        self._texts: set[str] = set()

    def take(self, event: TaskEvent) -> FailureLine | None:
        """Count the failure, and return it if it is to be described."""
        error = event.error
        text = "failed" if error is None else error_line(error)
        if isinstance(error, ExecutableError):
            text = f"{type(error).__name__}: {error.summary}"
        text = _COLOUR.sub("", text)
        alike = _NUMBER.sub(lambda found: found[1] or "#", text)
        if event.kind is TaskKind.BLOCK and alike in self._texts:
            return None  # it is the error of a task that the block called
        self._texts.add(alike)
        kind = (event.name, alike)
        if kind not in self._kinds and len(self._kinds) >= MAX_KINDS:
            kind = ("(other names)", "(other errors)")
        self._kinds[kind] += 1
        if self._kinds[kind] > MAX_ALIKE or self.listed >= MAX_FAILURES:
            self.unlisted += 1
            return None
        self.listed += 1
        return FailureLine(event.name, event.task_id, text, _detail(event))

    def largest(self, most: int = 5) -> list[tuple[str, str, int]]:
        """Return name, error and number of the kinds with failures that were not described."""
        return [
            (name, text, many)
            for (name, text), many in self._kinds.most_common(most)
            if many > MAX_ALIKE
        ]


def _detail(event: TaskEvent) -> str:
    error = event.error
    if isinstance(error, ExecutableError):
        return f"command: {shorten(_masked(error.command), MAX_DETAIL)}"
    arguments = f"arguments: {shorten(event.arguments, MAX_DETAIL)}" if event.arguments else ""
    return "; ".join(filter(None, (arguments, _raised_at(error))))


def _raised_at(error: BaseException | None) -> str:
    """Return the line of the program that raised *error*, if it is known; else ``""``."""
    if error is None or error.__traceback__ is None:
        return ""
    frame, line = [*traceback.walk_tb(error.__traceback__)][-1]
    if str(frame.f_globals.get("__name__", "")).startswith("radical.asyncflow"):
        return ""
    code = frame.f_code
    return f"raised at {shorten(code.co_filename, MAX_DETAIL)}:{line} in {printable(code.co_name)}"


def _masked(command: str) -> str:
    return " ".join(mask_secrets(command.split()))
