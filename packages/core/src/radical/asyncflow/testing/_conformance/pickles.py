"""Checks: what cannot travel fails its own task, soon, by its true name."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from ...engine import WorkflowEngine
from ...errors import RemoteError, SerializationError
from .. import _functions as functions
from .needs import needs
from .suite import Suite


class Pickles(Suite):
    async def _fails(
        self, flow: WorkflowEngine, error: type[BaseException], body: Any, *args: Any
    ) -> Any:
        """Return the error of a task that must fail soon, and alone."""
        value = flow.function_task(functions.identity)
        before = value("before")
        bad = flow.function_task(body)(*args)
        after = value("after")
        with pytest.raises(error) as caught:
            await asyncio.wait_for(bad, self.patience)
        assert (await before, await after) == ("before", "after")
        assert await value("later") == "later"
        return caught.value

    @needs("function", "executes", "pickles")
    async def test_a_function_that_cannot_be_pickled(self, flow: WorkflowEngine) -> None:
        lock = threading.Lock()
        error = await self._fails(flow, SerializationError, lambda: lock.locked())
        assert error.what == "function"
        assert "lock" in str(error)

    @needs("function", "executes", "pickles")
    async def test_an_argument_that_cannot_be_pickled(self, flow: WorkflowEngine) -> None:
        error = await self._fails(flow, SerializationError, functions.identity, [threading.Lock()])
        assert error.what == "arguments"
        assert "lock" in str(error)

    @needs("function", "executes", "pickles")
    async def test_an_argument_whose_pickling_raises(self, flow: WorkflowEngine) -> None:
        error = await self._fails(
            flow, SerializationError, functions.identity, functions.DumpBomb()
        )
        assert error.what == "arguments"
        assert "does not travel" in str(error)

    @needs("function", "executes", "pickles")
    async def test_an_argument_that_cannot_be_rebuilt(self, flow: WorkflowEngine) -> None:
        error = await self._fails(
            flow, SerializationError, functions.identity, functions.LoadBomb()
        )
        assert error.what == "arguments"
        assert "does not load" in str(error)

    @needs("function", "executes", "pickles")
    async def test_a_result_that_cannot_be_pickled(self, flow: WorkflowEngine) -> None:
        error = await self._fails(flow, SerializationError, functions.return_lock)
        assert error.what == "result"
        assert "lock" in str(error)

    @needs("function", "executes", "pickles")
    async def test_a_result_that_cannot_be_rebuilt(self, flow: WorkflowEngine) -> None:
        error = await self._fails(flow, SerializationError, functions.return_load_bomb)
        assert error.what == "result"
        assert "does not load" in str(error)

    @needs("function", "executes", "pickles")
    async def test_an_exception_that_cannot_be_pickled(self, flow: WorkflowEngine) -> None:
        error = await self._fails(flow, RemoteError, functions.fail_unpicklable)
        assert error.type_name.endswith("LockedError")
        assert error.message == "locked in"

    @needs("function", "executes", "pickles")
    async def test_an_exception_that_cannot_be_rebuilt(self, flow: WorkflowEngine) -> None:
        error = await self._fails(flow, RemoteError, functions.fail_unrebuildable)
        assert error.type_name.endswith("TwoPartError")
        assert error.message == "this and that"

    @needs("function", "executes", "pickles")
    async def test_bad_pickles_in_numbers_harm_no_other_task(self, flow: WorkflowEngine) -> None:
        value = flow.function_task(functions.identity)
        bomb = flow.function_task(functions.return_load_bomb)
        futures = [
            future
            for at in range(20)
            for future in (value(at), bomb(), value(threading.Lock()), value(functions.LoadBomb()))
        ]
        results = await asyncio.wait_for(
            asyncio.gather(*futures, return_exceptions=True), self.patience
        )
        assert results[::4] == list(range(20))
        rest = [type(result) for at, result in enumerate(results) if at % 4]
        assert set(rest) == {SerializationError}

    @needs("function", "executes", "pickles")
    async def test_a_task_cannot_change_its_caller_s_arguments(self, flow: WorkflowEngine) -> None:
        mine = [1, 2]
        assert await flow.function_task(lambda items: items.append(3) or items)(mine) == [1, 2, 3]
        assert mine == [1, 2]

    @needs("function", "executes", "shares memory")
    async def test_an_argument_that_cannot_be_pickled_is_handed_over_as_it_is(
        self, flow: WorkflowEngine
    ) -> None:
        lock = threading.Lock()
        assert await flow.function_task(functions.identity)(lock) is lock

    @needs("function", "executes", "shares memory")
    async def test_an_exception_that_cannot_be_pickled_arrives_as_it_is(
        self, flow: WorkflowEngine
    ) -> None:
        with pytest.raises(functions.LockedError, match="locked in"):
            await flow.function_task(functions.fail_unpicklable)()
