"""Pilots on a private Slurm: the resource by which RADICAL-Pilot knows it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from slurm_cluster import CORES, Slurm

__all__ = ["CONFIG", "use_slurm"]

CONFIG = {"resource": "uni.cellar", "nodes": 1, "queue": "debug", "walltime": 10}
"""The settings of a backend whose pilots run on the cluster of `use_slurm`."""


def use_slurm(cluster: Slurm, home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Describe *cluster* to RADICAL-Pilot as the resource of `CONFIG`, in a folder of *home*.

    Returns:
        The folder that the node shares with this machine.
    """
    shared = home / "shared"
    configs = home / "home" / ".radical" / "pilot" / "configs"
    configs.mkdir(parents=True)
    entry = {
        "default_schema": "local",
        "schemas": {
            "local": {
                "job_manager_endpoint": "slurm://localhost/",
                "filesystem_endpoint": "file://localhost/",
            }
        },
        "default_remote_workdir": str(shared),
        "resource_manager": "SLURM",
        "agent_config": "default",
        "agent_scheduler": "CONTINUOUS",
        "agent_spawner": "POPEN",
        "launch_methods": {
            "order": ["SRUN"],
            "SRUN": {
                "pre_exec_cached": [
                    f"export {key}={value}" for key, value in cluster.environment.items()
                ]
            },
        },
        "rp_version": "installed",
        "virtenv_mode": "local",
        "python_dist": "default",
        "cores_per_node": CORES,
    }
    (configs / "resource_uni.json").write_text(json.dumps({"cellar": entry}))
    monkeypatch.setenv("RADICAL_CONFIG_USER_DIR", str(home / "home"))
    monkeypatch.setenv("HOME", str(home / "home"))  # PSI/J writes there
    for key, value in cluster.environment.items():
        monkeypatch.setenv(key, value)
    return shared
