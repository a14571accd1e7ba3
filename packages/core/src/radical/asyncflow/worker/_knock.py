"""The node's end of a `NodeCheck`: connects to the program's machine, and writes the outcome down.

Run as a script, with nothing but the standard library; the argument is a folder that the node
and the program share.  `knock` is also called by workers that are up.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Sequence

JOB_ID_VARIABLES = (
    "SLURM_JOB_ID",
    "PBS_JOBID",
    "LSB_JOBID",
    "COBALT_JOBID",
    "FLUX_JOB_ID",
    "OAR_JOB_ID",
)
"""The environment variables in which batch systems tell a job its id."""

TARGETS = "targets.json"
NODE = "node.json"
OUTCOME = "outcome.json"

_TARGETS_WAIT_S = 30.0  # for the program to write the targets
_POLL_S = 0.1

Target = tuple[str, int, str]
"""Host, port, and what is sent from there at once; "" where nothing is."""


def knock(targets: Sequence[Target], limit_s: float) -> list[str]:
    """Connect to all *targets* at once, and say for each what went wrong; "" for nothing."""
    problems = [f"no answer within {limit_s:g} s"] * len(targets)

    def try_one(number: int) -> None:
        problems[number] = _try(*targets[number], limit_s)

    threads = [
        threading.Thread(target=try_one, args=(number,), daemon=True)
        for number in range(len(targets))
    ]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 2 * limit_s  # a name that must be looked up has no limit
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return list(problems)


def _try(host: str, port: int, greeting: str, limit_s: float) -> str:
    try:
        with socket.create_connection((host, port), limit_s) as connection:
            if greeting and _read(connection, len(greeting)) != greeting:
                return "something else than this program answers there"
    except socket.timeout:  # noqa: UP041 - the node may have an older Python
        return f"no answer within {limit_s:g} s"
    except OSError as error:
        return (error.strerror or str(error)).lower()
    return ""


def _read(connection: socket.socket, size: int) -> str:
    data = b""
    while len(data) < size and (piece := connection.recv(size - len(data))):
        data += piece
    return data.decode(errors="replace")


def main() -> None:
    """Say which node this is, wait for the targets, and write down what became of them."""
    folder = sys.argv[1]
    job = next((os.environ[name] for name in JOB_ID_VARIABLES if os.environ.get(name)), "")
    node = os.environ.get("SLURMD_NODENAME") or socket.gethostname()
    write(folder, NODE, {"node": node, "job": job})
    deadline = time.monotonic() + _TARGETS_WAIT_S
    while not os.path.exists(os.path.join(folder, TARGETS)):  # noqa: PTH110, PTH118
        if time.monotonic() >= deadline:
            sys.exit("the program did not say what to connect to")
        time.sleep(_POLL_S)
    with open(os.path.join(folder, TARGETS), encoding="utf-8") as file:  # noqa: PTH118, PTH123
        order = json.load(file)
    targets = [(str(host), int(port), str(greeting)) for host, port, greeting in order["targets"]]
    write(folder, OUTCOME, knock(targets, order["limit_s"]))


def write(folder: str, name: str, value: object) -> None:
    """Write *value* so that a reader finds all of it or nothing."""
    path = os.path.join(folder, name)  # noqa: PTH118
    with open(f"{path}.part", "w", encoding="utf-8") as file:  # noqa: PTH123
        json.dump(value, file)
    os.replace(f"{path}.part", path)  # noqa: PTH105


if __name__ == "__main__":
    main()
