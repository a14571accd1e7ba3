"""A task's exception on its way from a worker to the engine."""

from __future__ import annotations

import io
import pickle
import traceback as tracebacks
from dataclasses import dataclass
from typing import Any

from .._public import public
from .._text import cut_middle, safe_message, safe_str
from ..errors import RemoteError, RemoteTraceback

__all__ = ["Failure", "safe_str"]

public("radical.asyncflow.worker")(safe_str)

_TEXT_LIMIT = 64 * 1024  # characters of a message or a traceback; both ends are kept
_REASON_LIMIT = 500  # characters of why an exception could not be rebuilt
_MOST_CAUSES = 20


@public("radical.asyncflow.worker")
@dataclass(frozen=True, slots=True)
class Failure:
    """An exception as bytes, and as text in case the bytes cannot be read.

    Attributes:
        type_name: qualified name of its type.
        message: its text.
        traceback: the formatted traceback, with those of its causes, at most 64 KB.
        pickled: the exception and its causes; None if it cannot be pickled.
    """

    type_name: str
    message: str
    traceback: str
    pickled: bytes | None

    @classmethod
    def pack(cls, exc: BaseException) -> Failure:
        """Pack everything of *exc* that can travel; never raises, whatever its methods do."""
        kind = type(exc)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        name = f"{module}{kind.__qualname__}"
        message = cut_middle(safe_message(exc), _TEXT_LIMIT)
        return cls(name, message, _traceback(exc, name), _pickle(exc))

    def rebuild(self) -> BaseException:
        """Return the exception, or a `RemoteError` in its place; never raises.

        Its ``__cause__`` is a `RemoteTraceback`.  An exception that was raised from
        another one keeps that as its cause if it can be rebuilt as well; the
        `RemoteTraceback` then stands at the end of the chain.
        """
        end = RemoteTraceback(self.traceback)
        reason = "it could not be pickled"
        if self.pickled is not None:
            try:
                return _unpickle(self.pickled, end)
            except BaseException as exc:  # unpickling runs foreign code, which may even exit
                reason = f"it could not be rebuilt here: {safe_str(exc)}"
        error = RemoteError(self.type_name, self.message)
        error.add_note(
            f"({self.type_name} is replaced by RemoteError: {cut_middle(reason, _REASON_LIMIT)})"
        )
        error.__cause__ = end
        return error


def _traceback(exc: BaseException, name: str) -> str:
    try:
        return cut_middle("".join(tracebacks.format_exception(exc)), _TEXT_LIMIT)
    except BaseException as error:  # foreign code, or a recursion too deep to be formatted
        return f"{name}: its traceback could not be formatted ({type(error).__name__})\n"


def _pickle(exc: BaseException) -> bytes | None:
    """Pickle a list of (pickled exception, notes): *exc* and then its causes.

    They are pickled one by one, so that a cause which cannot be pickled costs no more
    than itself.  The notes go apart, because a ``__reduce__`` may forget them.
    """
    from ._reducers import Pickler  # it imports cloudpickle, which is slow, and rarely needed

    chain: list[tuple[bytes, list[str]]] = []
    link: BaseException | None = exc
    seen: set[int] = set()
    while link is not None and len(chain) < _MOST_CAUSES and id(link) not in seen:
        seen.add(id(link))
        try:
            notes = [str(note) for note in getattr(link, "__notes__", ())]
            file = io.BytesIO()
            Pickler(file).dump(link)
            chain.append((file.getvalue(), notes))
            link = link.__cause__
        except BaseException:  # foreign code; the text of the chain travels in any case
            break
    return pickle.dumps(chain) if chain else None


def _unpickle(pickled: bytes, end: RemoteTraceback) -> BaseException:
    chain: list[tuple[bytes, list[str]]] = pickle.loads(pickled)
    first = _link(*chain[0])
    last = first
    for blob, notes in chain[1:]:
        try:
            cause = _link(blob, notes)
        except BaseException:  # foreign code; the chain ends here, its text is in *end*
            break
        last.__cause__ = cause
        last = cause
    last.__cause__ = end
    return first


def _link(blob: bytes, notes: list[str]) -> BaseException:
    exc: Any = pickle.loads(blob)
    if not isinstance(exc, BaseException):
        raise TypeError(f"its pickle holds an object of type {type(exc).__name__}")
    if notes and getattr(exc, "__notes__", None) != notes:
        exc.__notes__ = notes
    return exc
