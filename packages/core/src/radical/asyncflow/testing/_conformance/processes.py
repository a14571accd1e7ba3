"""Checks: a function's processes end with it, and whatever one does harms no other."""

from __future__ import annotations

import asyncio
import importlib
import signal
import sys
import uuid
from pathlib import Path

import pytest

from ...engine import WorkflowEngine
from ...errors import WorkerLostError
from ...model import TaskState
from .. import _functions as functions
from .bare import Bare
from .needs import needs, slow
from .protocol import ends, quiet
from .suite import Suite
from .waiting import appears, lives, marked, open_gate, until

_STUBBORN = "trap '' TERM; "


class Processes(Suite):
    """These are about functions that run in other processes, as ``pickles`` says."""

    @slow
    @needs("function", "executes", "pickles", "kills functions")
    @pytest.mark.parametrize("first", ["", _STUBBORN], ids=["polite", "stubborn"])
    @pytest.mark.parametrize("obeys", [False, True], ids=["", "of one that obeys"])
    async def test_cancelling_a_function_ends_its_whole_process_tree(
        self, flow: WorkflowEngine, folder: str, first: str, obeys: bool
    ) -> None:
        mark = uuid.uuid4().hex
        future = flow.function_task(functions.hold_with_tree)(folder, mark, first, obeys)
        await appears(folder, "began")
        assert len(marked(mark)) >= 3
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        await until(lambda: not marked(mark), "the function's processes end", self.patience)

    @needs("function", "executes", "pickles", "kills functions")
    @pytest.mark.usefixtures("guard")
    async def test_shutdown_ends_the_process_tree_of_a_function(self, folder: str) -> None:
        mark = uuid.uuid4().hex
        flow = await self.new_flow()
        future = flow.function_task(functions.hold_with_tree)(folder, mark, _STUBBORN)
        await appears(folder, "began")
        await asyncio.wait_for(flow.shutdown(), self.patience)
        assert future.done()
        await until(lambda: not marked(mark), "the function's processes end", self.patience)

    # Only the parent of a worker sees its signal, and whoever kills workers is their parent.
    @needs("function", "executes", "pickles", "isolates", "kills functions")
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
    async def test_the_signal_that_ended_a_worker_is_told(
        self, flow: WorkflowEngine, number: signal.Signals
    ) -> None:
        with pytest.raises(WorkerLostError) as caught:
            await asyncio.wait_for(flow.function_task(functions.die)(number), self.patience)
        assert caught.value.signal == number

    @needs("function", "executes", "pickles", "isolates")
    async def test_a_death_is_noticed_though_a_child_lives_on(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        try:
            with pytest.raises(WorkerLostError):
                await asyncio.wait_for(
                    flow.function_task(functions.die_leaving_a_child)(folder), self.patience
                )
        finally:
            open_gate(folder)
        children = _children(folder)
        await until(lambda: not any(map(lives, children)), "the child ends", self.patience)
        assert await flow.function_task(functions.identity)("alive") == "alive"

    @needs("function", "executes", "pickles", "isolates")
    async def test_a_function_that_forks_answers_once(self, bare: Bare) -> None:
        request = bare.request(functions.fork_and_return)
        bare.submit(request)
        assert await bare.values(request, deadline=self.patience) == [True]
        await quiet(bare)
        assert ends(bare, request.task_id) == [TaskState.DONE]
        later = [bare.request(functions.identity, at) for at in range(50)]
        bare.submit(*later)
        assert await bare.values(*later, deadline=self.patience) == list(range(50))

    @needs("function", "executes", "pickles", "isolates")
    async def test_the_death_of_an_idle_worker_costs_no_task(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        worker = await flow.function_task(functions.die_at_the_gate)(folder)
        open_gate(folder)
        await until(lambda: not lives(worker), "the idle worker dies", self.patience)
        await asyncio.sleep(self.travel)
        value = flow.function_task(functions.identity)
        count = 4 * (self.slots or 1)
        assert await asyncio.gather(*map(value, range(count))) == list(range(count))

    @needs("function", "executes", "pickles")
    @pytest.mark.usefixtures("guard")
    async def test_a_function_of_a_module_beside_the_script_runs(
        self, folder: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = f"beside_{uuid.uuid4().hex}"
        (Path(folder) / f"{name}.py").write_text("def answer(): return 42\n")
        monkeypatch.syspath_prepend(folder)
        answer = importlib.import_module(name).answer
        try:
            async with await self.new_flow() as flow:
                future = flow.function_task(answer)()
                assert await asyncio.wait_for(future, self.patience) == 42
        finally:
            del sys.modules[name]


def _children(folder: str) -> list[int]:
    """Return the ids of processes that noted themselves in *folder*."""
    return [int(path.name.partition("-")[2]) for path in Path(folder).glob("child-*")]
