"""The part that runs where a backend of RHAPSODY runs its tasks, in another process.

Only bytes and texts go there and back, so no library on the way has to pickle what is the
user's.  The module imports nothing of RHAPSODY.
"""

from __future__ import annotations

import importlib
import os
import pickle
import sys
import threading
from pathlib import Path
from typing import NamedTuple

from radical.asyncflow.worker import (
    FAILURE,
    VALUE,
    Execution,
    Failure,
    TaskContext,
    answer_pickled,
    close_loop,
    dump,
    guard,
)

__all__ = ["BEGUN_BEFORE", "CANCELLED", "Order", "Outcome", "run"]

CANCELLED, BEGUN_BEFORE = 10, 11
"""Codes of outcomes beside those of answers, for what was cancelled or begun before."""

LOOK_S = 0.1
"""Seconds between two looks for the file that cancels a command."""


class Order(NamedTuple):
    """The work of one attempt, as a worker gets it.

    Attributes:
        task: name, id and attempt.
        program: the id of the program's process.
        path: what the program can import.
        claim: the file that whoever begins it makes; None if nobody runs it twice.
        function: the pickled function; None for a command.
        payload: its arguments, or the command, pickled; or the file that has them.
        folder: for the files of a command.
        capture_stdio, grace: as for an `Execution`.
        flag: the file that cancels the command once it is there.
    """

    task: tuple[str, int, int]
    program: int
    path: tuple[str, ...]
    claim: str | None
    function: bytes | None
    payload: bytes | str
    folder: str = ""
    capture_stdio: bool = False
    grace: float = 5.0
    flag: str = ""


class Outcome:
    """A code and a body, as `answer` makes them.

    RHAPSODY turns results into text, which must cost nothing: so this is no tuple of bytes.
    """

    __slots__ = ("body", "code")

    def __init__(self, code: int, body: bytes) -> None:
        self.code = code
        self.body = body

    def __repr__(self) -> str:
        return f"<Outcome {self.code}, {len(self.body)} bytes>"


def run(order: Order) -> Outcome:
    """Do what *order* says, once; this raises nothing."""
    payload = order.payload
    try:
        if order.claim is not None and not _claims(order.claim):
            return Outcome(BEGUN_BEFORE, b"")
        _use_path(order.path)
        if isinstance(payload, str):
            payload = Path(payload).read_bytes()
    except BaseException as error:
        return Outcome(FAILURE, pickle.dumps(Failure.pack(error)))
    if order.function is None:
        return _run_command(order, payload)
    try:
        with TaskContext(*order.task):
            return Outcome(*answer_pickled(order.function, payload))
    finally:
        close_loop()  # the thread is not ours, so nobody would close it later


def _claims(path: str) -> bool:
    """Return whether nobody has begun this before."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        return False
    return True


_used: tuple[str, ...] | None = None


def _use_path(path: tuple[str, ...]) -> None:
    """Import by *path* from now on; what a task itself has added since then stays."""
    global _used
    if path != _used:
        missing = [entry for entry in path if entry not in sys.path]
        sys.path += missing
        _used = path
        importlib.invalidate_caches()


_guarding = threading.Lock()
_guarded = False


def _keep_guard() -> None:
    """Have what commands leave behind live as long as this worker, and no longer."""
    global _guarded
    with _guarding:
        if not _guarded:
            guard().acquire()
            _guarded = True


def _run_command(order: Order, command: bytes) -> Outcome:
    if order.program != os.getpid():
        _keep_guard()

    def work_dir() -> Path:
        folder = Path(order.folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    execution = Execution(
        pickle.loads(command),
        name=order.task[0],
        work_dir=work_dir,
        capture_stdio=order.capture_stdio,
        grace=order.grace,
    )
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(order.flag, execution, ended), daemon=True)
    watch.start()
    try:
        result = execution.run()
        if execution.cancelled:
            return Outcome(CANCELLED, b"")
        return Outcome(VALUE, dump(result))
    except BaseException as error:
        return Outcome(FAILURE, pickle.dumps(Failure.pack(error)))
    finally:
        ended.set()
        watch.join()


def _watch(flag: str, execution: Execution, ended: threading.Event) -> None:
    """Cancel *execution* when the file *flag* appears."""
    path = Path(flag)
    while not ended.is_set():
        if path.exists():
            execution.cancel()
            return
        ended.wait(LOOK_S)
