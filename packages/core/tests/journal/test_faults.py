"""Faults of the system: each has one outcome, and the journal survives it."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from radical.asyncflow.errors import JournalError, JournalFormatError
from radical.asyncflow.journal import read

from .journals import begin, done, key_of, make, recalled, writing

FILL = """
from pathlib import Path
import resource, sys
from hashlib import blake2b
from radical.asyncflow.journal._format import run_begun, task_ended
from radical.asyncflow.journal._writer import Journal, JournalWriter
path, limit = sys.argv[1], int(sys.argv[2])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
writer = JournalWriter(Journal(path), run="r")
failures, written = [], []
writer.on_failed = failures.append
writer.on_written = written.append
writer.open()
writer.append([run_begun("r", 1.0, "h", 1, "3", [])])
last = 0
for number in range(1, 2001):
    key = blake2b(str(number).encode(), digest_size=16).hexdigest()
    line = task_ended(number, 1, "DONE", (0, 0, 0, 0), key=key, result='"value":1')
    last = writer.append([line])
writer.close()
print(len(failures), failures[0], written[-1] == last, writer.error is failures[0], sep="|")
"""


def fill(path: Path, limit: int = 0) -> list[str]:
    """Write more than there is room for, in a process of its own, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", FILL, path, str(limit)],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip().split("|")


def check_full(path: Path, outcome: list[str], words: str) -> None:
    """Check that the run went on, got one error, and left a file of whole records."""
    failures, text, counted, remembered = outcome
    assert (failures, counted, remembered) == ("1", "True", "True")
    assert words in text
    assert path.read_bytes().endswith(b"\n")
    (run,) = read(path)
    assert len(run.tasks) > 100
    assert list(run.tasks) == list(range(1, len(run.tasks) + 1))
    assert not path.with_name("journal.lock").exists()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 64 KiB; if that is not permitted, a limit of the file's size replaces it."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True
    )
    yield folder
    if not mounted.returncode:
        subprocess.run(["umount", folder], check=True)


def test_on_a_full_disk_the_run_goes_on_and_whole_records_stay(small_disk: Path) -> None:
    path = small_disk / "journal"
    mounted = small_disk.is_mount()
    outcome = fill(path, 0 if mounted else 1 << 16)
    check_full(path, outcome, "No space left" if mounted else "File too large")


