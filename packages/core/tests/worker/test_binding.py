"""The order of cores, and work that is bound to some of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from radical.asyncflow.worker import bind, can_bind, core_order

needs_binding = pytest.mark.skipif(not can_bind(), reason="the system binds nothing to cores")


def write(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = root / "sys/devices/system" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")
    return root


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Write what a machine with two nodes says, each of two cores with two hardware threads."""
    nodes = {"node/node0/cpulist": "0-1,4-5", "node/node1/cpulist": "2-3,6-7"}
    siblings = {
        f"cpu/cpu{number}/topology/thread_siblings_list": f"{number % 4},{number % 4 + 4}"
        for number in range(8)
    }
    return write(tmp_path, nodes | siblings)


def test_cores_come_node_by_node_and_second_threads_last(machine: Path) -> None:
    assert core_order(machine, range(8)) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("usable", "order"),
    [({6, 3, 5, 0}, [0, 5, 3, 6]), ({4, 0, 7}, [0, 7, 4]), ({2}, [2]), (set(), [])],
)
def test_only_what_may_be_used_counts(machine: Path, usable: set[int], order: list[int]) -> None:
    assert core_order(machine, usable) == order


def test_numbers_that_jump_between_nodes_are_sorted_by_node(tmp_path: Path) -> None:
    nodes = {"node/node0/cpulist": "0,2,4,6", "node/node1/cpulist": "1,3,5,7"}
    nodes["node/node10/cpulist"] = "8"
    nodes["node/node2/cpulist"] = "9"
    assert core_order(write(tmp_path, nodes), range(10)) == [0, 2, 4, 6, 1, 3, 5, 7, 9, 8]


@pytest.mark.parametrize("text", ["", "\n"])
def test_a_system_that_says_nothing_has_its_cores_by_number(tmp_path: Path, text: str) -> None:
    write(tmp_path, {"node/node0/cpulist": text})
    assert core_order(tmp_path, {5, 1, 3}) == [1, 3, 5]


@needs_binding
def test_this_machine_has_the_cores_of_its_affinity() -> None:
    assert sorted(core_order()) == sorted(os.sched_getaffinity(0))


@needs_binding
def test_a_thread_is_bound_and_no_other() -> None:
    before = os.sched_getaffinity(0)
    seen: list[set[int]] = []

    def work() -> None:
        bind({min(before)})
        seen.append(os.sched_getaffinity(0))
        code = "import os, json; print(json.dumps(list(os.sched_getaffinity(0))))"
        done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)
        seen.append(set(json.loads(done.stdout)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [{min(before)}, {min(before)}]
    assert os.sched_getaffinity(0) == before


@needs_binding
def test_a_process_is_bound_with_all_its_threads() -> None:
    code = """if True:
        import os, sys, threading
        gate, tids = threading.Event(), []
        def stay():
            tids.append(threading.get_native_id())
            gate.wait()
        threads = [threading.Thread(target=stay) for _ in range(3)]
        for thread in threads: thread.start()
        while len(tids) < 3: pass
        print("ready", flush=True)
        sys.stdin.readline()
        print(*(sorted(os.sched_getaffinity(tid)) for tid in (0, *tids)), sep="\\n", flush=True)
        gate.set()
    """
    one = max(os.sched_getaffinity(0))
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "ready\n"
        bind({one}, process.pid)
        process.stdin.write("\n")
        process.stdin.flush()
        assert process.stdout.read().split("\n") == [f"[{one}]"] * 4 + [""]
    bind({one}, process.pid)  # it has ended, and that is no error
