"""Find where a magnet loses its magnetism: a sweep over temperatures of the 2D Ising model.

For each temperature one task simulates a lattice of spins (NumPy), an executable (awk)
computes the mean and the variance of the measured values, and a third task turns those into
physics.  The last task waits for all of them and finds the peak of the susceptibility, which
lies near the critical temperature 2.269.

Nothing here names a backend: the tasks run on the cores of this machine, or on the backend
that ``asyncflow run --backend`` or ``asyncflow.toml`` names.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import time
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from radical.asyncflow import Command, WorkflowEngine
from rich.console import Console
from rich.table import Table

CRITICAL = 2.269
TEMPERATURES = np.linspace(1.6, 3.2, 17).round(2).tolist()
MOMENTS = "{ sum += $1; squares += $1 * $1 } END { print sum / NR, squares / NR - (sum / NR) ^ 2 }"


class Point(NamedTuple):
    """The results at one temperature, for each spin."""

    temperature: float
    magnetization: float
    susceptibility: float


def simulate(temperature: float, size: int, sweeps: int) -> NDArray[np.float64]:
    """Return the magnetization after each sweep of the Metropolis algorithm on a checkerboard."""
    random = np.random.default_rng(int(1000 * temperature))
    spins = np.ones((size, size), dtype=np.int8)
    black = np.indices(spins.shape).sum(axis=0) % 2 == 0
    measured = np.empty(sweeps)
    for sweep in range(sweeps):
        for colour in (black, ~black):
            near = sum(np.roll(spins, shift, axis) for shift in (1, -1) for axis in (0, 1))
            chance = np.exp(-2.0 * spins * near / temperature)
            spins[colour & (random.random(spins.shape) < chance)] *= -1
        measured[sweep] = abs(spins.mean())
    return measured[sweeps // 4 :]


async def sweep(size: int, sweeps: int) -> tuple[list[Point], Point]:
    """Return all points, and the one with the largest susceptibility."""
    async with WorkflowEngine.create() as flow:
        run = flow.function_task(simulate)

        @flow.executable_task
        def moments(series: NDArray[np.float64]) -> Command:
            return Command(("awk", MOMENTS), stdin="\n".join(map(str, series.tolist())))

        @flow.function_task
        def physics(temperature: float, text: str) -> Point:
            mean, variance = map(float, text.split())
            return Point(temperature, mean, variance * size**2 / temperature)

        @flow.function_task
        def peak(points: list[Point]) -> Point:
            return max(points, key=lambda point: point.susceptibility)

        points = [physics(value, moments(run(value, size, sweeps))) for value in TEMPERATURES]
        critical = peak(points)
        with flow.progress():
            return list(await asyncio.gather(*points)), await critical


def show(points: list[Point], peak: Point, console: Console) -> None:
    table = Table("T", "|m|", "χ", "", title="2D Ising model", title_justify="left")
    for point in points:
        bar = "█" * round(30 * point.susceptibility / peak.susceptibility)
        mark = " ← peak" if point == peak else ""
        table.add_row(
            f"{point.temperature:.2f}",
            f"{point.magnetization:.3f}",
            f"{point.susceptibility:.2f}",
            bar + mark,
        )
    console.print(table)


def plot(points: list[Point], path: str) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots()
    axes.plot([point.temperature for point in points], [point.magnetization for point in points])
    axes.axvline(CRITICAL, linestyle="--")
    axes.set(xlabel="temperature", ylabel="magnetization")
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=32, help="the edge of the lattice (32)")
    parser.add_argument(
        "--sweeps", type=int, default=1500, help="the sweeps at each temperature (1500)"
    )
    parser.add_argument("--plot", metavar="FILE", help="also draw a picture (needs matplotlib)")
    options = parser.parse_args()
    if options.plot and importlib.util.find_spec("matplotlib") is None:
        parser.error("--plot needs matplotlib: pip install matplotlib")

    began = time.perf_counter()
    points, peak = asyncio.run(sweep(options.size, options.sweeps))
    took = time.perf_counter() - began
    show(points, peak, Console())
    print(
        f"{3 * len(points) + 1} tasks in {took:.1f} s; the susceptibility peaks at "
        f"T = {peak.temperature:.2f} (exact, for an infinite lattice: {CRITICAL})"
    )
    if options.plot:
        plot(points, options.plot)


if __name__ == "__main__":
    main()
