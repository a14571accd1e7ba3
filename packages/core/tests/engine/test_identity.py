"""What makes two functions, and two values, the same."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import math
import operator
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pytest
from radical.asyncflow._resume.identity import Unidentified, content

from .resuming import Sources


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Point(NamedTuple):
    x: int
    y: int


@dataclasses.dataclass
class Setting:
    size: int
    names: list[str]


class Plain:
    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)

    def method(self) -> None: ...


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def adder(y: int) -> Callable[[int], int]:
    return lambda x: x + y


def ring(value: Any) -> list[Any]:
    made: list[Any] = [value]
    made.append(made)
    return made


def node(value: Any) -> Plain:
    child = Plain(value=value)
    child.parent = Plain(child=child)  # type: ignore[attr-defined]
    return child


SAME: dict[str, Callable[[], tuple[Any, Any]]] = {
    "an array": lambda: (np.arange(6.0), np.arange(6.0)),
    "a slice of an array": lambda: (np.arange(9)[::3], np.array([0, 3, 6])),
    "an array in another order of memory": lambda: (
        np.asfortranarray(np.eye(3)),
        np.eye(3),
    ),
    "an array of objects": lambda: (np.array([{"a": 1}, None]), np.array([{"a": 1}, None])),
    "a dict in another order": lambda: ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    "a set built in another order": lambda: ({8, 0, 16}, {16, 8, 0}),
    "a dict with a dict as a value": lambda: ({1: {2: 3, 4: 5}}, {1: {4: 5, 2: 3}}),
    "a path": lambda: (Path("a/b"), Path("a") / "b"),
    "a dataclass": lambda: (Setting(1, ["a"]), Setting(1, ["a"])),
    "a named tuple": lambda: (Point(1, 2), Point(1, 2)),
    "an object": lambda: (Plain(a=1, b={"x"}), Plain(b={"x"}, a=1)),
    "an object with slots": lambda: (Slotted(3), Slotted(3)),
    "a date": lambda: (datetime.date(2026, 1, 1), datetime.date(2026, 1, 1)),
    "a decimal": lambda: (decimal.Decimal("1.0"), decimal.Decimal("1.0")),
    "a defaultdict": lambda: (
        collections.defaultdict(list, a=1, b=2),
        collections.defaultdict(list, b=2, a=1),
    ),
    "a partial": lambda: (functools.partial(max, 1), functools.partial(max, 1)),
    "a list inside itself": lambda: (ring(1), ring(1)),
    "objects that know each other": lambda: (node(1), node(1)),
    "one object twice, or two equal ones": lambda: (
        [shared := Plain(a=1), shared],
        [Plain(a=1), Plain(a=1)],
    ),
    "a lambda": lambda: tuple(lambda x: x + 1 for _ in range(2)),  # type: ignore[return-value]
}

OTHER: dict[str, Callable[[], tuple[Any, Any]]] = {
    "numbers of another type": lambda: (1, 1.0),
    "a bool": lambda: (1, True),
    "zeros": lambda: (0.0, -0.0),
    "a list and a tuple": lambda: ([1], (1,)),
    "text and bytes": lambda: ("a", b"a"),
    "an array's type": lambda: (np.zeros(2), np.zeros(2, int)),
    "an array's shape": lambda: (np.zeros((2, 3)), np.zeros((3, 2))),
    "a number in an array": lambda: (np.array([1.0, 2.0]), np.array([1.0, 2.5])),
    "an object in an array": lambda: (np.array([{"a": 1}]), np.array([{"a": 2}])),
    "empty arrays": lambda: (np.zeros((0, 3)), np.zeros((3, 0))),
    "nested containers": lambda: ([[1], [2]], [[1, 2], []]),
    "a dict's value": lambda: ({"a": 1}, {"a": 2}),
    "an ordered dict's order": lambda: (
        collections.OrderedDict(a=1, b=2),
        collections.OrderedDict(b=2, a=1),
    ),
    "an enum's member": lambda: (Colour.RED, Colour.BLUE),
    "a field": lambda: (Setting(1, ["a"]), Setting(1, ["b"])),
    "an attribute": lambda: (Plain(a=1), Plain(a=2)),
    "a slot": lambda: (Slotted(1), Slotted(2)),
    "a path's class": lambda: (PurePosixPath("a"), "a"),
    "a partial's argument": lambda: (functools.partial(max, 1), functools.partial(max, 2)),
    "a bound built-in": lambda: (", ".join, "; ".join),
    "a built-in": lambda: (math.sin, math.cos),
    "an operator": lambda: (operator.itemgetter(1), operator.itemgetter(2)),
    "a method's object": lambda: (Plain(a=1).method, Plain(a=2).method),
    "a lambda": lambda: (lambda x: x + 1, lambda x: x + 2),
    "a lambda's closure": lambda: (adder(1), adder(2)),
    "a list inside itself": lambda: (ring(1), ring(2)),
    "objects that know each other": lambda: (node(1), node(2)),
    "a deep list": lambda: (functools.reduce(lambda x, _: [x], range(50), 1), [1]),
    "a type": lambda: (int, float),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same(name: str) -> None:
    one, other = SAME[name]()
    assert content(one) == content(other)


@pytest.mark.parametrize("name", OTHER)
def test_not_the_same(name: str) -> None:
    one, other = OTHER[name]()
    assert content(one) != content(other)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (threading.Lock(), "a lock cannot be pickled: cannot pickle '_thread.lock' object"),
        ((x for x in range(3)), "a generator cannot be pickled: cannot pickle 'generator' object"),
        (functools.reduce(lambda x, _: [x], range(100_000), 1), "an argument is nested too deeply"),
    ],
    ids=["lock", "generator", "deep"],
)
def test_what_cannot_be_compared_says_why(value: Any, why: str) -> None:
    with pytest.raises(Unidentified) as caught:
        content(value)
    assert str(caught.value) == why


def test_what_is_shared_many_times_over_is_read_once() -> None:
    tower: Any = Plain()
    for _ in range(200):
        tower = [tower, tower]
    assert content(tower)


# ------------------------------------------------------------------- functions

BASE = """
    import enum, math
    import numpy as np

    STEP = 2
    TABLE = {"a": [1, 2]}
    GRID = np.arange(3)

    class Model:
        size = 3
        def area(self):
            return self.size ** 2

    class Wide(Model):
        @property
        def width(self):
            return 1

    def helper(x):
        return deeper(x) + STEP

    def deeper(x):
        return x * 10

    def unrelated():
        return 1

    def body(x, y=5):
        total = helper(x) + y  # a comment
        return total, TABLE, GRID, Wide().area()
