"""A function that runs in a worker, and its outcome on the way back.

An answer is a code and a body: a pickled value, a pickled `Failure`, or the pickled words
about what could not travel.  Whoever asked opens it with `open_answer`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pickle import dumps, loads
from typing import Any, NamedTuple

from .._public import public
from .._text import safe_str
from ..errors import SerializationError
from ._call import call
from ._failure import Failure
from ._pickling import ATOMS, Buffer, dump, unsendable

__all__ = [
    "FAILURE",
    "UNSENT",
    "VALUE",
    "Raised",
    "answer",
    "answer_pickled",
    "open_answer",
    "unsent",
]

VALUE, FAILURE, UNSENT = range(3)
"""The codes of answers, whose body is the value, a `Failure`, or why neither could be sent."""


@public("radical.asyncflow.worker")
class Raised(NamedTuple):
    """An error in the place of a value."""

    error: BaseException


@public("radical.asyncflow.worker")
def answer(
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    buffers: list[Buffer] | None = None,
) -> tuple[int, bytes]:
    """Call *function*, sync or async, and return its answer, whatever it does.

    Args:
        buffers: large buffers of the value are appended to it; None keeps them inside.
    """
    try:
        value = call(function, args, kwargs)
    except BaseException as exc:  # a task may raise SystemExit, and its worker lives on
        return FAILURE, dumps(Failure.pack(exc))
    try:
        # Atoms have no buffers, and are the values of most short tasks.
        return VALUE, dumps(value, 5) if type(value) in ATOMS else dump(value, buffers)
    except BaseException as exc:  # whatever the value's own methods raise
        return unsent("result", exc)


@public("radical.asyncflow.worker")
def answer_pickled(function: bytes, arguments: bytes) -> tuple[int, bytes]:
    """Rebuild a function and its arguments, and return the answer of the call.

    Args:
        function: as `dump_function` made it.
        arguments: as `dump_arguments` made them, with no buffers apart.
    """
    what = "function"
    try:
        called = loads(function)
        what = "arguments"
        args, kwargs = loads(arguments)
    except BaseException as exc:  # unpickling runs foreign code, which may even exit
        return unsent(what, exc)
    return answer(called, args, kwargs)


@public("radical.asyncflow.worker")
def unsent(what: str, exc: BaseException) -> tuple[int, bytes]:
    """Return the answer of a task whose *what* could not travel because of *exc*."""
    return UNSENT, dumps((what, safe_str(exc)))


@public("radical.asyncflow.worker")
def open_answer(
    code: int, body: bytes | bytearray | memoryview, buffers: Sequence[Buffer] = ()
) -> Any:
    """Return the value of an answer, or a `Raised` with the error; never raises."""
    try:
        content = loads(body, buffers=buffers) if buffers else loads(body)
    except BaseException as exc:  # unpickling runs foreign code
        return Raised(unsendable("result", exc))
    if code == VALUE:
        return content
    return Raised(content.rebuild() if code == FAILURE else SerializationError(*content))
