"""The index: spares time, and changes no answer, whatever becomes of its file."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radical.asyncflow.errors import JournalCorruptError
from radical.asyncflow.journal import _index
from radical.asyncflow.journal._index import Index

from .journals import begin, done, key_of, make, recalled, writing


@pytest.fixture(autouse=True)
def _always(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_index, "WORTHWHILE", 1)


def indexed(folder: Path, tasks: int = 50) -> Path:
    """A journal of *tasks*, and its index."""
    path = make(folder / "journal", tasks)
    assert recalled(path, tasks) == everything(tasks)
    assert (folder / "journal.index").exists()
    return path


def everything(tasks: int) -> dict[int, int]:
    return {number: number for number in range(1, tasks + 1)}


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of lines that were scanned, by each opening."""
    counts: list[int] = []
    take = Index._take

    def counting(self: Index, path: str, lines: list[bytes]) -> None:
        counts.append(len(lines))
        take(self, path, lines)

    monkeypatch.setattr(Index, "_take", counting)
    return counts


def test_with_an_index_nothing_is_read_again(tmp_path: Path, scanned: list[int]) -> None:
    path = indexed(tmp_path)
    scanned.clear()
    assert recalled(path, 50) == everything(50)
    assert scanned == []


def test_only_what_came_since_is_read(tmp_path: Path, scanned: list[int]) -> None:
    path = indexed(tmp_path)
    with writing(path, "run.2") as writer:
        writer.append([*begin("run.2"), done(51, '"value":51'), done(1, '"value":111')])
    scanned.clear()
    assert recalled(path, 51) == {**everything(51), 1: 111}
    assert scanned == [4]
    scanned.clear()
    assert recalled(path, 51) == {**everything(51), 1: 111}
    assert scanned == []


def test_runs_are_known_from_the_index(tmp_path: Path) -> None:
    path = indexed(tmp_path)
    with writing(path, "run.2") as writer:
        writer.append([*begin("run.2"), done(77, '"value":0', key_of(3))])
    recalled(path)
    with writing(path, "run.3") as writer:
        found = [writer.recall(key_of(number)) for number in (1, 3)]
        assert [result and result.task for result in found] == ["run.1/1", "run.2/77"]


def test_a_short_journal_has_no_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_index, "WORTHWHILE", 1000)
    path = make(tmp_path / "journal", 900)
    assert recalled(path, 900) == everything(900)
    assert not (tmp_path / "journal.index").exists()


def test_an_index_that_is_removed_is_made_anew(tmp_path: Path) -> None:
    path = indexed(tmp_path)
    (tmp_path / "journal.index").unlink()
    assert recalled(path, 50) == everything(50)
    assert (tmp_path / "journal.index").exists()


def test_an_index_is_for_its_owner_only(tmp_path: Path) -> None:
    indexed(tmp_path)
    assert (tmp_path / "journal.index").stat().st_mode & 0o777 == 0o600


def test_an_index_with_any_byte_changed_changes_no_answer(tmp_path: Path) -> None:
    path = indexed(tmp_path, 4)
    index = tmp_path / "journal.index"
    good = index.read_bytes()
    for place in range(len(good)):
        bad = bytearray(good)
        bad[place] ^= 0x15
        index.write_bytes(bad)
        assert recalled(path, 4) == everything(4), place


@pytest.mark.parametrize("length", [0, 1, 100, -1, -8])
def test_half_an_index_changes_no_answer(tmp_path: Path, length: int) -> None:
    path = indexed(tmp_path)
    index = tmp_path / "journal.index"
    index.write_bytes(index.read_bytes()[:length])
    assert recalled(path, 50) == everything(50)


def test_the_index_of_another_journal_changes_no_answer(tmp_path: Path) -> None:
    path = indexed(tmp_path / "one")
    other = make(tmp_path / "two/journal", 10, "another run")
    recalled(other)
    (tmp_path / "two/journal.index").replace(tmp_path / "one/journal.index")
    assert recalled(path, 50) == everything(50)


def test_the_index_of_a_longer_journal_changes_no_answer(tmp_path: Path) -> None:
    path = indexed(tmp_path)
    data = path.read_bytes()
    path.write_bytes(b"".join(data.splitlines(keepends=True)[:20]))
    assert recalled(path, 50) == everything(17)


def test_an_index_that_cannot_be_written_harms_nobody(tmp_path: Path) -> None:
    (tmp_path / "journal.index.part").mkdir()
    path = make(tmp_path / "journal", 50)
    assert recalled(path, 50) == everything(50)
    assert not (tmp_path / "journal.index").exists()


def test_a_damaged_line_that_the_index_covers_is_seen_when_it_is_recalled(tmp_path: Path) -> None:
    path = indexed(tmp_path, 500)
    data = bytearray(path.read_bytes())
    place = data.index(key_of(250).encode()) + 60
    data[place] ^= 1
    path.write_bytes(data)
    with writing(path, "later") as writer:
        found = writer.recall(key_of(250))
        assert found is not None
        with pytest.raises(JournalCorruptError, match=rf"{path} is damaged at byte \d+"):
            found.load()
        assert (found.size, found.files) == (0, ())
        fine = writer.recall(key_of(251))
        assert fine is not None
        assert fine.load() == 251


def test_two_keys_with_the_same_mark_are_never_confused(tmp_path: Path) -> None:
    first, second = "a" * 16 + "0" * 16, "a" * 16 + "1" * 16
    with writing(tmp_path / "journal") as writer:
        writer.append([*begin(), done(1, '"value":1', first), done(2, '"value":2', second)])
    for _ in range(2):  # the second time with the index file
        with writing(tmp_path / "journal", "later") as writer:
            found = writer.recall(second)
            assert found is not None
            assert found.load() == 2
            assert writer.recall(first) is None


def test_answers_are_the_same_while_the_index_is_saved(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 3000)
    with path.open("rb") as file:
        index = Index()
        index.scan(str(path), file.fileno())
        expected = [index.find(key_of(number).encode()) for number in range(1, 3002)]
        for _ in index.save(f"{path}.index", file.fileno()):
            assert index.find(key_of(1).encode()) == expected[0]
        assert [index.find(key_of(n).encode()) for n in range(1, 3002)] == expected
        assert expected[-1] is None


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.integers(1, 200), st.lists(st.integers(0, 200), max_size=3))
def test_in_whatever_parts_an_index_grows_it_finds_the_last_of_each_key(
    tmp_path_factory: pytest.TempPathFactory, seed: int, keys: int, parts: list[int]
) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    choose = random.Random(seed)
    expected: dict[str, int] = {}
    for part in [0, *parts]:
        with writing(path) as writer:
            writer.append(begin())
            for _ in range(part):
                key = hashlib.md5(str(choose.randrange(keys)).encode()).hexdigest()
                key += choose.choice(["", ".1", ".12"])
                expected[key] = choose.randrange(1000)
                writer.append([done(1, f'"value":{expected[key]}', key)])
    with writing(path) as writer:
        for key, value in expected.items():
            found = writer.recall(key)
            assert found is not None
            assert found.load() == value


def test_a_long_save_does_not_hold_up_what_is_written(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 3000)
    steps: list[int] = []

    def slow(self: Index, file: str, descriptor: int):  # type: ignore[no-untyped-def]
        while not steps:
            yield

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Index, "save", slow)
        with writing(path, "later") as writer:
            writer.commit([*begin("later"), done(9999)])
            assert key_of(9999).encode() in path.read_bytes()
            steps.append(1)
