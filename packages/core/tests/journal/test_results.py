"""Results that are no scalars: kept in the record or in a file, checked when they are loaded."""

from __future__ import annotations

import collections
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow.errors import JournalError
from radical.asyncflow.journal import read
from radical.asyncflow.journal._recalled import Recalled

from .journals import begin, done, key_of, writing

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


class Point(collections.namedtuple("Point", "x y")):
    pass


class Vanishing:
    """A value that can be stored, but not rebuilt."""

    def __reduce__(self) -> Any:
        return (_refuse, ())


def _refuse() -> None:
    raise ZeroDivisionError("not again")


class Interrupting:
    def __reduce__(self) -> Any:
        raise OSError("the class says no")


def keep(path: Path, value: object, **options: Any) -> str:
    with writing(path, **options) as writer:
        field = writer.store(value)
        writer.append([*begin(), done(1, field)])
    return field


def recall(path: Path) -> Recalled | None:
    with writing(path, "later") as writer:
        return writer.recall(key_of(1))


def load(path: Path) -> Any:
    found = recall(path)
    assert found is not None
    return found.load()


@given(PLAIN)
def test_any_plain_value_comes_back(
    tmp_path_factory: pytest.TempPathFactory, value: object
) -> None:
    path = tmp_path_factory.mktemp("j") / "journal"
    keep(path, value, inline_limit=40)
    assert repr(load(path)) == repr(value)


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 200_000, 5_000_000])
def test_results_of_any_size_come_back(tmp_path: Path, size: int) -> None:
    value = os.urandom(size)
    keep(tmp_path / "journal", value, inline_limit=1000)
    assert load(tmp_path / "journal") == value


def test_arrays_come_back(tmp_path: Path) -> None:
    value = np.arange(100_000.0).reshape(100, 1000)
    keep(tmp_path / "journal", value)
    assert np.array_equal(load(tmp_path / "journal"), value)


def test_functions_of_functions_come_back(tmp_path: Path) -> None:
    offset = 5
    keep(tmp_path / "journal", lambda number: number + offset)
    assert load(tmp_path / "journal")(2) == 7


def test_each_load_gives_an_object_of_its_own(tmp_path: Path) -> None:
    keep(tmp_path / "journal", [1])
    found = recall(tmp_path / "journal")
    assert found is not None
    first = found.load()
    first.append(2)
    assert found.load() == [1]


def test_a_class_comes_back_as_the_same_class(tmp_path: Path) -> None:
    keep(tmp_path / "journal", Point(1, 2))
    assert type(load(tmp_path / "journal")) is Point


def test_sizes_are_those_of_the_pickle(tmp_path: Path) -> None:
    keep(tmp_path / "journal", bytes(100_000))
    found = recall(tmp_path / "journal")
    assert found is not None
    assert 100_000 < found.size < 100_100
    assert read(tmp_path / "journal")[0].tasks[1].result_bytes == found.size


def test_a_large_result_is_a_file_that_nobody_else_can_read(tmp_path: Path) -> None:
    keep(tmp_path / "journal", bytes(100_000))
    folder = tmp_path / "journal.results"
    (file,) = (path for path in folder.rglob("*") if path.is_file())
    assert [path.stat().st_mode & 0o777 for path in (folder, file.parent, file)] == [
        0o700,
        0o700,
        0o600,
    ]
    assert file.name == hashlib.sha256(file.read_bytes()).hexdigest()


def test_equal_results_are_kept_once(tmp_path: Path) -> None:
    with writing(tmp_path / "journal") as writer:
        assert writer.store(bytes(100_000)) == writer.store(bytes(100_000))
    files = [path for path in (tmp_path / "journal.results").rglob("*") if path.is_file()]
    assert len(files) == 1


def test_no_folder_is_made_for_small_results(tmp_path: Path) -> None:
    keep(tmp_path / "journal", {"a": 1})
    assert [path.name for path in tmp_path.iterdir()] == ["journal"]


def test_a_result_over_the_limit_is_not_kept_and_says_so(tmp_path: Path) -> None:
    field = keep(tmp_path / "journal", bytes(3000), inline_limit=100, result_limit=2000)
    assert field == '"unstored":"result too large (over 2000 bytes)"'
    assert recall(tmp_path / "journal") is None
    (task,) = read(tmp_path / "journal")[0].tasks.values()
    assert (task.state, task.unstored) == ("DONE", "result too large (over 2000 bytes)")
    assert list((tmp_path / "journal.results").rglob("*")) == []


@pytest.mark.parametrize("make", [threading.Lock, Interrupting, lambda: (_ for _ in ())])
def test_what_cannot_be_pickled_says_why(tmp_path: Path, make: Any) -> None:
    field = keep(tmp_path / "journal", (make(), bytes(100_000)), inline_limit=10)
    assert field.startswith('"unstored":"cannot be pickled: ')
    assert recall(tmp_path / "journal") is None


def test_what_is_nested_too_deeply_is_not_kept(tmp_path: Path) -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    assert '"unstored"' in keep(tmp_path / "journal", value)
    while value:  # or its end would overflow the stack as well
        value = value[0]


def test_what_cannot_be_rebuilt_is_an_error_of_ours(tmp_path: Path) -> None:
    keep(tmp_path / "journal", Vanishing())
    with pytest.raises(JournalError, match="cannot be rebuilt: ZeroDivisionError: not again"):
        load(tmp_path / "journal")


def test_a_large_result_that_is_gone_is_an_error_of_ours(tmp_path: Path) -> None:
    keep(tmp_path / "journal", bytes(100_000))
    for file in (tmp_path / "journal.results").rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(JournalError, match=r"journal\.results/.* cannot be read: No such file"):
        load(tmp_path / "journal")


@pytest.mark.parametrize("place", [0, 50, 100_000, -1])
def test_a_large_result_that_was_changed_is_never_unpickled(tmp_path: Path, place: int) -> None:
    keep(tmp_path / "journal", bytes(100_000))
    (file,) = (path for path in (tmp_path / "journal.results").rglob("*") if path.is_file())
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)
    with pytest.raises(JournalError, match="is damaged"):
        load(tmp_path / "journal")


def test_what_a_killed_run_left_half_written_is_removed(tmp_path: Path) -> None:
    keep(tmp_path / "journal", bytes(100_000))
    left = tmp_path / "journal.results/123-4.part"
    left.touch()
    load(tmp_path / "journal")
    assert not left.exists()


def test_what_stands_beside_a_result_comes_back(tmp_path: Path) -> None:
    from radical.asyncflow.journal._format import task_ended

    times = (0.0, 0.0, 0.0, 0.0)
    files = [{"name": "out.txt", "sha256": "ab"}, "x"]
    with writing(tmp_path / "journal") as writer:
        line = task_ended(1, 1, "DONE", times, key=key_of(1), result='"value":1', files=files)
        writer.append([*begin(), line])
    found = recall(tmp_path / "journal")
    assert found is not None
    assert (found.files, found.size, found.load()) == (tuple(files), 0, 1)