"""


def hash_of(module: Any) -> str:
    return content(module.body).hex()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("# a comment", "# another, longer comment\n\n        # over lines"),
        ("helper(x) + y", "(helper( x )\n            + y)"),
        ("def body(x, y=5):", "@staticmethod\n    def body(x, y=5):"),
        ("def unrelated():\n        return 1", "def unrelated():\n        return 2"),
        ("import enum, math", "import enum, math, sys\n\n"),
    ],
    ids=["a comment", "layout", "a decorator", "another function", "other lines"],
)
def test_what_a_function_does_not_depend_on_does_not_count(
    tmp_path: Path, old: str, new: str
) -> None:
    sources = Sources(tmp_path)
    assert old in BASE
    changed = sources.load(BASE.replace(old, new))
    changed.body = getattr(changed.body, "__func__", changed.body)
    assert hash_of(sources.load(BASE)) == hash_of(changed)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return total", "return -total"),
        ("y=5", "y=6"),
        ("STEP = 2", "STEP = 3"),
        ('{"a": [1, 2]}', '{"a": [1, 3]}'),
        ("np.arange(3)", "np.arange(4)"),
        ("deeper(x) + STEP", "deeper(x) - STEP"),
        ("x * 10", "x * 11"),
        ("size = 3", "size = 4"),
        ("** 2", "** 3"),
        ("return 1\n\n    def helper", "return 2\n\n    def helper"),
    ],
    ids=[
        "its code",
        "a default",
        "a constant of a helper",
        "a table",
        "an array",
        "a helper",
        "a helper's helper",
        "a constant of a base class",
        "a method of a base class",
        "a property",
    ],
)
def test_what_a_function_depends_on_counts(tmp_path: Path, old: str, new: str) -> None:
    sources = Sources(tmp_path)
    assert old in BASE
    assert hash_of(sources.load(BASE)) != hash_of(sources.load(BASE.replace(old, new)))


WRAPPED = """
    import functools

    def twice(function):
        @functools.wraps(function)
        def wrapper(*args):
            return 2 * function(*args)
        return wrapper

    @twice
    def body(x):
        return x + 1
