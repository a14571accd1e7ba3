"""How the GPUs of this machine are found, and which of them this process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fake_gpus import Tools, fake_nvml, gpu_tools
from radical.asyncflow.model import Command
from radical.asyncflow.worker import Execution, found_gpus, missing_gpus

__all__ = ["fake_nvml", "gpu_tools"]

MIG = """\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-5f3a)
  MIG 3g.20gb     Device  0: (UUID: MIG-c6d4)
  MIG 1g.5gb      Device  1: (UUID: MIG-77aa)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: GPU-9b0c)
"""
ROCM = (
    "WARNING: AMD GPU device(s) is/are in a low-power state\n"
    '{"card0": {"Card Series": "MI250X", "Card Model": "0x740c"}, '
    '"card1": {"Card Series": "MI250X"}, "system": {"Driver version": "6.3"}}\n'
)


def add_kfd(root: Path, *nodes: tuple[str, int]) -> None:
    """Write what AMD's driver says of these nodes, each with its name and its units."""
    for number, (name, units) in enumerate(nodes):
        folder = root / "sys/class/kfd/kfd/topology/nodes" / str(number)
        folder.mkdir(parents=True)
        (folder / "name").write_text(f"{name}\n")
        (folder / "properties").write_text(f"cpu_cores_count 0\nsimd_count {units}\n")


def test_a_machine_without_gpus_says_where_it_was_looked(gpu_tools: Tools) -> None:
    found = found_gpus()
    assert (found.ids, found.is_known) == ((), False)
    for way in ("nvidia-ml-py", "nvidia-smi", "/sys/class/kfd", "rocm-smi"):
        assert way in found.how


def test_nvidia_smi_is_asked_once_in_a_process(gpu_tools: Tools) -> None:
    gpu_tools.nvidia(2)
    first = found_gpus()
    assert (first.ids, first.variable) == ((0, 1), "CUDA_VISIBLE_DEVICES")
    assert first.how == "2 × NVIDIA H100, found by nvidia-smi"
    assert found_gpus() == first
    assert gpu_tools.runs("nvidia-smi") == 1


def test_a_divided_gpu_stands_for_its_instances(gpu_tools: Tools) -> None:
    gpu_tools.add("nvidia-smi", MIG)
    found = found_gpus()
    assert found.ids == ("MIG-c6d4", "MIG-77aa", "GPU-9b0c")
    assert "with 2 MIG instances" in found.how


def test_a_driver_that_does_not_answer_is_quoted(gpu_tools: Tools) -> None:
    gpu_tools.add("nvidia-smi", "NVIDIA-SMI has failed: no driver\nmore\n", code=9)
    assert "nvidia-smi names no GPU: NVIDIA-SMI has failed: no driver;" in found_gpus().how


@pytest.mark.parametrize(
    ("value", "ids"),
    [
        ("2,3", (2, 3)),
        ("3", (3,)),
        ("", ()),
        ("-1", ()),
        ("1,9,0", (1,)),
        ("GPU-5f3a2,GPU-5f3a0", ("GPU-5f3a2", "GPU-5f3a0")),
        ("GPU-5f3a1,GPU-77", ("GPU-5f3a1",)),
        ("MIG-GPU-5f3a1/1/0", ("MIG-GPU-5f3a1/1/0",)),
    ],
)
def test_the_variable_of_the_process_limits_what_is_found(
    value: str, ids: tuple[int | str, ...], gpu_tools: Tools, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu_tools.nvidia(4)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "0")  # of another vendor
    found = found_gpus()
    assert (found.ids, found.is_known) == (ids, True)
    assert f"4 × NVIDIA H100, found by nvidia-smi; CUDA_VISIBLE_DEVICES is {value!r}" == found.how


