"""The page of an engine, as its program has it: a process of its own that reads the journal."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from socket import gethostname
from time import monotonic, time
from typing import Any

from ..events import Event
from ._events import Item, items_of
from ._serving import TOKEN_VARIABLE, address, announcement, listen, needs, new_token

__all__ = ["PageProcess"]

log = logging.getLogger("radical.asyncflow")

CODE = """
import json, sys
order = json.loads(sys.stdin.buffer.readline())
sys.path[:] = order["path"]
from radical.asyncflow._live._child import main
main(order)
"""

END_S = 8.0
"""Seconds that the process has to tell its viewers of the end."""


class PageProcess:
    """A process that serves the page of the run *uid*.

    Args:
        journal: the journal of the run; None if events are to be sent.
        port: as for `WorkflowEngine.serve`.

    Attributes:
        url: the address of the page.
        announcement: words that say where the page is, also seen from another machine.

    Raises:
        ConfigurationError: the port or the token cannot be used, or a library is missing.
    """

    def __init__(
        self, uid: str, journal: str | None, *, port: int = 0, token: str | None = None
    ) -> None:
        needs()
        token = new_token(token or os.environ.get(TOKEN_VARIABLE))
        with listen(port) as listener:
            self.url = address(listener, token)
            self.announcement = announcement(listener, token)
            self._process = subprocess.Popen(
                [sys.executable, "-c", CODE],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=(listener.fileno(),),
                start_new_session=True,
            )
            order: dict[str, Any] = {
                "path": sys.path,
                "run": uid,
                "journal": journal,
                "listener": listener.fileno(),
                "token": token,
                "begun": time(),
                "clock": monotonic(),
                "about": {
                    "host": gethostname(),
                    "pid": os.getpid(),
                    "python": ".".join(map(str, sys.version_info[:3])),
                },
            }
            self._write(order)

    def send(self, events: Sequence[Event]) -> None:
        """Tell the process of *events*; this blocks while the process is behind."""
        self.send_items(items_of(events))

    def send_items(self, items: Iterable[Item]) -> None:
        """Tell the process what happened."""
        self._write([*items])

    def _write(self, value: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(value, separators=(",", ":")).encode() + b"\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """Let the process tell the end to its viewers, and wait for its own end."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        if code:
            log.warning("the process that served %s ended with exit code %d", self.url, code)
