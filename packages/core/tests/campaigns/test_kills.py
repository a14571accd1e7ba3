"""A program is killed at a random moment and run again: nothing that was done runs twice.

``ASYNCFLOW_KILLS`` says how often for each backend, ``ASYNCFLOW_KILLS_FROM`` the first seed.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import pytest

from . import dag

KILLS = int(os.environ.get("ASYNCFLOW_KILLS", "5"))
FIRST = int(os.environ.get("ASYNCFLOW_KILLS_FROM", "0"))
NEEDED = {"dask": "asyncflow_backend_dask"}
BACKENDS = [name for name in dag.CONFIGS if name not in NEEDED or find_spec(NEEDED[name])]
LONG = 240.0
"""Seconds after which a run hangs."""
GONE = 15.0
"""Seconds that what a killed program started has to be gone."""


def start(backend: str, folder: Path, mark: str) -> subprocess.Popen[bytes]:
    arguments = [backend, str(folder / "journal"), str(folder / "log"), mark]
    with (folder / f"{mark}.err").open("wb") as errors:
        return subprocess.Popen(
            [sys.executable, dag.__file__, *arguments], stderr=errors, start_new_session=True
        )


def finish(process: subprocess.Popen[bytes], folder: Path, mark: str) -> None:
    code = process.wait(LONG)
    assert code == 0, (folder / f"{mark}.err").read_text()


def lines(folder: Path, mark: str, what: str) -> list[list[str]]:
    """What the run *mark* noted of *what*, without these two words."""
    log = folder / "log"
    words = [line.split() for line in log.read_text().splitlines()] if log.exists() else []
    return [rest for who, said, *rest in words if (who, said) == (mark, what)]


def results(folder: Path, mark: str) -> dict[int, str]:
    return {int(number): digest for number, digest in lines(folder, mark, "done")}


@cache
def undisturbed(tmp: Path) -> dict[int, str]:
    """The result of each step when nothing happens."""
    folder = tmp / "undisturbed"
    folder.mkdir(exist_ok=True)
    finish(start("threads", folder, "calm"), folder, "calm")
    found = results(folder, "calm")
    assert len(found) == len(lines(folder, "calm", "ran")) == dag.STEPS
    return found


def kill_at(process: subprocess.Popen[bytes], folder: Path, done: int, later: float) -> None:
    """Kill *process* so many seconds after it saw so many steps *done*."""
    limit = time.monotonic() + LONG
    while len(lines(folder, "killed", "done")) < done and process.poll() is None:
        assert time.monotonic() < limit, "the run hangs"
        time.sleep(0.002)
    time.sleep(later)
    process.kill()
    process.wait()


@pytest.mark.timeout(3 * LONG)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + KILLS))
@pytest.mark.parametrize("backend", BACKENDS)
def test_what_was_done_before_a_kill_is_not_run_again(
    backend: str, seed: int, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(f"{backend} {seed}")
    expected = undisturbed(tmp_path_factory.getbasetemp())
    process = start(backend, tmp_path, "killed")
    kill_at(process, tmp_path, chance.randrange(dag.STEPS), chance.random() * 0.03)
    killed_at = time.monotonic()
    done = results(tmp_path, "killed")

    finish(start(backend, tmp_path, "resumed"), tmp_path, "resumed")

    assert results(tmp_path, "resumed") == expected
    assert all(expected[number] == digest for number, digest in done.items())
    ran = [int(number) for (number,) in lines(tmp_path, "resumed", "ran")]
    assert not done.keys() & set(ran), "a finished step ran again"
    assert len(ran) == len(set(ran)), "a step ran twice in one run"
    while left := dag.orphans(tmp_path / "log"):
        assert time.monotonic() < killed_at + GONE, left
        time.sleep(0.05)
