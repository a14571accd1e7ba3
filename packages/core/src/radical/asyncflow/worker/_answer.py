"""A function that runs in a worker, and its outcome on the way back.

An answer is a code and a body: a pickled value, a pickled `Failure`, or the pickled words
about what could not travel.  Whoever asked opens it with `open_answer`.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from .._public import public
from .._text import safe_str
from ..errors import SerializationError
from ._call import call
from ._failure import Failure
from ._pickling import Buffer, dump, unsendable

__all__ = ["FAILURE", "UNSENT", "VALUE", "answer", "answer_pickled", "open_answer", "unsent"]

VALUE, FAILURE, UNSENT = range(3)
"""What the body of an answer holds: the value, a `Failure`, why neither could be sent."""


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
        return FAILURE, pickle.dumps(Failure.pack(exc))
    try:
        return VALUE, dump(value, buffers)
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
        called = pickle.loads(function)
        what = "arguments"
        args, kwargs = pickle.loads(arguments)
    except BaseException as exc:  # unpickling runs foreign code, which may even exit
        return unsent(what, exc)
    return answer(called, args, kwargs)


@public("radical.asyncflow.worker")
def unsent(what: str, exc: BaseException) -> tuple[int, bytes]:
    """Return the answer of a task whose *what* could not travel because of *exc*."""
    return UNSENT, pickle.dumps((what, safe_str(exc)))


@public("radical.asyncflow.worker")
def open_answer(
    code: int, body: bytes | bytearray | memoryview, buffers: Iterable[Buffer] | None = None
) -> tuple[Any, BaseException | None]:
    """Return the value of an answer and None, or None and the error; never raises."""
    try:
        content = pickle.loads(body, buffers=buffers)
    except BaseException as exc:  # unpickling runs foreign code
        return None, unsendable("result", exc)
    if code == VALUE:
        return content, None
    if code == FAILURE:
        return None, content.rebuild()
    return None, SerializationError(*content)
