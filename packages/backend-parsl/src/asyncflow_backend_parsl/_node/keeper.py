"""The process that a block starts on each node: it starts the agent, and tells how that ended.

It then stays until the program ends the block, because some launchers end one as soon as they miss
one process, and others of its nodes may go on.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from radical.asyncflow.worker import child_environment, guard, start_guarded

from .._wire.lifeline import PROGRAM_GONE

__all__ = ["main"]

_PROGRAM = "from asyncflow_backend_parsl._node.agent import main; main()"
_TAIL_BYTES = 4000
_LOOK_S = 2.0  # between two looks at the process that has started this one
_ASK_S = 30.0  # between two looks whether the program is still there
_ANSWER_S = 5.0
_MOST_MISSED = 3  # looks without an answer, until the program counts as gone


def main(file: str, block: str) -> int:
    """Run the agent; when it has ended, write how, and wait for the end of the block.

    Args:
        file: holds a `NodeOrder` as JSON; nobody but the user may read it.
        block: the name of the block.

    Returns:
        The exit code.
    """
    parent = os.getppid()
    try:
        text = Path(file).read_text()
    except OSError as error:
        return _fail(
            f"node {socket.gethostname()} cannot read its order ({error}): the folder of the run "
            "must be on a file system that the nodes share with the program"
        )
    order = {**json.loads(text), "block": block}
    guard().acquire()
    try:
        process = start_guarded(
            [sys.executable, "-P", "-c", _PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, **child_environment()},
        )
        said = _wait(process, json.dumps(order).encode(), parent)
        guard().forget(process.pid)
    finally:
        guard().release()
    _tell(process, said, order)
    if process.returncode != PROGRAM_GONE:
        _stay(parent, order["address"])
    return 1 if process.returncode else 0


def _wait(process: subprocess.Popen[bytes], order: bytes, parent: int) -> str:
    """Return the last that *process* has said, when it has ended; end it after the *parent*."""
    rest: bytes | None = order
    while True:
        try:
            _, said = process.communicate(rest, _LOOK_S)
            return said[-_TAIL_BYTES:].decode(errors="replace")
        except subprocess.TimeoutExpired:
            rest = None
            if os.getppid() != parent:
                process.kill()


def _stay(parent: int, address: list[Any]) -> None:
    """Return when the *parent* has ended, or the program at *address* does not answer any more."""
    hosts, _, port, *_ = address
    missed = 0
    next_ask = 0.0
    while os.getppid() == parent and missed < _MOST_MISSED:
        if time.monotonic() >= next_ask:
            missed = 0 if any(_answers(host, port) for host in hosts) else missed + 1
            next_ask = time.monotonic() + _ASK_S
        time.sleep(_LOOK_S)


def _answers(host: str, port: int) -> bool:
    try:
        socket.create_connection((host, port), _ANSWER_S).close()
    except OSError:
        return False
    return True


def _tell(process: subprocess.Popen[bytes], said: str, order: dict[str, Any]) -> None:
    """Write how *process* has ended: for the program, and among what the block prints."""
    sys.stderr.write(said)
    end = {
        "code": process.returncode,
        "said": said,
        "node": f"{socket.gethostname()}:{process.pid}",
        "block": order["block"],
    }
    with suppress(OSError):  # a program that is gone has taken the folder along
        file = Path(order["ends"], f"{uuid.uuid4()}.part")
        file.write_text(json.dumps(end))
        file.rename(file.with_suffix(".json"))


def _fail(problem: str) -> int:
    sys.stderr.write(f"{problem}\n")
    return 1
