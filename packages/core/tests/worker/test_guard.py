from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil  # type: ignore[import-untyped]
import pytest
from radical.asyncflow.worker import child_environment, guard

Alive = Callable[[int], bool]
Eventually = Callable[..., None]

_PROGRAM = """
    import os, pathlib, sys, threading
    from radical.asyncflow.model import Command
    from radical.asyncflow.worker import Execution, guard

    folder = pathlib.Path(sys.argv[1])
    guard().acquire()
    for number, line in enumerate(sys.argv[3:]):
        command = Command(f"echo $$ > {number}; {line}", cwd=str(folder))
        run = Execution(command, work_dir=lambda: folder).run
        threading.Thread(target=run, daemon=True).start()
"""
_KILLED = "    threading.Event().wait()\n"
_FORKED = """
    import signal, time
    while not (folder / "0").exists():
        time.sleep(0.01)
    if os.fork() == 0:
        (folder / "fork").write_text(str(os.getpid()))
        signal.pause()
    threading.Event().wait()
"""


def start_program(folder: Path, code: str, *lines: str) -> subprocess.Popen[bytes]:
    script = textwrap.dedent(_PROGRAM) + textwrap.dedent(code)
    return subprocess.Popen([sys.executable, "-c", script, str(folder), "--", *lines])


def pids(folder: Path, count: int) -> list[int]:
    """Of the commands, as soon as all have written theirs; else nothing."""
    texts = [(folder / str(n)).read_text() for n in range(count) if (folder / str(n)).exists()]
    return [int(text) for text in texts] if len(texts) == count and all(texts) else []


@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_program_takes_everything_with_it(
    sig: int, tmp_path: Path, alive: Alive, eventually: Eventually
) -> None:
    lines = (
        "sleep 1000 & sleep 1000",
        "trap '' TERM HUP INT; sleep 1000; sleep 1000",
        "setsid sh -c 'echo $$ > 3; sleep 1000' & sleep 1000",
    )
    program = start_program(tmp_path, _KILLED, *lines)
    eventually(lambda: len(pids(tmp_path, 4)) == 4, 20)
    processes = psutil.Process(program.pid).children(recursive=True)
    assert len(processes) >= 6
    started = {process.pid for process in processes} | set(pids(tmp_path, 4))
    program.send_signal(sig)
    program.wait()
    eventually(lambda: not any(alive(pid) for pid in started), 5)


def test_a_fork_of_the_program_does_not_keep_the_guard_waiting(
    tmp_path: Path, alive: Alive, eventually: Eventually
) -> None:
    program = start_program(tmp_path, _FORKED, "sleep 1000")
    eventually(lambda: (tmp_path / "fork").exists() and (tmp_path / "fork").read_text(), 20)
    (command,) = pids(tmp_path, 1)
    program.kill()
    program.wait()
    try:
        eventually(lambda: not alive(command), 5)
    finally:
        os.kill(int((tmp_path / "fork").read_text()), signal.SIGKILL)


def test_a_program_that_forgot_to_release_ends_its_commands(
    tmp_path: Path, alive: Alive, eventually: Eventually
) -> None:
    code = "    import time\n    while not (folder / '0').exists():\n        time.sleep(0.01)\n"
    program = start_program(tmp_path, code, "sleep 1000")
    assert program.wait(20) == 0
    eventually(lambda: not alive(pids(tmp_path, 1)[0]), 5)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "1000"], process_group=0)
    yield process
    process.kill()
    process.wait()


def test_there_is_no_process_before_it_is_needed() -> None:
    guard().acquire()
    assert guard().pid is None
    guard().release()


def test_the_last_release_ends_the_process(alive: Alive) -> None:
    guard().acquire()
    guard().acquire()
    guard().start()
    pid = guard().pid
    assert pid is not None
    guard().release()
    assert alive(pid)
    guard().release()
    assert not psutil.pid_exists(pid)


def test_a_release_too_many_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="more often than acquired"):
        guard().release()


def test_the_last_release_ends_daemons_that_carry_the_token() -> None:
    guard().acquire()
    guard().start()
    daemon = subprocess.Popen(["sleep", "1000"], env={**os.environ, **child_environment()})
    guard().release()
    assert daemon.wait(5) == -signal.SIGKILL


