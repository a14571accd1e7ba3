"""Processes that are started under guard, and the end of process trees."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from radical.asyncflow.worker import (
    child_environment,
    end_all,
    guard,
    kill_tree,
    marked_processes,
    start_guarded,
)


def _start(script: str, environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["/bin/sh", "-c", script],
        env={**os.environ, **environment},
        start_new_session=True,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the mark is read from /proc")
def test_who_left_the_group_is_found_by_the_mark(alive: Callable[[int], bool]) -> None:
    environment = child_environment()
    with _start("setsid sleep 60 & echo $!; trap '' TERM; wait", environment) as leader:
        assert leader.stdout is not None
        child = int(leader.stdout.readline())
        kill_tree(leader.pid, environment)
        assert not alive(child)
    assert leader.returncode < 0


def test_the_child_of_another_is_left_alone() -> None:
    with _start("exec sleep 60", child_environment()) as other:
        environment = child_environment()
        with _start("exec sleep 60", environment) as leader:
            kill_tree(leader.pid, environment)
        assert other.poll() is None
        other.kill()


def test_processes_are_ended_until_three_looks_find_none() -> None:
    # The second look finds one more, the third none, the fourth another.
    looks = [[1, 2], [3], [], [4], [], [], [], [5]]
    ended: list[int] = []
    naps: list[float] = []
    rest = iter(looks)
    left = end_all(lambda: next(rest), seconds=60, end=ended.append, pause=naps.append)
    assert left == []
    assert ended == [1, 2, 3, 4]
    assert next(rest) == [5]  # nobody looked any more
    assert naps == [0.004, 0.006, 0.01, pytest.approx(0.009), 0.01, 0.01]


def test_processes_that_stay_are_given_up_after_a_while() -> None:
    ended: list[int] = []
    assert end_all(lambda: [7], seconds=0, end=ended.append) == [7]
    assert ended == [7]


@pytest.mark.parametrize("watched", [True, False])
def test_a_guarded_process_ends_with_the_program_if_it_is_watched(
    watched: bool, tmp_path: Path, alive: Callable[[int], bool]
) -> None:
    program = f"""
import os, signal, sys
from radical.asyncflow.worker import start_guarded
child = start_guarded(["sleep", "60"], watched={watched}, env={{"PATH": os.environ["PATH"]}})
print(child.pid, os.getsid(child.pid) == child.pid, flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        pid, leads = process.stdout.readline().split()
        child = psutil.Process(int(pid))
        helpers = psutil.Process(process.pid).children()
        process.kill()
    assert leads == "True"
    (keeper,) = set(helpers) - {child}
    keeper.wait(20)  # from then on it has done what it does
    assert alive(child.pid) is not watched
    if not watched:
        child.kill()


def test_a_process_whose_watch_fails_is_not_left_behind(
    monkeypatch: pytest.MonkeyPatch, held_guard: None
) -> None:
    started: list[int] = []

    def refuse(pgid: int) -> None:
        started.append(pgid)
        raise OSError("no pipe")

    monkeypatch.setattr(guard(), "watch", refuse)
    with pytest.raises(OSError, match="no pipe"):
        start_guarded(["sleep", "60"])
    assert not psutil.pid_exists(started[0])


@pytest.mark.skipif(sys.platform != "linux", reason="the token is read from /proc")
def test_processes_are_found_by_the_token_that_they_carry(held_guard: None) -> None:
    # A token of its own: other tests leave processes of this program behind.
    with start_guarded(["sleep", "60"], env={**os.environ, "ASYNCFLOW_PROGRAM": "t0k3n"}) as child:
        assert marked_processes("t0k3n") == [child.pid]
        assert marked_processes("t0k3") == []
        guard().forget(child.pid)
        child.send_signal(signal.SIGKILL)
    assert marked_processes("t0k3n") == []
