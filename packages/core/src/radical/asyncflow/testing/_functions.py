"""The bodies of the tasks that the conformance kit runs.

They are functions of a module, so that a backend may send them by reference.  The module
imports only the standard library, so that a worker loads it quickly.  Tasks and checks
leave files for each other in a folder that both can see.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NoReturn

_PATIENCE = 60.0
"""Seconds after which a task gives up waiting, so that a failed check leaves none behind."""
_BEAT = 0.01
"""Seconds between two signs of life."""
MARK = "ASYNCFLOW_CONFORMANCE"
"""The environment variable by which a check finds the processes that a task started."""


def identity(value: Any = None) -> Any:
    return value


_label: ContextVar[str] = ContextVar("asyncflow_conformance_label", default="unset")


def label() -> str:
    """Return the context variable that `relabel` sets."""
    return _label.get()


async def label_async() -> str:
    await asyncio.sleep(0)
    return _label.get()


def relabel(value: str) -> str:
    """Set the context variable, and return what it was."""
    before = _label.get()
    _label.set(value)
    return before


def append_label(labels: list[str]) -> list[str]:
    return [*labels, _label.get()]


def relabel_and_fail_once(folder: str, value: str) -> str:
    before = relabel(value)
    if next_number(folder) == 1:
        raise ValueError("the first attempt fails")
    return before


def items_later(count: int) -> Any:
    """Return a generator, though this is no generator function itself."""
    return (number for number in range(count))


async def items_later_async(count: int) -> Any:
    return items_later(count)


async def identity_async(value: Any = None) -> Any:
    await asyncio.sleep(0)
    return value


def add(left: int, right: int) -> int:
    return left + right


def total(values: Any) -> Any:
    """Add up all the numbers, however deep they lie in containers."""
    if isinstance(values, dict):
        return total(list(values.values()))
    if isinstance(values, list | tuple | set | frozenset):
        return sum(map(total, values))
    return values


def everything(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, kwargs


class Account:
    """An object that can be called, with methods of all three sorts."""

    def __init__(self, balance: int) -> None:
        self.balance = balance

    def plus(self, amount: int) -> int:
        return self.balance + amount

    @classmethod
    def opened_with(cls, amount: int) -> int:
        return cls(amount).balance

    @staticmethod
    def doubled(amount: int) -> int:
        return 2 * amount

    def __call__(self, amount: int) -> int:
        return self.balance - amount


# Failures.


class OopsError(Exception):
    """An exception that is rebuilt from its arguments, and has an attribute besides."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message, code)
        self.code = code


class TwoPartError(Exception):
    """An exception that can be pickled, but not rebuilt: ``args`` lacks what it needs.

    Its own ``__reduce__`` keeps libraries such as tblib from rebuilding it without a call.
    """

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.parts = (first, second)

    def __reduce__(self) -> tuple[Any, ...]:
        return TwoPartError, self.args


class LockedError(Exception):
    """An exception that cannot be pickled, because it holds a lock."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


class LoadBomb:
    """An object that can be pickled, and raises wherever it is rebuilt."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _explode, ()


class DumpBomb:
    """An object that raises when it is pickled."""

    def __reduce__(self) -> NoReturn:
        raise OSError("this object does not travel")


def _explode() -> NoReturn:
    raise OSError("this object does not load")


class Tally:
    """The class of a service: it counts, and has ways to end."""

    def __init__(self, start: int = 0) -> None:
        if start < 0:
            raise ValueError(f"cannot start below 0, at {start}")
        self.total = start

    def add(self, amount: int) -> int:
        self.total += amount
        return self.total

    async def add_async(self, amount: int) -> int:
        await asyncio.sleep(0)
        return self.add(amount)

    def place(self) -> int:
        return os.getpid()

    def fail(self, message: str) -> object:
        raise ValueError(message)

    def hold(self, folder: str, label: str) -> int:
        """Mark its begin, and wait for the gate."""
        hold_blocking(folder, label)
        return self.total

    def hold_until_cancelled(self, folder: str) -> bool:
        return hold_until_cancelled(folder)

    def die(self, number: int = signal.SIGKILL) -> object:
        return die(number)

    def count(self, values: Any) -> int:
        return len(values)


