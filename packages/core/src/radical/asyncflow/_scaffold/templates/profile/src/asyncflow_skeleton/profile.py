"""The profile: the backend that suits the machine on which a program starts."""

from __future__ import annotations

import os
from typing import Any


def profile() -> dict[str, Any]:
    """Return the backend and its settings, in the form that `asyncflow.toml` has.

    On the nodes of a job the backend gets what Slurm gave to the job; elsewhere, such as on a login
    node, which others use as well, it gets two workers.
    """
    cores = os.environ.get("SLURM_CPUS_ON_NODE", "")
    workers = int(cores) if cores.isdecimal() else 2
    return {"backend": "concurrent", "config": {"max_workers": workers}}
