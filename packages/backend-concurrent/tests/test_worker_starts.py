"""What the start of a worker process meets: odd programs, errors, and no room."""

from __future__ import annotations

import errno
import importlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent._process import parent
from radical.asyncflow.backend import Resources, TaskState
from radical.asyncflow.errors import WorkerLostError

DONE, FAILED = TaskState.DONE, TaskState.FAILED


def arguments() -> list[str]:
    return sys.argv


def process_id(seconds: float = 0.0) -> int:
    time.sleep(seconds)
    return os.getpid()


class Unreadable:
    def __str__(self) -> str:
        raise ValueError("not to be read")


async def test_the_arguments_of_the_program_are_those_of_its_workers(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["program", "", "ü \udcff", Path("a/b"), b"bytes", 7]
    monkeypatch.setattr(sys, "argv", words)
    driver = await start(executor_type="process", max_workers=1)
    (report,) = await driver.run(driver.function(arguments))
    assert report.value == ["program", "", "ü \udcff", "a/b", "bytes", "7"]


async def test_a_program_may_have_more_arguments_than_fit_into_one(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["program", *(f"data/sample_{number:06}_of_the_campaign.csv" for number in range(5000))]
    monkeypatch.setattr(sys, "argv", words)
    driver = await start(executor_type="process", max_workers=1)
    (report,) = await driver.run(driver.function(arguments))
    assert report.value == words


async def test_a_program_may_have_no_arguments_at_all(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(sys, "argv")
    driver = await start(executor_type="process", max_workers=1)
    (report,) = await driver.run(driver.function(arguments))
    assert report.value == []


@pytest.mark.parametrize("odd", ["argument", "executable"])
async def test_what_cannot_be_sent_at_the_start_fails_the_task_and_not_the_backend(
    start: Any, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    driver = await start(executor_type="process", max_workers=1)
    with monkeypatch.context() as patch:
        if odd == "argument":
            patch.setattr(sys, "argv", [Unreadable()])
        else:
            patch.setattr(sys, "executable", None)
        (report,) = await driver.run(driver.function(arguments))
    assert report.state is FAILED
    assert isinstance(report.value, WorkerLostError)
    assert ("not to be read" if odd == "argument" else "sys.executable") in str(report.value)
    (command, function) = await driver.run(driver.executable("true"), driver.function(arguments))
    assert (command.state, function.state) == (DONE, DONE)


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), MemoryError("none left")])
async def test_whatever_a_start_raises_fails_the_task(
    start: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def refuse(*args: Any, **options: Any) -> Any:
        raise error

    driver = await start(executor_type="process", max_workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(parent, "start_guarded", refuse)
        (report,) = await driver.run(driver.function(arguments))
    assert isinstance(report.value, WorkerLostError)
    assert type(error).__name__ in str(report.value)
    (report,) = await driver.run(driver.function(arguments))
    assert report.state is DONE


async def test_an_error_of_the_sending_side_fails_the_tasks_and_not_the_backend(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any) -> Any:
        raise RuntimeError("out of order")

    driver = await start(executor_type="process", max_workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(parent.WorkerProcess, "changed_path", fail)
        reports = await driver.run(*(driver.function(process_id) for _ in range(3)))
    assert {type(report.value) for report in reports} == {RuntimeError}
    (report,) = await driver.run(driver.function(arguments))
    assert report.state is DONE


def limited(most: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Let only *most* workers live at a time; return what tells how many starts were refused."""
    real: Any = vars(parent)["start_guarded"]
    started: list[subprocess.Popen[bytes]] = []
    refused: list[None] = []
    lock = threading.Lock()

    def start_guarded(*args: Any, **options: Any) -> subprocess.Popen[bytes]:
        with lock:
            if sum(process.returncode is None for process in started) >= most:
                refused.append(None)
                raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
            started.append(real(*args, **options))
            return started[-1]

    monkeypatch.setattr(parent, "start_guarded", start_guarded)
    return lambda: len(refused)


async def test_the_workers_that_the_system_has_room_for_do_all_the_work(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = limited(1, monkeypatch)
    driver = await start(executor_type="process", max_workers=4)
    reports = await driver.run(*(driver.function(process_id, 0.01) for _ in range(40)))
    assert {report.state for report in reports} == {DONE}
    assert len({report.value for report in reports}) == 1
    assert refused()
    wide = driver.function(process_id, resources=Resources(cores=4))
    (report,) = await driver.run(wide)
    assert report.state is DONE


async def test_a_task_fails_if_the_system_has_no_room_for_any_worker(
    start: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = await start(executor_type="process", max_workers=3)
    with monkeypatch.context() as patch:
        limited(0, patch)
        reports = await driver.run(*(driver.function(process_id) for _ in range(6)))
    assert {type(report.value) for report in reports} == {WorkerLostError}
    assert "Resource temporarily unavailable" in str(reports[0].value)
    (report,) = await driver.run(driver.function(process_id))
    assert report.state is DONE


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_the_threads_that_the_system_has_room_for_do_all_the_work(
    start: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    real = threading.Thread.start
    started: list[threading.Thread] = []

    def start_thread(thread: threading.Thread) -> None:
        if thread.name.startswith("concurrent-"):
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        real(thread)

    driver = await start(executor_type=kind, max_workers=4)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_thread)
        wide = driver.function(process_id, resources=Resources(cores=3))
        reports = await driver.run(wide, *(driver.function(process_id, 0.001) for _ in range(20)))
        assert {report.state for report in reports} == {DONE}
        assert len(started) == 1


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_a_backend_without_a_single_thread_shuts_down(
    start: Any, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    real = threading.Thread.start

    def start_thread(thread: threading.Thread) -> None:
        if thread.name.startswith("concurrent-"):
            raise RuntimeError("can't start new thread")
        real(thread)

    driver = await start(executor_type=kind)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start_thread)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            driver.backend.submit([driver.function(process_id)])
    await driver.backend.shutdown(cancel=False)


async def test_a_module_that_was_loaded_anew_is_new_in_workers_too(
    start: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper, user = tmp_path / "asyncflow_helper.py", tmp_path / "asyncflow_user.py"
    helper.write_text("def answer(): return 'old'\n")
    user.write_text("import asyncflow_helper\ndef ask(): return asyncflow_helper.answer()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    module = importlib.import_module("asyncflow_user")
    try:
        driver = await start(executor_type="process", max_workers=1)
        (before,) = await driver.run(driver.function(module.ask))
        helper.write_text("def answer(): return 'new code'\n")
        importlib.reload(sys.modules["asyncflow_helper"])
        (after,) = await driver.run(driver.function(module.ask))
        assert (before.value, after.value) == ("old", "new code")
    finally:
        del sys.modules["asyncflow_user"], sys.modules["asyncflow_helper"]
