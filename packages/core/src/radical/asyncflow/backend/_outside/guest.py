"""The program of the process: it runs the plugin's backend, and obeys the engine's end."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..._reference import load_reference
from ...errors import BackendStartError
from ...model import TaskSpec
from ...worker import Buffer, Failure, ProgramLink, dump
from .._contract import ExecutionBackend
from . import requests
from .guest_sink import GuestSink
from .marks import Marks
from .reports import ENDED, FAILED_START, STARTED
from .requests import RequestReader, load_numbers

__all__ = ["Beginning", "Started", "main"]


class Beginning(NamedTuple):
    """The order with which the process begins.

    Attributes:
        guest: the class of the backend, as ``"module:Class"``.
        settings: the pickled settings; nothing if there are none.
        package, version: the package of the class, and which version of it the program has; ""
            if that is not known.
        uid, work_dir, keeps_output, keeps_usage, watched: as the engine's sink has them.
    """

    guest: str
    settings: bytes
    name: str
    package: str
    version: str
    uid: str
    work_dir: str
    keeps_output: bool
    keeps_usage: bool
    watched: bool


class Started(NamedTuple):
    """The facts about the backend in the process, when that is up."""

    capabilities: Any
    shared_dir: Path | None
    capacity: int | None


def main(descriptor: int, token: str, marks: int) -> None:
    """Serve until the program says or shows that it is enough; then end this process.

    Whatever the backend leaves behind here, such as threads, keeps nothing from ending.
    """
    code = 1
    try:
        link = ProgramLink(descriptor, token)
        memory = Marks(marks)
        os.close(marks)
        # Not by the policy, which the backend may replace.
        loop = asyncio.SelectorEventLoop()
        asyncio.set_event_loop(loop)
        _Guest(link, memory, loop).serve()
        code = 0
    except BaseException:  # a callback of the backend raised SystemExit, say
        traceback.print_exc()  # into the log, whose end errors quote
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):  # the backend may have closed or replaced it
                stream.flush()
        os._exit(code)


class _Guest:
    """The backend in this process, and what the program asks of it; all in the loop's thread."""

    def __init__(self, link: ProgramLink, marks: Marks, loop: asyncio.SelectorEventLoop) -> None:
        self._link = link
        self._marks = marks
        self._loop = loop
        self._sink: GuestSink
        self._backend: ExecutionBackend | None = None
        self._reader = RequestReader(self._check)
        self._tasks: set[asyncio.Task[None]] = set()
        self._ends = 0  # shutdowns that go on
        self._has_ended = False
        self._steps: dict[bytes, Callable[[Sequence[Buffer]], None]] = {
            requests.START: self._start,
            requests.PATH: self._set_path,
            requests.DEFINE: self._reader.define,
            requests.FORGET: self._reader.forget,
            requests.SUBMIT: self._submit,
            requests.CANCEL: self._cancel,
            requests.ASK_WAITS: self._tell_waits,
            requests.ASK_CAPACITY: self._tell_capacity,
            requests.WATCH: self._watch,
            requests.SHUT_DOWN: self._shut_down,
        }

    def serve(self) -> None:
        """Run the loop until the end, whoever stops it."""
        self._loop.add_reader(self._link.fileno(), self._receive)
        while not self._has_ended:
            self._loop.run_forever()

    def _receive(self) -> None:
        try:
            messages = self._link.receive()
        except EOFError:  # the program is gone, and its guard kills what it has started
            os._exit(1)
        for message in messages:
            self._steps[bytes(message[0])](message)

    def _begin(self, work: Awaitable[None]) -> None:
        async def run() -> None:
            await work

        task = self._loop.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # ---------------------------------------------------------------------- the start

    def _start(self, message: Sequence[Buffer]) -> None:
        beginning = Beginning(*pickle.loads(message[1]))
        self._sink = GuestSink(
            self._link,
            self._marks,
            uid=beginning.uid,
            work_dir=Path(beginning.work_dir),
            keeps_output=beginning.keeps_output,
            keeps_usage=beginning.keeps_usage,
            watched=beginning.watched,
        )
        self._begin(self._bring_up(beginning))

    async def _bring_up(self, beginning: Beginning) -> None:
        try:
            backend = _make(beginning)
            await backend.start(self._sink)
            self._backend = backend
            started = Started(backend.capabilities, backend.shared_dir, backend.capacity())
            message = [STARTED, dump(tuple(started))]
        except BaseException as error:  # it may exit, too
            message = [FAILED_START, pickle.dumps(Failure.pack(error))]
        self._link.send(message)

    # ------------------------------------------------------------------------- the tasks

    def _check(self, spec: TaskSpec) -> None:
        if self._backend is not None:
            self._backend.check(spec)

    def _set_path(self, message: Sequence[Buffer]) -> None:
        path, is_same_python = pickle.loads(message[1])
        if is_same_python:
            sys.path[:] = path
        else:  # which has libraries of its own
            sys.path += [entry for entry in path if entry not in sys.path]

    def _submit(self, message: Sequence[Buffer]) -> None:
        assert self._backend is not None
        batch, failed = self._reader.read(message)
        for task_id, attempt, error in failed:
            self._sink.failed(task_id, attempt, error)
        if not batch:
            return
        try:
            self._backend.submit(batch)
        except BaseException as error:  # as the engine does it with a backend of its own
            self._sink.reject([request[:2] for request in batch], error)

    def _cancel(self, message: Sequence[Buffer]) -> None:
        number, *task_ids = load_numbers(message[1])
        self._answer(number, lambda backend: backend.cancel(task_ids))

    def _tell_waits(self, message: Sequence[Buffer]) -> None:
        number, *task_ids = load_numbers(message[1])
        self._answer(number, lambda backend: dict(backend.waits(task_ids)))

    def _tell_capacity(self, message: Sequence[Buffer]) -> None:
        self._answer(load_numbers(message[1])[0], lambda backend: backend.capacity())

    def _answer(self, number: int, ask: Callable[[ExecutionBackend], Any]) -> None:
        """Answer question *number* in any case, because the program waits for it."""
        value = None
        try:
            if self._backend is not None:
                value = ask(self._backend)
        except BaseException:
            traceback.print_exc()
        self._sink.answer(number, value)

    def _watch(self, message: Sequence[Buffer]) -> None:
        self._sink.is_watched = bool(load_numbers(message[1])[0])

    # --------------------------------------------------------------------------- the end

    def _shut_down(self, message: Sequence[Buffer]) -> None:
        self._ends += 1
        self._begin(self._end(cancel=bool(load_numbers(message[1])[0])))

    async def _end(self, *, cancel: bool) -> None:
        try:
            if self._backend is not None:
                await self._backend.shutdown(cancel=cancel)
        except BaseException:
            traceback.print_exc()
        self._ends -= 1
        if not self._ends:
            self._sink.close()
            self._link.send([ENDED])
            self._has_ended = True
            self._loop.stop()


def _make(beginning: Beginning) -> ExecutionBackend:
    """Import the class, and make the backend.

    Raises:
        BackendStartError: this interpreter has another version of it, or it is no backend.
    """
    made = load_reference(beginning.guest)
    theirs = str(getattr(sys.modules.get(beginning.package), "__version__", ""))
    if beginning.version and theirs and theirs != beginning.version:
        raise BackendStartError(
            f"{sys.executable} has {beginning.package} {theirs}, but the program has "
            f"{beginning.version}: install the same version there"
        )
    settings = pickle.loads(beginning.settings) if beginning.settings else None
    backend = made.from_settings(settings, name=beginning.name)
    if not isinstance(backend, ExecutionBackend):
        raise BackendStartError(f"{beginning.guest} made {backend!r}, which is no ExecutionBackend")
    if backend.capabilities.remote_results:
        raise BackendStartError(
            f"{beginning.guest} keeps results where they were made (remote_results), which does "
            "not work out of process; set remote_results=False"
        )
    return backend
