"""One writer at a time, on this host and across hosts, with flock and without."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from radical.asyncflow.errors import JournalError, JournalInUseError
from radical.asyncflow.journal import _lock

from .journals import begin, make, recalled, writing

HOLD = """
import os, sys, time
from radical.asyncflow.journal._format import run_begun
from radical.asyncflow.journal._writer import Journal, JournalWriter
writer = JournalWriter(Journal(sys.argv[1]), run="holder.7")
writer.open()
if len(sys.argv) > 2 and not os.fork():
    os.close(1)
    os.read(0, 1)
    os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.read()
writer.close()
"""


@contextmanager
def held(path: Path, *more: str) -> Iterator[subprocess.Popen[str]]:
    """Have another process hold the journal."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert int(process.stdout.readline()) == process.pid
        yield process


@pytest.fixture(params=["flock", "file"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with flock, and as on a file system without it."""
    if request.param == "file":
        monkeypatch.setattr(fcntl, "flock", refusing(errno.ENOLCK))
    return str(request.param)


def refusing(code: int):  # type: ignore[no-untyped-def]
    def flock(descriptor: int, operation: int) -> None:
        raise OSError(code, os.strerror(code))

    return flock


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lock, "HEARTBEAT_WAIT_S", 0.6)


def pretend(path: Path, **changes: object) -> Path:
    """Write a lock file as another holder would leave it."""
    file = path.with_name(f"{path.name}.lock")
    holder = {"run": "far.3", "pid": 4, "host": "elsewhere", "born": "1", **changes}
    file.write_text(json.dumps(holder))
    return file


def test_a_second_writer_in_this_process_is_refused_by_name(tmp_path: Path, way: str) -> None:
    path = tmp_path / "journal"
    with (
        writing(path, "run.one"),
        pytest.raises(
            JournalInUseError, match=rf"run run\.one \(process {os.getpid()} on host .*its own"
        ),
        writing(path, "run.two"),
    ):
        pass


def test_a_second_writer_in_another_process_is_refused_by_name(tmp_path: Path, way: str) -> None:
    path = tmp_path / "journal"
    with held(path) as holder:
        with (
            pytest.raises(JournalInUseError, match=rf"holder\.7 \(process {holder.pid} on"),
            writing(path),
        ):
            pass
        holder.communicate()
    make(path, 1)


def test_the_lock_goes_with_a_holder_that_is_killed(tmp_path: Path, way: str) -> None:
    path = tmp_path / "journal"
    with held(path) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        make(path, 2)
    assert recalled(path) == {1: 1, 2: 2}


def test_a_fork_of_a_killed_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, path, "fork"],
        stdin=reader,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.read(1)
        # The child has closed its stdout: so it runs, and it has let go of the journal.
        holder.send_signal(signal.SIGKILL)
        holder.stdout.read()
        holder.wait()
        make(path, 1)
        os.close(writer)
        os.close(reader)


def test_a_refused_writer_changes_nothing(tmp_path: Path, way: str) -> None:
    path = tmp_path / "journal"
    with writing(path, "run.1") as writer:
        writer.commit(begin())
        before = {file: file.read_bytes() for file in tmp_path.iterdir()}
        with pytest.raises(JournalInUseError), writing(path, "run.2"):
            pass
        assert {file: file.read_bytes() for file in tmp_path.iterdir()} == before


def test_nothing_of_the_lock_is_left(tmp_path: Path, way: str) -> None:
    make(tmp_path / "journal", 1)
    assert [file.name for file in tmp_path.iterdir()] == ["journal"]


def test_a_lock_file_that_was_left_does_not_matter(tmp_path: Path, way: str) -> None:
    path = make(tmp_path / "journal", 1)
    here = _lock.JournalLock(str(path), "")._process.host
    pretend(path, host=here, pid=os.getpid(), born="another process had this number")
    assert recalled(path) == {1: 1}


def test_half_a_lock_file_does_not_matter(tmp_path: Path, way: str) -> None:
    path = make(tmp_path / "journal", 1)
    pretend(path).write_text('{"run":')
    assert recalled(path) == {1: 1}


def test_a_holder_on_another_host_that_shows_life_is_respected(tmp_path: Path, way: str) -> None:
    path = make(tmp_path / "journal", 1)
    file = pretend(path)
    over = threading.Event()

    def live() -> None:
        while not over.wait(0.05):
            os.utime(file)

    beating = threading.Thread(target=live)
    beating.start()
    try:
        with pytest.raises(JournalInUseError, match=r"far\.3 .* host elsewhere"), writing(path):
            pass
    finally:
        over.set()
        beating.join()
    assert file.exists()


def test_a_holder_on_another_host_that_shows_no_life_is_gone(tmp_path: Path, way: str) -> None:
    path = make(tmp_path / "journal", 1)
    pretend(path)
    assert recalled(path) == {1: 1}


def test_a_holder_that_was_silent_for_long_is_not_waited_for(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "journal", 1)
    os.utime(pretend(path), (1, 1))
    monkeypatch.setattr(_lock, "HEARTBEAT_WAIT_S", 10**6)
    assert recalled(path) == {1: 1}


def test_a_writer_shows_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive = threading.Event()
    monkeypatch.setattr("radical.asyncflow.journal._writer.HEARTBEAT_S", 0.01)
    monkeypatch.setattr(_lock.JournalLock, "show_life", lambda _: alive.set())
    with writing(tmp_path / "journal"):
        assert alive.wait(30)


def test_a_sign_of_life_moves_the_time_of_the_lock_file(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path) as writer:
        file = tmp_path / "journal.lock"
        os.utime(file, (1, 1))
        writer._lock.show_life()
        assert file.stat().st_mtime > 1


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS])
def test_without_flock_the_journal_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(code))
    make(tmp_path / "journal", 3)
    assert recalled(tmp_path / "journal") == {1: 1, 2: 2, 3: 3}


def test_a_lock_that_fails_otherwise_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", refusing(errno.EIO))
    with pytest.raises(JournalError, match="cannot be locked"), writing(tmp_path / "journal"):
        pass


def test_a_journal_that_was_replaced_while_it_was_locked_is_opened_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "journal", 1)
    better = make(tmp_path / "better", 2)
    acquire = _lock.JournalLock.acquire

    def acquire_late(self: _lock.JournalLock, descriptor: int) -> None:
        if better.exists():
            better.replace(path)
        acquire(self, descriptor)

    monkeypatch.setattr(_lock.JournalLock, "acquire", acquire_late)
    assert recalled(path) == {1: 1, 2: 2}


def test_only_the_lock_file_of_the_dead_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    dead = pretend(path, run="dead").stat()
    (tmp_path / "other").write_text("the new holder's")
    (tmp_path / "other").replace(tmp_path / "journal.lock")
    _lock.JournalLock(str(path), "me")._discard(dead)
    assert [file.name for file in tmp_path.iterdir()] == ["journal.lock"]
    assert (tmp_path / "journal.lock").read_text() == "the new holder's"
