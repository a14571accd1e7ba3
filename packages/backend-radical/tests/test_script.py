"""The script of a rank tells whether its command has succeeded."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from asyncflow_backend_radical._tasks.script import end_marks, has_succeeded, shell_script
from radical.asyncflow.backend import Command


def _run(folder: Path, line: str, *, rank: int = 0, ranks: int = 1) -> int:
    script = shell_script(
        Command(line),
        ranks=ranks,
        stdin=None,
        stdout=folder / "out",
        stderr=folder / "err",
        mark=folder / "mark",
        tells_end=True,
    )
    text = f'RP_RANK={rank}; asyncflow_exec() {{ exec "$@"; }}\n{script} &\nwait $!'
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


def test_what_succeeded_has_an_end_mark(tmp_path: Path) -> None:
    assert _run(tmp_path, "true") == 0
    assert has_succeeded(tmp_path / "mark", 1)


def test_every_rank_has_to_succeed(tmp_path: Path) -> None:
    assert _run(tmp_path, "true", rank=0, ranks=2) == 0
    assert not has_succeeded(tmp_path / "mark", 2)
    assert _run(tmp_path, "true", rank=1, ranks=2) == 0
    assert has_succeeded(tmp_path / "mark", 2)
