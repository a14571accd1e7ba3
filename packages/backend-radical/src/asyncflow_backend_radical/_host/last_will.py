"""The order to the guard of this process: to cancel the pilot's job if this process is killed."""

from __future__ import annotations

import json
import os
import sys

from radical.asyncflow.worker import guard

__all__ = ["cancel_job_after_death"]

_PROGRAM = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from asyncflow_backend_radical._pilot.job_cancel import main
main()
"""
_NAMES = frozenset(
    {"HOME", "LANG", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "TZ", "USER", "XDG_RUNTIME_DIR"}
)
_BEGINNINGS = ("COBALT", "FLUX", "KRB5", "LSB", "LSF", "MUNGE", "OAR", "PBS", "SLURM")


def cancel_job_after_death(sandbox: str, job_manager: str) -> None:
    """Have the job of the pilot in *sandbox* cancelled if this process is killed.

    Nobody else would do it: the agent on other nodes goes on until the walltime is over.
    """
    words = [sys.executable, "-c", _PROGRAM, json.dumps(sys.path), sandbox, job_manager]
    guard().run_after_death(words, _batch_environment())


def _batch_environment() -> dict[str, str]:
    """Return the variables by which the programs of a batch system find it."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in _NAMES or name.startswith(_BEGINNINGS)
    }
