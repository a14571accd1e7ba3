"""The sign that a service is up, and the text that is its result."""

from __future__ import annotations

import re
from pathlib import Path

from radical.asyncflow.backend import TaskSpec
from radical.asyncflow.errors import UnsupportedOptionError

__all__ = ["InfoSearch", "info_search"]

_STREAMS = ("stdout", "stderr")
_BLOCK_BYTES = 1 << 20


class InfoSearch:
    """A search for a pattern in what a service writes.

    It goes line by line, as RADICAL-Pilot does.  What the last group of the pattern matches
    is the service's info; without a group, it is all that matches.  RADICAL-Pilot's own
    services are not used: an agent takes no other task until its service is up, and if that
    ends or is cancelled before, it never takes one again.

    Attributes:
        stream: ``"stdout"`` or ``"stderr"``.
    """

    def __init__(self, stream: str, pattern: re.Pattern[str]) -> None:
        self.stream = stream
        self._pattern = pattern
        self._offset = 0
        self._unfinished_line = b""

    def search(self, file: Path) -> str | None:
        """Return the info if what was written to *file* since the last call has it."""
        try:
            with file.open("rb") as stream:
                stream.seek(self._offset)
                block = stream.read(_BLOCK_BYTES)
        except FileNotFoundError:
            return None
        self._offset += len(block)
        *lines, self._unfinished_line = (self._unfinished_line + block).split(b"\n")
        for line in lines:
            match = self._pattern.search(line.decode("utf-8", "replace"))
            if match is not None:
                return match[match.re.groups] or ""
        return None


def info_search(spec: TaskSpec) -> InfoSearch | None:
    """Return the search that the service *spec* asks for; None if it is up when it runs.

    Raises:
        UnsupportedOptionError: its ``info_pattern`` is not one.
    """
    given = spec.description.get("info_pattern")
    if given is None:
        return None
    stream, colon, pattern = str(given).partition(":")
    if stream not in _STREAMS or not colon:
        raise UnsupportedOptionError(
            f"task {spec.name!r}: info_pattern must be 'stdout:REGULAR EXPRESSION' or "
            f"'stderr:REGULAR EXPRESSION', not {given!r}"
        )
    try:
        return InfoSearch(stream, re.compile(pattern))
    except re.error as exc:
        raise UnsupportedOptionError(
            f"task {spec.name!r}: the regular expression in info_pattern is wrong: {exc}"
        ) from exc
