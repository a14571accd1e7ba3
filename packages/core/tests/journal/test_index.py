"""The index: it finds the last result under each key, and lets no damaged line pass."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from radical.asyncflow.errors import JournalCorruptError
from radical.asyncflow.journal import _index

from .journals import begin, done, everything, key_of, make, recalled, writing


def test_a_journal_is_one_file_and_a_folder(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 500)
    assert recalled(path, 500) == everything(500)
    assert [file.name for file in tmp_path.iterdir()] == ["journal"]


def test_a_damaged_result_refuses_the_journal_when_it_is_opened(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 500)
    data = bytearray(path.read_bytes())
    place = data.index(key_of(250).encode()) + 60
    data[place] ^= 1
    path.write_bytes(data)
    line = data.count(b"\n", 0, place) + 1
    with (
        pytest.raises(JournalCorruptError, match=rf"{path} is damaged in line {line}, at byte \d+"),
        writing(path, "later"),
    ):
        pass
    assert path.read_bytes() == data


def test_a_result_that_is_damaged_after_the_opening_is_not_recalled(tmp_path: Path) -> None:
    path = make(tmp_path / "journal", 500)
    data = bytearray(path.read_bytes())
    data[data.index(key_of(250).encode()) + 60] ^= 1
    with writing(path, "later") as writer:
        path.write_bytes(data)
        found = writer.recall(key_of(250))
        assert found is not None
        with pytest.raises(JournalCorruptError, match=rf"{path} is damaged at byte \d+"):
            found.load()
        assert (found.size, found.files) == (0, ())
        intact = writer.recall(key_of(251))
        assert intact is not None
        assert intact.load() == 251


def test_two_keys_with_the_same_fingerprint_are_never_confused(tmp_path: Path) -> None:
    first, second = "a" * 16 + "0" * 16, "a" * 16 + "1" * 16
    with writing(tmp_path / "journal") as writer:
        writer.append([*begin(), done(1, '"value":1', first), done(2, '"value":2', second)])
    with writing(tmp_path / "journal", "later") as writer:
        found = writer.recall(second)
        assert found is not None
        assert found.load() == 2
        assert writer.recall(first) is None


@settings(max_examples=40)
@given(
    st.integers(0, 2**32),
    st.integers(1, 200),
    st.lists(st.integers(0, 200), max_size=3),
    st.integers(1, 2000),
)
def test_whatever_the_runs_and_the_reads_the_last_result_of_each_key_is_found(
    tmp_path_factory: pytest.TempPathFactory, seed: int, keys: int, runs: list[int], chunk: int
) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    choose = random.Random(seed)
    expected: dict[str, int] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_index, "CHUNK_BYTES", chunk)
        for tasks in [0, *runs]:
            with writing(path) as writer:
                writer.append(begin())
                for _ in range(tasks):
                    key = hashlib.md5(str(choose.randrange(keys)).encode()).hexdigest()
                    key += choose.choice(["", ".1", ".12"])
                    expected[key] = choose.randrange(1000)
                    writer.append([done(1, f'"value":{expected[key]}', key)])
        with writing(path) as writer:
            for key, value in expected.items():
                found = writer.recall(key)
                assert found is not None
                assert found.load() == value
