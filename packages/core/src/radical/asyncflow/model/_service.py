"""The signs that a service is up, which are a pattern in its output, an address and a port."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .._public import public
from ..errors import ConfigurationError

__all__ = ["NO_SIGN", "Readiness"]

_STREAMS = ("stdout", "stderr")
_LAST_PORT = 65535
_PLACE = "{info}"
_ADDRESS = re.compile(r"https?://[^/\s]+(/\S*)?")


@public("radical.asyncflow.model")
@dataclass(frozen=True, slots=True)
class Readiness:
    """The signs that a service is up; all that are given must be there.

    Without any, the service is up when its command runs.

    Attributes:
        info_pattern: ``"stdout:REGULAR EXPRESSION"`` or ``"stderr:..."``, searched for in each
            line.  What its last group matches, or else the whole match, is the info.
        ready_url: an ``http`` address that answers with a status below 400, asked for where the
            service runs.  It may contain ``{info}``.  It is the info where there is no pattern.
        ready_port: a TCP port that takes connections where the service runs.  ``HOST:PORT`` is
            the info where there is nothing else.

    Raises:
        ConfigurationError: names every sign that is wrong.
    """

    info_pattern: str | None = None
    ready_url: str | None = None
    ready_port: int | None = None

    def __post_init__(self) -> None:
        problems = [
            *_wrong_pattern(self.info_pattern),
            *_wrong_url(self.ready_url, has_info=self.info_pattern is not None),
            *_wrong_port(self.ready_port),
        ]
        if problems:
            raise ConfigurationError("; ".join(problems))

    @property
    def stream(self) -> str:
        """The stream in which the pattern is searched for, ``"stdout"`` or ``"stderr"``."""
        return (self.info_pattern or "").partition(":")[0]

    @property
    def expression(self) -> re.Pattern[str] | None:
        """The regular expression of the pattern; None without a pattern."""
        if self.info_pattern is None:
            return None
        return re.compile(self.info_pattern.partition(":")[2])

    @property
    def fixed_url(self) -> str | None:
        """The address to ask for, if it is known before the service has begun."""
        return None if self.ready_url is None or _PLACE in self.ready_url else self.ready_url

    def describe(self) -> str:
        """Return in words, as the end of a sentence, when a service is up."""
        signs = []
        if self.info_pattern is not None:
            _, _, pattern = self.info_pattern.partition(":")
            signs.append(f"a line of its {self.stream} matches {pattern!r}")
        if self.ready_url is not None:
            signs.append(f"{self.ready_url} answers with a status below 400")
        if self.ready_port is not None:
            signs.append(f"port {self.ready_port} takes connections")
        return " and ".join(signs) or "it runs"

    def url(self, info: str) -> str | None:
        """Return the address to ask for when *info* is known; None if there is none to ask for."""
        return None if self.ready_url is None else self.ready_url.replace(_PLACE, info)


def _wrong_pattern(given: object) -> list[str]:
    if given is None:
        return []
    stream, colon, pattern = given.partition(":") if isinstance(given, str) else ("", "", "")
    if stream not in _STREAMS or not colon:
        return [
            "info_pattern must be 'stdout:REGULAR EXPRESSION' or 'stderr:REGULAR EXPRESSION', "
            f"not {given!r}"
        ]
    try:
        re.compile(pattern)
    except re.error as error:
        return [f"the regular expression in info_pattern is wrong: {error}"]
    return []


def _wrong_url(given: object, *, has_info: bool) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        if _PLACE in given and not has_info:
            return [f"ready_url contains {_PLACE}, and there is no info_pattern to find it by"]
        # An address that begins with the info is known only when the info is.
        if given.startswith(_PLACE) or _ADDRESS.fullmatch(given):
            return []
    return [f"ready_url must be an http:// or https:// address with a host, not {given!r}"]


def _wrong_port(given: object) -> list[str]:
    is_port = isinstance(given, int) and not isinstance(given, bool) and 0 < given <= _LAST_PORT
    if given is None or is_port:
        return []
    return [f"ready_port must be a port from 1 to {_LAST_PORT}, not {given!r}"]


NO_SIGN = Readiness()
"""The readiness of a service that is up when it runs."""
