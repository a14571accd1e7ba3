"""Many executions in one thread."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow.model import Command, ExecutableResult
from radical.asyncflow.worker import Attendant, Execution, Output, _child, _spawning

Make = Callable[..., Execution]

pytestmark = pytest.mark.skipif(
    not hasattr(os, "pidfd_open"), reason="this system cannot poll for the end of a process"
)


@pytest.fixture
def attendant() -> Iterator[Attendant]:
    made = Attendant()
    yield made
    assert made.release() == []
    made.close()


def attend(attendant: Attendant, count: int = 1) -> dict[Execution, tuple[Any, bool]]:
    """Wait until *count* executions have left; return the step of each, and whether it blocks."""
    left: dict[Execution, tuple[Any, bool]] = {}
    while len(left) < count:
        left |= {execution: (step, blocks) for execution, step, blocks in attendant.attend()}
    assert len(left) == count
    return left


def result_of(attendant: Attendant, execution: Execution) -> ExecutableResult:
    attendant.begin(execution)
    step, blocks = attend(attendant)[execution]
    assert not blocks
    result: ExecutableResult = step()
    return result


def test_commands_run_at_the_same_time_and_each_has_its_own_result(
    make: Make, attendant: Attendant, tmp_path: Path
) -> None:
    # Each waits for the file that the last one makes, so all of them have to run at once.
    line = f"cat; echo $0 >&2; until [ -e {tmp_path}/go ]; do sleep 0.01; done; exit $0"
    commands = [
        Command(["sh", "-c", line, str(number)], stdin=f"input {number}") for number in range(5)
    ]
    executions = [make(command) for command in commands]
    for execution in executions:
        attendant.begin(execution)
    last = make(["touch", str(tmp_path / "go")])
    attendant.begin(last)
    left = attend(attendant, 6)
    threads = threading.active_count()
    results = [left[execution][0]() for execution in executions]
    assert results == [
        ExecutableResult(number, f"input {number}", f"{number}\n") for number in range(5)
    ]
    assert left[last][0]() == ExecutableResult(0, "", "")
    assert threading.active_count() == threads


def test_files_for_the_output_need_no_pipe(make: Make, attendant: Attendant) -> None:
    result = result_of(attendant, make(["sh", "-c", "echo out; exit 3"], capture_stdio=True))
    assert (result.exit_code, Path(result.stdout).read_text()) == (3, "out\n")


def test_the_end_is_seen_long_after_the_output_is_closed(make: Make, attendant: Attendant) -> None:
    line = "echo said; exec >&- 2>&-; sleep 0.2; exit 7"
    assert result_of(attendant, make(["sh", "-c", line])) == ExecutableResult(7, "said\n", "")


def test_what_cannot_be_started_leaves_at_once(make: Make, attendant: Attendant) -> None:
    assert result_of(attendant, make(["/no/such/program"])).exit_code == 127
    nowhere = make(Command(["true"], cwd="/no/such/folder"))
    attendant.begin(nowhere)
    step, blocks = attend(attendant)[nowhere]
    assert not blocks
    with pytest.raises(FileNotFoundError, match="working directory"):
        step()


def test_a_cancelled_one_leaves_for_a_thread_of_its_own(
    make: Make, attendant: Attendant, tmp_path: Path
) -> None:
    stubborn = make(["sh", "-c", f"trap '' TERM; touch {tmp_path}/up; sleep 60; sleep 60"], grace=0)
    other = make(["sh", "-c", f"until [ -e {tmp_path}/go ]; do sleep 0.01; done"])
    attendant.begin(stubborn)
    attendant.begin(other)
    while not (tmp_path / "up").exists():
        attendant.ring()
        assert attendant.attend() == []
    threading.Thread(target=stubborn.cancel).start()
    step, blocks = attend(attendant)[stubborn]
    assert blocks
    assert step().exit_code == -signal.SIGKILL
    (tmp_path / "go").touch()
    assert attend(attendant)[other][0]().exit_code == 0


def test_one_that_was_cancelled_before_does_not_start(make: Make, attendant: Attendant) -> None:
    execution = make(["true"])
    execution.cancel()
    assert result_of(attendant, execution).exit_code == -signal.SIGTERM


def test_one_that_writes_much_leaves_and_loses_nothing(make: Make, attendant: Attendant) -> None:
    size = 40 * 1024 * 1024
    execution = make(["head", "-c", str(size), "/dev/zero"], memory_limit=1000)
    attendant.begin(execution)
    step, blocks = attend(attendant)[execution]
    assert blocks
    stdout = step().stdout
    assert isinstance(stdout, Output)
    assert (stdout.size, stdout.path and stdout.path.stat().st_size) == (size, size)


def test_one_whose_output_a_daemon_holds_open_leaves(make: Make, attendant: Attendant) -> None:
    execution = make(["sh", "-c", "sleep 60 & echo $!"])
    attendant.begin(execution)
    step, blocks = attend(attendant)[execution]
    assert blocks
    result = step()
    os.kill(int(result.stdout), signal.SIGKILL)
    assert result.exit_code == 0


def test_one_for_which_there_is_no_room_leaves_and_waits_elsewhere(
    make: Make, attendant: Attendant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any, **options: Any) -> Any:
        raise OSError(errno.EMFILE, "no descriptors")

    execution = make(["echo", "late"])
    with monkeypatch.context() as patch:
        patch.setattr(_spawning, "start", full)
        attendant.begin(execution)
        step, blocks = attend(attendant)[execution]
    assert blocks
    assert step() == ExecutableResult(0, "late\n", "")


def test_the_helper_process_is_waited_for_elsewhere(
    make: Make, attendant: Attendant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_child, "_distrusted", True)
    execution = make([sys.executable, "-c", "raise SystemExit(5)"])
    attendant.begin(execution)
    step, blocks = attend(attendant)[execution]
    assert blocks
    assert step().exit_code == 5


def test_an_exit_code_that_somebody_else_collected_is_an_error(
    make: Make, attendant: Attendant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_child, "_distrusted", False)
    execution = make(["sh", "-c", "exec >&- 2>&-; read line"])
    attendant.begin(execution)
    assert execution.exchange is not None
    pid = execution.exchange.process.pid
    os.waitid(os.P_PID, pid, os.WEXITED)  # stdin is empty, so it ends
    step, _ = attend(attendant)[execution]
    with pytest.raises(ChildProcessError, match="exit code of the command is lost"):
        step()


def test_those_that_are_released_go_on_elsewhere(make: Make) -> None:
    attendant = Attendant()
    execution = make(["sh", "-c", "sleep 0.1; echo done"])
    attendant.begin(execution)
    ((left, step, blocks),) = attendant.release()
    attendant.close()
    assert (left, blocks) == (execution, True)
    assert step().stdout == "done\n"
    execution.cancel()  # rings for nobody
