"""Reading and repair: a truncated journal is a shorter one, and all damage is named."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow.errors import (
    JournalCorruptError,
    JournalError,
    JournalFormatError,
    JournalInUseError,
)
from radical.asyncflow.journal import Damage, Repair, read, repair
from radical.asyncflow.journal._format import HEADER, seal

from .journals import begin, done, key_of, make, recalled, writing


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two runs of five tasks."""
    make(tmp_path / "journal", 5, "run.1")
    return make(tmp_path / "journal", 5, "run.2")


def shape(path: Path, damage: list[Damage] | None = None) -> list[tuple[str, list[int]]]:
    return [(run.uid, list(run.tasks)) for run in read(path, damage=damage)]


def line_at(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def flipped(path: Path, place: int, bit: int = 1) -> bytes:
    """Damage one byte, and return what was there."""
    data = path.read_bytes()
    bad = bytearray(data)
    bad[place] ^= bit
    path.write_bytes(bad)
    return data


def test_any_truncation_gives_what_was_whole(path: Path) -> None:
    data = path.read_bytes()
    whole = lines_of(path)
    for length in range(len(data)):
        path.write_bytes(data[:length])
        found = [(uid, number) for uid, numbers in shape(path) for number in numbers]
        tasks = [line for line in whole[: data.count(b"\n", 0, length)] if line[9:10] == b"D"]
        expected = [("run.1", n) for n in range(1, 6)] + [("run.2", n) for n in range(1, 6)]
        assert found == expected[: len(tasks)]


def test_any_changed_byte_is_seen_and_its_line_named(path: Path) -> None:
    data = path.read_bytes()
    for place in range(len(data)):
        flipped(path, place, (1, 0x20, 0x80)[place % 3])
        bad_line = line_at(data, place)
        start = data.rfind(b"\n", 0, place) + 1
        with pytest.raises(JournalCorruptError) as caught:
            read(path)
        # A byte that became a newline is found in the first of the two lines that it made.
        assert f"{path} is damaged in line {bad_line}, at byte {start}:" in str(caught.value)
        path.write_bytes(data)


def test_any_changed_byte_keeps_a_run_from_starting(path: Path) -> None:
    data = path.read_bytes()
    for place in [*random.Random(1).sample(range(len(data)), 200), len(data) - 1]:
        flipped(path, place)
        bad = path.read_bytes()
        with (
            pytest.raises(JournalCorruptError, match=rf"in line {line_at(data, place)}, at byte"),
            writing(path),
        ):
            pass
        assert path.read_bytes() == bad
        path.write_bytes(data)


def test_damage_can_be_passed_over(path: Path) -> None:
    lines = lines_of(path)
    flipped(path, len(b"".join(lines[:4])) + 30)
    damage: list[Damage] = []
    assert shape(path, damage) == [("run.1", [1, 3, 4, 5]), ("run.2", [1, 2, 3, 4, 5])]
    start = len(b"".join(lines[:4]))
    assert damage == [Damage(5, start, len(lines[4]), "its checksum is wrong")]


def test_a_good_journal_has_no_damage(path: Path) -> None:
    damage: list[Damage] = []
    shape(path, damage)
    assert damage == []


def test_a_run_whose_begin_is_damaged_is_not_taken_for_the_one_before(path: Path) -> None:
    flipped(path, path.read_bytes().index(b'"run":"run.2"') + 9)
    damage: list[Damage] = []
    assert shape(path, damage) == [("run.1", [1, 2, 3, 4, 5]), ("unknown", [1, 2, 3, 4, 5])]
    assert len(damage) == 1


def test_a_task_whose_function_is_damaged_is_still_told(path: Path) -> None:
    flipped(path, path.read_bytes().index(b'"name":"work"') + 9)
    runs = read(path, damage=[])
    assert runs[0].tasks[1].name == "?"


def test_a_line_that_is_whole_and_makes_no_sense_is_damage(path: Path) -> None:
    with path.open("ab") as file:
        file.write(seal(f'D {key_of(1)} {{"task":1}}') + seal("E - [1]") + seal("S {nonsense}"))
    damage: list[Damage] = []
    assert len(shape(path, damage)) == 2
    assert [found.reason.partition(":")[0] for found in damage] == ["it is no record"] * 3
    with pytest.raises(JournalCorruptError):
        read(path)


def test_what_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="there is no journal"):
        read(tmp_path / "journal")
    with pytest.raises(JournalError, match="there is no journal"):
        repair(tmp_path / "journal")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_can_be_read_while_it_is_written(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        writer.commit(begin())
        for number in range(1, 20):
            writer.commit([done(number)])
            (run,) = read(tmp_path / "journal")
            assert list(run.tasks) == list(range(1, number + 1))
            assert (run.ended, run.outcome) == (None, "")


def test_a_repair_keeps_all_that_is_good_and_the_damaged_file(path: Path) -> None:
    flipped(path, len(b"".join(lines_of(path)[:4])) + 30)
    bad = path.read_bytes()
    result = repair(path)
    assert result.kept == path.with_name("journal.damaged-1")
    assert [found.line for found in result.damage] == [5]
    assert result.kept.read_bytes() == bad
    assert shape(path) == [("run.1", [1, 3, 4, 5]), ("run.2", [1, 2, 3, 4, 5])]
    assert recalled(path) == {1: 1, 2: 2, 3: 3, 4: 4, 5: 5}  # the second run had it too
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_repaired_journal_keeps_runs_apart(path: Path) -> None:
    flipped(path, path.read_bytes().index(b'"run":"run.2"') + 9)
    repair(path)
    assert shape(path) == [("run.1", [1, 2, 3, 4, 5]), ("unknown", [1, 2, 3, 4, 5])]


def test_a_second_repair_keeps_the_first_ones_file(path: Path) -> None:
    for number in (1, 2):
        flipped(path, 200)
        assert repair(path).kept == path.with_name(f"journal.damaged-{number}")


def test_where_files_have_one_name_only_the_damaged_one_is_kept_too(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(old: object, new: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.link", link)
    flipped(path, 200)
    bad = path.read_bytes()
    kept = repair(path).kept
    assert kept is not None
    assert kept.read_bytes() == bad
    assert len(read(path)) == 2


def test_what_is_not_damaged_is_not_touched(path: Path) -> None:
    data = path.read_bytes()
    assert repair(path) == Repair(None, ())
    assert path.read_bytes() == data
    assert [file.name for file in path.parent.iterdir()] == ["journal"]


def test_a_journal_in_use_is_not_repaired(path: Path) -> None:
    with writing(path), pytest.raises(JournalInUseError):
        repair(path)


def test_something_else_is_not_repaired(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_bytes(b"something else\n" * 10)
    path.chmod(0o600)
    with pytest.raises(JournalFormatError):
        repair(path)
    assert path.read_bytes() == b"something else\n" * 10
    assert [file.name for file in tmp_path.iterdir()] == ["notes"]


def test_a_journal_of_nothing_but_damage_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(HEADER.replace(b"1}", b"7}") + b"rubbish\n")
    path.chmod(0o600)
    with pytest.raises(JournalError, match="no intact line"):
        repair(path)
    assert [file.name for file in tmp_path.iterdir()] == ["journal"]


@given(st.data())
def test_a_repair_of_whatever_damage_gives_a_good_journal(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = make(tmp_path_factory.mktemp("j") / "journal", 4)
    lines = lines_of(path)
    content = bytearray(b"".join(lines))
    # Without the newline between them, two lines become one damaged line.
    places = [place for place, byte in enumerate(content) if byte != 10 and place >= len(HEADER)]
    for place in data.draw(st.lists(st.sampled_from(places), max_size=5)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    untouched = [line for line in lines if line in bytes(content)]
    repair(path)
    kept = lines_of(path)
    read(path)
    assert [line for line in kept if line in lines] == untouched


@given(st.binary(max_size=300))
def test_rubbish_is_no_journal_or_is_named(
    tmp_path_factory: pytest.TempPathFactory, rubbish: bytes
) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    path.write_bytes(HEADER + rubbish)
    damage: list[Damage] = []
    assert read(path, damage=damage) == ()
    if damage:
        with pytest.raises(JournalCorruptError, match=r"line 2, at byte 54"):
            read(path)
