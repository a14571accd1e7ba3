"""Results: what Dask holds for each call."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import dump, safe_str

from .pickles import load

__all__ = ["CallResult"]


class CallResult:
    """The value of a call, or the note that the call has none because it failed.

    It pickles its value by itself and rebuilds it when somebody asks.  So a value that
    cannot travel is the failure of one task and not of a whole message.

    Attributes:
        failed: whether there is no value.
    """

    __slots__ = ("_error", "_packed", "_value", "failed")

    def __init__(self, value: Any = None, *, failed: bool = False) -> None:
        self._value = value
        self._packed: tuple[bytes, Sequence[Any]] | None = None
        self._error: str | None = None
        self.failed = failed

    @classmethod
    def of_ended(cls, pickled: bytes | None) -> CallResult:
        """Return the result of a call that ended before, with its *pickled* value or None."""
        return cls(failed=True) if pickled is None else _rebuild(pickled, (), None, False)

    def get(self) -> Any:
        """Return the value.

        Raises:
            SerializationError: it could not be pickled where it was made, or cannot be
                rebuilt here.
        """
        if self._error is not None:
            raise SerializationError("result", self._error)
        if self._packed is not None:
            self._value = load(*self._packed)
            self._packed = None
        return self._value

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        if self.failed or self._error is not None:
            return _rebuild, (None, (), self._error, self.failed)
        if self._packed is not None:
            head, buffers = self._packed
        else:
            buffers = []
            try:
                head = dump(self._value, buffers)
            except BaseException as exc:  # whatever the value's own methods raise
                return _rebuild, (None, (), safe_str(exc), self.failed)
        return _rebuild, (head, [pickle.PickleBuffer(item) for item in buffers], None, False)

    def __sizeof__(self) -> int:
        from dask.sizeof import sizeof

        if self._packed is not None:
            head, buffers = self._packed
            return len(head) + sum(memoryview(item).nbytes for item in buffers)
        return int(sizeof(self._value)) + 64


def _rebuild(
    head: bytes | None, buffers: Sequence[Any], error: str | None, failed: bool
) -> CallResult:
    result = CallResult(failed=failed)
    result._error = error
    result._packed = None if head is None else (head, buffers)
    return result
