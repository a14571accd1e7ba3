"""Which GPUs a call sees on its worker."""

from __future__ import annotations

import os
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from asyncflow_backend_dask._worker.gpus import OWN_GPUS_VARIABLE, WorkerGpus
from fake_gpus import Tools, gpu_tools

__all__ = ["gpu_tools"]


def worker(gpus: float, address: str = "tcp://127.0.0.1:2", name: str = "1") -> Any:
    state = SimpleNamespace(total_resources={"GPU": float(gpus)}, nthreads=1)
    return SimpleNamespace(name=name, state=state, nanny="tcp://127.0.0.1:1", address=address)


@pytest.mark.parametrize(
    ("visible", "taken"),
    [
        (None, (0,)),
        ("4,7", (4,)),
        ("GPU-5f3a,MIG-77", ("GPU-5f3a",)),
        ("", ()),
        ("NoDevFiles", ()),
    ],
)
def test_a_call_gets_a_gpu_that_its_worker_may_use(
    visible: str | None, taken: tuple[Any, ...], gpu_tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with WorkerGpus(worker(1)).take(1) as gpus:
        assert gpus == taken
        seen = ",".join(map(str, taken)) or visible
        assert os.environ.get("CUDA_VISIBLE_DEVICES") == seen
    assert os.environ.get("CUDA_VISIBLE_DEVICES") == visible


def test_a_worker_of_a_local_cluster_has_its_own_gpus(
    gpu_tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv(OWN_GPUS_VARIABLE, "HIP_VISIBLE_DEVICES")
    own = WorkerGpus(worker(2))
    with own.take(1) as gpus:
        assert (gpus, os.environ["HIP_VISIBLE_DEVICES"]) == ((2,), "2")
    with own.take(2) as gpus:
        assert (gpus, os.environ["HIP_VISIBLE_DEVICES"]) == ((2, 3), "2,3")


def test_workers_in_one_program_divide_its_gpus(gpu_tools: Tools) -> None:
    gpu_tools.nvidia(4)
    with WorkerGpus(worker(2, "inproc://a/1", name="1")).take(1) as gpus:
        assert gpus == (2,)


def test_more_gpus_than_the_worker_has_are_an_error_that_says_what_to_do(
    gpu_tools: Tools,
) -> None:
    gpu_tools.nvidia(1)
    take = WorkerGpus(worker(2)).take(2)
    with pytest.raises(RuntimeError, match=r"GPU resource is larger .*make the two agree"), take:
        pass


def test_a_part_waits_until_it_is_free_on_one_gpu(gpu_tools: Tools) -> None:
    gpu_tools.nvidia(2)
    own = WorkerGpus(worker(2))
    seen: list[Any] = []
    entered = threading.Event()

    def third() -> None:
        entered.set()
        with own.take(0.6) as gpus:
            seen.append(gpus)

    with own.take(0.6) as first:
        with own.take(0.6) as second:
            thread = threading.Thread(target=third)
            thread.start()
            entered.wait()
            assert (first, second, seen) == ((0,), (1,), [])
        thread.join(60)
        assert seen == [(1,)]
