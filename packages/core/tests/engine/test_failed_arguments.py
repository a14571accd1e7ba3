"""The journal has the arguments of tasks that failed: short, cheap, and without secrets."""

from __future__ import annotations

import dataclasses
import enum
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import WorkflowEngine
from radical.asyncflow._resume.arguments import SHORT_CHARS, VALUE_CHARS
from radical.asyncflow.errors import ConfigurationError, DependencyFailureError
from radical.asyncflow.journal import Journal, TaskRecord, read


def fails(*args: Any, **kwargs: Any) -> None:
    raise ValueError("the same for all")


def login(user: str, password: str) -> None:
    raise ValueError(user)


async def failed(
    path: Path, *args: Any, function: Any = fails, settings: Any = None, **kwargs: Any
) -> TaskRecord:
    """Let a task fail with these arguments, and return what the journal has of it."""
    journal = Journal(path / "journal", **(settings or {}))
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=journal) as flow:
        with pytest.raises(ValueError, match=r".*"):
            await flow.function_task(function)(*args, **kwargs)
    return read(path / "journal")[-1].tasks[1]


async def test_equal_failures_say_which_points_failed(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with WorkflowEngine.create("concurrent", {"max_workers": 2}, journal=journal) as flow:
        task = flow.function_task(fails)
        points = [task(number, step=0.5) for number in range(14)]
        for point in points:
            with pytest.raises(ValueError, match="the same"):
                await point
    given = [task.arguments for task in read(journal)[0].tasks.values()]
    assert given == [f"{number}, step=0.5" for number in range(14)]


async def test_no_arguments_of_what_succeeds_are_kept(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=journal) as flow:
        assert await flow.function_task(abs)(-3) == 3
    assert read(journal)[0].tasks[1].arguments is None


async def test_arguments_can_be_switched_off(tmp_path: Path) -> None:
    assert (await failed(tmp_path, "secret", settings={"arguments": False})).arguments is None
    assert b"secret" not in (tmp_path / "journal").read_bytes()


def test_a_wrong_choice_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="arguments must be True, False or 'failed'"):
        Journal("journal", arguments="some")  # type: ignore[arg-type]


async def test_a_task_shows_the_value_that_its_dependency_had(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=journal) as flow:
        with pytest.raises(ValueError, match="the same"):
            await flow.function_task(fails)(flow.function_task(abs)(-9))
    assert read(journal)[0].tasks[2].arguments == "9"


async def test_what_never_ran_because_of_another_has_no_arguments(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}, journal=journal) as flow:
        task = flow.function_task(fails)
        with pytest.raises(DependencyFailureError):
            await task(task(1), 2)
    first, second = read(journal)[0].tasks.values()
    assert (first.arguments, second.arguments) == ("1", None)


class Color(enum.Enum):
    RED = 1


@dataclasses.dataclass
class Point:
    x: float
    api_key: str = "hidden"


class Model:
    def __init__(self) -> None:
        self.name = "a"
        self.data = [1, 2, 3, 4, 5, 6]

    def __repr__(self) -> str:
        raise SystemExit("nobody may call this")


class Slotted:
    __slots__ = ("x",)

    def __repr__(self) -> str:
        raise AssertionError("nobody may call this")


class Broken(int):
    def __repr__(self) -> str:
        raise AssertionError("nobody may call this")

    __str__ = __repr__


Pair = namedtuple("Pair", "left right")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "None"),
        (True, "True"),
        (1.5, "1.5"),
        (2 + 1j, "(2+1j)"),
        (Broken(7), "7"),
        (1 << 5000, "<int of 5,001 bits>"),
        ("né\n", r"'né\n'"),
        (b"\x00", r"b'\x00'"),
        ([1, 2, 3, 4, 5], "[1, 2, 3, 4, …]"),
        ({"a": (1,), "b": {2}}, "{'a': (1), 'b': {2}}"),
        ([[[1]]], "[[<list>]]"),
        (Color.RED, "Color.RED"),
        (Point(1.0), "Point(x=1.0, api_key=***)"),
        (Pair(1, Path("a")), "Pair(left=1, right=a)"),
        (Model(), "Model(name='a', data=[1, 2, 3, 4, …])"),
        (Slotted(), "<Slotted>"),
        (Point, "Point"),
        (len, "len"),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_a_value_is_told_without_its_own_code(tmp_path: Path, value: Any, text: str) -> None:
    assert (await failed(tmp_path, value)).arguments == text


async def test_an_array_is_told_by_its_shape(tmp_path: Path) -> None:
    numpy = pytest.importorskip("numpy")
    record = await failed(tmp_path, numpy.zeros((1000, 1000)), numpy.float32(1.5), numpy.int64(3))
    assert record.arguments == "<ndarray 1000×1000 float64>, 1.5, 3"


async def test_arguments_are_short_however_large_they_are(tmp_path: Path) -> None:
    large = {f"name {number}": "x" * 10**6 for number in range(1000)}
    text = (await failed(tmp_path, *[large] * 1000, "y" * 10**7)).arguments
    assert text is not None
    assert len(text) <= SHORT_CHARS
    (one,) = [(await failed(tmp_path, "z" * 10**7)).arguments]
    assert one is not None
    assert len(one) <= VALUE_CHARS


async def test_what_looks_like_a_secret_is_masked(tmp_path: Path) -> None:
    record = await failed(tmp_path, "me", "hunter2", function=login)
    assert record.arguments == "'me', ***"
    token = "ghp_" + 20 * "a"
    record = await failed(tmp_path, token, url=f"https://me:{token}@host", api_key="s3cr3t")
    assert token not in str(record.arguments)
    assert "api_key=***" in str(record.arguments)
    assert b"s3cr3t" not in (tmp_path / "journal").read_bytes()


async def test_secrets_are_kept_where_that_is_asked_for(tmp_path: Path) -> None:
    settings = {"mask_secrets": False}
    record = await failed(tmp_path, "me", "hunter2", function=login, settings=settings)
    assert record.arguments == "'me', 'hunter2'"
