"""When a service is up, and what it says of itself then."""

from __future__ import annotations

import re
from pathlib import Path

from radical.asyncflow.backend import TaskSpec
from radical.asyncflow.errors import UnsupportedOptionError

__all__ = ["Watch", "watch_of"]

_STREAMS = ("stdout", "stderr")
_BLOCK = 1 << 20


class Watch:
    """Looks for a pattern in a stream of a service.

    As RADICAL-Pilot does: line by line, and what the last group of the pattern matched
    is the service's info, or all that matched where it has no group.  RADICAL-Pilot's own
    services are not used: an agent takes no other task until a service is up, and never
    again if that ends before, even if it is cancelled.
    """

    def __init__(self, stream: str, pattern: re.Pattern[str]) -> None:
        self.stream = stream
        self._pattern = pattern
        self._place = 0
        self._rest = b""

    def look(self, path: Path) -> str | None:
        """The info, once it is in the file at *path*."""
        try:
            with path.open("rb") as file:
                file.seek(self._place)
                block = file.read(_BLOCK)
        except FileNotFoundError:
            return None
        self._place += len(block)
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            match = self._pattern.search(line.decode("utf-8", "replace"))
            if match is not None:
                return match[match.re.groups] or ""
        return None


def watch_of(spec: TaskSpec) -> Watch | None:
    """How to see that the service *spec* is up; None if that is when it runs.

    Raises:
        UnsupportedOptionError: ``info_pattern`` is none.
    """
    given = spec.description.get("info_pattern")
    if given is None:
        return None
    stream, colon, pattern = str(given).partition(":")
    if stream not in _STREAMS or not colon:
        raise UnsupportedOptionError(
            f"task {spec.name!r}: info_pattern must be 'stdout:REGULAR EXPRESSION' or "
            f"'stderr:...', not {given!r}"
        )
    try:
        return Watch(stream, re.compile(pattern))
    except re.error as exc:
        raise UnsupportedOptionError(
            f"task {spec.name!r}: info_pattern is no regular expression: {exc}"
        ) from exc
