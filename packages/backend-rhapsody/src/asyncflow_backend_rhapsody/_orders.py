"""Tasks on backends of RHAPSODY that run them elsewhere: one of its tasks for each of ours."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from radical.asyncflow.backend import ReportSink, TaskId
from radical.asyncflow.errors import BackendLostError, WorkerLostError
from radical.asyncflow.worker import (
    Codes,
    Raised,
    dump_arguments,
    import_path,
    open_answer,
    safe_str,
    unsendable,
)

from ._desk import Desk, Held
from ._foreign import field_of, reason_of
from ._worker import BEGUN_BEFORE, CANCELLED, Order, Outcome, run

__all__ = ["Marker", "Markers", "Orders", "Programs"]


LARGE_BYTES = 1 << 20
"""The size from which on arguments travel as files, because Dask warns of large ones."""

_DEATHS = frozenset({"BrokenExecutor", "BrokenProcessPool", "KilledWorker"})
"""The names of errors that tell of the death of a worker."""

_FOR_GOOD = frozenset({"BrokenExecutor", "BrokenProcessPool"})
"""Those after which a backend runs nothing any more."""


class Orders:
    """Packs tasks as `Order`, has RHAPSODY call `run` with them, and opens the outcomes.

    RHAPSODY gets no more tasks than it runs at once.  So what it has counts as running, and
    what waits can be cancelled and begins in the right order.

    Args:
        hand_over: gives RHAPSODY tasks in its own form.
        claims: whether RHAPSODY may run a task twice, which must be kept from it.
    """

    def __init__(
        self,
        desk: Desk,
        sink: ReportSink,
        hand_over: Callable[[list[dict[str, Any]]], None],
        *,
        title: str,
        token: str,
        grace: float,
        claims: bool,
    ) -> None:
        self._desk = desk
        self._sink = sink
        self._hand_over = hand_over
        self._title = title
        self._token = token
        self._grace = grace
        self._claims = claims
        self._codes = Codes()
        self._held: dict[str, Held] = {}

    def fill(self) -> None:
        """Hand over what waits, as far as there are free places."""
        tasks = []
        while free := self._desk.reserve():
            for _ in range(free):
                if (held := self._desk.take()) is None:
                    continue
                uid = self._uid(held.key)
                self._held[uid] = held
                try:
                    tasks.append({"uid": uid, **self.describe(uid, held)})
                except BaseException as error:  # whatever the methods of the arguments raise
                    self._end(uid, error=error)
                else:
                    self._sink.running(*held.key)
        if tasks:
            self._hand_over(tasks)

    def ended(self, uid: str, outcome: str, task: Any) -> None:
        """Report the end of the task *uid* of RHAPSODY, which says it is *outcome*."""
        held = self._held.get(uid)
        if held is None:
            return
        try:
            if outcome == "DONE":
                self.open(uid, held, task)
            else:
                self._failed(uid, held, outcome, task)
        finally:
            self.fill()

    def stop(self, running: list[Held]) -> None:
        """End the commands of *running*."""
        for held in running:
            if held.flag is not None:
                Path(held.flag).touch()

    def close(self) -> None:
        """Do nothing: nothing is held."""

    def describe(self, uid: str, held: Held) -> dict[str, Any]:
        """Return the fields of the task of RHAPSODY."""
        return {"function": run, "args": (self.order(uid, held),), "kwargs": {}}

    def open(self, uid: str, held: Held, task: Any) -> None:
        """Report what has come back."""
        outcome = field_of(task, "return_value")
        if not isinstance(outcome, Outcome):
            self._end(uid, error=self.lost(held, f"it returned {type(outcome).__name__}"))
        else:
            self._report(uid, held, outcome)

    def order(self, uid: str, held: Held) -> Order:
        """Pack the attempt *held*.

        Raises:
            SerializationError: it cannot be pickled.
        """
        request = held.request
        spec = request.spec
        task = spec.name, *held.key
        path = tuple(import_path())
        claim = None
        if self._claims:
            claim = str(self._sink.work_dir() / f".{uid}.begun")
            held.files.append(claim)
        if request.command is None:
            return Order(
                task,
                os.getpid(),
                path,
                claim,
                self._codes.code_of(spec.function).pickled,
                self._sent(uid, held, dump_arguments(spec.function, request.args, request.kwargs)),
            )
        try:
            command = pickle.dumps(request.command)
        except BaseException as error:
            raise unsendable("arguments", error) from error
        folder = self._sink.work_dir()
        held.flag = str(folder / f".{uid}.cancel")
        held.files.append(held.flag)
        return Order(
            *(task, os.getpid(), path, claim, None, self._sent(uid, held, command)),
            *(str(folder), spec.capture_stdio, self._grace, held.flag),
        )

    def _sent(self, uid: str, held: Held, payload: bytes) -> bytes | str:
        """Return *payload*, or the file into which it was written because it is large."""
        if len(payload) < LARGE_BYTES:
            return payload
        path = self._sink.work_dir() / f".{uid}.payload"
        held.files.append(str(path))
        path.write_bytes(payload)
        return str(path)

    def lost(self, held: Held, detail: str) -> WorkerLostError:
        """Make the error of an attempt that RHAPSODY's backend has lost."""
        return WorkerLostError(held.request.spec.name, self._title, None, held.key[1], detail)

    def _report(self, uid: str, held: Held, outcome: Outcome) -> None:
        if outcome.code == CANCELLED:
            self._end(uid)
        elif outcome.code == BEGUN_BEFORE:
            detail = "RHAPSODY has given it to another worker, and it must not begin twice"
            self._end(uid, error=self.lost(held, detail))
        else:
            value = open_answer(outcome.code, outcome.body)
            if type(value) is Raised:
                self._end(uid, error=value.error)
            else:
                self._end(uid, value, done=True)

    def _failed(self, uid: str, held: Held, outcome: str, task: Any) -> None:
        """Report a task that RHAPSODY has not brought to its end."""
        if held.context.cancelled:
            self._end(uid)
            return
        cause = field_of(task, "exception")
        why = reason_of(task, f"RHAPSODY says {outcome}")
        if isinstance(cause, BaseException) and type(cause).__name__ not in _DEATHS:
            self._end(uid, error=cause)  # its own functions raise nothing: this is RHAPSODY's
            return
        error = self.lost(held, why)
        error.__cause__ = cause if isinstance(cause, BaseException) else None
        self._end(uid, error=error)
        if type(cause).__name__ in _FOR_GOOD:
            self._desk.lose(BackendLostError(f"RHAPSODY's backend {self._title!r}: {why}"))

    def _end(
        self, uid: str, value: Any = None, error: BaseException | None = None, done: bool = False
    ) -> None:
        held = self._held.pop(uid)
        for file in held.files:
            with suppress(OSError):
                Path(file).unlink()
        self._desk.end(held, value, error, done=done, leaves=True)

    def _uid(self, key: tuple[TaskId, int]) -> str:
        return f"{self._token}-{key[0]}-{key[1]}"


