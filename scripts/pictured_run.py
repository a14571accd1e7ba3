"""Run the workflow that the pictures of the documentation show, and stop in its middle.

``python scripts/pictured_run.py`` works in the current folder.  It prints the address of its live
page, waits for a line on its standard input when it is in the middle, and then goes on to its end.
The journal of the run is ``screening.journal``; the table that a terminal shows in the middle is
``terminal.svg``.
"""

from __future__ import annotations

import asyncio
import io
import random
import re
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from radical.asyncflow import Command, TaskEvent, WorkflowEngine
from radical.asyncflow._display.board import Board
from radical.asyncflow.model import TaskState
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from radical.asyncflow.events import Event

LIGANDS = 8
WORKERS = 4
"""As many of the last simulations wait for the line on the standard input."""
FAULTY = 0
COLUMNS = 92
TITLE = "asyncflow run screening.py"
GO = Path("go")


def dock(ligand: int) -> float:
    """Find a place for a ligand; this takes a while."""
    chance = random.Random(ligand)
    time.sleep(0.1 + 0.2 * chance.random())
    return round(chance.uniform(-9, -5), 2)


def refine(output: str) -> float:
    """Compute the energy again, better."""
    time.sleep(0.15)
    return 1.1 * float(output.split()[-1])


def plot(ligand: int, output: str) -> str:
    """Draw the energies of a simulation."""
    time.sleep(0.1)
    if ligand == FAULTY:
        raise ValueError("energy is not finite")
    return output


def rank(energies: list[float]) -> list[float]:
    """Sort the best to the front."""
    time.sleep(0.2)
    return sorted(energies)


async def main() -> None:
    """Run the workflow, with a stop in its middle."""
    settings = {"max_workers": WORKERS}
    async with WorkflowEngine.create("concurrent", settings, journal="screening.journal") as flow:
        board = Board(Console(file=io.StringIO(), force_terminal=True, width=COLUMNS))
        board.watch(flow)
        held = asyncio.Event()
        flow.observe(partial(look, held, set()))
        print(await flow.serve(), flush=True)

        @flow.executable_task
        def simulate(ligand: int, score: float) -> Command:
            text = f"sleep {0.3 + ligand % 5 / 10}; echo energy {score}"
            if ligand >= LIGANDS - WORKERS:
                text += f"; until [ -e '{GO.absolute()}' ]; do sleep 0.05; done"
            return Command(text)

        docking, refining = flow.function_task(dock), flow.function_task(refine)
        plotting = flow.function_task(plot)
        scores = [docking(ligand) for ligand in range(LIGANDS)]
        simulated = [simulate(ligand, score) for ligand, score in enumerate(scores)]
        refined = [refining(output) for output in simulated]
        best = flow.function_task(rank)(refined)
        drawn = plotting(FAULTY, simulated[FAULTY])
        await asyncio.wait([*refined[:-WORKERS]])
        await asyncio.wait([drawn])
        await held.wait()
        picture(board)
        print("middle", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.to_thread(GO.touch)
        await best


def look(held: asyncio.Event, begun: set[int], events: Sequence[Event]) -> None:
    """Note which simulations have begun, and set *held* when all have."""
    begun.update(
        event.task_id
        for event in events
        if isinstance(event, TaskEvent)
        and event.name == "simulate"
        and event.state is TaskState.RUNNING
    )
    if len(begun) == LIGANDS:
        held.set()


def picture(board: Board) -> None:
    """Write what a terminal shows now."""
    console = Console(
        file=io.StringIO(), force_terminal=True, record=True, width=COLUMNS, highlight=False
    )
    console.print(Text.assemble(("$ ", "dim"), TITLE))
    console.print(board._table())
    # The fonts of this machine do; none is fetched from elsewhere.
    form = re.sub(r"@font-face\s*\{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
    svg = console.export_svg(
        title="asyncflow run screening.py", code_format=form, unique_id="terminal"
    )
    Path("terminal.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(main())
