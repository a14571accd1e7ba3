"""A program of several ranks, which the tests run."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from mpi4py.MPI import COMM_WORLD as WORLD


def tell() -> None:
    total = WORLD.allreduce(WORLD.rank)
    more = f"{os.environ['HELLO']} {sys.stdin.read()}"
    print(WORLD.rank, WORLD.size, total, socket.gethostname(), more)


def wait(folder: Path, end: str) -> None:
    """Start a process that leaves the group, tell of both, and wait for the end."""
    child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
    # What the kernel shows is what the process began with.
    first = Path("/proc/self/environ").read_bytes().split(b"\0")
    (token,) = [each.decode() for each in first if each.startswith(b"ASYNCFLOW_PROGRAM=")]
    part = folder / f"{WORLD.rank}.part"
    part.write_text(f"{os.getpid()} {child.pid} {socket.gethostname()} {token}")
    part.rename(folder / f"{WORLD.rank}.rank")
    WORLD.barrier()
    if WORLD.rank == WORLD.size - 1:
        if end == "exit":
            os._exit(3)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if end == "abort":
            WORLD.Abort(7)
    time.sleep(3600)


if __name__ == "__main__":
    if sys.argv[1:]:
        wait(Path(sys.argv[1]), sys.argv[2])
    else:
        tell()
