"""Which GPUs a call sees on its worker."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest
from asyncflow_backend_dask._worker.gpus import LOCAL_CLUSTER_VARIABLE, WorkerGpus


def worker(number: int, gpus: int) -> Any:
    state = SimpleNamespace(total_resources={"GPU": float(gpus)}, nthreads=1)
    return SimpleNamespace(name=str(number), state=state, nanny="tcp://127.0.0.1:1")


@pytest.mark.parametrize(
    ("visible", "local", "taken"),
    [
        (None, False, (0,)),
        (None, True, (1,)),
        ("4,7", False, (4,)),
        ("4,7", True, (7,)),
        ("GPU-5f3a,MIG-77", False, ("GPU-5f3a",)),
        ("GPU-5f3a,MIG-77", True, ("MIG-77",)),
        ("", False, ()),
        ("NoDevFiles", True, ()),
    ],
)
def test_a_call_gets_a_gpu_that_its_worker_may_use(
    visible: str | None, local: bool, taken: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv(LOCAL_CLUSTER_VARIABLE, raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    if local:
        monkeypatch.setenv(LOCAL_CLUSTER_VARIABLE, "1")
    with WorkerGpus(worker(1, 1)).take(1) as gpus:
        assert gpus == taken
        seen = ",".join(map(str, taken)) or visible
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible
