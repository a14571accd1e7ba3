"""The output and the log records of tasks, kept by their context."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
from collections.abc import Iterator

import pytest
from radical.asyncflow.worker import TaskContext, keep_output, trace_of
from radical.asyncflow.worker._kept import MOST_CHARS, MOST_RECORDS
from radical.asyncflow.worker._taps import follow_output


@contextlib.contextmanager
def working(number: int = 1) -> Iterator[TaskContext]:
    """Run the block as a task whose output is kept."""
    leave = keep_output()
    try:
        with TaskContext("work", number) as context:
            yield context
    finally:
        leave()


def test_what_a_task_prints_is_kept_and_still_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print("before")
    with working() as context:
        print("to stdout", 1)
        print("to stderr", file=sys.stderr)
        sys.stdout.writelines(["two ", "pieces\n"])
    print("behind")
    trace = trace_of(context)
    assert trace is not None
    assert (trace.stdout, trace.stderr) == ("to stdout 1\ntwo pieces\n", "to stderr\n")
    assert capsys.readouterr() == ("before\nto stdout 1\ntwo pieces\nbehind\n", "to stderr\n")


def test_threads_that_print_at_the_same_time_have_their_own_output() -> None:
    both = threading.Barrier(2)
    leave = keep_output()
    contexts = [TaskContext("work", number) for number in (1, 2)]

    def work(context: TaskContext) -> None:
        with context:
            for line in range(50):
                both.wait(10)
                print(context.task_id, line)

    threads = [threading.Thread(target=work, args=(context,)) for context in contexts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    leave()
    for context in contexts:
        expected = "".join(f"{context.task_id} {line}\n" for line in range(50))
        assert context.kept.trace().stdout == expected


def test_of_a_long_output_the_end_is_kept_with_a_note_of_what_is_missing() -> None:
    with working() as context:
        for number in range(10_000):
            print(f"{number:06}")
        print("x" * 3 * MOST_CHARS, end="", file=sys.stderr)
        for number in range(MOST_RECORDS + 7):
            logging.getLogger("work").warning("%d", number)
    trace = context.kept.trace()
    assert len(trace.stdout) == len(trace.stderr) == MOST_CHARS
    assert trace.stdout.endswith("\n009998\n009999\n")
    assert trace.cut == (70_000 - MOST_CHARS, 2 * MOST_CHARS, 7)
    assert trace.logs[0].text == "7"


def test_a_record_is_kept_with_its_level_and_its_logger(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    with working() as context:
        logging.getLogger("a.b").info("%d of %s", 1, "all")
        logging.getLogger("a.b").debug("not for this level")
        try:
            raise KeyError("gone")
        except KeyError:
            logging.getLogger("a.c").exception("failed")
    first, second = context.kept.trace().logs
    assert (first.level, first.logger, first.text) == (logging.INFO, "a.b", "1 of all")
    assert second.text.startswith("failed\nTraceback")
    assert second.text.endswith("KeyError: 'gone'")
    assert [record.message for record in caplog.records] == ["1 of all", "failed"]


def test_what_a_handler_prints_of_a_record_is_not_kept_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    logger = logging.getLogger("own")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(sys.stderr)])
    with working() as context:
        logger.warning("once")
    trace = context.kept.trace()
    assert ([line.text for line in trace.logs], trace.stderr) == (["once"], "")


def test_a_message_whose_arguments_do_not_fit_is_kept_as_it_is(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logger = logging.getLogger("own")
    monkeypatch.setattr(logger, "handlers", [logging.StreamHandler(sys.stderr)])
    monkeypatch.setattr(logger, "propagate", False)
    with working() as context:
        logger.warning("%d", "no number")
    assert [line.text for line in context.kept.trace().logs] == ["'%d'"]
    assert "Logging error" in capsys.readouterr().err


def test_a_stream_in_the_place_of_another_keeps_its_text_once() -> None:
    class Frame(io.StringIO):
        """A stream that draws around what it gets, as a live table does."""

        def write(self, text: str) -> int:
            return below.write(f"[{text}]")

    below = sys.stdout
    with working() as context, contextlib.redirect_stdout(Frame()):
        follow_output()
        sys.stdout.write("text")
    assert context.kept.trace().stdout == "text"


def test_nothing_is_kept_and_all_is_as_before_when_the_last_user_has_left() -> None:
    before = logging.Logger.callHandlers
    leave, other = keep_output(), keep_output()
    leave()
    leave()
    with TaskContext("work", 1) as context:
        print("kept")
    assert context.kept is not None
    other()
    assert "write" not in vars(sys.stdout)
    assert logging.Logger.callHandlers is before
    with TaskContext("work", 2) as context:
        print("not kept")
    assert trace_of(context) is None


def test_a_fork_of_a_task_keeps_nothing() -> None:
    with working() as context:
        child = os.fork()
        if not child:
            print("in the fork")
            os._exit(0 if context.kept is None else 1)
        _, status = os.waitpid(child, 0)
        print("in the parent")
    assert os.waitstatus_to_exitcode(status) == 0
    assert context.kept.trace().stdout == "in the parent\n"
