"""One workflow file, three backends, the same results."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

_WORKFLOW = Path(__file__).with_name("workflow.py")
_BACKENDS = {
    "concurrent": ["max_workers=4", "executor_type=process"],
    "dask": ["n_workers=2"],
    "radical_pilot": ["walltime=10"],
}


def _found(backend: str, folder: Path) -> dict[str, Any]:
    settings = [word for setting in _BACKENDS[backend] for word in ("--set", setting)]
    command = [sys.executable, "-m", "radical.asyncflow", "run", "--backend", backend, *settings]
    done = subprocess.run(
        [*command, str(_WORKFLOW)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_workflow_finds_the_same_on_every_backend(empty_folder: Path) -> None:
    here, dask, pilot = (_found(backend, empty_folder) for backend in _BACKENDS)
    assert here["sum"] == f"{sum(3 * number for number in range(20))}\n"
    assert here["failure"] == ["TooMuchError", "11 is too much", 11]
    assert dask == here
    assert pilot == here
