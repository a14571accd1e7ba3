"""Use RADICAL-Pilot as one writes it by hand: ``python -m benchmarks._by_hand``, in a process.

It prints "ready".  Then it does what each line of its input says, such as "executables 200" or
"functions 500", and prints the seconds and the results as JSON.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import radical.pilot as rp  # type: ignore[import-untyped]

CORES = 8


@rp.pythontask  # type: ignore[untyped-decorator]
def double(number: int) -> int:
    return 2 * number


class ByHand:
    """A pilot, with a raptor on it from the first function on."""

    def __init__(self, session: Any) -> None:
        pilots = rp.PilotManager(session=session)
        self._tasks = rp.TaskManager(session=session)
        description = {
            "resource": "local.localhost",
            "cores": CORES,
            "runtime": 30,
            "exit_on_error": False,
            "sandbox": str(Path.cwd()),
        }
        self._pilot = pilots.submit_pilots(rp.PilotDescription(description))
        self._tasks.add_pilots(self._pilot)
        self._pilot.wait(rp.PMGR_ACTIVE)
        self._raptor: Any = None

    def executables(self, size: int) -> list[Any]:
        description = {"executable": "/bin/date"}
        tasks = self._tasks.submit_tasks([rp.TaskDescription(description) for _ in range(size)])
        self._tasks.wait_tasks([task.uid for task in tasks])
        return [task.exit_code for task in tasks]

    def functions(self, size: int) -> list[Any]:
        raptor = self._start_raptor()
        tasks = raptor.submit_tasks(
            [
                rp.TaskDescription({"mode": rp.TASK_FUNCTION, "function": double(number)})
                for number in range(size)
            ]
        )
        self._tasks.wait_tasks([task.uid for task in tasks])
        return [task.return_value for task in tasks]

    def _start_raptor(self) -> Any:
        if self._raptor is None:
            master = {"mode": rp.RAPTOR_MASTER, "named_env": "rp"}
            self._raptor = self._pilot.submit_raptors([rp.TaskDescription(master)])[0]
            worker = {
                "mode": rp.RAPTOR_WORKER,
                "raptor_class": "DefaultWorker",
                "named_env": "rp",
                "ranks": 1,
                "cores_per_rank": CORES - 2,
            }
            self._raptor.submit_workers([rp.TaskDescription(worker)])
        return self._raptor


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chdir(folder)
        session = rp.Session()
        try:
            pilot = ByHand(session)
            print("ready", flush=True)
            for line in sys.stdin:
                what, size = line.split()
                began = time.perf_counter()
                result = getattr(pilot, what)(int(size))
                print(json.dumps([time.perf_counter() - began, result]), flush=True)
        finally:
            session.close()


if __name__ == "__main__":
    main()
