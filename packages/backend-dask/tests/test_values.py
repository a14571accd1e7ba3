"""Large values of other libraries, on their workers and on their way here."""

from __future__ import annotations

from typing import Any

import pytest
from asyncflow_backend_dask._messages.results import CallResult
from asyncflow_backend_dask._worker.inline import dump_if_small
from backend_driver import Start
from dask.sizeof import sizeof

ROWS = 100_000


def tensor() -> Any:
    import torch  # type: ignore[import-not-found, unused-ignore]

    return torch.arange(8.0 * ROWS).reshape(ROWS, 8)[:, :7]


def table() -> Any:
    import pyarrow  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return pyarrow.table({"number": range(ROWS), "text": ["a text"] * ROWS}).slice(5)


def frame() -> Any:
    import pandas  # type: ignore[import-not-found, import-untyped, unused-ignore]

    return pandas.DataFrame({"number": [1.5] * ROWS, "text": "a text"})


def equal(one: Any, other: Any) -> bool:
    return bool(one.equal(other) if hasattr(one, "equal") else one.equals(other))


@pytest.mark.parametrize(
    ("library", "make"), [("torch", tensor), ("pandas", frame), ("pyarrow", table)]
)
async def test_a_large_value_comes_stays_and_goes(
    start: Start[Any], library: str, make: Any
) -> None:
    pytest.importorskip(library)
    made = make()
    driver = await start(n_workers=1)
    (report,) = await driver.run(driver.function(make))
    value = await report.value.fetch()
    assert equal(value, made)
    (report,) = await driver.run(driver.function(lambda value: value[:3], value))
    assert equal(await report.value.fetch(), made[:3])


def test_dask_knows_how_large_a_tensor_is() -> None:
    torch = pytest.importorskip("torch")
    value = torch.ones(1_000_000)
    assert sizeof(value) >= 4_000_000
    assert sizeof(CallResult({"weights": [value]})) >= 4_000_000
    assert 1000 <= sizeof(value[0].expand(1000)) < 5_000_000
    assert sizeof(torch.nn.Linear(1000, 1000)) >= 4_000_000
    assert sizeof(torch.eye(100).to_sparse()) > 0
    assert dump_if_small(value, 4096) is None
    assert dump_if_small(value[:3], 4096) is not None