def fail(message: str = "as planned") -> object:
    raise ValueError(message)


async def fail_async(message: str = "as planned") -> object:
    await asyncio.sleep(0)
    raise ValueError(message)


def fail_deep_down() -> object:
    _innermost_frame()


def _innermost_frame() -> NoReturn:
    raise ArithmeticError("far below")


def fail_with_attributes() -> object:
    error = OopsError("broken", code=42)
    error.add_note("seen on a worker")
    raise error


def fail_with_cause() -> object:
    try:
        raise ValueError("the reason")
    except ValueError as error:
        raise LookupError("the consequence") from error


def fail_unrebuildable() -> object:
    raise TwoPartError("this", "that")


def fail_unpicklable() -> object:
    raise LockedError("locked in")


def raise_by_name(name: str) -> object:
    """Raise what would end a program, a coroutine or an iteration."""
    raise _exits()[name]("on purpose")


async def raise_by_name_async(name: str) -> object:
    await asyncio.sleep(0)
    raise _exits()[name]("on purpose")


def _exits() -> dict[str, type[BaseException]]:
    kinds = (SystemExit, KeyboardInterrupt, asyncio.CancelledError, GeneratorExit, StopIteration)
    return {kind.__name__: kind for kind in kinds}


def fail_until(folder: str, attempt: int) -> int:
    """Fail in every call before the *attempt*-th; count the calls in *folder*."""
    number = next_number(folder)
    if number < attempt:
        raise ConnectionError(f"call {number} fails")
    return number


def return_load_bomb() -> LoadBomb:
    return LoadBomb()


def return_lock() -> Any:
    return threading.Lock()


def die_until(folder: str, attempt: int) -> int:
    """Kill this process in every call before the *attempt*-th."""
    number = next_number(folder)
    if number < attempt:
        die()
    return number


def die(number: int = signal.SIGKILL) -> object:
    os.kill(os.getpid(), number)
    time.sleep(_PATIENCE)
    raise RuntimeError(f"survived signal {number}")


def exit_hard(code: int) -> object:
    os._exit(code)


# Processes that a function starts.


def hold_with_tree(folder: str, mark: str, first: str = "", obeys: bool = False) -> None:
    """Start children and a grandchild, then work; with *obeys* only until it is cancelled."""
    from radical.asyncflow import cancelled

    line = f"{first}sleep 60 & sh -c '{first}sleep 60; :' & touch began; wait; wait"
    tree = subprocess.Popen(["/bin/sh", "-c", line], cwd=folder, env={**os.environ, MARK: mark})
    deadline = time.monotonic() + _PATIENCE
    while tree.poll() is None and not (obeys and cancelled()) and time.monotonic() < deadline:
        time.sleep(_BEAT)


def die_leaving_a_child(folder: str) -> object:
    """Die, and leave a child that holds everything that was open."""
    if _fork() == 0:
        _mark(folder, f"child-{os.getpid()}")
        _wait_for_gate(folder)
        os._exit(0)
    return die()


def fork_and_return() -> bool:
    """Return twice: True in this process, and False in a child."""
    child = _fork()
    deadline = time.monotonic() + 1.0
    # If the child answers, its answer has to come first.
    while child and os.waitpid(child, os.WNOHANG) == (0, 0) and time.monotonic() < deadline:
        time.sleep(_BEAT)
    return child != 0


def die_at_the_gate(folder: str) -> int:
    """Return the number of this process, which is killed when the gate opens."""
    me = os.getpid()
    line = f"until [ -e gate ]; do kill -0 {me} || exit; sleep 0.02; done; kill -KILL {me}"
    killer = subprocess.Popen(["/bin/sh", "-c", line], cwd=folder, start_new_session=True)
    killer.returncode = 0  # nobody here will wait for it
    return me


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of forks in a process with threads
        return os.fork()


# Waiting, and being seen.


