"""Start a server, let tasks ask it, and stop it: all in one workflow.

The service is done when the server is up; its result is the address.  Calls that get the address
wait for it, and fail with the last output of the server if it dies.
"""

from __future__ import annotations

import asyncio
import sys
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory

from radical.asyncflow import WorkflowEngine


async def main(folder: Path) -> None:
    for number in range(4):
        (folder / f"{number}.txt").write_text("x" * 10**number)

    async with WorkflowEngine.create("concurrent", {"max_workers": 3}) as flow:

        @flow.executable_task(service=True, info_pattern=r"stdout:\((http\S+)/\)", timeout=60)
        def serve() -> list[str]:
            options = ["--bind", "127.0.0.1", "--directory", str(folder)]
            return [sys.executable, "-u", "-m", "http.server", "0", *options]

        @flow.function_task
        def size(address: str, name: str) -> int:
            with urllib.request.urlopen(f"{address}/{name}") as answer:
                return len(answer.read())

        @flow.function_task
        def total(sizes: list[int]) -> int:
            return sum(sizes)

        server = serve()
        sizes = [size(server, f"{number}.txt") for number in range(4)]
        print(await total(sizes), "bytes in", len(sizes), "files")
        await server.stop()


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))
