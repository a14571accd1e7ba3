"""Look whether a service is up, on the node where it runs, and leave its info in a file."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path

from radical.asyncflow.model import Readiness
from radical.asyncflow.worker import find_info, find_other

__all__ = ["main"]


def main(order: str, shell: str) -> None:
    """Do what *order* says, in JSON, as long as the process *shell* lives.

    This returns when the service may begin; a process that it leaves behind does the rest.

    Raises:
        SystemExit: something answers in the place of the service.
    """
    signs, stdout, stderr, target, is_local = json.loads(order)
    readiness = Readiness(**signs)
    host = "localhost" if is_local else socket.gethostname()
    if found := find_other(readiness, host):
        sys.exit(f"the service was not started, because {found} already")
    if os.fork():
        return
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)

    def stopped(pause: float) -> bool:
        time.sleep(pause)
        return not _lives(int(shell))

    streams = {"stdout": Path(stdout), "stderr": Path(stderr)}
    info = find_info(readiness, streams, stopped, host)
    if info is not None:
        written = Path(f"{target}.new")
        written.write_text(info)
        written.rename(target)
    os._exit(0)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
