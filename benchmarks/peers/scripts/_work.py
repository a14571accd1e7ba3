"""What every peer's script shares: the bodies, the clock and the form of the answer.

These scripts run in environments that have the peer and nothing of ours.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable

WORKERS = 2
TRUE = "/bin/true"
WARM = 8


def one_more(number: int) -> int:
    return number + 1


def true() -> int:
    """For engines that have no commands of their own: what a user would write."""
    import subprocess

    return subprocess.run([TRUE], capture_output=True, check=True).returncode


def kind() -> str:
    return sys.argv[1]


def answer(distribution: str, works: dict[str, Callable[[int], int]]) -> None:
    """Run the work that was asked for and print its time; each returns how many it did."""
    work, size = works[sys.argv[2]], int(sys.argv[3])
    work(WARM)
    began = time.perf_counter()
    count = work(size)
    seconds = time.perf_counter() - began
    if count != size:
        raise SystemExit(f"{count} of {size} tasks were done")
    version = importlib.metadata.version(distribution)
    print(json.dumps({"seconds": seconds, "version": version}), flush=True)
