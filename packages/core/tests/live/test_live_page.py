"""The live page in a real browser, of programs that run, end, fail, and are killed."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from browser import Page
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._resume import running_output
from radical.asyncflow.errors import ConfigurationError, EngineClosedError
from radical.asyncflow.journal import read
from radical.asyncflow.sync import Flow

from ..journal.journals import begin, done, make, writing
from ..report.synthetic import synthetic, write_journal
from .conftest import TOKEN, Viewer, served

pytest.importorskip("uvicorn")

PROGRAM = """
import asyncio, os, sys
from radical.asyncflow import WorkflowEngine

async def main():
    journal = sys.argv[1] if sys.argv[1] != "-" else None
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}, journal=journal) as flow:
        if os.environ.get("SERVE"):
            await flow.serve()
        @flow.function_task
        def quick(n):
            return n
        @flow.function_task(cache=False)
        def wrong():
            raise ValueError("matrix is singular")
        @flow.executable_task
        async def command():
            return "echo the grid does not converge >&2; exit 3"
        @flow.function_task(cache=False)
        async def endless(*_):
            await asyncio.Event().wait()
        @flow.block
        async def campaign():
            if "go" in sys.argv:
                await asyncio.to_thread(sys.stdin.readline)  # somebody looks at the page now
            await asyncio.gather(*(quick(n) for n in range(30)))
            await asyncio.gather(wrong(), command(), return_exceptions=True)
            if "go" not in sys.argv:
                await endless(endless())
        await campaign()

asyncio.run(main())
"""


def show(page: Page, url: str, *, width: int = 1280, dark: bool = False) -> None:
    """Open the live page, and wait until it knows everything that was there."""
    page.resize(width, 900)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.send("Emulation.setEmulatedMedia", features=[scheme])
    page.send("Page.navigate", url=url)
    page.until("document.documentElement?.dataset.current === 'true'")


def state(page: Page) -> str:
    return str(page.run("document.documentElement.dataset.state"))


def address(port: int) -> str:
    return f"http://127.0.0.1:{port}/{TOKEN}/"


@contextmanager
def program(
    tmp_path: Path, *words: str, command: bool = False
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Run `PROGRAM` in a process group of its own; yield the address of its page, and itself.

    With the word "go" it waits for its input before it begins, and ends by itself.
    """
    script = tmp_path / "program.py"
    script.write_text(PROGRAM)
    run = ["-m", "radical.asyncflow", "run", "--page", "--quiet"] if command else []
    with subprocess.Popen(
        [sys.executable, *run, script, *words],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=tmp_path,
        env={**os.environ, "SERVE": "" if command else "yes"},
    ) as process:
        assert process.stderr is not None
        try:
            told = process.stderr.readline()
            found = re.fullmatch(r"Live page: (http://127\.0\.0\.1:\d+/[\w-]{20,}/)\n", told)
            assert found is not None, told + process.stderr.read()
            assert "ssh -N -L" in process.stderr.readline()
            yield found[1], process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def viewer_of(url: str) -> Viewer:
    port, token = re.findall(r":(\d+)/([\w-]+)/", url)[0]
    return Viewer(int(port), token=token)


@pytest.mark.parametrize("journal", ["journal", "-"])
def test_a_killed_program_shows_what_ran_and_that_it_was_killed(
    page: Page, tmp_path: Path, journal: str
) -> None:
    path = str(tmp_path / journal) if journal != "-" else "-"
    with program(tmp_path, path) as (url, process):
        show(page, url)
        page.until("document.querySelector('#now').textContent.includes('endless')")
        page.until("document.querySelector('#failures .failure + .failure') !== null")
        assert state(page) == "running"
        assert "matrix is singular" in page.text("#failures")
        assert "the grid does not converge" in page.run(
            "document.querySelector('#failures').textContent"
        )
        assert "Reused" in page.text('[data-part="functions"] thead')
        assert "campaign" in page.text('[data-part="functions"]')
        page.until("document.querySelector('[data-part=now]').textContent.includes('Wait')")
        process.kill()
        page.until("document.documentElement.dataset.state === 'killed'")
        page.until("document.querySelector('.outcome').textContent === 'killed'")
        page.until("document.querySelector('#connection').dataset.kind === 'over'")
        assert "endless" in page.text("#now")
        assert page.errors == []
        assert all(request.startswith(("http://127.0.0.1", "data:")) for request in page.requests)


