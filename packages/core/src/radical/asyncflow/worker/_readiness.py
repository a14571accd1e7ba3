"""Look whether a service is up, at the place where it runs."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path

from .._public import public
from ..model import Readiness

__all__ = ["OutputSearch", "find_info", "find_other"]

_FIRST_PAUSE_S = 0.005  # between two looks
_LONGEST_PAUSE_S = 0.1
_BLOCK_BYTES = 1 << 20
_ANSWER_S = 2.0  # that one look at an address may take
_FIRST_ERROR = 400  # of the status codes of HTTP


@public("radical.asyncflow.worker")
class OutputSearch:
    """A search for *expression*, line by line, in a file that grows.

    Attributes:
        is_behind: True if the file probably has more to search.
    """

    def __init__(self, expression: re.Pattern[str]) -> None:
        self._expression = expression
        self._offset = 0
        self._unfinished_line = b""
        self.is_behind = False

    def search(self, file: Path) -> str | None:
        """Return the info if what was written to *file* since the last call has it.

        The info is what the last group matches; without a group, all that matches.  One call
        reads 1 MiB at most.  Of a line that is longer, the last 1 MiB counts.
        """
        try:
            with file.open("rb") as stream:
                stream.seek(self._offset)
                block = stream.read(_BLOCK_BYTES)
        except FileNotFoundError:
            return None
        self._offset += len(block)
        self.is_behind = len(block) == _BLOCK_BYTES
        *lines, self._unfinished_line = (self._unfinished_line + block).split(b"\n")
        for line in lines:
            match = self._expression.search(line.decode("utf-8", "replace"))
            if match is not None:
                return match[match.re.groups] or ""
        self._unfinished_line = self._unfinished_line[-_BLOCK_BYTES:]
        return None


class Probe:
    """A look at the address and the port of a service; *host* is where it runs."""

    def __init__(self, url: str | None, port: int | None, host: str = "localhost") -> None:
        self._url = url
        self._port = port
        self._host = host

    @property
    def info(self) -> str:
        """The info of a service that is up, where its output does not have it."""
        if self._url is not None:
            return self._url
        return f"{self._host}:{self._port}" if self._port is not None else ""

    def is_up(self) -> bool:
        """Tell whether all that is looked at answers."""
        return (self._port is None or takes_connections(self._host, self._port)) and (
            self._url is None or answers(self._url)
        )

    def find_other(self) -> str | None:
        """Return, in words, what answers before the service has begun; None if nothing does."""
        if self._port is not None and takes_connections(self._host, self._port):
            return f"port {self._port} is in use"
        if self._url is not None and answers(self._url):
            return f"{self._url} answers"
        return None


@public("radical.asyncflow.worker")
def find_other(readiness: Readiness, host: str = "localhost") -> str | None:
    """Return, in words, what answers in the place of a service that has not begun yet.

    Args:
        host: as others call this machine.
    """
    return Probe(readiness.fixed_url, readiness.ready_port, host).find_other()


@public("radical.asyncflow.worker")
def find_info(
    readiness: Readiness,
    streams: Mapping[str, Path],
    stopped: Callable[[float], bool],
    host: str = "localhost",
) -> str | None:
    """Wait until a service that runs here is up, and return its info; None if *stopped* said so.

    Args:
        streams: the files with its ``"stdout"`` and ``"stderr"``.
        stopped: waits for so many seconds, and returns whether to give up.
        host: as others call this machine.
    """
    written = _find_in_output(readiness, streams, stopped)
    if written is None:
        return None
    probe = Probe(readiness.url(written), readiness.ready_port, host)
    info = probe.info if readiness.info_pattern is None else written
    return _poll(lambda: info if probe.is_up() else None, stopped)


def _find_in_output(
    readiness: Readiness, streams: Mapping[str, Path], stopped: Callable[[float], bool]
) -> str | None:
    """Wait until the output has the info; an empty one if there is no pattern to find it by."""
    expression = readiness.expression
    if expression is None:
        return ""
    search = OutputSearch(expression)
    path = streams[readiness.stream]

    def look() -> str | None:
        found = search.search(path)
        while found is None and search.is_behind and not stopped(0.0):
            found = search.search(path)
        return found

    return _poll(look, stopped)


def _poll(look: Callable[[], str | None], stopped: Callable[[float], bool]) -> str | None:
    """Call *look* until it returns something, or *stopped* is true."""
    pause = _FIRST_PAUSE_S
    while (found := look()) is None:
        if stopped(pause):
            return None
        pause = min(1.5 * pause, _LONGEST_PAUSE_S)
    return found


def takes_connections(host: str, port: int) -> bool:
    """Tell whether a TCP port takes connections."""
    try:
        with socket.create_connection((host, port), timeout=_ANSWER_S):
            return True
    except OSError:
        return False


def answers(url: str) -> bool:
    """Tell whether an http address answers with a status below 400."""
    if not url.startswith(("http://", "https://")):  # the output of a service decides
        return False
    # Imported here, because each worker loads this module, and few have a service.
    import http.client
    import urllib.request

    # A proxy of the environment knows nothing of a service that has just begun here.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_ANSWER_S) as answer:
            return bool(answer.status < _FIRST_ERROR)
    except (OSError, http.client.HTTPException, ValueError):
        return False
