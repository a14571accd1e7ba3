"""Values, arguments and functions as pickles."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
import types
from typing import Any

import cloudpickle  # type: ignore[import-untyped]
import numpy as np
import pytest
from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import (
    Codes,
    dump,
    dump_arguments,
    dump_function,
    import_path,
    keep_apart,
)


class Bomb:
    """Raises, with what is no Exception, when it is pickled."""

    def __reduce__(self) -> Any:
        raise SystemExit("no")


@pytest.mark.parametrize("by_value", [False, True])
def test_large_buffers_travel_beside_the_pickle(by_value: bool) -> None:
    value = {"large": np.arange(5_000.0), "small": np.arange(5.0)}
    buffers: list[Any] = []
    body = dump(value, buffers, by_value=by_value)
    assert [memoryview(buffer).nbytes for buffer in buffers] == [40_000]
    assert len(body) < 1000
    again = pickle.loads(body, buffers=buffers)
    assert np.array_equal(again["large"], value["large"])
    assert np.array_equal(again["small"], value["small"])


def test_without_a_list_buffers_stay_inside() -> None:
    body = dump(np.arange(5_000.0))
    assert np.array_equal(pickle.loads(body), np.arange(5_000.0))


def test_what_the_plain_pickler_cannot_take_is_pickled_by_value() -> None:
    buffers: list[Any] = [b"of another"]
    number = 3
    body = dump((np.arange(5_000.0), lambda: number), buffers)
    assert len(buffers) == 2  # those of the first try are gone
    _, function = pickle.loads(body, buffers=buffers[1:])
    assert function() == 3


def test_a_pickle_has_at_most_a_thousand_buffers_beside_it() -> None:
    buffers: list[Any] = []
    body = dump([np.arange(3_000.0) + place for place in range(1_010)], buffers)
    assert len(buffers) == 1000
    assert pickle.loads(body, buffers=buffers)[-1][0] == 1009


def test_a_pickler_of_ones_own_can_leave_large_buffers_out() -> None:
    buffers: list[Any] = []
    body = cloudpickle.dumps(np.arange(5_000.0), 5, keep_apart(buffers))
    assert len(buffers) == 1
    assert np.array_equal(pickle.loads(body, buffers=buffers), np.arange(5_000.0))


@pytest.mark.parametrize("args", [(1, "two", [3, {"four": (5, None)}]), (np.arange(5_000.0),), ()])
def test_arguments_come_back(args: tuple[Any, ...]) -> None:
    buffers: list[Any] = []
    body = dump_arguments(dump, args, {"key": b"6"}, buffers)
    again, kwargs = pickle.loads(body, buffers=buffers)
    assert len(again) == len(args)
    assert all(np.array_equal(one, other) for one, other in zip(again, args, strict=True))
    assert kwargs == {"key": b"6"}


def test_arguments_from_a_module_that_a_worker_lacks_travel_by_value() -> None:
    module = types.ModuleType("only_here")
    exec("class Point:\n    number = 7\ndef use(point): return point.number", vars(module))
    sys.modules["only_here"] = module
    try:
        body = dump_arguments(module.use, (module.Point(),), {})
    finally:
        del sys.modules["only_here"]
    ((point,), _) = pickle.loads(body)
    assert point.number == 7


def test_arguments_that_cannot_be_pickled_leave_the_buffers_as_they_were() -> None:
    buffers: list[Any] = [b"of another"]
    with pytest.raises(SerializationError, match=r"the arguments cannot travel.*SystemExit: no"):
        dump_arguments(dump, (np.arange(5_000.0), Bomb()), {}, buffers)
    assert buffers == [b"of another"]


def test_a_function_that_cannot_be_pickled_is_named() -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError, match=r"the function cannot travel.*lock"):
        dump_function(lambda: lock)


def test_a_function_is_pickled_once_until_what_it_refers_to_changes() -> None:
    number = 1

    def work() -> int:
        return number

    codes = Codes()
    first = codes.code_of(work)
    first.learn(2.0)
    assert codes.code_of(work) is first
    number = 2
    second = codes.code_of(work)
    assert second is not first
    assert pickle.loads(second.pickled)() == 2
    assert codes.alive == {second.number}
    assert codes.expected_seconds(work) == 2.0  # as learnt before


def test_a_function_takes_as_long_as_the_median_of_its_last_runs() -> None:
    codes = Codes()
    code = codes.code_of(dump)
    assert codes.expected_seconds(dump) is None
    for seconds, known in ((4.0, 4.0), (1.0, 1.0), (2.0, 2.0), (9.0, 2.0), (9.0, 4.0)):
        code.learn(seconds)
        assert codes.expected_seconds(dump) == known
    for _ in range(100):
        code.learn(5.0)
    for _ in range(16):
        code.learn(0.5)
    assert codes.expected_seconds(dump) == 0.5


def test_the_import_path_is_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["/one", b"/two", "/three"])
    assert import_path() == ["/one", "/three"]


_HELPERS = """
import functools

