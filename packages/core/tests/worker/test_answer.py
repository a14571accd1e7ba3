"""The outcome of a function on its way back from a worker."""

from __future__ import annotations

import asyncio
import pickle
from typing import Any, NoReturn

import numpy as np
import pytest
from radical.asyncflow.errors import RemoteTraceback, SerializationError
from radical.asyncflow.worker import (
    FAILURE,
    UNSENT,
    VALUE,
    Raised,
    answer,
    answer_pickled,
    close_loop,
    dump_arguments,
    dump_function,
    open_answer,
)


class Bomb:
    """Raises, with what is no Exception, when it is pickled, or when it is rebuilt."""

    def __init__(self, *, late: bool = False) -> None:
        self.late = late

    def __reduce__(self) -> Any:
        return (_explode, ()) if self.late else _explode()


def _explode() -> NoReturn:
    raise SystemExit("no")


def raised(code: int, body: bytes) -> BaseException:
    opened = open_answer(code, body)
    assert type(opened) is Raised
    return opened.error


async def double(number: int) -> int:
    await asyncio.sleep(0)
    return 2 * number


def test_a_value_comes_back() -> None:
    code, body = answer(max, (1, 2), {"key": abs})
    assert code == VALUE
    assert open_answer(code, body) == 2


def test_large_buffers_come_back_beside_the_answer() -> None:
    buffers: list[Any] = []
    code, body = answer(np.arange, (5_000.0,), {}, buffers)
    assert len(body) < 1000
    assert np.array_equal(open_answer(code, body, buffers), np.arange(5_000.0))


@pytest.mark.parametrize("kind", [ValueError, SystemExit, KeyboardInterrupt])
def test_whatever_is_raised_comes_back_with_its_traceback(kind: type[BaseException]) -> None:
    def fail() -> None:
        raise kind("no")

    code, body = answer(fail, (), {})
    assert code == FAILURE
    error = raised(code, body)
    assert type(error) is kind
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "in fail" in str(error.__cause__)


def test_a_value_that_cannot_be_pickled_is_an_error_of_the_result() -> None:
    code, body = answer(Bomb, (), {})
    assert code == UNSENT
    error = raised(code, body)
    assert isinstance(error, SerializationError)
    assert "the result cannot travel to or from a worker: SystemExit: no" in str(error)


def test_a_value_that_cannot_be_rebuilt_is_an_error_of_the_result() -> None:
    code, body = answer(Bomb, (), {"late": True})
    assert code == VALUE
    error = raised(code, body)
    assert isinstance(error, SerializationError)
    assert "the result cannot travel" in str(error)


def test_a_function_and_arguments_that_are_bytes_are_rebuilt_and_called() -> None:
    arguments = dump_arguments(double, (21,), {})
    assert open_answer(*answer_pickled(dump_function(double), arguments)) == 42
    close_loop()


@pytest.mark.parametrize("what", ["function", "arguments"])
def test_what_cannot_be_rebuilt_in_the_worker_is_named(what: str) -> None:
    packed = {"function": dump_function(len), "arguments": dump_arguments(len, ("four",), {})}
    packed[what] = pickle.dumps(Bomb(late=True))
    code, body = answer_pickled(packed["function"], packed["arguments"])
    assert code == UNSENT
    error = raised(code, body)
    assert isinstance(error, SerializationError)
    assert f"the {what} cannot travel" in str(error)
