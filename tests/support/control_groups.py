"""Control groups with little memory, where this user may make them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

__all__ = ["MEMORY_V1", "may_make_groups", "small_group"]

MEMORY_V1 = Path("/sys/fs/cgroup/memory")
"""Where version 1 of control groups limits memory."""

_V2 = Path("/sys/fs/cgroup")
_LIMIT_FILES = {MEMORY_V1: "memory.limit_in_bytes", _V2: "memory.max"}
_SMALL_BYTES = 150_000_000


def may_make_groups(parent: Path, limit_file: str = _LIMIT_FILES[MEMORY_V1]) -> bool:
    """Tell whether this user may make groups in *parent* whose memory can be limited."""
    group = _name_in(parent)
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        return (group / limit_file).exists()
    finally:
        group.rmdir()


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with 150 MB of memory, in that of this process."""
    for root, controllers in ((MEMORY_V1, "memory"), (_V2, "")):
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, own, path = line.split(":", 2)
            parent = root / path.lstrip("/")
            if own != controllers or not may_make_groups(parent, _LIMIT_FILES[root]):
                continue
            group = _name_in(parent)
            group.mkdir()
            try:
                (group / _LIMIT_FILES[root]).write_text(str(_SMALL_BYTES))
                yield group
            finally:
                group.rmdir()
            return
    pytest.skip("this user may make no control group")


def _name_in(parent: Path) -> Path:
    return parent / f"asyncflow-test-{os.getpid()}"
