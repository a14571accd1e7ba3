"""An image for Charliecloud that needs no registry, and whether Charliecloud can run here."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

__all__ = ["make_image", "why_not"]

_FOLDERS = ("bin", "dev", "etc", "home", "mnt", "proc", "sys", "tmp", "usr")
_FILES = ("passwd", "group", "hosts", "resolv.conf")
_PROGRAMS = ("sh", "cat", "echo", "env", "ls", "pwd", "sleep", "test", "wc")


def make_image(root: Path) -> Path:
    """Make the folder *root* an image with one static program, which has many names."""
    busybox = shutil.which("busybox")
    assert busybox is not None
    for name in _FOLDERS:
        (root / name).mkdir(parents=True)
    for name in _FILES:
        (root / "etc" / name).touch()
    shutil.copy(busybox, root / "bin" / "busybox")
    for name in _PROGRAMS:
        (root / "bin" / name).symlink_to("busybox")
    return root


@cache
def why_not() -> str | None:
    """Return why Charliecloud cannot run here, or None if it can."""
    runtime = shutil.which("ch-run")
    if runtime is None or shutil.which("busybox") is None:
        return "charliecloud and busybox-static are not installed"
    with tempfile.TemporaryDirectory() as folder:
        trial = subprocess.run(
            [runtime, make_image(Path(folder, "image")), "--", "/bin/sh", "-c", "exit 7"],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "USER": "user"},
        )
    return None if trial.returncode == 7 else f"ch-run cannot run here: {trial.stderr.strip()}"
