"""A diamond of executables: one text, two counts of it at the same time, one report of both.

If an executable task returns a string, that is a command line for the shell.  A `Command` can
also set the environment, the folder and the standard input.
"""

from __future__ import annotations

import asyncio
import shlex

from radical.asyncflow import Command, WorkflowEngine

WORDS = "the quick brown fox jumps over the lazy dog while the cat sleeps"


async def main() -> None:
    async with WorkflowEngine.create() as flow:

        @flow.executable_task
        def write(words: str) -> str:
            return f"printf '%s\\n' {shlex.quote(words)} | tr ' ' '\\n'"

        @flow.executable_task
        def count(text: str) -> Command:
            return Command("wc -l", stdin=text)

        @flow.executable_task
        def most_frequent(text: str) -> Command:
            return Command("sort | uniq -c | sort -rn | head -n 1", stdin=text)

        @flow.executable_task
        async def report(total: str, top: str) -> list[str]:
            times, word = top.split()
            return ["echo", f"{total.strip()} words, {times} of them {word!r}"]

        text = write(WORDS)
        done = report(count(text), most_frequent(text))
        print(await done, end="")
        print(f"{done.name}: exit code {done.exit_code}")


if __name__ == "__main__":
    asyncio.run(main())
