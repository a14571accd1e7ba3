"""What the tests of this backend share, beside what all backends' tests do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from backend_driver import Start, appears, drivers, empty_folder, leak_guard

__all__ = ["appears", "empty_folder", "leak_guard"]


@pytest.fixture
async def start(
    tmp_path: Path, empty_folder: Path
) -> AsyncIterator[Start[ConcurrentExecutionBackend]]:
    """Makes and starts a backend with these settings; nothing of it is left afterwards."""

    def make(*args: Any, **settings: Any) -> ConcurrentExecutionBackend:
        return ConcurrentExecutionBackend(*args, **{"max_workers": 2, "grace": 1.0, **settings})

    async with drivers(make, tmp_path) as begin:
        yield begin
