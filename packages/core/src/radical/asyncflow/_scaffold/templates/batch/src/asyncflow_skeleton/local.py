"""A batch system for one machine, without queues: `submit SCRIPT`, `status IDS`, `cancel IDS`.

Each job has a keeper, a process that runs the script, and in the end kills what the script left
behind, as the daemon of a real batch system does. The id of the job is that of its keeper. It
imports nothing but the standard library, so that a call takes a few milliseconds.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "LOCAL_JOB"  # marks the processes of a job
GRACE_S = 3.0  # between SIGTERM and SIGKILL
LOOK_S = 0.01


def submit(script: str) -> None:
    """Start the keeper of a job, and print the id of the job."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        print(pid)
        return
    os.setsid()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(null, descriptor)
    os._exit(keep(script))


def keep(script: str) -> int:
    """Run *script* to its end, and leave none of its processes behind."""
    job = str(os.getpid())
    cancelled = False

    def cancel(*_: object) -> None:
        nonlocal cancelled
        cancelled = True

    signal.signal(signal.SIGTERM, cancel)
    process = subprocess.Popen(["/bin/sh", script], env={**os.environ, VARIABLE: job})
    while process.poll() is None and not cancelled:
        time.sleep(LOOK_S)
    if cancelled:
        send(job, signal.SIGTERM)
        deadline = time.monotonic() + GRACE_S
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
    while send(job, signal.SIGKILL):
        process.poll()
        time.sleep(LOOK_S)
    return 0


def send(job: str, number: int) -> int:
    """Send a signal to the living processes of *job*, and return how many there were."""
    mark = f"{VARIABLE}={job}".encode()
    count = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if mark in (folder / "environ").read_bytes().split(b"\0") and lives(folder.name):
                os.kill(int(folder.name), number)
                count += 1
    return count


def lives(job: str) -> bool:
    """Tell whether there is such a process that is no zombie."""
    try:
        status = Path("/proc", job, "stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


def main(command: str, words: list[str]) -> None:
    """Do what the command line says."""
    if command == "submit":
        submit(words[0])
    elif command == "status":
        print("\n".join(filter(lives, words)))
    else:
        for job in words:
            with suppress(ProcessLookupError):
                os.kill(int(job), signal.SIGTERM)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
