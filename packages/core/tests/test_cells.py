"""Cells of a notebook, in a real kernel."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

jupyter = pytest.importorskip("jupyter_client")
pytest.importorskip("ipykernel")

LIMIT_S = 120


class Notebook:
    """A kernel that runs cells."""

    def __init__(self, manager: Any, client: Any) -> None:
        self.manager = manager
        self.client = client

    async def run(self, code: str, *, interrupt_on: str | None = None) -> str:
        """Run a cell and return what it printed; interrupt it once it prints *interrupt_on*."""
        request = self.client.execute(code)
        printed = ""
        while True:
            message = await self.client.get_iopub_msg(timeout=LIMIT_S)
            if message["parent_header"].get("msg_id") != request:
                continue
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    printed += content["text"]
                    if interrupt_on is not None and interrupt_on in printed:
                        interrupt_on = None
                        await self.manager.interrupt_kernel()
                case "error":
                    printed += f"{content['ename']}\n"
                case "display_data" | "execute_result" | "update_display_data":
                    printed += content["data"].get("text/html", "")
                case "status" if content["execution_state"] == "idle":
                    return printed


@pytest.fixture
async def notebook() -> AsyncIterator[Notebook]:
    manager, client = await jupyter.manager.start_new_async_kernel(startup_timeout=LIMIT_S)
    try:
        yield Notebook(manager, client)
    finally:
        client.stop_channels()
        await manager.shutdown_kernel(now=True)
        manager.context.destroy(linger=0)


ASYNC = """
import asyncio, time
from radical.asyncflow import WorkflowEngine
flow = await WorkflowEngine.create("concurrent", {"max_workers": 2})
@flow.block
async def earlier():
    await gate.wait()
    return await flow.function_task(abs)(-7)
gate = asyncio.Event()
kept = earlier()
sleep = flow.executable_task(lambda seconds: ["sleep", str(seconds)])
await flow.function_task(abs)(-1)
"""


@pytest.mark.timeout(3 * LIMIT_S)
async def test_an_interrupted_cell_takes_its_tasks_along(notebook: Notebook) -> None:
    assert "Error" not in await notebook.run(ASYNC)
    cell = "futures = [sleep(600) for _ in range(5)]\nprint('begun')\nawait futures[0]"
    assert "CancelledError" in await notebook.run(cell, interrupt_on="begun")
    states = "print(*[(await asyncio.wait([f])) and f.state for f in futures], kept.state)"
    assert await notebook.run(states) == "CANCELLED " * 5 + "RUNNING\n"
    # What an earlier cell has started goes on, also through a cell that is interrupted.
    cell = "gate.set()\nmore = sleep(600)\nprint('begun')\ntime.sleep(600)"
    assert "KeyboardInterrupt" in await notebook.run(cell, interrupt_on="begun")
    assert await notebook.run("print(await kept, more.state)") == "7 CANCELLED\n"
    assert await notebook.run("await flow.shutdown()\nprint('over')") == "over\n"


SYNC = """
from radical.asyncflow.sync import Flow
flow = Flow("concurrent", {"max_workers": 2})
sleep = flow.executable_task(lambda seconds: ["sleep", str(seconds)])
first = sleep(600)
"""


@pytest.mark.timeout(3 * LIMIT_S)
async def test_an_interrupted_cell_without_asyncio(notebook: Notebook) -> None:
    assert await notebook.run(SYNC) == ""
    cell = "futures = [sleep(600) for _ in range(5)]\nprint('begun')\nfutures[0].result()"
    assert "KeyboardInterrupt" in await notebook.run(cell, interrupt_on="begun")
    wait = "from concurrent.futures import wait\nwait(futures)\n"
    states = "print(*[f.state for f in futures], first.done())"
    assert await notebook.run(wait + states) == "CANCELLED " * 5 + "False\n"
    assert await notebook.run("first.cancel()\nflow.shutdown()\nprint('over')") == "over\n"


PROGRESS = """
async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as other:
    with other.progress():
        invert = other.function_task(lambda number: 1 / number, name="invert")
        await asyncio.gather(*[invert(number) for number in range(4)], return_exceptions=True)
"""

FLOW_PROGRESS = """
with flow.progress():
    total = sum(flow.map(flow.function_task(abs), range(5)))
print(total)
flow.shutdown()
"""


@pytest.mark.timeout(3 * LIMIT_S)
async def test_progress_stands_in_the_output_of_its_cell(notebook: Notebook) -> None:
    await notebook.run("import asyncio\nfrom radical.asyncflow import WorkflowEngine")
    shown = (await notebook.run(PROGRESS)).rpartition("<pre")[2]
    assert "3 done" in shown
    assert "1 failed" in shown
    assert "ZeroDivisionError" in shown
    await notebook.run(SYNC.replace("first =", "# first ="))
    printed = await notebook.run(FLOW_PROGRESS)
    assert "10\n" in printed
    assert "5 done" in printed.rpartition("<pre")[2]
