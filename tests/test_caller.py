"""The tests do not depend on which signals their caller ignores."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CORE = "packages/core/tests"


def call_ignoring(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a job in the background of a script that ignores SIGINT and SIGCHLD."""
    code = (
        "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); "
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execvp(sys.argv[1], sys.argv[1:])"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_tests_that_interrupt_a_program_pass_if_their_caller_ignores_that() -> None:
    files = ("engine/test_shutdown.py", "cli/test_run.py", "worker/test_command.py")
    done = call_ignoring(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
        *(f"{CORE}/{file}" for file in files),
        *("-k", "ctrl_c or interrupt or exit_code"),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout


def test_a_test_that_fails_is_seen_if_the_caller_ignores_sigchld(tmp_path: Path) -> None:
    # `dev.py` waits for nox, and nox for pytest.
    (tmp_path / "dev.py").write_text((ROOT / "dev.py").read_text())
    python = tmp_path / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && exit 0\nexit 3\n')
    python.chmod(0o755)
    done = call_ignoring(sys.executable, str(tmp_path / "dev.py"), "tests")
    assert done.returncode == 3, done.stderr


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_the_caller_of_these_tests_really_ignores_them() -> None:
    done = call_ignoring("cat", "/proc/self/status")
    (mask,) = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("SigIgn")]
    for number in (signal.SIGINT, signal.SIGCHLD):
        assert int(mask, 16) & 1 << number - 1