def test_the_last_release_leaves_strangers_alone(sleeper: subprocess.Popen[bytes]) -> None:
    guard().acquire()
    guard().watch(sleeper.pid)
    guard().forget(sleeper.pid)
    guard().release()
    assert sleeper.poll() is None


def test_the_guard_ignores_the_signals_of_a_terminal(alive: Alive, eventually: Eventually) -> None:
    guard().acquire()
    guard().start()
    pid = guard().pid
    assert pid is not None
    try:
        status = Path(f"/proc/{pid}/status")
        eventually(lambda: int(_field(status, "SigIgn"), 16) & 1 << signal.SIGTERM - 1)
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, sig)
        assert alive(pid)
        assert os.getsid(pid) == pid
    finally:
        guard().release()


def _field(status: Path, name: str) -> str:
    return next(x.split()[1] for x in status.read_text().splitlines() if x.startswith(name))


def test_the_guard_holds_none_of_our_descriptors(tmp_path: Path) -> None:
    with (tmp_path / "ours").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        guard().acquire()
        try:
            guard().start()
            links = [str(link.readlink()) for link in Path(f"/proc/{guard().pid}/fd").iterdir()]
        finally:
            guard().release()
    assert any(link.startswith("pipe:") for link in links)
    ours = [link for link in links if not link.startswith(("pipe:", "/dev/null", "anon_inode"))]
    assert [link for link in ours if "_guardian" not in link] == []


def test_a_guard_that_was_killed_is_replaced_and_told_everything(
    sleeper: subprocess.Popen[bytes],
) -> None:
    guard().acquire()
    guard().watch(sleeper.pid)
    first = guard().pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    psutil.Process(first).wait(10)
    guard().watch(2**22 + 1)  # no process can have this number
    assert guard().pid not in (None, first)
    guard().release()
    assert sleeper.wait(5) == -signal.SIGKILL


_WITH_LAST_WILL = """
    guard().run_after_death(["sh", "-c", "echo $SAID >> last"], {"SAID": "gone", "PATH": "/bin"})
    guard().run_after_death(["/no/such/program"], {})
    guard().run_after_death(
        ["sh", "-c", f"cat {folder}/0 > {folder}/seen; echo $SAID > {folder}/last"],
        {"SAID": "x" * 100_000, "PATH": os.defpath},
    )
    (folder / "ready").touch()
"""


def test_what_a_program_orders_for_its_death_is_done_when_the_rest_has_ended(
    tmp_path: Path, alive: Alive, eventually: Eventually
) -> None:
    code = _WITH_LAST_WILL + _KILLED
    with start_program(tmp_path, code, "sleep 1000") as program:
        eventually(lambda: pids(tmp_path, 1) and (tmp_path / "ready").exists())
        (command,) = pids(tmp_path, 1)
        program.kill()
    eventually((tmp_path / "last").exists)
    eventually(lambda: (tmp_path / "last").read_text() == "x" * 100_000 + "\n")
    assert not alive(command)
    assert (tmp_path / "seen").read_text() == f"{command}\n"


def test_what_a_program_orders_for_its_death_is_not_done_if_it_ends_by_itself(
    tmp_path: Path, eventually: Eventually
) -> None:
    code = _WITH_LAST_WILL + "    guard().release()\n"
    with start_program(tmp_path, code) as program:
        assert program.wait(60) == 0
    assert not (tmp_path / "last").exists()
    assert not (tmp_path / "seen").exists()


def test_a_guard_that_was_killed_is_replaced_and_knows_what_was_ordered(
    tmp_path: Path, eventually: Eventually
) -> None:
    code = """
    import signal
    guard().run_after_death(["sh", "-c", f"echo gone > {folder}/last"], {"PATH": os.defpath})
    os.kill(guard().pid, signal.SIGKILL)
    os.waitid(os.P_PID, guard().pid, os.WEXITED | os.WNOWAIT)
    guard().watch(os.getpgid(0) + 1_000_000)
    (folder / "ready").touch()
"""
    with start_program(tmp_path, code + _KILLED) as program:
        eventually((tmp_path / "ready").exists)
        program.kill()
    eventually((tmp_path / "last").exists)
