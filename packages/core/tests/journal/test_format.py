"""The lines: a value that is written is read back as it was, whatever it holds."""

from __future__ import annotations

import enum
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow.journal import (
    AttemptRecord,
    ErrorRecord,
    FunctionRecord,
    RunRecord,
    TaskRecord,
    read,
)
from radical.asyncflow.journal._format import (
    Calls,
    attempt_failed,
    backend_down,
    backend_up,
    function_used,
    intact,
    parse,
    run_begun,
    run_ended,
    scalar,
    task_done,
    task_ended,
    task_reused,
    task_started,
    tasks_called,
    tasks_sent,
    unstored,
)

from .journals import begin, key_of, writing

TEXTS = st.text(st.characters(), max_size=40)
ANY = st.text(st.characters(exclude_categories=()), max_size=40)
TIMES = st.none() | st.integers(0, 10**12).map(lambda micros: micros / 10**6)
ERRORS = st.builds(ErrorRecord, ANY, ANY, ANY)
KEYS = st.integers(0, 10**6).map(key_of)
NUMBERS = st.integers(0, 10**9)


class Colour(enum.IntEnum):
    RED = 1


class Label(str):
    pass


@given(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
)
def test_a_scalar_is_kept_exactly_or_not_at_all(value: object) -> None:
    field = scalar(value)
    if field is not None:
        twin = json.loads(f"{{{field}}}")["value"]
        assert (type(twin), repr(twin)) == (type(value), repr(value))


@pytest.mark.parametrize(
    "value", [None, True, False, 0, -1, 2**63 - 1, 0.1, -0.0, 1e300, "", "a\n\0"]
)
def test_plain_values_are_scalars(value: object) -> None:
    assert scalar(value) is not None


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        2**63,
        10**5000,
        Colour.RED,
        Label("x"),
        "\ud83d\ude00",
        b"",
        (),
        "x" * 2000,
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_would_change_is_no_scalar(value: object) -> None:
    assert scalar(value) is None


def test_what_a_killed_run_had_called_and_sent_is_read(tmp_path: Path) -> None:
    function = FunctionRecord(1, "f", "function", "ff")
    error = ErrorRecord("ValueError", "bad")
    run = read_back(
        tmp_path,
        [
            begin()[0],
            function_used(function),
            tasks_called([Calls(1, 1, 0.125, 4), Calls(5, 1, 0.625, 1)]),
            tasks_called([Calls(6, 1, 0.75, 1, (1, 2), "w"), Calls(7, 1, 0.875, 1, (), "w")]),
            tasks_sent("threads", [1, 2, 3], 1.0),
            tasks_sent("threads", [5, 4], 1.0),
            task_ended(1, 1, "DONE", (0.125, 1.0, 1.0, 2.0), backend="threads"),
            task_started(2, 1, (0.25, 1.0, 2.0), backend="threads", worker="w1"),
            attempt_failed(3, 1, 1.0, 2.0, error),
            attempt_failed(4, 1, 1.0, 2.0, error),
            tasks_sent("dask", [4], 2.5),
            tasks_called([Calls(1, 1, 0.125, 1)]),  # late, for it has ended
        ],
    )
    waits = TaskRecord(6, function, "PENDING", (1, 2), workflow="w", added=0.75)
    assert run.tasks[5] == TaskRecord(5, function, "SUBMITTED", backend="threads", added=0.625)
    assert run.tasks[6] == waits
    assert run.tasks[7] == waits._replace(number=7, after=(), added=0.875)
    states = {number: (task.state, task.backend) for number, task in run.tasks.items()}
    assert states == {
        1: ("DONE", "threads"),
        2: ("RUNNING", "threads"),
        3: ("PENDING", ""),
        4: ("SUBMITTED", "dask"),
        5: ("SUBMITTED", "threads"),
        6: ("PENDING", ""),
        7: ("PENDING", ""),
    }
    assert (run.tasks[3].added, run.tasks[4].attempt) == (0.125, 2)


@pytest.mark.parametrize("place", range(60))
def test_a_changed_byte_is_seen_wherever_it_is(place: int) -> None:
    line = bytearray(task_ended(1, 1, "DONE", (0.0, 0.0, 0.0, 0.0), key=key_of(1))[:-1])
    assert intact(bytes(line))
    line[place] ^= 1
    assert not intact(bytes(line))


@given(ANY, ANY)
def test_a_line_is_one_line_of_ascii(name: str, text: str) -> None:
    error = ErrorRecord(name, text, text)
    for line in (
        run_begun(name, 1.0, name, 1, name, [text]),
        backend_up(name, text, 1.0),
        backend_down(name, 1.0),
        function_used(FunctionRecord(1, name, name, text, text, "yes", {name: text})),
        tasks_called([Calls(1, 1, 0.0, 1, (), text)]),
        tasks_sent(name, [1], 0.0),
        task_started(1, 1, (0.0, None, 0.0), backend=name, worker=text, workflow=text),
        attempt_failed(1, 1, None, 1.0, error, worker=name),
        task_ended(1, 1, "FAILED", (0.0, None, None, 1.0), error=error, stdout=text, why=name),
        run_ended(1.0, name),
    ):
        assert line.isascii()
        assert line.endswith(b"\n")
        assert line.count(b"\n") == 1
        assert intact(line[:-1])


