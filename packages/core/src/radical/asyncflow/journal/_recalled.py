"""A result that an earlier run left, as it stands in the journal."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..errors import JournalError
from ._blobs import ResultStore

__all__ = ["Recalled"]

_BEGIN = re.compile(rb'\{"task":(\d+),"(value|pickle|blob)":')
_value_at = json.JSONDecoder().raw_decode


class Recalled:
    """The result of a task that an earlier run finished; may be used in any thread.

    Attributes:
        task: ``"RUN/NUMBER"`` of that task.
    """

    def __init__(self, run: str, body: bytes, store: ResultStore) -> None:
        self._body = body
        self._store = store
        found = _BEGIN.match(body)
        if found is None:
            self._kind, self._start = "", 0
            self.task = f"{run}/{self._fields.get('task', 0)}"
        else:
            self._kind, self._start = found[2].decode(), found.end()
            self.task = f"{run}/{found[1].decode()}"

    def load(self) -> Any:
        """The value; the same content, but a new object each time.

        Unless it is a scalar this may read a file, and runs the code that unpickling runs.

        Raises:
            JournalError: it is missing, damaged, or cannot be rebuilt by this program.
        """
        value, _ = _value_at(self._body.decode("ascii"), self._start)
        if self._kind == "value":
            return value
        return self._store.load(self._kind, value)

    @property
    def size(self) -> int:
        """Bytes of the pickle; 0 for a scalar."""
        return 0 if self._kind == "value" else int(self._fields.get("size", 0))

    @property
    def files(self) -> Sequence[Any]:
        """What was recorded beside the result, as `task_ended` was given it."""
        if b'"files":' not in self._body:
            return ()
        return tuple(self._fields.get("files", ()))

    @cached_property
    def _fields(self) -> Mapping[str, Any]:
        fields: Mapping[str, Any] = json.loads(self._body)
        return fields


class Damaged(Recalled):
    """A result whose line, read again, is not what it was when it was written."""

    def __init__(self, error: JournalError) -> None:
        self._error = error
        self.task = ""

    def load(self) -> Any:
        raise self._error

    @property
    def size(self) -> int:
        return 0

    @property
    def files(self) -> Sequence[Any]:
        return ()
