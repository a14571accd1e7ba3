"""A result of an earlier run, as it stands in the journal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import JournalError
from ._blobs import ResultStore

__all__ = ["Recalled"]

_BEGIN = re.compile(r'\{"task":(\d+),"(value|pickle|blob)":')
_value_at = json.JSONDecoder().raw_decode


class Recalled:
    """The result of a task of an earlier run; may be used in any thread."""

    __slots__ = ("_begin", "_body", "_offset", "_run_at", "_store")

    def __init__(
        self, body: str, offset: int, run_at: Callable[[int], str], store: ResultStore
    ) -> None:
        self._begin = _BEGIN.match(body)
        self._body = body
        self._offset = offset
        self._run_at = run_at
        self._store = store

    @property
    def task(self) -> str:
        """The task, as ``"RUN/NUMBER"``."""
        found = self._begin
        number = self._fields().get("task", 0) if found is None else found[1]
        return f"{self._run_at(self._offset)}/{number}"

    def load(self) -> Any:
        """Return the value, as a new object each time.

        For anything but a scalar this may read a file, and it runs the code that
        unpickling runs.

        Raises:
            JournalError: it is missing, damaged, or cannot be rebuilt by this program.
        """
        found = self._begin
        if found is None:
            raise JournalError(
                f"the result of {self.task} is stored in a way that this release does not know"
            )
        value, _ = _value_at(self._body, found.end())
        return value if found[2] == "value" else self._store.load(found[2], value)

    @property
    def size(self) -> int:
        """The size of the pickle in bytes; 0 for a scalar."""
        return int(self._fields().get("size", 0)) if '"size":' in self._body else 0

    @property
    def files(self) -> Sequence[Any]:
        """The files that `task_ended` recorded together with the result."""
        return tuple(self._fields().get("files", ())) if '"files":' in self._body else ()

    @property
    def facts(self) -> Sequence[Any]:
        """The things outside of the program that `task_ended` recorded together with the result."""
        return tuple(self._fields().get("facts", ())) if '"facts":' in self._body else ()

    @property
    def place(self) -> str:
        """The block that called the task, as `task_ended` was given it."""
        return str(self._fields().get("in", "")) if '"in":' in self._body else ""

    @property
    def stderr(self) -> str:
        """The error output of an executable, as far as it was recorded, or the path of its file."""
        if '"paths":' in self._body and (paths := self._fields().get("paths")):
            return str(paths[1])
        return str(self._fields().get("err") or "") if '"err":' in self._body else ""

    def _fields(self) -> Mapping[str, Any]:
        fields: Mapping[str, Any] = json.loads(self._body)
        return fields


class Damaged(Recalled):
    """A result whose line can no longer be read, or has changed since the journal was opened."""

    __slots__ = ("_error",)

    def __init__(self, error: JournalError) -> None:
        self._body = ""
        self._error = error

    @property
    def task(self) -> str:
        """An empty string, because the task is no longer known."""
        return ""

    def load(self) -> Any:
        """Raise the `JournalError` that says what is wrong."""
        raise self._error