def next_number(folder: str) -> int:
    """Return 1 in the first call, 2 in the second and so on, from whichever process."""
    number = 1
    while True:
        try:
            (Path(folder) / f"call-{number}").touch(exist_ok=False)
        except FileExistsError:
            number += 1
        else:
            return number


def append(folder: str, label: str, *_: Any) -> None:
    """Append *label* to the file of those that began, and take a while."""
    file = os.open(Path(folder) / "begun", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{label}\n".encode())
    finally:
        os.close(file)
    time.sleep(_BEAT / 2)


def begun(folder: str) -> list[str]:
    """Return the labels that `append` has left, in their order."""
    return (Path(folder) / "begun").read_text().split()


async def hold(folder: str, label: object = "task") -> object:
    """Say that the task began, then wait for the gate to open."""
    _mark(folder, f"began-{label}")
    gate = Path(folder) / "gate"
    deadline = time.monotonic() + _PATIENCE
    while not gate.exists() and time.monotonic() < deadline:  # noqa: ASYNC110 - it is a file
        await asyncio.sleep(_BEAT)
    _mark(folder, f"ended-{label}")
    return label


def hold_blocking(folder: str, label: object = "task") -> object:
    """Do the same as `hold`, and keep the thread busy."""
    _mark(folder, f"began-{label}")
    _wait_for_gate(folder)
    _mark(folder, f"ended-{label}")
    return label


def _wait_for_gate(folder: str) -> None:
    gate = Path(folder) / "gate"
    deadline = time.monotonic() + _PATIENCE
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(_BEAT)


def hold_until_cancelled(folder: str) -> bool:
    """Work until the task is told that it was cancelled, and say so."""
    from radical.asyncflow import cancelled

    _mark(folder, "began-task")
    deadline = time.monotonic() + _PATIENCE
    while not cancelled() and time.monotonic() < deadline:
        time.sleep(_BEAT)
    _mark(folder, f"cancelled-{cancelled()}")
    return cancelled()


async def beat(folder: str) -> None:
    """Add to a file for as long as the task lives."""
    deadline = time.monotonic() + _PATIENCE
    with (Path(folder) / "beats").open("ab", buffering=0) as file:
        while time.monotonic() < deadline:
            file.write(b".")
            await asyncio.sleep(_BEAT)


def beat_blocking(folder: str) -> None:
    """Do the same as `beat`, and never give way to another task."""
    deadline = time.monotonic() + _PATIENCE
    with (Path(folder) / "beats").open("ab", buffering=0) as file:
        while time.monotonic() < deadline:
            file.write(b".")
            time.sleep(_BEAT)


def pause(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def measure(seconds: float, *_: Any) -> tuple[str, float, float]:
    """Take *seconds*; return the clock here, and when this began and ended by it."""
    from ..worker import read_clock  # here, because few of these functions need it

    clock, begun = read_clock()
    time.sleep(seconds)
    return clock, begun, time.monotonic()


def overlap(folder: str, seconds: float = 0.05) -> int:
    """Return how many calls were at work when this one began, which counts too."""
    with _inside(folder):
        seen = sum(1 for path in Path(folder).iterdir() if path.name.startswith("inside-"))
        time.sleep(seconds)
        return seen


@contextmanager
def _inside(folder: str) -> Iterator[None]:
    path = Path(folder) / f"inside-{os.getpid()}-{threading.get_ident()}-{time.monotonic_ns()}"
    path.touch()
    try:
        yield
    finally:
        path.unlink()


def own_gpus() -> tuple[int | str, ...]:
    """Return the GPUs that the task was given."""
    from radical.asyncflow import current_task

    task = current_task()
    assert task is not None
    return task.gpus


def rank_and_size() -> tuple[int, int]:
    """Return the rank of this process among those of the task, and how many there are."""
    from radical.asyncflow import current_task

    task = current_task()
    assert task is not None
    return task.comm.Get_rank(), task.comm.Get_size()


def speak(text: str) -> str:
    """Print on both streams, as a task's code may."""
    for stream in (sys.stdout, sys.stderr):
        stream.write(f"{text}\n")
    return text


def _mark(folder: str, name: str) -> None:
    (Path(folder) / name).touch()