def test_a_result_that_can_be_recalled_has_a_kind_of_its_own() -> None:
    times = (0.0, 0.0, 0.0, 0.0)
    kinds = [
        parse(line[:-1]).kind
        for line in (
            task_ended(1, 1, "DONE", times, key=key_of(1), result='"value":1'),
            task_ended(1, 1, "DONE", times, key=key_of(1)),
            task_ended(1, 1, "DONE", times, key=key_of(1), result=unstored("too large")),
            task_ended(1, 1, "DONE", times, result='"value":1'),
            task_ended(1, 1, "DONE", times, key=key_of(1), result='"value":1', reused="run/1"),
            task_ended(1, 1, "FAILED", times, key=key_of(1), result='"value":1'),
        )
    ]
    assert kinds == ["D", "E", "E", "E", "E", "E"]


def test_the_short_ways_write_what_the_long_one_does() -> None:
    times = (0.25, 0.5, 1e-7, 12345.6789)
    key, result, backend, worker = key_of(1), '"value":"é"', 'a "b"', "worker\n1"
    result = str(scalar('quoted "text"'))
    assert task_done(
        7, 3, times, key=key, result=result, backend=backend, worker=worker
    ) == task_ended(7, 3, "DONE", times, key=key, result=result, backend=backend, worker=worker)
    added, ready, _, ended = times
    assert task_reused(
        7, 3, added, ready, ended, key=key, reused="run.1/2", backend=backend
    ) == task_ended(
        7, 3, "DONE", (added, ready, None, ended), key=key, reused="run.1/2", backend=backend
    )


def read_back(folder: Path, lines: list[bytes]) -> RunRecord:
    with writing(folder / "journal") as writer:
        writer.append(lines)
    (run,) = read(folder / "journal")
    return run


@given(st.data())
def test_a_task_is_read_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    draw = data.draw
    function = FunctionRecord(draw(NUMBERS), draw(ANY), "function", draw(TEXTS), draw(TEXTS))
    task = TaskRecord(
        draw(NUMBERS),
        function,
        draw(st.sampled_from(["DONE", "FAILED", "CANCELLED"])),
        after=tuple(draw(st.lists(NUMBERS, max_size=3))),
        attempt=draw(st.integers(1, 5)),
        backend=draw(ANY),
        worker=draw(st.none() | ANY),
        workflow=draw(st.none() | ANY),
        added=draw(TIMES),
        ready=draw(TIMES),
        started=draw(TIMES),
        ended=draw(TIMES),
        key=draw(st.none() | KEYS),
        reused=draw(st.none() | TEXTS),
        why=draw(st.none() | ANY),
        error=draw(st.none() | ERRORS),
        exit_code=draw(st.none() | st.integers(-64, 255)),
        stdout=draw(st.none() | ANY),
        stderr=draw(st.none() | ANY),
        unstored=draw(st.none() | ANY),
    )
    # Such a record makes no sense: a result that is recalled has neither of them.
    line = task_ended(
        task.number,
        function.number,
        task.state,
        (task.added, task.ready, task.started, task.ended),
        key=task.key,
        result="" if task.unstored is None else unstored(task.unstored),
        attempt=task.attempt,
        backend=task.backend,
        worker=task.worker,
        after=task.after,
        workflow=task.workflow,
        reused=task.reused,
        why=task.why,
        error=task.error,
        exit_code=task.exit_code,
        stdout=task.stdout,
        stderr=task.stderr,
    )
    run = read_back(tmp_path_factory.mktemp("j"), [begin()[0], function_used(function), line])
    assert run.tasks == {task.number: task}


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    function = FunctionRecord(3, "f", "executable", "ff", "2", "always", {"cores": 2})
    run = read_back(
        tmp_path,
        [
            run_begun("run.7", 12.5, "node1", 77, "3.13.1", ["a.py", "--x"]),
            backend_up("threads", "1.0", 0.25),
            backend_up("dask", "2.0", 0.5),
            function_used(function),
            task_started(2, 3, (1.0, 2.0, 3.0), attempt=1, worker="w1", backend="threads"),
            attempt_failed(2, 3, 3.0, 4.0, ErrorRecord("ValueError", "bad", "tb"), worker="w1"),
            task_started(2, 3, (1.0, 2.0, 5.0), attempt=2, worker="w2", after=(1,)),
            attempt_failed(4, 3, None, 4.5, ErrorRecord("OSError", "gone")),
            backend_down("dask", 8.0),
            run_ended(9.0, "preempted"),
        ],
    )
    attempt = AttemptRecord(1, 3.0, 4.0, "w1", ErrorRecord("ValueError", "bad", "tb"))
    running = TaskRecord(
        2,
        function,
        "RUNNING",
        (1,),
        2,
        worker="w2",
        added=1.0,
        ready=2.0,
        started=5.0,
        failed=(attempt,),
    )
    waiting = TaskRecord(
        4,
        function,
        "PENDING",
        attempt=2,
        failed=(AttemptRecord(1, None, 4.5, None, ErrorRecord("OSError", "gone")),),
    )
    assert run == RunRecord(
        "run.7",
        12.5,
        9.0,
        "preempted",
        "node1",
        77,
        "3.13.1",
        ("a.py", "--x"),
        {
            "threads": {"version": "1.0", "up": 0.25, "down": None},
            "dask": {"version": "2.0", "up": 0.5, "down": 8.0},
        },
        {3: function},
        {2: running, 4: waiting},
    )
