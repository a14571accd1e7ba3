"""Log records of worker processes, which arrive in the logging of the program."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow.backend import TaskState

DONE = TaskState.DONE


def log(name: str, level: int, text: str, *args: Any) -> int:
    logging.getLogger(name).log(level, text, *args)
    return os.getpid()


def records(caplog: pytest.LogCaptureFixture, name: str) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == name]


async def test_a_record_has_its_logger_level_place_and_process(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    driver = await start(executor_type="process", max_workers=1)
    (report,) = await driver.run(driver.function(log, "work", logging.INFO, "%d of %s", 3, "all"))
    (record,) = records(caplog, "work")
    assert (record.levelname, record.getMessage()) == ("INFO", "3 of all")
    assert (record.process, record.funcName) == (report.value, "log")


async def test_the_levels_of_the_program_hold_in_workers(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    caplog.set_level(logging.ERROR, "quiet")
    caplog.set_level(logging.DEBUG, "loud")
    driver = await start(executor_type="process", max_workers=1)
    await driver.run(
        *(
            driver.function(log, name, level, name)
            for name in ("loud", "quiet", "plain")
            for level in (logging.DEBUG, logging.WARNING, logging.ERROR)
        )
    )
    seen = {name: len(records(caplog, name)) for name in ("loud", "quiet", "plain")}
    assert seen == {"loud": 3, "quiet": 1, "plain": 2}


async def test_a_traceback_and_what_cannot_be_pickled_arrive_as_text(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        try:
            raise ValueError("its own")
        except ValueError:
            lock = threading.Lock()
            logging.getLogger("work").exception("at %s", lock, extra={"lock": lock})

    driver = await start(executor_type="process", max_workers=1)
    await driver.run(driver.function(fail))
    (record,) = records(caplog, "work")
    assert "ValueError: its own" in (record.exc_text or "")
    assert record.getMessage().startswith("at <unlocked")


async def test_records_of_many_threads_and_of_more_than_a_pipe_holds_all_arrive(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def many() -> str:
        def some(number: int) -> None:
            for at in range(200):
                logging.getLogger("work").warning("%d %d %s", number, at, "x" * 1000)

        threads = [threading.Thread(target=some, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return "y" * 100_000

    driver = await start(executor_type="process", max_workers=1)
    reports = await driver.run(*(driver.function(many) for _ in range(3)))
    assert {report.value for report in reports} == {"y" * 100_000}
    assert len(records(caplog, "work")) == 3 * 4 * 200


async def test_a_record_arrives_though_its_worker_dies(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def die() -> None:
        logging.getLogger("work").warning("the last word")
        os._exit(3)

    driver = await start(executor_type="process", max_workers=1)
    await driver.run(driver.function(die))
    assert [record.message for record in records(caplog, "work")] == ["the last word"]


async def test_a_task_may_set_up_the_logging_of_its_worker(
    start: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def work(path: str) -> None:
        logging.basicConfig(filename=path, level=logging.INFO, format="%(message)s")
        logging.getLogger("work").info("its own")
        logging.shutdown()

    driver = await start(executor_type="process", max_workers=1)
    (report,) = await driver.run(driver.function(work, str(tmp_path / "log")))
    assert report.state is DONE
    assert (tmp_path / "log").read_text() == "its own\n"
    assert records(caplog, "work") == []


async def test_a_process_that_a_task_forks_sends_nothing(
    start: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fork() -> int:
        child = os.fork()
        if not child:
            logging.getLogger("work").warning("from the fork")
            os._exit(0)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    driver = await start(executor_type="process", max_workers=1)
    (report,) = await driver.run(driver.function(fork))
    assert report.value == 0
    assert records(caplog, "work") == []
