"""How many tasks travel to a worker together, by what runs of their function have taken."""

from __future__ import annotations

import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from asyncflow_backend_concurrent._process import wire
from asyncflow_backend_concurrent._process.wire import Inlet, Outlet
from asyncflow_backend_concurrent._slots.chunk import ChunkPicker
from asyncflow_backend_concurrent._slots.flight import InFlight
from asyncflow_backend_concurrent._slots.slots import Slots
from asyncflow_backend_concurrent._slots.warm import WarmWorkers
from radical.asyncflow.backend import TaskKind, TaskRequest, TaskSpec
from radical.asyncflow.worker import Codes


def work(number: int) -> int:
    return number


def chunk(slots: int, tasks: int, runs: Sequence[float]) -> list[int]:
    """Return the numbers of the tasks of one chunk, after *runs* that took so many seconds."""
    codes = Codes()
    for seconds in runs:
        codes.code_of(work).learn(seconds)
    resources: Any = SimpleNamespace(slots=slots, warm=WarmWorkers(0), ranks=Mock())
    sink: Any = SimpleNamespace(report=list)
    all_slots = Slots(resources, sink, _no_slot)
    # Enough stand still, so that none is started.
    locks = [threading.Lock() for _ in range(tasks)]
    for lock in locks:
        lock.acquire()
    all_slots.idle = [SimpleNamespace(wake=lock) for lock in locks]  # type: ignore[misc]
    spec = TaskSpec("work", TaskKind.FUNCTION, work)
    all_slots.submit([TaskRequest(number, 1, spec, (number,)) for number in range(tasks)])
    all_slots.idle.clear()
    picker = ChunkPicker(all_slots, InFlight(all_slots), codes, threading.Lock())
    sent = [request.task_id for request in picker.gather_ahead(0, single=False)]
    all_slots.close(cancel=True)
    all_slots.wait(0)
    return sent


def _no_slot(*_: object) -> Any:
    raise AssertionError("a slot was started")


@pytest.mark.parametrize(("slots", "size"), [(1, 5), (8, 5), (16, 9), (48, 28), (1000, 50)])
def test_the_more_slots_there_are_the_more_work_is_in_a_chunk(slots: int, size: int) -> None:
    assert chunk(slots, 200 * slots, [0.001]) == list(range(size))


def test_a_short_run_among_long_ones_sends_no_task_behind_a_long_one() -> None:
    assert chunk(16, 1000, [0.02, 0.03, 0.02, 0.001]) == [0]


def test_a_long_run_among_short_ones_leaves_chunks_as_they_were() -> None:
    assert len(chunk(16, 1000, [0.001, 0.001, 5.0])) == 9


def test_a_chunk_is_at_most_half_of_what_there_is_for_the_slot() -> None:
    assert len(chunk(4, 25, [0.001])) == 3
    assert len(chunk(4, 9, [0.001])) == 1


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what was read."""
    reads: list[int] = []

    def readv(descriptor: int, rooms: Sequence[memoryview]) -> int:
        count = real(descriptor, rooms)
        reads.append(count)
        return count

    real: Callable[..., int] = os.readv
    monkeypatch.setattr(wire.os, "readv", readv)
    return reads


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    for end in ends:
        os.set_blocking(end, False)
    yield ends
    for end in ends:
        os.close(end)


def _until(descriptor: int) -> Callable[[int], object]:
    """Return a function that waits until *descriptor* is ready for an event."""

    def wait(event: int) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        poll.poll()

    return wait


def test_short_results_that_are_there_are_read_at_once(
    counted: list[int], pipe: tuple[int, int]
) -> None:
    inlet, outlet = Inlet(pipe[0], _until(pipe[0]), None), Outlet(pipe[1], None, None)
    for place in range(9):
        outlet.send(place, 0, bytes(10))
    assert [message.place for message in inlet.receive()] == list(range(9))
    assert len(counted) == 1
    assert inlet.receive() == []


@pytest.mark.parametrize("size", [10, 20_000, 65_536, 100_000])
def test_all_results_are_read_whatever_their_size(size: int, pipe: tuple[int, int]) -> None:
    inlet = Inlet(pipe[0], _until(pipe[0]), None)
    outlet = Outlet(pipe[1], _until(pipe[1]), None)
    sizes = [size if place % 2 else 10 for place in range(9)]

    def send() -> None:
        for place, length in enumerate(sizes):
            outlet.send(place, 0, bytes(length), [bytes(length)] if place % 3 else ())

    thread = threading.Thread(target=send)
    thread.start()
    found: list[tuple[int, int]] = []
    while len(found) < len(sizes):
        _until(pipe[0])(select.POLLIN)
        found += [(message.place, len(message.body)) for message in inlet.receive()]
    thread.join()
    assert found == list(enumerate(sizes))
