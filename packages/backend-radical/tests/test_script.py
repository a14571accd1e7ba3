"""The script of a rank tells whether its command has succeeded."""

from __future__ import annotations

import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest
from asyncflow_backend_radical._host.environment import task_environment
from asyncflow_backend_radical._tasks.script import (
    end_marks,
    has_succeeded,
    shell_script,
    use_files,
)
from asyncflow_backend_radical._tasks.use import read_use
from radical.asyncflow.backend import Command


def _run(folder: Path, line: str, *, rank: int = 0, ranks: int = 1, measures: bool = False) -> int:
    script = shell_script(
        Command(line),
        ranks=ranks,
        stdin=None,
        stdout=folder / "out",
        stderr=folder / "err",
        mark=folder / "mark",
        tells_end=True,
        measures=measures,
    )
    environment = folder / "environment"
    environment.write_bytes(task_environment(is_local=True))
    text = f"RP_RANK={rank}; . {environment}\n{script} &\nwait $!"
    done = subprocess.run(["bash", "-c", text], timeout=60, check=False)
    return done.returncode


@pytest.mark.parametrize(("line", "code"), [("exit 3", 3), ("kill -9 $$", 137)])
def test_what_failed_or_was_killed_keeps_its_code_and_has_no_end_mark(
    tmp_path: Path, line: str, code: int
) -> None:
    assert _run(tmp_path, line) == code
    assert not has_succeeded(tmp_path / "mark", 1)
    assert not has_succeeded(tmp_path / "mark", 1)  # the look leaves nothing behind
    assert [file for file in end_marks(tmp_path / "mark", 1) if file.is_symlink()] == []


@pytest.mark.parametrize(("line", "code"), [("exit 3", 3), ("kill -9 $$", 137), ("true", 0)])
def test_what_is_measured_keeps_its_code(tmp_path: Path, line: str, code: int) -> None:
    assert _run(tmp_path, line, measures=True) == code
    assert has_succeeded(tmp_path / "mark", 1) == (code == 0)
    assert read_use(use_files(tmp_path / "mark", 1)) is not None


def test_the_shells_of_the_ranks_tell_what_their_commands_used(tmp_path: Path) -> None:
    burn = "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass"
    python = f"{shlex.quote(sys.executable)} -c {shlex.quote(burn)}"
    began = time.time()
    for rank in range(2):
        line = f"{python}; head -c 100000 /dev/zero"
        assert _run(tmp_path, line, rank=rank, ranks=2, measures=True) == 0
    ended = time.time()
    use = read_use(use_files(tmp_path / "mark", 2))
    assert use is not None
    assert use.usage.cpu_seconds is not None
    assert use.usage.cpu_seconds >= 0.2
    assert use.usage.peak_memory is None
    if sys.platform == "linux":
        assert use.usage.written_bytes is not None
        assert 200_000 <= use.usage.written_bytes < 210_000
    if use.began is not None and use.ended is not None:  # older shells do not know
        assert began <= use.began <= use.ended <= ended


def test_nothing_is_known_of_a_rank_whose_shell_was_killed(tmp_path: Path) -> None:
    assert _run(tmp_path, "kill -9 $PPID", measures=True) != 0
    assert read_use(use_files(tmp_path / "mark", 1)) is None
    assert read_use([tmp_path / "missing"]) is None


def test_what_succeeded_has_an_end_mark(tmp_path: Path) -> None:
    assert _run(tmp_path, "true") == 0
    assert has_succeeded(tmp_path / "mark", 1)


def test_every_rank_has_to_succeed(tmp_path: Path) -> None:
    assert _run(tmp_path, "true", rank=0, ranks=2) == 0
    assert not has_succeeded(tmp_path / "mark", 2)
    assert _run(tmp_path, "true", rank=1, ranks=2) == 0
    assert has_succeeded(tmp_path / "mark", 2)
