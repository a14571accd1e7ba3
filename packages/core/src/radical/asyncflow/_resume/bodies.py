"""The functions of one run, as its journal knows them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import blake2b
from typing import NamedTuple

from .._text import safe_str
from ..journal import FunctionRecord
from ..journal._format import function_used
from ..model import DEFAULT_RESOURCES, TaskKind, TaskSpec
from .identity import Calls, Descriptions

__all__ = ["Bodies", "Body"]


class Body(NamedTuple):
    """A function of this run, as the journal knows it.

    Attributes:
        spec: its options.
        number: the number by which the tasks in the journal refer to it.
        prefix: the bytes with which the identity of each of its calls begins.
        why: the reason why its calls have no identity; None if they have one.
        calls: makes equal calls of it equal, however they are written.
    """

    spec: TaskSpec
    number: int
    prefix: bytes
    why: str | None
    calls: Calls


class Bodies:
    """The bodies of one run, each with its number and the common part of its calls' identities."""

    def __init__(self, append: Callable[[bytes], object], descriptions: Descriptions) -> None:
        self._append = append
        self._descriptions = descriptions
        self._latest: dict[TaskSpec, tuple[Body, bytes, str | None]] = {}
        self._known: dict[tuple[TaskSpec, bytes, str | None], Body] = {}

    def register_body(self, spec: TaskSpec) -> Body:
        """Return the latest body of *spec*; the first time, also write it to the journal."""
        latest = self._latest.get(spec)
        return self.describe_body(spec) if latest is None else latest[0]

    def describe_body(self, spec: TaskSpec) -> Body:
        """Return the body of *spec* as it is now, with all that it can reach.

        When it is another than before, also write it to the journal.
        """
        digest, why, parts = self._describe(spec)
        latest = self._latest.get(spec)
        if latest is not None and latest[1] == digest and latest[2] == why:
            return latest[0]
        key = spec, digest, why
        body = self._known.get(key)
        if body is None:
            body = self._known[key] = self._new(spec, digest.hex(), why, parts)
        self._latest[spec] = body, digest, why
        return body

    def changed(self, body: Body) -> str | None:
        """Return what has changed of what *body* reaches, such as "LIMIT changed"; or None."""
        if self._latest[body.spec][0] is not body:
            return "something that it uses changed"
        try:
            changed = self._descriptions.changed(body.spec.function)
            if changed is None and body.spec.answer is not None:
                changed = self._descriptions.changed(body.spec.answer)
            return changed
        except Exception as error:  # raised by a class of the user's
            return f"{safe_str(error)} was raised"

    def _describe(self, spec: TaskSpec) -> tuple[bytes, str | None, Mapping[str, str]]:
        if spec.kind is TaskKind.BLOCK:
            return b"", "a block runs again; the results of its tasks are reused", {}
        if spec.cache is False:
            return b"", "cache=False", {}
        try:
            described = self._descriptions.describe(spec.function)
            if spec.answer is not None and described.why is None:
                # The answer is asked for, and made, as the model says.
                model = self._descriptions.describe(spec.answer)
                digest = blake2b(described.digest + model.digest, digest_size=16).digest()
                return digest, model.why, {**described.parts, **model.parts}
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # raised by a class among what it reaches
            return b"", safe_str(error), {}
        return described.digest, described.why, described.parts

    def _new(
        self, spec: TaskSpec, source: str, why: str | None, reached: Mapping[str, str]
    ) -> Body:
        number = len(self._known) + 1
        resources = {
            name: getattr(spec.resources, name)
            for name in ("cores", "gpus", "memory", "ranks")
            if getattr(spec.resources, name) != getattr(DEFAULT_RESOURCES, name)
        }
        record = FunctionRecord(
            *(number, spec.name, str(spec.kind), source, spec.version, _cache(spec)),
            *(resources, reached),
        )
        self._append(function_used(record))
        parts: tuple[object, ...] = (
            *(spec.kind, spec.name, source, spec.version, spec.capture_stdio),
            *_shape(spec),
        )
        prefix = blake2b(repr(parts).encode(), digest_size=16).digest()
        return Body(spec, number, prefix, why, Calls(spec.function))


def _shape(spec: TaskSpec) -> tuple[object, ...]:
    """Return what else of *spec* a result depends on, such as ranks or a container."""
    ranks = spec.resources.ranks
    if spec.kind is TaskKind.FUNCTION:
        return ("ranks", ranks) if spec.mpi_result == "list" and ranks > 1 else ()
    shape: tuple[object, ...] = ()
    if spec.command is not None:
        env = spec.command.env or {}
        shape += ("command", spec.command.shell, spec.command.cwd, sorted(env.items()))
    if spec.shell:
        shape += ("shell", spec.shell)
    if spec.container:
        # Not its runtime: the same image gives the same results with another one.
        container = spec.container
        shape += ("container", container.image, container.binds, container.options)
    return shape


def _cache(spec: TaskSpec) -> str:
    if spec.cache is False or spec.kind is TaskKind.BLOCK:
        return "no"
    if spec.cache == "always":
        return "always"
    return "yes" if spec.cache_key is None else "key"
