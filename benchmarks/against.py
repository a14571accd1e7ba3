"""Compare this checkout with another commit: ``python -m benchmarks.against COMMIT``.

Each round runs every piece of work in two new interpreters in turn, one with the packages of
this checkout and one with those of the other commit.  The ratio is the median of the rounds.
It shows whether a refactoring cost anything.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
SHAPES = ("bag", "chain", "fan", "layers")
WORK: dict[str, tuple[str, str, dict[str, Any]]] = {
    **{f"noop {shape}": (shape, "noop", {}) for shape in SHAPES},
    **{f"thread {shape}": (shape, "concurrent", {"max_workers": 2}) for shape in SHAPES},
    **{
        f"process {shape}": (shape, "concurrent", {"max_workers": 2, "executor_type": "process"})
        for shape in ("bag", "chain")
    },
}
"""The pieces of work by name, each a shape, a backend and its settings."""

IMPORT = "import radical.asyncflow"
IMPORT_CODE = f"""
import time
began = time.perf_counter()
{IMPORT}
print((time.perf_counter() - began) * 1e3)
"""
"""Code for a bare interpreter, in which no benchmark has imported anything before."""


def sample(work: str, size: int, samples: int) -> float:
    """Return the microseconds a task of *work*, the best of *samples*, in this interpreter."""
    from . import _ours
    from ._measure import timed

    shape, backend, config = WORK[work]
    times = [
        asyncio.run(timed(work, _ours.side(_ours.SHAPES[shape], backend, **config), size))[0]
        for _ in range(samples)
    ]
    return min(times) / size * 1e6


def measure(packages: Path, work: str, size: int, samples: int) -> float:
    """Return `sample`, or the milliseconds of `IMPORT`, on those *packages*."""
    call = f"sample({work!r}, {size}, {samples})"
    code = IMPORT_CODE if work == IMPORT else f"from benchmarks.against import *; print({call})"
    path = os.pathsep.join(map(str, sorted(packages.glob("*/src"))))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return float(done.stdout)


def compare(
    other: Path, names: Sequence[str], *, size: int, samples: int, rounds: int
) -> Mapping[str, tuple[float, float, float]]:
    """Return ``{work: (this, other, median ratio)}``."""
    sides = {"this": ROOT / "packages", "other": other / "packages"}
    results = {}
    for name in names:
        values: dict[str, list[float]] = {side: [] for side in sides}
        for turn in range(rounds):
            # The second of a round finds a warmer machine than the first, so they alternate.
            for side in sorted(sides, reverse=bool(turn % 2)):
                values[side].append(measure(sides[side], name, size, samples))
        ratio = statistics.median(
            here / there for here, there in zip(values["this"], values["other"], strict=True)
        )
        this, before = (statistics.median(values[side]) for side in sides)
        results[name] = (this, before, ratio)
        unit = "ms" if name == IMPORT else "µs a task"
        print(f"{name:26} {this:9.2f} {before:9.2f} {unit:10} ratio {ratio:.3f}", flush=True)
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Check out the other commit, compare, and print a line for each piece of work."""
    parser = argparse.ArgumentParser(prog="benchmarks.against", description=__doc__)
    parser.add_argument("commit")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    parser.add_argument("--samples", type=int, default=5, metavar="N", help="in each interpreter")
    parser.add_argument("--size", type=int, default=10_000, metavar="TASKS")
    parser.add_argument("--work", action="append", metavar="NAME", choices=[*WORK, IMPORT])
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(other), options.commit], check=True)
        try:
            compare(
                other,
                options.work or [*WORK, IMPORT],
                size=options.size,
                samples=options.samples,
                rounds=options.rounds,
            )
        finally:
            subprocess.run([*git, "remove", "--force", str(other)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
