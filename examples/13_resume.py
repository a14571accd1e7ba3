"""Go on where a run has failed: a journal keeps the result of each task that was done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory

from radical.asyncflow import WorkflowEngine


def measure(day: int) -> int:
    print("measure day", day)
    return day * day


def publish(values: list[int], folder: Path) -> str:
    (folder / "published").touch(exist_ok=False)
    return f"published {values}"


async def campaign(folder: Path) -> None:
    journal = folder / "campaign.journal"
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=journal) as flow:
        values = [flow.function_task(measure)(day) for day in range(3)]
        try:
            print(await flow.function_task(publish)(values, folder))
        except FileExistsError as error:
            print("failed:", Path(error.filename).name, "is there already")


async def main(folder: Path) -> None:
    (folder / "published").touch()  # what somebody has forgotten there
    await campaign(folder)
    (folder / "published").unlink()
    await campaign(folder)


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
