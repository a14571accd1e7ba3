"""A cluster of batch jobs: the job script that a queue would get, without a queue."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_dask import DaskExecutionBackend
from asyncflow_backend_dask._cluster.lease import obtain_lease
from asyncflow_backend_dask.config import DaskConfig, import_class
from radical.asyncflow.errors import BackendStartError, ConfigurationError

pytest.importorskip("dask_jobqueue", reason="the extra jobqueue is not installed")

SLURM = "dask_jobqueue.SLURMCluster"


async def test_the_settings_reach_the_job_script(tmp_path: Path) -> None:
    config = DaskConfig(
        cluster_class=SLURM,
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


async def test_the_bounds_of_a_job_queue_are_numbers_of_jobs(tmp_path: Path) -> None:
    config = DaskConfig(
        cluster_class=SLURM,
        cluster_kwargs={
            "cores": 4,
            "processes": 2,
            "memory": "8GB",
            "log_directory": str(tmp_path),
            "scheduler_options": {"dashboard_address": "127.0.0.1:0"},
        },
        adapt={"minimum_jobs": 0, "maximum_jobs": 3, "interval": "1 day"},
    )
    made: Any = await obtain_lease(config)
    try:
        adaptive = made.cluster._adaptive
        assert (adaptive.minimum, adaptive.maximum, adaptive.interval) == (0, 6, 86_400)
    finally:
        await made.end()


async def test_a_word_that_the_job_queue_does_not_take_is_refused() -> None:
    adapt = {"maximum_job": 3}
    words = "SLURMCluster does not take 'maximum_job'.*'maximum_jobs'"
    with pytest.raises(ConfigurationError, match=words):
        DaskExecutionBackend(cluster_class=import_class(SLURM), adapt=adapt)
    with pytest.raises(BackendStartError, match=words):  # a name is imported by the start
        await obtain_lease(DaskConfig(cluster_class=SLURM, adapt=adapt))
