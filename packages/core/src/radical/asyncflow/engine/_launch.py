"""Choose the backends of an engine, start them and end them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from .._text import safe_repr, safe_str, truncate
from ..backend import ExecutionBackend
from ..backend._sharing import leave
from ..errors import AsyncFlowError, BackendError, BackendStartError, ConfigurationError

if TYPE_CHECKING:
    from .._discovery.profiles import Choice
    from ..backend._lane import Lane

__all__ = ["BackendChoice", "check_uid", "choose", "end", "end_all", "stand_in", "start"]

log = logging.getLogger("radical.asyncflow")

BACKEND_GRACE_S = 15.0
"""Seconds that a backend has to shut down."""

LONGEST_UID = 150
"""The most bytes of a uid, which is a part of names of files (255 bytes at most)."""

BackendChoice = str | ExecutionBackend | Sequence[str | ExecutionBackend]


def choose(
    backend: BackendChoice | None,
    config: Mapping[str, Any] | None,
    dry_run: bool,
    profile: str | None,
) -> list[Sequence[Choice | ExecutionBackend]]:
    """Return, for each backend to run on, those that may take its place, the preferred first.

    Raises:
        ConfigurationError: the choice or its settings are wrong.
    """
    from .._discovery import profiles

    if config is not None and not isinstance(config, Mapping):
        shown = truncate(safe_repr(config), 80)
        raise ConfigurationError(f"config must map names to values, not {shown}")
    if backend is None or isinstance(backend, str):
        name = "noop" if dry_run and backend is None else backend
        if dry_run and backend is None:
            config = None
        choices = profiles.resolve(backend=name, config=config, profile=profile)
        return [choice.candidates for choice in choices]
    several = isinstance(backend, Iterable) and not isinstance(backend, type | ExecutionBackend)
    if config is not None:
        raise ConfigurationError(
            "config is for one backend; create several backends with the factory"
            if several
            else "config is for a backend that is given by name; give it to the instance itself"
        )
    items: list[Any] = [*cast(Iterable[Any], backend)] if several else [backend]
    given = [item if isinstance(item, str | ExecutionBackend) else _adopted(item) for item in items]
    wrong = [item for item in given if not isinstance(item, str | ExecutionBackend)]
    if wrong or not given:
        raise ConfigurationError(
            "backend must be a name, an ExecutionBackend or an object that a plugin makes one of, "
            "or several of these, not " + (repr(wrong[0]) if wrong else "an empty list")
        )
    return [
        profiles.preferred(item).candidates if isinstance(item, str) else (item,) for item in given
    ]


def _adopted(item: Any) -> Any:
    """Return the backend that a plugin makes of *item*, or *item* itself if none knows it."""
    from .._discovery.registry import registry

    return registry.adopt(item) or item


def check_uid(uid: object) -> None:
    """Raise ConfigurationError unless *uid* is None or can be part of the name of a file."""
    if uid is None:
        return
    if not isinstance(uid, str) or "/" in uid:
        raise ConfigurationError(f"uid must be a string without '/', not {truncate(repr(uid), 80)}")
    length = len(uid.encode("utf-8", "surrogatepass"))
    if not 0 < length <= LONGEST_UID or uid in (".", "..") or not uid.isprintable():
        raise ConfigurationError(
            f"uid must be usable in the names of files: 1 to {LONGEST_UID} bytes of printable "
            f"characters, not {truncate(repr(uid), 80)} with {length}"
        )


def stand_in(backend: ExecutionBackend) -> ExecutionBackend:
    """Return the backend that takes the place of *backend* in a dry run."""
    from .._discovery.registry import registry

    return registry.create("noop", {"name": backend.name})


async def start(lane: Lane) -> None:
    """Start the backend of *lane*.

    Raises:
        BackendStartError: the backend did not start.
    """
    backend = lane.backend
    try:
        await backend.start(lane.sink)
    except BaseException as error:
        lane.sink.note_start(error)
        if isinstance(error, AsyncFlowError) or not isinstance(error, Exception):
            raise
        raise BackendStartError(
            f"backend {backend.name!r} did not start: {safe_str(error)}"
        ) from error
    lane.sink.note_start(None)


async def end(lane: Lane, *, keep: bool = False, last: bool = False) -> None:
    """Shut down the backend of *lane* within `BACKEND_GRACE_S` seconds, and cancel its tasks.

    It goes on if another engine uses it, or if the program holds it.

    Args:
        keep: leave it running, because the program will use it again.
        last: nobody can use it again, because the loop is being closed.

    Raises:
        BackendError: the backend did not shut down cleanly, or not in time.
    """
    backend = lane.backend
    try:
        async with asyncio.timeout(BACKEND_GRACE_S):
            await leave(backend, lane.sink, keep=keep, last=last)
    except Exception as error:
        log.exception("backend %r did not shut down cleanly", backend.name)
        reason = safe_repr(error)
        raise BackendError(f"backend {backend.name!r} did not shut down: {reason}") from error


async def end_all(lanes: Iterable[Lane]) -> None:
    """Shut down the backends of *lanes* all at once; their errors are logged."""
    await asyncio.gather(*map(end, lanes), return_exceptions=True)