@pytest.mark.parametrize(
    ("variable", "value", "ids"),
    [
        ("CUDA_VISIBLE_DEVICES", "0,2", (0, 2)),
        ("HIP_VISIBLE_DEVICES", "1", (1,)),
        ("ZE_AFFINITY_MASK", "0.0,0.1", ("0.0", "0.1")),
    ],
)
def test_where_nothing_tells_of_gpus_a_variable_counts(
    variable: str,
    value: str,
    ids: tuple[int | str, ...],
    gpu_tools: Tools,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)
    found = found_gpus()
    assert (found.ids, found.variable, found.is_known) == (ids, variable, True)
    assert found.how.startswith(f"named by {variable}; ")


def test_gpus_of_amd_are_read_from_the_system(gpu_tools: Tools) -> None:
    add_kfd(gpu_tools.root, ("", 0), ("mi300x", 304), ("mi300x", 304))
    denied = gpu_tools.root / "sys/class/kfd/kfd/topology/nodes/9"
    denied.mkdir()  # a node of another container has nothing to read
    found = found_gpus()
    assert (found.ids, found.variable) == ((0, 1), "HIP_VISIBLE_DEVICES")
    assert found.how == "2 × AMD mi300x, found in /sys/class/kfd"


@pytest.mark.parametrize(
    ("environment", "ids", "variable"),
    [
        ({"HIP_VISIBLE_DEVICES": "1"}, (1,), "HIP_VISIBLE_DEVICES"),
        ({"CUDA_VISIBLE_DEVICES": "1"}, (1,), "CUDA_VISIBLE_DEVICES"),
        (
            {"CUDA_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": ""},
            (),
            "HIP_VISIBLE_DEVICES",
        ),
        ({"ROCR_VISIBLE_DEVICES": "1"}, (0,), "HIP_VISIBLE_DEVICES"),
        ({"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0,1"}, (0,), "HIP_VISIBLE_DEVICES"),
    ],
)
def test_the_variables_of_amd_limit_its_gpus(
    environment: dict[str, str],
    ids: tuple[int, ...],
    variable: str,
    gpu_tools: Tools,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu_tools.add("rocm-smi", ROCM)
    assert found_gpus().how == "2 × AMD MI250X, found by rocm-smi"
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = found_gpus()
    assert (found.ids, found.variable) == (ids, variable)


def test_gpus_that_the_machine_does_not_have_are_known(gpu_tools: Tools) -> None:
    assert missing_gpus([0, 9, "GPU-77"]) == []  # nobody knows
    gpu_tools.nvidia(2)
    gpu_tools.forget()
    assert missing_gpus([0, 9, "GPU-5f3a1", "GPU-77", "MIG-1"]) == [9, "GPU-77"]


def test_a_command_finds_its_gpus_by_the_variable_of_their_vendor(
    gpu_tools: Tools, tmp_path: Path
) -> None:
    add_kfd(gpu_tools.root, ("mi300x", 304))
    command = Command.of(["printenv", "HIP_VISIBLE_DEVICES"])
    result = Execution(command, name="it", work_dir=tmp_path, gpus=(3, 5)).run()
    assert result.stdout == "3,5\n"


LOOK = """
from radical.asyncflow.worker import found_gpus
print(found_gpus())
import sys
assert "torch" not in sys.modules and "pydantic" not in sys.modules
"""


def look(folder: Path, mode: str) -> str:
    """Return what a new process finds that has the library of *folder*."""
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder), "FAKE_NVML": mode}
    environment.pop("CUDA_VISIBLE_DEVICES", None)
    done = subprocess.run(
        [sys.executable, "-c", LOOK], env=environment, check=True, capture_output=True, text=True
    )
    return done.stdout


def test_nvml_tells_of_whole_gpus(fake_nvml: Path) -> None:
    assert "ids=(0, 1)" in look(fake_nvml, "whole")
    assert "2 × NVIDIA H100, found through NVML" in look(fake_nvml, "whole")


def test_nvml_tells_of_instances_and_leaves_a_lost_gpu_out(fake_nvml: Path) -> None:
    assert "ids=('GPU-whole-1', 'MIG-part-1', 'MIG-part-4')" in look(fake_nvml, "divided")


def test_an_nvml_without_a_driver_is_quoted(fake_nvml: Path) -> None:
    assert "NVML: Driver Not Loaded; " in look(fake_nvml, "none")