def test_the_output_of_a_command_is_shown_while_it_runs(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running_output, "LOOK_EVERY_S", 0.02)
    monkeypatch.setattr(running_output, "LEAST_S", 0.0)
    path, gates = tmp_path / "journal", [tmp_path / "1", tmp_path / "2"]
    steps = [
        f"echo '<b>step {number}</b>'; while test ! -e '{gate}'; do sleep 0.02; done"
        for number, gate in enumerate(gates)
    ]
    with Flow("concurrent", journal=path) as flow, served(path) as port:
        talk = flow.executable_task(lambda: "; ".join(steps), name="talk")
        future = talk()
        show(page, f"{address(port)}#task-1")
        shown = "document.querySelector('#panel pre[aria-label=stdout]')?.textContent"
        page.until(f"{shown} === '<b>step 0</b>\\n'")
        assert "so far" in page.text("#panel")
        gates[0].touch()
        page.until(f"{shown} === '<b>step 0</b>\\n<b>step 1</b>\\n'")
        gates[1].touch()
        future.result(60)
        page.until("document.querySelector('#panel .state').textContent === 'done'")
        page.until(f"{shown} === '<b>step 0</b>\\n<b>step 1</b>\\n'")
        page.until("!document.querySelector('#panel').textContent.includes('so far')")
        assert page.errors == []


@pytest.mark.parametrize("journal", ["journal", "-"])
def test_a_page_sees_the_end_of_the_run(tmp_path: Path, journal: str) -> None:
    path = str(tmp_path / journal) if journal != "-" else "-"
    with program(tmp_path, path, "go") as (url, process), viewer_of(url) as viewer:
        assert process.stdin is not None
        process.stdin.close()
        while viewer.read() is not None:
            pass
        assert viewer.last["state"] == "done"
        assert len(viewer.tasks) == 33