@functools.lru_cache(maxsize=7, typed=True)
def fibonacci(number):
    "Count rabbits."
    return number if number < 2 else fibonacci(number - 1) + fibonacci(number - 2)

fibonacci.unit = "rabbits"

@functools.singledispatch
def size(it):
    return 1

@size.register(int)
def _(it): return it

@size.register(list)
def _(it): return sum(size(item) for item in it)

class Box:
    def __init__(self, number): self.number = number

    @functools.cached_property
    def double(self): return 2 * self.number

    @functools.cache
    def times(self, factor): return factor * self.number

    @functools.singledispatchmethod
    def plus(self, other): raise TypeError(type(other).__name__)

    @plus.register
    def _(self, other: int): return self.number + other

@size.register(Box)
def _(it): return it.number

def work():
    box = Box(3)
    return (fibonacci(20), fibonacci.cache_parameters(), fibonacci.__doc__, fibonacci.unit,
            size([1, [2, "a"], Box(5)]), size.__name__, box.double, box.times(4), box.plus(5))
"""

_LOADING = """
import pickle, sys
work = pickle.load(sys.stdin.buffer)
print(work())
again = work.__globals__["fibonacci"], work.__globals__["size"]
print(again[0](7), again[0].cache_info().misses > 0, again[1](object()))
"""


@pytest.mark.parametrize("module", ["__main__", "asyncflow_nowhere"])
def test_cached_and_dispatching_helpers_of_the_program_travel(module: str) -> None:
    made = types.ModuleType(module)
    names = vars(made)
    exec(_HELPERS, names)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, module, made)
        expected = names["work"]()
        pickled = dump_function(names["work"])
    assert expected[0] == 6765
    done = subprocess.run(
        [sys.executable, "-c", _LOADING], input=pickled, capture_output=True, check=False
    )
    assert done.stdout.decode() == f"{expected}\n13 True 1\n", done.stderr.decode()


def test_helpers_that_a_worker_can_import_travel_by_name() -> None:
    import fnmatch  # its patterns are compiled behind a cache

    def work() -> Any:
        return fnmatch._compile_pattern  # type: ignore[attr-defined]

    assert pickle.loads(dump_function(work))() is work()


def test_a_function_whose_code_was_replaced_is_pickled_anew() -> None:
    names: dict[str, Any] = {"__name__": "cell"}
    exec("def task(): return 'old'", names)
    codes = Codes()
    task = names["task"]
    before = codes.code_of(task)
    exec("def other(): return 'new'", names)
    task.__code__ = names["other"].__code__
    after = codes.code_of(task)
    assert pickle.loads(before.pickled)() == "old"
    assert pickle.loads(after.pickled)() == "new"
    assert codes.code_of(task) is after


def test_a_function_whose_cached_helper_uses_another_one_by_now_is_pickled_anew() -> None:
    names: dict[str, Any] = {"__name__": "cell"}
    exec(
        "import functools\ndef inner(): return 'old'\n"
        "@functools.cache\ndef helper(): return inner()\ndef task(): return helper()",
        names,
    )
    codes = Codes()
    before = codes.code_of(names["task"])
    exec("def inner(): return 'new'", names)
    after = codes.code_of(names["task"])
    assert pickle.loads(before.pickled)() == "old"
    assert pickle.loads(after.pickled)() == "new"
