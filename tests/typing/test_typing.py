"""What mypy and pyright say of programs that use AsyncFlow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent

Check = Callable[[Path], dict[int, str]]


def mypy(sample: Path, cache: Path) -> dict[int, str]:
    """Its errors by line."""
    # Without our configuration, so it finds what is installed, as a user's mypy does.
    command = [
        *(sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file="),
        *("--cache-dir", str(cache), str(sample)),
    ]
    done = subprocess.run(
        command, cwd=cache, capture_output=True, text=True, timeout=110, check=False
    )
    assert not done.stderr, done.stderr
    found = re.findall(rf"{sample.name}:(\d+): error: (.*)", done.stdout)
    assert bool(found) == bool(done.returncode), done.stdout
    return {int(line): text for line, text in found}


def pyright(sample: Path) -> dict[int, str]:
    """Its errors by line."""
    command = [
        *(sys.executable, "-m", "pyright", "--outputjson"),
        *("--pythonpath", sys.executable, str(sample)),
    ]
    done = subprocess.run(
        command,
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
        env={**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"},
    )
    assert done.stdout, done.stderr
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    return {
        item["range"]["start"]["line"] + 1: item["message"]
        for item in diagnostics
        if item["severity"] == "error"
    }


@pytest.fixture(params=["mypy", "pyright"])
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Check:
    if request.param == "pyright":
        return pyright
    return lambda sample: mypy(sample, tmp_path)


def test_right_uses_are_accepted_with_their_types(check: Check) -> None:
    assert check(HERE / "accepted.py") == {}


def test_wrong_uses_are_rejected(check: Check) -> None:
    sample = HERE / "rejected.py"
    lines = sample.read_text().splitlines()
    wrong = {number for number, line in enumerate(lines, start=1) if line.endswith("# error")}
    assert wrong
    assert set(check(sample)) == wrong