"""


@pytest.mark.parametrize(("old", "new"), [("2 *", "3 *"), ("x + 1", "x + 2")])
def test_a_wrapped_function_counts_with_its_wrapper(tmp_path: Path, old: str, new: str) -> None:
    sources = Sources(tmp_path)
    assert hash_of(sources.load(WRAPPED)) == hash_of(sources.load(WRAPPED))
    assert hash_of(sources.load(WRAPPED)) != hash_of(sources.load(WRAPPED.replace(old, new)))


def test_a_file_that_was_edited_since_the_start_is_not_what_runs(tmp_path: Path) -> None:
    def load(text: str) -> Any:
        module = Sources(tmp_path).load(text)
        Path(module.__file__ or "").write_text("def body(x):\n    return 'new'\n")
        return module

    one, other = "def body(x):\n    return 1\n", "def body(x):\n    return 2\n"
    assert hash_of(load(one)) == hash_of(load(one))
    assert hash_of(load(one)) != hash_of(load(other))


def test_a_callable_object_counts_by_its_code_and_its_content() -> None:
    class Adder:
        def __init__(self, step: int) -> None:
            self.step = step

        def __call__(self, x: int) -> int:
            return x + self.step

    assert content(Adder(1)) == content(Adder(1))
    assert content(Adder(1)) != content(Adder(2))


# ------------------------------------------------------------------- processes

PROGRAM = """
    import collections, dataclasses, enum, functools, sys
    from pathlib import Path

    from radical.asyncflow._resume.identity import content

    NAMES = {"one", "two", "three", "four"}

    class Colour(enum.Enum):
        RED = "red"

    @dataclasses.dataclass
    class Setting:
        names: set

    class Plain:
        limit = 3
        def __init__(self):
            self.tags = {"x", "y", "z", "w"}
            self.colour = Colour.RED
        def __call__(self, x):
            return x in {"a", "b", "c"} and self.limit

    class Words(set):
        pass

    def body(x, default=frozenset({"p", "q", "r"})):
        return x in {"k", "l", "m"} or x in NAMES or Plain()

    values = [
        NAMES, Setting({"a", "b", "c"}), Plain(), Colour.RED, Words("abcdefgh"), Path("x"),
        {"b": {"c", "d", "e"}, "a": 1}, functools.partial(body, {"s", "t"}), Plain().__call__,
        lambda x: x in {"u", "v", "w"}, collections.Counter("hello"), Plain, ValueError({"a", "b"}),
    ]
    print(content(body).hex(), content(Plain()).hex())
    for value in values:
        print(content(value).hex())
"""


def run_program(folder: Path, how: str, seed: int) -> str:
    text = textwrap.dedent(PROGRAM)
    script = folder / f"program{seed}.py"
    script.write_text(text)
    command = {
        "script": [str(script)],
        "stdin": ["-"],
        "exec": ["-c", f"exec(compile({text!r}, 'somewhere', 'exec'))"],
    }[how]
    done = subprocess.run(
        [sys.executable, *command],
        input=text,
        env={"PYTHONHASHSEED": str(seed), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("how", ["script", "stdin", "exec"])
def test_the_hash_is_the_same_in_every_process(tmp_path: Path, how: str) -> None:
    first = run_program(tmp_path, how, 1)
    assert len(set(first.split())) == 14  # the object counts alike as a function and as a value
    assert run_program(tmp_path, how, 2) == first
    assert run_program(tmp_path, how, 3) == first