class Programs(Orders):
    """Has RHAPSODY run a program for each task, which reads its order from a file.

    This is for backends that run commands only.
    """

    def describe(self, uid: str, held: Held) -> dict[str, Any]:
        folder = self._sink.work_dir()
        given, back = (str(folder / f".{uid}.{suffix}") for suffix in ("order", "outcome"))
        held.files += [given, back]
        Path(given).write_bytes(pickle.dumps(self.order(uid, held)))
        arguments = ["-m", f"{__package__}._program", given, back]
        return {"executable": sys.executable, "arguments": arguments, "function": None}

    def open(self, uid: str, held: Held, task: Any) -> None:
        try:
            outcome = pickle.loads(Path(held.files[1]).read_bytes())
        except (OSError, EOFError, pickle.UnpicklingError) as error:
            self._failed(uid, held, safe_str(error), task)
        else:
            self._report(uid, held, outcome)


class Marker:
    """The result of a task that was not run."""

    def __init__(self, held: Held) -> None:
        self.name = held.request.spec.name
        self.kind = held.request.spec.kind
        self.task_id = held.request.task_id

    def __repr__(self) -> str:
        return f"<{self.kind} task {self.name!r} #{self.task_id}, which was not run>"


class Markers(Orders):
    """Has RHAPSODY end tasks that have no content, and answers with markers."""

    def describe(self, uid: str, held: Held) -> Mapping[str, Any]:  # type: ignore[override]  # noqa: ARG002
        return {"executable": "true", "arguments": []}

    def open(self, uid: str, held: Held, task: Any) -> None:  # noqa: ARG002
        self._end(uid, Marker(held), done=True)