def test_the_command_run_serves_a_page_too_and_ctrl_c_stays_the_program_s(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with program(tmp_path, str(path), command=True) as (url, process), viewer_of(url) as viewer:
        viewer.until(lambda: len(viewer.tasks) == 35)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
        while viewer.read() is not None:
            pass
        assert viewer.last["state"] == "cancelled"
    assert read(path)[0].outcome == "cancelled"


def test_a_page_follows_a_journal_and_comes_again_to_a_server_that_does(
    page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        writer.commit([*begin(), *map(done, range(1, 4))])
        with served(path) as port:
            show(page, address(port))
            page.run("document.getElementById('tasks').scrollIntoView()")
            page.until("document.querySelector('#tasks .window').textContent === '3 tasks'")
            writer.commit([done(4)])
            page.until("document.querySelector('#tasks .window').textContent === '4 tasks'")
        page.until("document.querySelector('#connection').dataset.kind === 'lost'")
        writer.commit([done(5)])
        with served(path, port):
            page.until("document.querySelector('#connection')?.dataset.kind === 'live'")
            page.until("document.querySelector('#tasks .window')?.textContent === '5 tasks'")


def test_a_page_opens_the_task_that_its_address_names_when_that_is_called(
    page: Page, tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer, served(path) as port:
        writer.commit([*begin(), done(1)])
        show(page, f"{address(port)}#task-2")
        assert page.run("document.querySelector('#panel').hidden") is True
        writer.commit([done(2)])
        page.until("document.querySelector('#panel code')?.textContent === 'task.000002'")
        page.run("document.querySelector('#panel .close').click()")
        writer.commit([done(3)])
        page.run("document.getElementById('tasks').scrollIntoView()")
        page.until("document.querySelector('#tasks .window').textContent === '3 tasks'")
        assert page.run("document.querySelector('#panel').hidden") is True


def test_a_page_of_a_run_that_is_over_has_all_that_a_report_draws(
    page: Page, tmp_path: Path
) -> None:
    path = write_journal(tmp_path / "journal", synthetic(3_000, seed=1, reused="run.00c0ffee"))
    with served(path) as port:
        show(page, address(port))
        page.until("document.querySelector('#connection').dataset.kind === 'over'")
        colours = """(selector => {
            const canvas = document.querySelector(selector);
            const pen = canvas.getContext('2d');
            const { data } = pen.getImageData(0, 0, canvas.width, canvas.height);
            return new Set(new Uint32Array(data.buffer)).size;
        })"""
        for section in ("timeline", "utilisation", "graph", "tasks"):
            page.run(f"document.getElementById('{section}').scrollIntoView()")
            page.until(f"document.querySelector('#{section} .drawn').offsetHeight > 60")
        page.until(f"{colours}('.lanes canvas') > 5 && {colours}('.usage') > 3")
        page.until("document.querySelectorAll('.node').length === 6")
        page.until("document.querySelectorAll('#tasks tbody tr').length === 50")
        assert "3,000 tasks" in page.text("#tasks .window")
        number = page.run("location.hash = document.querySelector('#failures a.task').hash")
        page.until("document.querySelector('#panel pre') !== null")
        assert number
        assert "Error" in page.text("#panel")
        assert page.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_fits_on_a_phone(page: Page, tmp_path: Path, dark: bool) -> None:
    path = make(tmp_path / "journal", 20)
    with served(path) as port:
        show(page, address(port), width=390, dark=dark)
        assert page.run("document.documentElement.scrollWidth") == 390
        paper = page.run("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(18, 22, 27)") is dark


def test_what_was_opened_stays_open_while_a_page_changes(page: Page, tmp_path: Path) -> None:
    data = write_journal(tmp_path / "whole", synthetic(3_000, seed=1)).read_bytes()
    lines = data.splitlines(keepends=True)
    path = tmp_path / "journal"
    path.write_bytes(b"".join(lines[:1500]))
    with served(path) as port:
        show(page, address(port))
        page.until("document.querySelector('#failures .failure') !== null")
        page.run(
            "document.querySelectorAll('#failures details').forEach(each => each.open = false)"
        )
        before = page.text("[data-part=nav]")
        with path.open("ab") as file:
            file.writelines(lines[1500:-1])
        page.until(f"document.querySelector('[data-part=nav]').innerText !== {before!r}")
        page.until("document.querySelector('[data-part=nav]').innerText.includes('3,000')")
        assert page.run("document.querySelector('#failures details').open") is False


async def test_serve_is_awaited_or_entered_and_refuses_what_cannot_be(tmp_path: Path) -> None:
    async with WorkflowEngine.create("noop", journal=tmp_path / "journal") as flow:
        async with flow.serve() as url:
            assert url.startswith("http://127.0.0.1:")
        assert not flow._pages
        with pytest.raises(ConfigurationError, match="port must be"):
            await flow.serve(-1)
        with pytest.raises(ConfigurationError, match="at least 16"):
            await flow.serve(token="guess")
        first = await flow.serve(token=TOKEN)
        assert first.endswith(f"/{TOKEN}/")
        await asyncio.sleep(0)
    with pytest.raises(EngineClosedError):
        await flow.serve()


def test_a_flow_serves_its_page_to_its_end_or_that_of_a_block(tmp_path: Path) -> None:
    with Flow("concurrent", {"max_workers": 1}, journal=tmp_path / "journal") as flow:
        with flow.serve() as url:
            assert b"<html" in urlopen(url).read()
        assert not flow.engine._pages
        with pytest.raises(ConfigurationError, match="port must be"):
            flow.serve(-1)
        url = flow.serve(token=TOKEN)
        assert url.endswith(f"/{TOKEN}/")
        assert b"<html" in urlopen(url).read()

        @flow.block
        async def inside() -> None:
            flow.serve()

        with pytest.raises(RuntimeError, match=r"await flow\.engine\.serve\(\)"):
            inside().result()
    with pytest.raises(URLError):
        urlopen(url)
    with pytest.raises(EngineClosedError):
        flow.serve()


async def test_without_its_libraries_the_page_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    async with WorkflowEngine.create("noop") as flow:
        with pytest.raises(ConfigurationError, match=r"pip install 'radical.asyncflow\[page\]'"):
            await flow.serve()
