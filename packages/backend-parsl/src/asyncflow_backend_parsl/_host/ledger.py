"""The jobs of a run in a file, so that somebody can end them when the program was killed."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

__all__ = ["Ledger", "end_jobs", "last_will"]

_FILE = "jobs.json"
_CANCEL: Mapping[str, tuple[str, ...]] = {
    "slurm": ("scancel",),
    "pbspro": ("qdel",),
    "torque": ("qdel",),
    "lsf": ("bkill",),
    "grid_engine": ("qdel",),
    "htcondor": ("condor_rm",),
}
_LIST = ("squeue", "--me", "--noheader", "--format=%i %j")
_TRY_S = 120.0  # for a batch system that does not answer at once
_PAUSE_S = 2.0
_CALL_LIMIT_S = 10.0
_PROGRAM = """
import json, shutil, sys
sys.path[:] = json.loads(sys.argv[1])
from asyncflow_backend_parsl._host.ledger import end_jobs
end_jobs(sys.argv[2])
shutil.rmtree(sys.argv[2], ignore_errors=True)
"""


class Ledger:
    """The file; the process that submits jobs writes it."""

    def __init__(self, folder: Path, system: str, label: str) -> None:
        self._file = folder / _FILE
        self._system = system
        self._label = label
        self.jobs: list[str] = []
        self._write()

    def add(self, job: str) -> None:
        """Note a job."""
        self.jobs.append(job)
        self._write()

    def drop(self, jobs: Collection[str]) -> None:
        """Forget jobs that have ended."""
        left = [job for job in self.jobs if job not in jobs]
        if left != self.jobs:
            self.jobs = left
            self._write()

    def end_unknown(self) -> bool:
        """End jobs that the batch system took though nobody heard of it, such as in a time-out.

        Returns:
            False if the batch system does not answer.
        """
        if self._system != "slurm":
            return True
        lines = _call(*_LIST)
        if lines is None:
            return False
        unknown = [
            job for job, name in _listed(lines) if self._label in name and job not in self.jobs
        ]
        return not unknown or _call(*_CANCEL[self._system], *unknown) is not None

    def clear(self) -> None:
        """Forget the jobs: they were ended."""
        self._file.unlink(missing_ok=True)

    def _write(self) -> None:
        part = self._file.with_suffix(".part")
        told = {"system": self._system, "label": self._label, "jobs": self.jobs}
        part.write_text(json.dumps(told))
        part.rename(self._file)


def last_will(folder: Path) -> Sequence[str]:
    """Return the command that ends the jobs of a program that was killed, and removes *folder*."""
    return [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), str(folder)]


def end_jobs(folder: str, limit_s: float = _TRY_S) -> list[str]:
    """End all jobs that the file in *folder* names, and those of its run that it does not.

    Args:
        limit_s: seconds until a batch system that does not answer is given up.

    Returns:
        The jobs that may still be there.
    """
    try:
        told = json.loads(Path(folder, _FILE).read_text())
    except OSError:
        return []
    command = _CANCEL.get(told["system"])
    if command is None:
        return []
    deadline = time.monotonic() + limit_s
    while True:
        jobs: list[str] = told["jobs"]
        if told["system"] == "slurm":
            jobs = _still_there(jobs, told["label"])
        if not jobs or _call(*command, *jobs) is not None:
            return []
        if time.monotonic() > deadline:
            return jobs
        time.sleep(_PAUSE_S)


def _still_there(jobs: list[str], label: str) -> list[str]:
    """Return those of *jobs* that Slurm still has, and others whose name has *label* in it."""
    lines = _call(*_LIST)
    if lines is None:
        return jobs
    return [job for job, name in _listed(lines) if job in jobs or label in name]


def _listed(lines: str) -> list[tuple[str, str]]:
    """Return the jobs, each with its name, in what `_LIST` prints."""
    return [(job, name) for job, _, name in (line.partition(" ") for line in lines.splitlines())]


def _call(*words: str) -> str | None:
    """Return what a program prints; None if it fails."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_CALL_LIMIT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
