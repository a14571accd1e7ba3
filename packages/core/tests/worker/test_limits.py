"""The part of its machine that a process may use."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from radical.asyncflow.worker import count_cores, usable_cores, usable_memory

FIRST = """
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:30 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset
34 31 0:31 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
"""
SECOND = "41 31 0:38 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
CONTAINER = "41 31 0:38 /docker/af3 /sys/fs/cgroup ro - cgroup2 cgroup rw\n"

Machine = Callable[..., Path]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """Write what a machine with 8 cores says of this process."""
    monkeypatch.setattr(os, "process_cpu_count", lambda: 8, raising=False)

    def write(groups: str, mounts: str, **files: str) -> Path:
        texts = {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts.lstrip()}
        for path, text in (texts | files).items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return tmp_path

    return write


@pytest.mark.parametrize(
    ("text", "cores"),
    [
        ("max 100000", 8),
        ("100000 100000", 1),
        ("150000 100000", 2),
        ("400000 100000", 4),
        ("1000 100000", 1),
        ("9900000 100000", 8),
        ("", 8),
        ("nonsense", 8),
        ("100000 0", 8),
    ],
)
def test_the_quota_of_a_group_counts(machine: Machine, text: str, cores: int) -> None:
    root = machine("0::/job", SECOND, **{"sys/fs/cgroup/job/cpu.max": text})
    assert usable_cores(root) == cores


def test_the_quota_of_every_group_above_counts(machine: Machine) -> None:
    files = {
        "sys/fs/cgroup/slurm/job/cpu.max": "max 100000",
        "sys/fs/cgroup/slurm/cpu.max": "300000 100000",
    }
    assert usable_cores(machine("0::/slurm/job", SECOND, **files)) == 3
    files["sys/fs/cgroup/cpu.max"] = "200000 100000"
    assert usable_cores(machine("0::/slurm/job", SECOND, **files)) == 2


@pytest.mark.parametrize(("quota", "cores"), [("-1", 8), ("250000", 3)])
def test_groups_of_version_1_count(machine: Machine, quota: str, cores: int) -> None:
    root = machine(
        "4:cpu,cpuacct:/docker/af3\n3:cpuset:/other\n0::/",
        FIRST,
        **{
            "sys/fs/cgroup/cpu,cpuacct/docker/af3/cpu.cfs_quota_us": quota,
            "sys/fs/cgroup/cpu,cpuacct/docker/af3/cpu.cfs_period_us": "100000",
            "sys/fs/cgroup/cpuset/other/cpu.cfs_quota_us": "1",
        },
    )
    assert usable_cores(root) == cores


@pytest.mark.parametrize("groups", ["0::/docker/af3", "0::/", "0::/../../elsewhere"])
def test_in_a_container_the_top_of_the_mount_is_its_group(machine: Machine, groups: str) -> None:
    root = machine(groups, CONTAINER, **{"sys/fs/cgroup/cpu.max": "200000 100000"})
    assert usable_cores(root) == 2


def test_without_groups_the_cores_of_the_process_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "process_cpu_count", lambda: None, raising=False)
    assert usable_cores(tmp_path) == 1
    monkeypatch.delattr(os, "process_cpu_count")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5, 6}, raising=False)
    assert usable_cores(tmp_path) == 3


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_the_affinity_of_the_process_counts() -> None:
    one = min(os.sched_getaffinity(0))
    code = (
        f"import os; os.sched_setaffinity(0, {{{one}}})\n"
        "from radical.asyncflow.worker import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def test_the_limit_of_memory_counts(machine: Machine) -> None:
    whole = usable_memory(machine("0::/job", SECOND, **{"sys/fs/cgroup/job/memory.max": "max"}))
    assert whole == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    root = machine("0::/job", SECOND, **{"sys/fs/cgroup/job/memory.max": "1048576"})
    assert usable_memory(root) == 1048576
    first = machine(
        "2:memory:/a", FIRST, **{"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "2097152"}
    )
    assert usable_memory(first) == 2097152


def test_this_machine_says_something_sensible() -> None:
    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert usable_memory() > 0


# Where the number comes from.


def test_the_smallest_quota_on_the_way_is_named(machine: Machine) -> None:
    root = machine(
        "0::/slurm/job/step",
        SECOND,
        **{
            "sys/fs/cgroup/slurm/job/step/cpu.max": "max 100000",
            "sys/fs/cgroup/slurm/job/cpu.max": "250000 100000",
            "sys/fs/cgroup/slurm/cpu.max": "600000 100000",
        },
    )
    count = count_cores(root)
    group = root / "sys/fs/cgroup/slurm/job"
    assert count.cores == 3
    assert count.origin == (
        f"the CPU quota of the control group {group} (250000 of every 100000 µs)"
    )


def test_a_quota_that_leaves_more_than_there_are_sets_nothing(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = machine("0::/job", SECOND, **{"sys/fs/cgroup/job/cpu.max": "9900000 100000"})
    monkeypatch.delattr(os, "process_cpu_count", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert count_cores(root) == (8, "all cores of this machine")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {2, 3}, raising=False)
    assert count_cores(root) == (2, "the affinity of this process, on 8 cores")
    monkeypatch.setattr(os, "process_cpu_count", lambda: 5, raising=False)
    assert count_cores(root) == (5, "PYTHON_CPU_COUNT, or python -X cpu_count")
