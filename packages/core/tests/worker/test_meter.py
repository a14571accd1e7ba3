"""What functions use, as a meter tells it."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from radical.asyncflow.model import TaskUsage
from radical.asyncflow.worker import Meter

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel tells this on Linux alone")
MB = 1 << 20


def spin(seconds: float) -> None:
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def measured(meter: Meter, function: object, *args: object) -> TaskUsage:
    meter.begin(id(function))
    function(*args)  # type: ignore[operator]
    return meter.end()


@pytest.mark.parametrize("whole_process", [True, False])
def test_cpu_time_is_that_of_work_and_not_of_waiting(*, whole_process: bool) -> None:
    meter = Meter(whole_process=whole_process)
    work = measured(meter, spin, 0.05).cpu_seconds
    wait = measured(meter, time.sleep, 0.05).cpu_seconds
    assert work is not None
    assert wait is not None
    assert work >= 0.05
    assert wait < work / 2


def test_the_work_of_other_threads_counts_for_the_process_alone() -> None:
    def elsewhere() -> None:
        thread = threading.Thread(target=spin, args=(0.05,))
        thread.start()
        thread.join()

    whole = measured(Meter(whole_process=True), elsewhere).cpu_seconds
    own = measured(Meter(whole_process=False), elsewhere).cpu_seconds
    assert whole is not None
    assert own is not None
    assert whole >= 0.05 > own


def test_a_child_process_counts_once_it_was_waited_for() -> None:
    program = "import time\nwhile time.process_time() < 0.1: pass"
    meter = Meter(whole_process=True)
    usage = measured(meter, subprocess.run, [sys.executable, "-c", program])
    assert usage.cpu_seconds is not None
    assert usage.cpu_seconds >= 0.1
    after = measured(meter, spin, 0.01).cpu_seconds
    assert after is not None
    assert after < 0.1


@LINUX
@pytest.mark.parametrize("whole_process", [True, False])
def test_bytes_are_exactly_those_that_a_function_reads_and_writes(
    tmp_path: Path, *, whole_process: bool
) -> None:
    path = tmp_path / "file"

    def copy() -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        os.write(descriptor, bytes(3 * MB))
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.read(descriptor, 2 * MB)
        os.close(descriptor)

    usage = measured(Meter(whole_process=whole_process), copy)
    # The process also has other threads, which may write to wake each other.
    slack = 1000 if whole_process else 0
    assert usage.read_bytes is not None
    assert usage.written_bytes is not None
    assert 2 * MB <= usage.read_bytes <= 2 * MB + slack
    assert 3 * MB <= usage.written_bytes <= 3 * MB + slack


@LINUX
def test_the_peak_of_memory_is_that_of_this_function_and_not_of_one_before() -> None:
    def hold(size: int) -> None:
        with mmap.mmap(-1, size) as memory:
            for page in range(0, size, mmap.PAGESIZE):
                memory[page] = 1

    meter = Meter(whole_process=True)
    large = measured(meter, hold, 200 * MB).peak_memory
    small = measured(meter, hold, 10 * MB).peak_memory
    assert large is not None
    assert small is not None
    assert 180 * MB < large - small < 220 * MB


@LINUX
def test_memory_is_unknown_where_other_tasks_share_it() -> None:
    assert measured(Meter(whole_process=False), spin, 0.005).peak_memory is None
    assert measured(Meter(whole_process=False, alone=True), spin, 0.005).peak_memory is not None


@LINUX
def test_files_of_the_kernel_are_not_read_for_a_function_that_is_known_to_be_short() -> None:
    meter = Meter(whole_process=True)
    first = measured(meter, bool)
    later = [measured(meter, bool) for _ in range(20)]
    assert first.peak_memory is not None
    assert later[-1].cpu_seconds is not None
    assert later[-1][1:] == (None, None, None)
