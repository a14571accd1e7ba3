"""The end of a process tree, of which some have left the group."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from radical.asyncflow.worker import child_environment, kill_tree


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
