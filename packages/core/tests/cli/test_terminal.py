"""What a user sees, on a real pseudo-terminal."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path

from .conftest import Script, Terminal

Start = Callable[..., Terminal]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WORKFLOW = """
    import asyncio
    from radical.asyncflow import WorkflowEngine

    async def main():
        async with WorkflowEngine.create("concurrent", {"max_workers": 2}) as flow:
            @flow.function_task(name="[red]evil[/red]\\x1b[31m")
            async def task(number):
                if number == 3:
                    raise ValueError("three\\x07 [bold]is bad[/bold]")

            print("from the script")
            await asyncio.gather(*map(task, range(5)), return_exceptions=True)

    asyncio.run(main())
"""


def _plain(text: str) -> str:
    return ESCAPE.sub("", text).replace("\r", "\n")


def test_run_shows_the_counts_by_name(terminal: Start, script: Script) -> None:
    shown = terminal("run", script(WORKFLOW))
    assert shown.wait() == 0
    lines = _plain(shown.output).splitlines()
    heads = [line.split() for line in lines if line.startswith("task ")][-1]
    row = [line.replace(" %", "%").split() for line in lines if line.startswith("[red]evil")][-1]
    counts = dict(zip(heads[1:], row[-len(heads) + 1 :], strict=False))
    assert [counts[head] for head in ("%", "running", "done", "failed")] == ["100%", "0", "4", "1"]


def test_run_lists_a_failure_with_its_markup_and_controls_as_text(
    terminal: Start, script: Script
) -> None:
    shown = terminal("run", script(WORKFLOW), columns=200)
    shown.wait()
    assert (
        "failed [red]evil[/red]\\x1b[31m (task.000004): ValueError: three\\x07 [bold]is bad[/bold]"
        in _plain(shown.output)
    )


def test_run_ends_with_a_summary(terminal: Start, script: Script) -> None:
    shown = terminal("run", script(WORKFLOW))
    shown.wait()
    assert re.fullmatch(r"4 done, 1 failed in \d+\.\d s", _plain(shown.output).splitlines()[-1])


def test_run_never_hides_the_cursor(terminal: Start, script: Script) -> None:
    shown = terminal("run", script(WORKFLOW))
    shown.wait()
    assert "\x1b[?25l" not in shown.output


def test_no_line_is_wider_than_the_terminal(terminal: Start, script: Script) -> None:
    for columns in (50, 80):
        shown = terminal("run", script(WORKFLOW), columns=columns)
        shown.wait()
        assert max(map(len, _plain(shown.output).splitlines())) <= columns


def test_a_quiet_run_shows_nothing(terminal: Start, script: Script) -> None:
    shown = terminal("run", "--quiet", script(WORKFLOW))
    shown.wait()
    assert shown.output == "from the script\n"


def test_the_former_name_of_quiet_works_as_before(terminal: Start, script: Script) -> None:
    shown = terminal("run", "--no-progress", script(WORKFLOW))
    shown.wait()
    assert "--no-progress is deprecated" in _plain(shown.output)
    assert shown.output.endswith("from the script\n")


def test_output_of_the_script_goes_where_it_was_sent(
    terminal: Start, script: Script, tmp_path: Path
) -> None:
    with (tmp_path / "out").open("w+") as out:
        shown = terminal("run", script(WORKFLOW), stdout=out)
        shown.wait()
        out.seek(0)
        assert out.read() == "from the script\n"
    assert "from the script" not in shown.output


def test_progress_inside_run_is_not_shown_twice(terminal: Start, script: Script) -> None:
    inside = WORKFLOW.replace("await asyncio.gather", "with flow.progress(): await asyncio.gather")
    shown = terminal("run", script(inside))
    shown.wait()
    assert _plain(shown.output).count("4 done, 1 failed") == 1


def test_interrupt_shows_the_last_counts_and_no_traceback(terminal: Start, script: Script) -> None:
    shown = terminal(
        "run",
        script(
            """
            import asyncio
            from radical.asyncflow import WorkflowEngine

            async def main():
                async with WorkflowEngine.create("concurrent") as flow:
                    @flow.executable_task
                    async def long():
                        return "sleep 300"
                    await long()

            asyncio.run(main())
            """
        ),
    )
    shown.read(until="long ")
    os.kill(shown.process.pid, signal.SIGINT)
    assert shown.wait() == 130
    lines = _plain(shown.output).splitlines()
    assert lines[-1] == "Interrupted."
    assert lines[-3].startswith("0 done, 1 cancelled")
    assert "--journal" in lines[-2]
    assert "Traceback" not in shown.output


def test_tables_fit_the_terminal(terminal: Start) -> None:
    for words in (("backends", "list"), ("backends", "show", "concurrent")):
        shown = terminal(*words)
        assert shown.wait() == 0
        assert max(map(len, _plain(shown.output).splitlines())) <= 80
