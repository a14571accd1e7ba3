"""Crews: a few threads run all commands, and what goes wrong with one holds up no other."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from asyncflow_backend_concurrent._slots import crew as crew_module
from asyncflow_backend_concurrent._slots.crew import Crew
from radical.asyncflow.backend import Resources, TaskState
from radical.asyncflow.worker import Attendant

DONE, CANCELLED = TaskState.DONE, TaskState.CANCELLED

pytestmark = pytest.mark.parametrize("executor_type", ["thread", "process"])


def until(path: Path) -> str:
    return f"until [ -e {path} ]; do sleep 0.01; done"


def codes(reports: Any) -> list[int]:
    assert [report.state for report in reports] == [DONE] * len(reports)
    return [report.value.exit_code for report in reports]


async def test_as_many_commands_as_slots_run_at_once(
    start: Any, executor_type: str, tmp_path: Path
) -> None:
    driver = await start(max_workers=6, executor_type=executor_type)
    everybody = f"touch {tmp_path}/up.$0; until [ -e {tmp_path}/up.5 ]; do sleep 0.01; done"
    requests = [driver.executable("sh", "-c", everybody, str(at)) for at in range(6)]
    assert codes(await driver.run(*requests)) == [0] * 6
    crews = [thread for thread in threading.enumerate() if "-crew-" in thread.name]
    assert len(crews) == crew_module.CREWS


async def test_more_commands_than_slots_are_all_run(start: Any, executor_type: str) -> None:
    driver = await start(max_workers=5, executor_type=executor_type)
    requests = [driver.executable("sh", "-c", f"exit {at % 7}") for at in range(100)]
    assert codes(await driver.run(*requests)) == [at % 7 for at in range(100)]


async def test_functions_and_commands_take_turns(start: Any, executor_type: str) -> None:
    driver = await start(max_workers=3, executor_type=executor_type)
    requests = []
    for at in range(30):
        requests.append(driver.executable("sh", "-c", f"exit {at}"))
        requests.append(driver.function(abs, -at))
    for batch in (requests[:20], requests[20:21], requests[21:40], requests[40:]):
        driver.submit(*batch)
    reports = await driver.sink.outcomes(requests)
    assert codes(reports[::2]) == list(range(30))
    assert [report.value for report in reports[1::2]] == list(range(30))


async def test_a_slot_is_free_for_a_function_while_other_commands_run(
    start: Any, executor_type: str, tmp_path: Path
) -> None:
    driver = await start(max_workers=4, executor_type=executor_type)
    long = [driver.executable("sh", "-c", until(tmp_path / "go")) for _ in range(3)]
    driver.submit(*long, driver.executable("true"))
    (report,) = await driver.run(driver.function(abs, -5))
    assert report.value == 5
    (tmp_path / "go").touch()
    assert codes(await driver.sink.outcomes(long)) == [0, 0, 0]


async def test_a_wide_task_gets_the_slots_that_commands_leave(
    start: Any, executor_type: str
) -> None:
    driver = await start(max_workers=3, executor_type=executor_type)
    requests = [driver.executable("sleep", "0.01") for _ in range(12)]
    requests.insert(6, driver.function(abs, -1, resources=Resources(cores=3)))
    requests.insert(8, driver.executable("true", resources=Resources(cores=2)))
    reports = await driver.run(*requests)
    assert [report.state for report in reports] == [DONE] * 14


async def test_a_command_that_does_not_end_when_cancelled_holds_up_no_other(
    start: Any, executor_type: str, tmp_path: Path, appears: Any
) -> None:
    driver = await start(max_workers=4, executor_type=executor_type, grace=20.0)
    script = f"trap '' TERM; touch {tmp_path}/up.$0; {until(tmp_path / 'go')}"
    stubborn = [driver.executable("sh", "-c", script, str(at)) for at in range(2)]
    driver.submit(*stubborn)
    for at in range(2):
        await appears(tmp_path / f"up.{at}")
    driver.backend.cancel([request.task_id for request in stubborn])
    requests = [driver.executable("true") for _ in range(20)]
    assert codes(await driver.run(*requests)) == [0] * 20
    assert [driver.sink.outcome(request) for request in stubborn] == [None, None]
    (tmp_path / "go").touch()
    reports = await driver.sink.outcomes(stubborn)
    assert [report.state for report in reports] == [CANCELLED, CANCELLED]


async def test_without_crews_slots_run_commands_themselves(
    start: Any, executor_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Attendant) -> None:
        raise OSError("this system cannot poll for the end of a process")

    monkeypatch.setattr(Attendant, "__init__", refuse)
    driver = await start(max_workers=2, executor_type=executor_type)
    requests = [driver.executable("sh", "-c", f"exit {at}") for at in range(10)]
    assert codes(await driver.run(*requests)) == list(range(10))


async def test_slow_starts_are_left_to_the_slots(
    start: Any, executor_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew_module, "_SLOW_START_S", 0.0)
    monkeypatch.setattr(crew_module, "_AFTER_SLOW_STARTS", 3)
    begun = []
    begin = Attendant.begin
    monkeypatch.setattr(
        Attendant, "begin", lambda self, it: (begun.append(it), begin(self, it))[-1]
    )
    driver = await start(max_workers=4, executor_type=executor_type)
    requests = [driver.executable("sh", "-c", f"exit {at}") for at in range(40)]
    assert codes(await driver.run(*requests)) == list(range(40))
    assert 0 < len(begun) <= 40 // 4 + crew_module.CREWS


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_what_a_crew_has_goes_on_without_it(
    start: Any, executor_type: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = threading.Event()
    attend = Attendant.attend

    def fail_once_broken(self: Attendant) -> Any:
        leaving = attend(self)
        if broken.is_set() and not leaving:
            raise RuntimeError("broken on purpose")
        return leaving

    monkeypatch.setattr(Attendant, "attend", fail_once_broken)
    driver = await start(max_workers=2, executor_type=executor_type)
    running = [driver.executable("sh", "-c", until(tmp_path / "go")) for _ in range(2)]
    driver.submit(*running)
    for request in running:
        await driver.begun(request)
    later = [driver.executable("sh", "-c", f"exit {at}") for at in range(4)]
    broken.set()
    driver.submit(*later)
    for crew in tuple(driver.backend._slots.crews):
        crew.ring()
    (tmp_path / "go").touch()
    assert codes(await driver.sink.outcomes([*running, *later])) == [0, 0, 0, 1, 2, 3]


async def test_the_end_waits_for_the_commands_of_crews(
    start: Any, executor_type: str, tmp_path: Path
) -> None:
    driver = await start(max_workers=2, executor_type=executor_type)
    requests = [driver.executable("sh", "-c", until(tmp_path / "go")) for _ in range(2)]
    requests += [driver.executable("sh", "-c", "exit 3") for _ in range(6)]
    driver.submit(*requests)
    ending = asyncio.create_task(driver.backend.shutdown(cancel=False))
    await asyncio.to_thread((tmp_path / "go").touch)
    await ending
    assert codes([driver.sink.outcome(request) for request in requests]) == [0, 0, *[3] * 6]
    assert not [thread for thread in threading.enumerate() if "-crew-" in thread.name]


async def test_a_shutdown_ends_the_commands_of_crews(start: Any, executor_type: str) -> None:
    driver = await start(max_workers=4, executor_type=executor_type)
    requests = [driver.executable("sleep", "60") for _ in range(9)]
    driver.submit(*requests)
    for request in requests[:4]:
        await driver.begun(request)
    async with asyncio.timeout(20):
        await driver.backend.shutdown()
    assert {driver.sink.outcome(request).state for request in requests} == {CANCELLED}


def test_a_crew_that_was_closed_is_rung_for_nothing(executor_type: str) -> None:
    crew = Crew(slots=None, name=executor_type, most=1)  # type: ignore[arg-type]
    crew.close()
    crew.ring()
    crew.close()
    assert crew.room == 1
