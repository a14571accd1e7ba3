"""Count the words of many files side by side, and merge the counts two by two.

The merge is a tree: `merge` takes two counts or two merges.  So merging begins as soon as the
first two files are counted.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

from radical.asyncflow import WorkflowEngine

TEXTS = {
    "stars.txt": "a star is a ball of gas and a galaxy is a cloud of stars",
    "cells.txt": "a cell is a bag of water and a body is a city of cells",
    "spins.txt": "a spin is up or down and a magnet is a crowd of spins",
    "waves.txt": "a wave is a motion of water or air and a tone is a wave",
}


async def main(paths: list[Path]) -> None:
    async with WorkflowEngine.create() as flow:

        @flow.function_task
        def count(path: Path) -> Counter[str]:
            return Counter(path.read_text().split())

        @flow.function_task
        def merge(left: Counter[str], right: Counter[str]) -> Counter[str]:
            return left + right

        counts = [count(path) for path in paths]
        while len(counts) > 1:
            left, right, *counts = counts
            counts.append(merge(left, right))
        words = await counts[0]
        for word, times in words.most_common(3):
            print(f"{word:3} {times:2} times")


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        for name, text in TEXTS.items():
            Path(folder, name).write_text(text)
        asyncio.run(main(sorted(Path(folder).glob("*.txt"))))
