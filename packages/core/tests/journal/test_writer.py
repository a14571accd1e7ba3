"""The writer: everything that it reports as written is in the file, and no fault stops the run."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from radical.asyncflow.errors import ConfigurationError, JournalError
from radical.asyncflow.journal import Journal, read
from radical.asyncflow.journal._writer import JournalWriter

from .journals import RecordingWriter, begin, done, key_of, make, recalled, writing

PROGRAM = """
import os, sys
from radical.asyncflow.journal._format import run_begun
from radical.asyncflow.journal._writer import Journal, JournalWriter
writer = JournalWriter(Journal(sys.argv[1]), run="r")
writer.open()
writer.append([run_begun("r", 1.0, "h", 1, "3", [])])
"""


def test_what_is_written_is_read(tmp_path: Path) -> None:
    (run,) = read(make(tmp_path / "journal", 3))
    assert [(task.id, task.state, task.name) for task in run.tasks.values()] == [
        ("task.000001", "DONE", "work"),
        ("task.000002", "DONE", "work"),
        ("task.000003", "DONE", "work"),
    ]


def test_the_next_run_recalls_what_the_last_one_did(tmp_path: Path) -> None:
    make(tmp_path / "journal", 3)
    assert recalled(tmp_path / "journal") == {1: 1, 2: 2, 3: 3}


def test_a_recalled_result_says_whose_it_was(tmp_path: Path) -> None:
    for run in ("run.1", "run.2", "run.3"):
        with writing(tmp_path / "journal", run) as writer:
            writer.append(begin(run))
            if run != "run.3":
                writer.append([done(7, key=key_of(1))])
    with writing(tmp_path / "journal", "run.4") as writer:
        found = writer.recall(key_of(1))
        assert found is not None
        assert found.task == "run.2/7"


def test_results_of_several_runs_say_whose_they_are_in_whatever_order(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        with writing(tmp_path / "journal", f"run.{number}") as writer:
            writer.append(begin(f"run.{number}"))
            writer.append([done(n, key=key_of(10 * number + n)) for n in (1, 2)])
    with writing(tmp_path / "journal", "run.4") as writer:
        for number, n in [(2, 1), (2, 2), (1, 1), (3, 2), (1, 2), (3, 1), (2, 1)]:
            found = writer.recall(key_of(10 * number + n))
            assert found is not None
            assert found.task == f"run.{number}/{n}"


def test_the_last_result_under_a_key_counts(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        writer.append([*begin(), done(1, '"value":1'), done(1, '"value":2')])
    assert recalled(tmp_path / "journal") == {1: 2}


def test_keys_of_second_calls_are_told_apart(tmp_path: Path) -> None:
    keys = [key_of(1), f"{key_of(1)}.1", f"{key_of(1)}.2"]
    with writing(tmp_path / "journal") as writer:
        writer.append(begin())
        writer.append([done(n, f'"value":{n}', key) for n, key in enumerate(keys)])
    with writing(tmp_path / "journal") as writer:
        results = [writer.recall(key) for key in [*keys, f"{key_of(1)}.3"]]
    assert [found and found.load() for found in results] == [0, 1, 2, None]


def test_an_unknown_key_recalls_nothing(tmp_path: Path) -> None:
    make(tmp_path / "journal", 3)
    with writing(tmp_path / "journal") as writer:
        assert writer.recall(key_of(99)) is None


def test_all_that_is_reported_as_written_is_in_the_file(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        writer.commit(begin())
        for number in range(1, 50):
            writer.commit([done(number)])
            (run,) = read(tmp_path / "journal")
            assert number in run.tasks


def test_numbers_of_appends_grow_by_one(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        assert [writer.append(begin()) for _ in range(4)] == [1, 2, 3, 4]


def test_records_of_many_threads_are_all_there(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        writer.append(begin())

        def append(first: int) -> None:
            for number in range(first, first + 200):
                writer.append([done(number)])

        threads = [threading.Thread(target=append, args=(1000 * n,)) for n in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    (run,) = read(tmp_path / "journal")
    assert len(run.tasks) == 800


def test_a_record_can_be_made_by_the_writers_thread(tmp_path: Path) -> None:
    makers: list[str] = []

    def make_record() -> bytes:
        makers.append(threading.current_thread().name)
        return done(2)

    with writing(tmp_path / "journal") as writer:
        writer.append([*begin(), done(1), make_record, done(3)])
    assert makers == ["asyncflow-journal"]
    assert list(read(tmp_path / "journal")[0].tasks) == [1, 2, 3]


def test_a_record_that_cannot_be_made_ends_the_writing_with_its_reason(tmp_path: Path) -> None:
    def make_record() -> bytes:
        raise ZeroDivisionError("made badly")

    with writing(tmp_path / "journal") as writer:
        writer.commit(begin())
        writer.commit([make_record])
        writer.commit([done(1)])
        assert "made badly" in str(writer.wait_for_failure())
    assert read(tmp_path / "journal")[0].tasks == {}


def test_a_callback_that_raises_does_not_stop_the_writing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(number: int) -> None:
        raise ZeroDivisionError

    with writing(tmp_path / "journal") as writer, caplog.at_level(logging.ERROR):
        writer.on_written = fail
        writer.append(begin())
        writer.append([done(1)])
    assert 1 in read(tmp_path / "journal")[0].tasks
    assert "callback" in caplog.text


def test_close_writes_what_was_appended_just_before(tmp_path: Path) -> None:
    writer = JournalWriter(Journal(tmp_path / "journal"), run="r")
    writer.open()
    writer.append(begin())
    writer.append([done(number) for number in range(1, 20_001)])
    writer.close()
    assert len(read(tmp_path / "journal")[0].tasks) == 20_000


def test_close_wakes_a_writer_that_sleeps_or_is_about_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow.journal._writer.HEARTBEAT_S", 10**6)
    for _ in range(50):
        with writing(tmp_path / "journal") as writer:
            pass
        assert writer.error is None


def test_a_fault_of_the_writer_itself_does_not_keep_the_run_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: object, batches: object) -> bool:
        monkeypatch.undo()
        raise ZeroDivisionError("a fault")

    monkeypatch.setattr(JournalWriter, "_write", fail)
    with writing(tmp_path / "journal") as writer:
        writer.append(begin())
        assert "a fault" in str(writer.wait_for_failure())
        writer.commit([done(1)])
    assert read(tmp_path / "journal") == ()


def test_close_can_be_called_again(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        writer.append(begin())
        writer.close()
        writer.close()
    assert (writer.error, writer.failures) == (None, [])
    assert [run.uid for run in read(tmp_path / "journal")] == ["run.1"]


def test_a_closed_journal_takes_nothing(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        pass
    with pytest.raises(JournalError, match="not open"):
        writer.append([done(1)])


def test_a_writer_opens_once(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        pass
    with pytest.raises(JournalError, match="before"):
        writer.open()


def test_close_of_what_was_never_opened_does_nothing(tmp_path: Path) -> None:
    JournalWriter(Journal(tmp_path / "journal"), run="r").close()
    assert list(tmp_path.iterdir()) == []


def test_close_does_not_wait_for_ever(tmp_path: Path) -> None:
    held = threading.Event()

    def hang() -> bytes:
        held.wait()
        return done(1)

    writer = RecordingWriter(Journal(tmp_path / "journal"), run="r")
    writer.open()
    writer.append([*begin(), hang])
    writer.close(timeout=0.05)
    assert "within 0.05 s" in str(writer.error)
    held.set()
    writer.close()


def test_a_program_that_forgets_to_close_loses_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    subprocess.run([sys.executable, "-c", PROGRAM, path], check=True, timeout=60)
    assert [run.uid for run in read(path)] == ["r"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["journal"]


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_neither_writes_nor_closes_nor_unlocks(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        writer.append(begin())
        child = os.fork()
        if not child:
            code = 3
            try:
                writer.close()
                writer.append([done(66)])
            except JournalError:
                code = 0
            finally:
                os._exit(code)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        writer.commit([done(1)])
        with pytest.raises(JournalError, match="in use"), writing(tmp_path / "journal"):
            pass
    assert list(read(tmp_path / "journal")[0].tasks) == [1]


def test_a_copy_of_the_descriptor_as_a_fork_has_it_does_not_keep_the_lock(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        copy = os.dup(writer._descriptor)
    try:
        make(tmp_path / "journal", 1)
    finally:
        os.close(copy)
    assert recalled(tmp_path / "journal") == {1: 1}


def test_two_journals_at_once_do_not_mix(tmp_path: Path) -> None:
    with writing(tmp_path / "one", "a") as one, writing(tmp_path / "two", "b") as two:
        one.append([*begin("a"), done(1)])
        two.append([*begin("b"), done(2)])
    assert [list(read(tmp_path / name)[0].tasks) for name in ("one", "two")] == [[1], [2]]


def test_folders_on_the_way_are_made_and_nobody_else_can_read(tmp_path: Path) -> None:
    make(tmp_path / "a/b/journal", 1)
    assert (tmp_path / "a/b/journal").stat().st_mode & 0o777 == 0o600


def test_a_link_leads_to_one_journal(tmp_path: Path) -> None:
    make(tmp_path / "journal", 1)
    (tmp_path / "link").symlink_to(tmp_path / "journal")
    with (
        writing(tmp_path / "journal"),
        pytest.raises(JournalError, match="in use"),
        writing(tmp_path / "link"),
    ):
        pass


def test_the_file_is_forced_to_the_disk_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced = threading.Event()
    monkeypatch.setattr("radical.asyncflow.journal._writer._sync", lambda _: synced.set())
    with writing(tmp_path / "journal", sync_seconds=0.0) as writer:
        writer.append(begin())
        assert synced.wait(30)


def test_without_an_interval_nothing_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(5, "forced")

    monkeypatch.setattr("radical.asyncflow.journal._writer._sync", refuse)
    with writing(tmp_path / "journal", sync_seconds=None) as writer:
        writer.commit(begin())
    assert writer.error is None


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("on_error", "stop"),
        ("inline_limit", -1),
        ("result_limit", -1),
        ("sync_seconds", -0.5),
        ("sync_seconds", float("nan")),
    ],
)
def test_a_wrong_option_is_named(option: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=option):
        Journal("journal", **{option: value})  # type: ignore[arg-type]
