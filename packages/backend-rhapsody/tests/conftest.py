"""What has to be there before the tests look for what is left behind."""

from __future__ import annotations

import asyncio

import pytest
from distributed.utils import offload


@pytest.fixture(scope="session", autouse=True)
def offloading() -> None:
    """Have the thread there that Dask keeps until the end of the program."""
    asyncio.run(offload(int))
