"""Dask's own futures as arguments of tasks, on this backend and on others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from distributed import Client, Event, LocalCluster
from radical.asyncflow import WorkflowEngine
from radical.asyncflow.errors import DependencyFailureError

TIMEOUT_S = 100


@pytest.fixture
def client() -> Iterator[Client]:
    """Make a client as programs have it, which is not asynchronous."""
    with (
        LocalCluster(n_workers=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        yield client


def engine(name: str, client: Client) -> Any:
    config = {"dask": {"client": client}, "concurrent": {"max_workers": 1}}[name]
    return WorkflowEngine.create(name, config=config)


class Counter:
    def __init__(self) -> None:
        self.value = 0

    def add(self, number: int) -> int:
        self.value += number
        return self.value


def wait_for_gate(number: int) -> int:
    assert Event("gate").wait(TIMEOUT_S)
    return number


def divide(number: int) -> float:
    return number / 0


@pytest.mark.parametrize("backend", ["dask", "concurrent"])
async def test_the_result_of_a_dask_future_is_taken(backend: str, client: Client) -> None:
    late = client.submit(wait_for_gate, 5)
    done = client.submit(pow, 2, 3)
    async with engine(backend, client) as flow, asyncio.timeout(TIMEOUT_S):
        total = flow.function_task(lambda first, rest: first + rest["more"][0])(
            late, {"more": [done]}
        )
        echo = flow.executable_task(lambda number: ["echo", str(number)])(done)
        await asyncio.to_thread(Event("gate", client=client).set)
        assert await total == 13
        assert await echo == "8\n"


async def test_the_future_of_a_call_of_an_actor_is_taken(client: Client) -> None:
    made = client.submit(Counter, actor=True)
    counter = await asyncio.to_thread(made.result)
    async with engine("concurrent", client) as flow, asyncio.timeout(TIMEOUT_S):
        assert await flow.function_task(abs)(counter.add(-4)) == 4


async def test_a_dask_future_that_fails_fails_the_task_with_its_error(client: Client) -> None:
    async with engine("dask", client) as flow, asyncio.timeout(TIMEOUT_S):
        with pytest.raises(DependencyFailureError) as caught:
            await flow.function_task(abs)(client.submit(divide, 1))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


async def test_the_future_of_an_asynchronous_client_is_taken() -> None:
    async with (
        LocalCluster(
            n_workers=1, processes=False, dashboard_address="127.0.0.1:0", asynchronous=True
        ) as cluster,
        Client(cluster, asynchronous=True, set_as_default=False) as client,
        engine("concurrent", client) as flow,
        asyncio.timeout(TIMEOUT_S),
    ):
        assert await flow.function_task(abs)(client.submit(int, -6)) == 6


@pytest.mark.parametrize("backend", ["dask", "concurrent"])
async def test_a_dask_future_inside_of_an_object_is_refused_at_the_call(
    backend: str, client: Client
) -> None:
    held = Counter()
    held.value = client.submit(int, 1)  # type: ignore[assignment]
    async with engine(backend, client) as flow:
        with pytest.raises(TypeError, match=r"the Dask future 'int-.*at Counter\.value"):
            flow.function_task(vars)(held)


async def test_a_client_with_futures_may_be_an_argument(client: Client) -> None:
    future = client.submit(int, 1)
    async with engine("concurrent", client) as flow:
        assert await flow.function_task(lambda it: it.status)(client) == "running"
    assert await asyncio.to_thread(future.result) == 1


async def test_a_future_of_a_client_that_is_closed_is_refused_at_the_call(client: Client) -> None:
    future = client.submit(int, 1)
    client.close()
    async with engine("concurrent", client) as flow:
        with pytest.raises(TypeError, match=r"Dask future .* its client is closed"):
            flow.function_task(abs)(future)
