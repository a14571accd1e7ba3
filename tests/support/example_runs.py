"""How each example of the repository runs: for its test, and for the page that shows its output."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

__all__ = ["EXAMPLES", "NEEDS", "OPTIONS", "run_example"]

NEEDS = {
    "05_parameter_sweep.py": "numpy",
    "07_prompts.py": "xllamacpp",
    "11_ensemble.py": "mpi4py",
}
"""The module without which an example cannot run."""

EXAMPLES = [
    path
    for path in sorted((Path(__file__).parents[2] / "examples").glob("*.py"))
    if find_spec(NEEDS.get(path.name, "sys"))
]
"""Those that can run here."""

OPTIONS = {"05_parameter_sweep.py": ["--size", "16", "--sweeps", "100"]}
"""The words with which an example takes a second at the most."""


def run_example(
    command: Sequence[str], folder: Path, limit_s: float = 100
) -> subprocess.CompletedProcess[str]:
    """Run *command* in *folder* and return how it ended; a warning is an error."""
    return subprocess.run(
        command,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "error", "COLUMNS": "100"},
    )
