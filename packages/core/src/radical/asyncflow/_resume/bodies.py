"""The functions of one run, as its journal knows them."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import NamedTuple

from .._text import safe_str
from ..journal import FunctionRecord
from ..journal._format import function_used
from ..model import DEFAULT_RESOURCES, TaskKind, TaskSpec
from .identity import Unidentified, content
from .source import source_hash

__all__ = ["Bodies", "Body"]


class Body(NamedTuple):
    """A function of this run, as the journal knows it.

    Attributes:
        number: the number by which the tasks in the journal refer to it.
        prefix: the bytes with which the identity of each of its calls begins.
        why: the reason why its calls have no identity; None if they have one.
    """

    number: int
    prefix: bytes
    why: str | None


class Bodies:
    """The bodies of one run, each with its number and the common part of its calls' identities."""

    def __init__(self, append: Callable[[bytes], object]) -> None:
        self._append = append
        self._known: dict[TaskSpec, Body] = {}

    def register_body(self, spec: TaskSpec) -> Body:
        """Return the body of *spec*; the first time, also write its record to the journal."""
        body = self._known.get(spec)
        if body is None:
            body = self._known[spec] = self._new(spec)
        return body

    def _new(self, spec: TaskSpec) -> Body:
        source = ""
        why = None
        if spec.kind is TaskKind.BLOCK:
            why = "a block runs again; the results of its tasks are reused"
        elif spec.cache is False:
            why = "cache=False"
        else:
            try:
                source = source_hash(spec.function, content)
            except (TypeError, Unidentified) as error:
                why = str(error)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # raised by a class among its defaults or constants
                why = safe_str(error)
        number = len(self._known) + 1
        resources = {
            name: getattr(spec.resources, name)
            for name in ("cores", "gpus", "memory", "ranks")
            if getattr(spec.resources, name) != getattr(DEFAULT_RESOURCES, name)
        }
        record = FunctionRecord(
            number, spec.name, str(spec.kind), source, spec.version, _cache(spec), resources
        )
        self._append(function_used(record))
        parts = (spec.kind, spec.name, source, spec.version, spec.capture_stdio)
        return Body(number, blake2b(repr(parts).encode(), digest_size=16).digest(), why)


def _cache(spec: TaskSpec) -> str:
    if spec.cache is False or spec.kind is TaskKind.BLOCK:
        return "no"
    if spec.cache == "always":
        return "always"
    return "yes" if spec.cache_key is None else "key"
