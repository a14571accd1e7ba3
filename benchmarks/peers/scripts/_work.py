"""The bodies, the pieces of work and the form of the answer, which all peers' scripts share.

These scripts run in environments that have the peer and numpy, but nothing of ours.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["TRUE", "WORKERS", "answer", "kind", "true"]

WORKERS = 2
TRUE = "/bin/true"
WARM_UP_TASKS = 8
WIDTH = 100
PAYLOAD_NUMBERS = 1_250_000
"""The numbers in an array of 10 MB."""
PAUSE_S = 0.010

Submit = Callable[..., Any]
"""``submit(body, *arguments)`` returns a future; futures among the arguments are dependencies."""


def one_more(number: int) -> int:
    return number + 1


def top(first: int, second: int, third: int) -> int:
    return max(first, second, third) + 1


def count(*numbers: int) -> int:
    return len(numbers)


def shifted(array: Any) -> Any:
    return array + 1


def first(array: Any) -> int:
    return int(array[0])


def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def true() -> int:
    """Run /bin/true as a user would on an engine that has no executable tasks."""
    import subprocess

    return subprocess.run([TRUE], capture_output=True, check=True).returncode


BODIES = (one_more, top, count, shifted, first, pause, true)
"""The functions, for engines that need them decorated."""


def kind() -> str:
    return sys.argv[1]


def answer(
    distribution: str,
    submit: Submit,
    results: Callable[[Sequence[Any]], Sequence[Any]],
    run_true: Callable[[], Any] | None = None,
    trips: Callable[[Callable[..., Any], int], int] | None = None,
) -> None:
    """Do each piece of work that the command line names as ``NAME=SIZE``, and print its time.

    Args:
        results: a function that waits for futures.
        run_true: a function that returns a future of /bin/true, for an engine with executable
            tasks.
        trips: a function that calls a body so many times, each awaited before the next, for an
            engine with asynchronous programs, which do not start a loop for each call.
    """
    works = _works(submit, results, run_true or (lambda: submit(true)))
    if trips is not None:
        works["trips"] = lambda size: trips(one_more, size)
    version = importlib.metadata.version(distribution)
    for asked in sys.argv[2:]:
        name, _, size = asked.partition("=")
        works[name](WARM_UP_TASKS)
        began = time.perf_counter()
        done = works[name](int(size))
        seconds = time.perf_counter() - began
        if done != int(size):
            raise SystemExit(f"{name}: {done} of {size} tasks were done")
        # The newline comes first, because an engine may have left a line of its own unfinished.
        print("\n" + json.dumps({"work": name, "seconds": seconds, "version": version}), flush=True)


def _works(
    submit: Submit,
    results: Callable[[Sequence[Any]], Sequence[Any]],
    run_true: Callable[[], Any],
) -> dict[str, Callable[[int], int]]:
    """Return the pieces of work by name; each returns the number of tasks that it did."""

    def bag(size: int) -> int:
        return len(results([submit(one_more, number) for number in range(size)]))

    def chain(size: int) -> int:
        last = submit(one_more, 0)
        for _ in range(size - 1):
            last = submit(one_more, last)
        return int(results([last])[0])

    def fan(size: int) -> int:
        source = submit(one_more, 0)
        return 2 + int(
            results([submit(count, *[submit(one_more, source) for _ in range(size - 2)])])[0]
        )

    def layers(size: int) -> int:
        width = min(WIDTH, size)
        layer = [submit(one_more, 0) for _ in range(width)]
        for _ in range(size // width - 1):
            layer = [
                submit(top, layer[index - 1], layer[index], layer[(index + 1) % width])
                for index in range(width)
            ]
        return width * int(results(layer)[0])

    def executables(size: int) -> int:
        return len(results([run_true() for _ in range(size)]))

    def trips(size: int) -> int:
        return sum(len(results([submit(one_more, number)])) for number in range(size))

    def payload(size: int) -> int:
        import numpy

        array = submit(shifted, numpy.zeros(PAYLOAD_NUMBERS))
        for _ in range(size - 1):
            array = submit(shifted, array)
        return int(results([submit(first, array)])[0])

    def pauses(size: int) -> int:
        return len(results([submit(pause, PAUSE_S) for _ in range(size)]))

    return {
        work.__name__: work
        for work in (bag, chain, fan, layers, executables, trips, payload, pauses)
    }
