"""Functions on a node: they stay pickled until they are in the process that calls them."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

from radical.asyncflow.backend import TaskRef
from radical.asyncflow.worker import UNSENT, VALUE, Raised, answer, open_answer, unsent

__all__ = ["SKIPPED", "RemoteFunction", "RemoteService", "packed_answer"]

SKIPPED = -1
"""The code of an answer if the function was not called, because one that it waits for failed."""

_Answer = tuple[Any, ...]
"""A code, the body, and buffers."""


class RemoteFunction:
    """A function of the program.  It takes pickled arguments, and returns a pickled answer.

    Attributes:
        pickled: the function.
    """

    __slots__ = ("__weakref__", "_function", "pickled")

    def __init__(self, pickled: bytes) -> None:
        self.pickled = pickled
        self._function: Callable[..., Any] | None = None

    def __reduce__(self) -> tuple[type[RemoteFunction], tuple[bytes]]:
        return type(self), (self.pickled,)

    def __call__(self, body: Any, previous: _Answer | None = None, *buffers: Any) -> _Answer:
        """Call the function.

        Args:
            body: the pickle of its arguments, and of its keywords.
            previous: the answer of the task whose value is among the arguments.
            buffers: those beside the body.
        """
        what = "function"
        try:
            if self._function is None:
                self._function = pickle.loads(self.pickled)
            what = "arguments"
            args, kwargs = pickle.loads(body, buffers=buffers)
            if previous is not None:
                code, earlier, *apart = previous
                value = open_answer(code, earlier, apart) if code == VALUE else None
                if code != VALUE or isinstance(value, Raised):
                    return SKIPPED, b""
                args = tuple(value if type(item) is TaskRef else item for item in args)
                kwargs = {
                    key: value if type(item) is TaskRef else item for key, item in kwargs.items()
                }
        except BaseException as error:  # unpickling runs foreign code, which may even exit
            return unsent(what, error)
        return packed_answer(self._function, args, kwargs)


class RemoteService(RemoteFunction):
    """The host of a service of the program."""

    __slots__ = ()

    def __call__(self, body: Any, previous: _Answer | None = None, *buffers: Any) -> _Answer:
        """Host the service.

        Args:
            body: family and address at which the host connects, and the pickle of the arguments.
            previous: as for any function.
            buffers: those beside the pickle.
        """
        try:
            door, arguments = body
            if self._function is None:
                self._function = pickle.loads(self.pickled)
            host: Any = self._function
            host.address = door
        except BaseException as error:  # unpickling runs foreign code, which may even exit
            return unsent("function", error)
        return super().__call__(arguments, previous, *buffers)


def packed_answer(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> _Answer:
    """Call *function*; return the code, the body and the buffers of its answer."""
    buffers: list[Any] = []
    code, body = answer(function, args, kwargs, buffers)
    if not buffers:
        return code, body
    return code, body, *map(pickle.PickleBuffer, buffers)


assert UNSENT != SKIPPED
