"""The work of a worker of Parsl's: start the process of its node, and tell of its end.

It then stays as long as its pool, because Parsl would give a free worker the work that is meant
for another node.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from radical.asyncflow.worker import child_environment, guard, start_guarded

from .._wire.lifeline import PROGRAM_GONE

__all__ = ["main"]

_PROGRAM = "from asyncflow_backend_parsl._node.agent import main; main()"
_TAIL_BYTES = 4000
_LOOK_S = 2.0  # between two looks at the pool that this process belongs to


def main(order: bytes) -> NoReturn:
    """Run a node; when it has ended, write how into a file, and wait for the end of the pool.

    Args:
        order: a `NodeOrder` as JSON; ``ends`` is the folder for the file.
    """
    pool = os.getppid()
    told = json.loads(order)
    told["block"] = os.environ.get("PARSL_WORKER_BLOCK_ID", "")
    guard().acquire()
    try:
        process = start_guarded(
            [sys.executable, "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **child_environment()},
        )
        said = _wait(process, json.dumps(told).encode(), pool)
        guard().forget(process.pid)
    finally:
        guard().release()
    if process.returncode == PROGRAM_GONE:
        # Nobody else would end the job, which lasts as long as anything of the pool.
        os.killpg(os.getpgid(pool), signal.SIGTERM)
    end = {
        "code": process.returncode,
        "said": said,
        "node": f"{socket.gethostname()}:{process.pid}",
        "block": told["block"],
    }
    with suppress(OSError):  # a program that is gone has taken the folder along
        file = Path(told["ends"], f"{uuid.uuid4()}.part")
        file.write_text(json.dumps(end))
        file.rename(file.with_suffix(".json"))
    while os.getppid() == pool:
        time.sleep(_LOOK_S)
    os._exit(0)


def _wait(process: subprocess.Popen[bytes], order: bytes, pool: int) -> str:
    """Return the last that *process* has said, when it has ended; end it after the *pool*."""
    rest: bytes | None = order
    while True:
        try:
            _, said = process.communicate(rest, _LOOK_S)
            return said[-_TAIL_BYTES:].decode(errors="replace")
        except subprocess.TimeoutExpired:
            rest = None
            if os.getppid() != pool:
                process.kill()