def test_over_a_limit_of_file_size_the_run_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    check_full(path, fill(path, 50_000), "File too large")
    assert 40_000 < path.stat().st_size <= 50_000


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("room", [0, 1, 50, 250])
def test_a_write_that_fails_halfway_leaves_whole_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, room: int
) -> None:
    with writing(tmp_path / "journal") as writer:
        writer.commit(begin())
        real, left = os.write, [room]

        def write(descriptor: int, data: bytes) -> int:
            if descriptor != writer._descriptor:
                return real(descriptor, data)
            if not left[0]:
                raise OSError(code, os.strerror(code))
            count = real(descriptor, data[: left[0]])
            left[0] -= count
            return count

        monkeypatch.setattr(os, "write", write)
        writer.commit([done(1), done(2), done(3)])
        writer.commit([done(4)])
        assert os.strerror(code) in str(writer.wait_for_failure())
        assert len(writer.failures) == 1
        monkeypatch.undo()
    (run,) = read(tmp_path / "journal")
    assert list(run.tasks) == list(range(1, 1 + room // len(done(1))))


def test_after_a_full_disk_the_next_run_finds_what_was_written(small_disk: Path) -> None:
    path = small_disk / "journal"
    fill(path, 0 if small_disk.is_mount() else 1 << 16)
    (run,) = read(path)
    copy = small_disk.parent / "journal"
    copy.write_bytes(path.read_bytes())
    copy.chmod(0o600)
    with writing(copy, "later") as writer:
        found = [writer.recall(key_of(number)) for number in run.tasks]
    assert len(found) > 100
    assert all(found)


def test_a_full_disk_at_the_start_is_an_error_of_the_start(small_disk: Path) -> None:
    if not small_disk.is_mount():
        script = FILL.replace("range(1, 2001)", "range(0)")
        outcome = subprocess.run(
            [sys.executable, "-c", script, small_disk / "journal", "20"],
            timeout=60,
            capture_output=True,
            text=True,
        )
        assert "JournalError" in outcome.stderr
        return
    with (small_disk / "ballast").open("wb", buffering=0) as ballast, suppress(OSError):
        while True:
            ballast.write(bytes(4096))
    with pytest.raises(JournalError, match="No space left"), writing(small_disk / "journal"):
        pass


def test_a_large_result_that_finds_no_room_is_not_kept(small_disk: Path) -> None:
    previous = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not small_disk.is_mount():
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, previous[1]))
    try:
        with writing(small_disk / "journal", inline_limit=1000) as writer:
            field = writer.store(bytes(200_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, previous)
    assert field.startswith('"unstored":"result could not be written: ')
    assert list((small_disk / "journal.results").iterdir()) == []


@pytest.mark.parametrize("cut", range(1, len(done(5, '"value":5')) + 1))
def test_a_tail_torn_at_any_byte_costs_the_last_record_only(tmp_path: Path, cut: int) -> None:
    path = make(tmp_path / "journal")
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    assert list(read(path)[0].tasks) == [1, 2, 3, 4]
    assert recalled(path) == {1: 1, 2: 2, 3: 3, 4: 4}
    make(path, 1, "run.2")
    assert [list(run.tasks) for run in read(path)] == [[1, 2, 3, 4], [1]]


@pytest.mark.parametrize("length", range(54))
def test_a_head_torn_at_any_byte_is_a_new_journal(tmp_path: Path, length: int) -> None:
    path = make(tmp_path / "journal", 1)
    data = path.read_bytes()
    assert data.index(b"\n") == 53
    path.write_bytes(data[:length])
    assert read(path) == ()
    make(path, 1)
    assert path.read_bytes() == data


def test_an_empty_file_is_a_new_journal(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.touch(mode=0o600)
    make(path, 2)
    assert recalled(path) == {1: 1, 2: 2}


@pytest.mark.parametrize(
    "content",
    [
        b"x",
        b"hello\n",
        b"\x7fELF\0\0\0\0",
        b"0123abcd B {}\n",
        b"a,b\n1,2\n" * 9999,
        b"\n",
        b"\0" * 5000,
    ],
    ids=lambda content: repr(content[:12]),
)
def test_a_file_of_something_else_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(JournalFormatError, match=r"notes.txt is not a journal"), writing(path):
        pass
    with pytest.raises(JournalFormatError, match=r"notes.txt is not a journal"):
        read(path)
    assert path.read_bytes() == content
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("version", [0, 2, 17, "x"])
def test_another_format_is_refused_and_both_versions_named(
    tmp_path: Path, version: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    from radical.asyncflow.journal._format import _dumps, seal

    path = tmp_path / "journal"
    fields = {"format": "asyncflow-journal", "version": version, "more": 1}
    content = seal(f"H {_dumps(fields)}") + b"something quite different\n"
    path.write_bytes(content)
    path.chmod(0o600)
    expected = rf"format version {version}.*version 1"
    with pytest.raises(JournalFormatError, match=expected), writing(path):
        pass
    with pytest.raises(JournalFormatError, match=expected):
        read(path)
    assert path.read_bytes() == content


def test_kinds_and_fields_of_later_releases_are_ignored(tmp_path: Path) -> None:
    from radical.asyncflow.journal._format import seal

    path = make(tmp_path / "journal", 1)
    task = '{"task":2,"value":2,"new":[1],"f":1,"t":[0,0,0,0]}'
    with path.open("ab") as file:
        file.write(seal('Q some {"thing":1}') + seal(f"D {key_of(2)} {task}"))
    assert list(read(path)[0].tasks) == [1, 2]
    assert recalled(path) == {1: 1, 2: 2}


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file/journal"
    with pytest.raises(JournalError, match=r"file/journal cannot be opened"), writing(path):
        pass


def test_a_folder_is_no_journal(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="cannot be opened"), writing(tmp_path):
        pass
    with pytest.raises(JournalError, match="no journal"):
        read(tmp_path)


def test_a_pipe_is_no_journal_and_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(JournalError, match="not a file"), writing(tmp_path / "pipe"):
        pass


OPEN = """
import os, sys
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
from radical.asyncflow.errors import JournalError
from radical.asyncflow.journal._writer import Journal, JournalWriter
try:
    JournalWriter(Journal(sys.argv[1]), run="r").open()
except JournalError as error:
    print(error)
"""


def as_nobody(path: Path) -> str:
    """Return what a user without the rights of root is told when opening *path*."""
    preload = "import radical.asyncflow.journal\n"
    done = subprocess.run(
        [sys.executable, "-c", preload + OPEN, path],
        check=True,
        timeout=60,
        capture_output=True,
        text=True,
        cwd="/",
    )
    return done.stdout


def test_in_a_read_only_folder_the_run_does_not_start(tmp_path: Path) -> None:
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o555)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.name.startswith("pytest"):
            parent.chmod(parent.stat().st_mode | 0o055)
    assert "locked/journal cannot be opened: Permission denied" in as_nobody(folder / "journal")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_journal_that_others_can_write_is_not_trusted(tmp_path: Path, mode: int) -> None:
    path = make(tmp_path / "journal", 1)
    path.chmod(mode)
    with pytest.raises(JournalError, match="chmod go-w"), writing(path):
        pass
    path.chmod(0o644)
    assert recalled(path) == {1: 1}


def test_a_journal_of_another_user_is_not_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make(tmp_path / "journal", 1)
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    with pytest.raises(JournalError, match="another user"), writing(path):
        pass
    assert len(read(path)) == 1  # reading rebuilds nothing


def test_a_clock_that_is_set_back_changes_neither_order_nor_length(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    for run, wall in (("first", 2000.0), ("second", 1000.0)):
        with writing(path, run) as writer:
            writer.append([*begin(run, wall), done(1, f'"value":"{run}"')])
    assert [(run.uid, run.begun) for run in read(path)] == [("first", 2000.0), ("second", 1000.0)]
    assert {run.length for run in read(path)} == {1.4}
    assert recalled(path, 1) == {1: "second"}


def test_a_journal_that_is_removed_meanwhile_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path, sync_seconds=0.0) as writer:
        writer.commit(begin())
        path.unlink()
        writer.append([done(1)])
        assert "was removed" in str(writer.wait_for_failure())


def test_a_journal_that_another_program_writes_into_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with writing(path, sync_seconds=0.0) as writer:
        writer.commit(begin())
        with path.open("ab") as other:
            other.write(b"mine\n")
        writer.append([done(1)])
        assert "another program" in str(writer.wait_for_failure())


def test_no_file_of_the_journal_is_mapped_into_memory(tmp_path: Path) -> None:
    make(tmp_path / "journal", 100)
    with writing(tmp_path / "journal") as writer:
        assert writer.recall(key_of(1)) is not None
        maps = Path("/proc/self/maps")
        text = maps.read_text() if maps.exists() else ""
        assert str(tmp_path) not in text
