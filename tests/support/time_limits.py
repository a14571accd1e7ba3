"""A longer time limit for the tests of a package whose backend takes long to start."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

__all__ = ["give_time"]


def give_time(items: Iterable[pytest.Item], folder: Path, limit_s: int) -> None:
    """Give those of *items* that stand in *folder*, and have no limit of their own, this one."""
    for item in items:
        if item.path.is_relative_to(folder) and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(limit_s))
