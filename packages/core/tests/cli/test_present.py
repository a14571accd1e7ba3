"""What ``asyncflow show`` and ``logs`` say while a program runs, and after it was killed."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from polling import wait_until
from radical.asyncflow.backend import Written
from radical.asyncflow.journal import RunRecord, read
from radical.asyncflow.journal._output import RunOutput, write_output

from ..report.synthetic import synthetic, write_journal
from .conftest import Invoke

PROGRAM = """
import asyncio, sys
from radical.asyncflow import WorkflowEngine

async def main() -> None:
    async with WorkflowEngine.create(
        "concurrent", {"max_workers": 1}, journal="journal"
    ) as flow:
        work = flow.executable_task(lambda: "while test ! -e gate; do sleep 0.02; done")
        after = flow.function_task(len, name="after")
        first = work.options(name="work")()
        last = after(first)
        while first.state != "RUNNING":
            await asyncio.sleep(0.01)
        await asyncio.gather(last, flow.function_task(abs, name="queued")(1))

asyncio.run(main())
"""


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program whose command runs until the file "gate" is there; it runs by now."""
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([sys.executable, "-c", PROGRAM], start_new_session=True) as running:
        try:
            wait_for(lambda run: [task.name for task in run.running] == ["work"] and run.submitted)
            yield running
        finally:
            Path("gate").touch()
            running.kill()


def wait_for(condition: Any) -> RunRecord:
    """Wait until the last run of the journal is as *condition* wants it."""

    def last() -> RunRecord | None:
        runs = read("journal") if Path("journal").exists() else ()
        return runs[-1] if runs and condition(runs[-1]) else None

    found = wait_until(last)
    assert found is not None
    return found


def rows(text: str) -> dict[str, list[str]]:
    """Return the words of the lines about tasks, by the name of the task."""
    lines = [line.split() for line in text.splitlines() if line.strip().startswith("task.")]
    return {words[1]: words for words in lines}


def test_what_runs_and_what_waits_is_shown_while_it_does(
    program: subprocess.Popen[bytes], invoke: Invoke
) -> None:
    shown = invoke("show", "--journal", "journal").stdout
    assert f"running (process {program.pid} runs)" in shown
    found = rows(shown)
    assert {name: words[2] for name, words in found.items()} == {
        "work": "running",
        "queued": "submitted",
        "after": "pending",
    }
    logs = invoke("logs", "--journal", "journal", "1").stdout
    assert "running, on concurrent concurrent-1, for" in logs
    assert "It has written nothing yet that is known here." in logs
    assert "It has not begun." in invoke("logs", "--journal", "journal", "after").stdout
    found = rows(invoke("show", "--journal", "journal", "--state", "pending").stdout)
    assert list(found) == ["after"]
    data = json.loads(invoke("show", "--journal", "journal", "--json").stdout)
    assert (data["state"], data["outcome"]) == ("running", "unfinished")
    Path("gate").touch()
    assert program.wait(60) == 0
    assert wait_for(lambda run: run.outcome).state == "done"


def test_what_ran_when_the_program_was_killed_is_marked_so(
    program: subprocess.Popen[bytes], invoke: Invoke
) -> None:
    program.send_signal(signal.SIGKILL)
    os.waitid(os.P_PID, program.pid, os.WEXITED | os.WNOWAIT)
    shown = invoke("show", "--journal", "journal").stdout
    assert "killed, or its end could not be written, as on a full disk" in shown
    assert f"(process {program.pid} is gone)" in shown
    assert "Was not finished when the program died" in shown
    assert rows(shown)["work"][2:4] == ["was", "running"]
    logs = invoke("logs", "--journal", "journal", "work").stdout
    assert "was running when the program died" in logs
    assert "because the program died before it ended" in logs
    (uid,) = [run.uid for run in read("journal")]
    written = Written("what it wrote\n", ("/gone/err",), (1234, 0))
    write_output("journal", RunOutput(uid, time.time(), {1: (1, written)}))
    logs = invoke("logs", "--journal", "journal", "work").stdout
    assert "stdout (so far; 1,234 bytes before it)\nwhat it wrote\n" in logs
    assert "stderr (so far, in /gone/err, which cannot be read here: No such file" in logs
    assert "was not kept" not in logs
    assert invoke("logs", "--journal", "journal", "1", "--stdout").stdout == "what it wrote\n"
    # Those of another attempt, or of another run, are not its own.
    for of_run, attempt in ((uid, 2), ("run.other", 1)):
        write_output("journal", RunOutput(of_run, time.time(), {1: (attempt, written)}))
        assert "what it wrote" not in invoke("logs", "--journal", "journal", "work").stdout
    assert "killed" in invoke("runs", "--journal", "journal").stdout


def _without_rights_of_root() -> None:
    """Let the program that follows be stopped by the modes of files, also if it is root's."""
    libc = ctypes.CDLL(None)
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        libc.prctl(24, capability)  # PR_CAPBSET_DROP


@pytest.mark.skipif(sys.platform != "linux", reason="rights are taken from root as Linux does it")
@pytest.mark.parametrize(
    "words",
    ["show", "explain --waiting", "report -o {here}/page.html"],
)
def test_a_journal_that_may_only_be_read_is_read(tmp_path: Path, words: str) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    path = write_journal(folder / "journal", synthetic(40, seed=1, uid="run.aaaa0001", killed=0.6))
    path.chmod(0o444)
    folder.chmod(0o555)
    command = words.format(here=tmp_path).split()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "radical.asyncflow", *command, "--journal", path],
            preexec_fn=_without_rights_of_root,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [one.name for one in folder.iterdir()] == ["journal"]
    finally:
        folder.chmod(0o755)
