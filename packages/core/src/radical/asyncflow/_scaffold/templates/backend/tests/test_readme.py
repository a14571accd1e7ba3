"""The table in the README says what the settings are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_the_table_of_the_readme_is_up_to_date() -> None:
    command = "radical.asyncflow backends docs skeleton README.md --check"
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
