"""Checks: the record of a run says what was true of it, by the clocks of the workers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from ..._files.declared import InputFile, OutputFile
from ...aside import in_thread
from ...engine import WorkflowEngine
from ...journal import RunRecord, read
from ...journal._format import parse
from ...model import TaskKind
from ...report import Facts, waited_seconds
from ...worker import read_clock
from .. import _functions as functions
from .needs import needs, slow
from .suite import Suite

SECONDS = 0.03
ROUNDING_S = 1e-5

_Measured = tuple[str, float, float]


class _Truth(NamedTuple):
    """The truth about a run: what its functions measured themselves, by the name of the task."""

    bag: Sequence[_Measured]
    chain: Sequence[_Measured]
    block: Sequence[_Measured]

    @property
    def all(self) -> list[_Measured]:
        return [*self.bag, *self.chain, *self.block]


class Records(Suite):
    @slow
    @needs("function", "executes", "slots", "workers")
    @pytest.mark.usefixtures("guard")
    async def test_the_record_of_a_run_says_what_was_true_of_it(self, folder: str) -> None:
        assert self.slots is not None
        journal = f"{folder}/journal"
        async with await self.new_flow(journal=journal) as flow:
            kinds = flow.backend.capabilities.kinds
            truth = await self._run(flow, folder)
            commands = await self._stage(flow, folder) if TaskKind.EXECUTABLE in kinds else 0
        (run,) = read(journal)
        facts = Facts(run)
        self._check_times(run, truth, _began(journal))
        working = len(truth.all) + commands + 2
        assert facts.states == {"DONE": working, "FAILED": 1}  # the block is done, and one is not
        assert (facts.retries, facts.reused) == (1, 0)
        assert [failure.name for failure in facts.failures] == ["fail"]
        (used,) = facts.backends
        assert used.tasks == working
        assert _most_at_once(truth.all) <= used.slots <= self.slots
        assert facts.utilisation == pytest.approx(used.busy / (used.slots * (used.down - used.up)))
        assert sum(ended - begun for _, begun, ended in truth.all) <= used.busy + ROUNDING_S
        self._check_path(facts, truth)

    async def _run(self, flow: WorkflowEngine, folder: str) -> _Truth:
        assert self.slots is not None
        measure = flow.function_task(functions.measure)

        async def body() -> list[_Measured]:
            first = await measure.options(name="inner")(2 * SECONDS)
            return [first, await measure.options(name="inner")(2 * SECONDS)]

        bag = [measure.options(name="bag")(SECONDS) for _ in range(3 * self.slots)]
        measured = [await future for future in bag]
        block = flow.block(body)()
        chain = [measure.options(name="chain")(SECONDS)]
        chain.append(measure.options(name="chain")(SECONDS, chain[0], block))
        truth = _Truth(measured, [await future for future in chain], await block)
        assert await flow.function_task(retries=1)(functions.fail_until)(folder, 2) == 2
        with pytest.raises(ValueError, match="as planned"):
            await flow.function_task(functions.fail)()
        return truth

    async def _stage(self, flow: WorkflowEngine, folder: str) -> int:
        """Run commands whose outputs are moved after their slots are free; return their number."""
        assert self.slots is not None
        source = await in_thread(_write_source, folder)
        copy = flow.executable_task(lambda source, out: f"cp '{source}' '{out}'")
        many = min(2 * self.slots, 8)
        copies = [
            copy(InputFile(source), OutputFile(Path(folder, "copies", str(number))))
            for number in range(many)
        ]
        for each in copies:
            await each
        return many

    def _check_times(self, run: RunRecord, truth: _Truth, begun: float) -> None:
        """Check the times of the tasks against what their functions measured."""
        here, _ = read_clock()
        for name, measured in (("bag", truth.bag), ("chain", truth.chain), ("inner", truth.block)):
            tasks = [task for task in run.tasks.values() if task.name == name]
            for task, (clock, first, last) in zip(tasks, measured, strict=True):
                assert None not in (task.added, task.ready, task.started, task.ended)
                assert task.started is not None
                assert task.ended is not None
                assert last - first <= task.ended - task.started + ROUNDING_S
                assert (waited_seconds(task) or 0.0) >= 0
                assert task.ended <= run.length
                if clock == here:
                    assert task.started <= first - begun + ROUNDING_S
                    assert task.ended >= last - begun - ROUNDING_S

    def _check_path(self, facts: Facts, truth: _Truth) -> None:
        """Check that what a block awaited is on the way to what comes after the block."""
        last = [task for task in facts.run.tasks.values() if task.name == "chain"][-1]
        before = facts.run._replace(
            tasks={n: t for n, t in facts.run.tasks.items() if t.name in ("inner", "body", "chain")}
        )
        path = Facts(before).critical_path
        assert [task.name for task in path] == ["body", "inner", "inner", "chain"]
        assert path[-1] is last
        longest = [*truth.block, truth.chain[-1]]
        least = sum(ended - begun for _, begun, ended in longest)
        assert Facts(before).critical_seconds >= least - ROUNDING_S


def _write_source(folder: str) -> Path:
    source = Path(folder, "source")
    source.write_bytes(bytes(1 << 20))
    return source


def _began(journal: str) -> float:
    """Return when the run of *journal* began, by the clock of this machine."""
    lines = map(parse, Path(journal).read_bytes().splitlines())
    return next(float(line.fields["clock"]) for line in lines if line.kind == "B")


def _most_at_once(measured: Sequence[_Measured]) -> int:
    """Return the most functions that ran at one moment, by the clock that most of them have."""
    here, _ = read_clock()
    known = [(begun, ended) for clock, begun, ended in measured if clock == here]
    return max(
        (sum(begun <= moment < ended for begun, ended in known) for moment, _ in known), default=0
    )
