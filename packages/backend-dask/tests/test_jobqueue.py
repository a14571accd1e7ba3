"""A cluster of batch jobs: the job script that a queue would get, without a queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_dask._cluster.lease import obtain_lease
from asyncflow_backend_dask.config import DaskConfig

pytest.importorskip("dask_jobqueue", reason="the extra jobqueue is not installed")


async def test_the_settings_reach_the_job_script(tmp_path: Path) -> None:
    config = DaskConfig(
        cluster_class="dask_jobqueue.SLURMCluster",
        cluster_kwargs={
            "queue": "long",
            "account": "projekt",
            "cores": 4,
            "processes": 1,
            "memory": "8GB",
            "walltime": "00:30:00",
            "log_directory": str(tmp_path),
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        },
    )
    made: Any = await obtain_lease(config)
    try:
        script = made.cluster.job_script()
    finally:
        await made.end()
    for line in ("#SBATCH -p long", "#SBATCH -A projekt", "#SBATCH -t 00:30:00"):
        assert line in script
    assert "--nthreads 4" in script
