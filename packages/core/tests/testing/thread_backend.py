"""A small backend of threads for functions and commands, correct but for the faults of a class."""

from __future__ import annotations

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from radical.asyncflow.backend import (
    Capabilities,
    Command,
    ExecutableResult,
    ExecutionBackend,
    ReportSink,
    TaskId,
    TaskKind,
    TaskRequest,
    Wait,
    WaitKind,
)
from radical.asyncflow.worker import Execution, TaskContext, call, close_loop, guard

SLOTS = 2
GRACE = 2.0
"""Seconds that a function may go on after the shutdown."""

_Key = tuple[TaskId, int]


CAUGHT_BY = {
    "oversubscribes": "test_no_more_tasks_run_at_once_than_there_are_slots",
    "ignores cores": "test_tasks_that_take_all_cores_run_one_at_a_time",
    "cancels later": "test_a_queued_task_is_reported_cancelled_before_cancel_returns",
    "runs what it cancelled": "test_a_queued_task_is_cancelled_while_the_others_run_on",
    "tells no function": "test_a_running_function_is_told_that_it_was_cancelled",
    "keeps slots": "test_a_cancelled_function_gives_its_slot_back",
    "ends with its functions": "test_what_would_end_a_program_fails_only_its_task",
    "begins early": "test_waiting_in_the_queue_does_not_count",
    "stops the loop": "test_the_loop_turns_while_a_function_works",
    "wraps failures": "test_the_original_exception_arrives",
    "makes failures anew": "test_attributes_and_notes_arrive",
    "drops keywords": "test_positional_and_keyword_arguments_arrive",
    "calls and no more": "test_an_async_function_returns_its_value",
    "drops variables": "test_env_adds_to_the_environment",
    "drops folders": "test_cwd_is_where_it_runs",
    "drops input": "test_stdin_is_read",
    "joins words": "test_a_list_is_run_without_a_shell",
    "cuts words": "test_a_command_runs_in_its_container",
    "hides exit codes": "test_a_non_zero_exit_code_fails_the_task",
    "hides errors": "test_exit_code_and_streams_can_be_read_afterwards",
    "cuts output": "test_big_output_arrives_whole",
    "captures nothing": "test_capture_stdio_gives_the_paths_of_files",
    "ends the shell alone": "test_cancelling_ends_the_whole_process_tree",
    "needs a first request": "test_an_empty_batch_is_nothing",
    "needs a list": "test_a_batch_may_be_any_sequence",
    "keeps the batch": "test_a_batch_belongs_to_the_caller_again_after_submit",
    "takes a task once": "test_a_task_may_be_submitted_again_as_its_next_attempt",
    "takes any description": "test_an_unknown_key_in_the_description_is_refused",
    "knows all ids": "test_cancelling_an_unknown_id_is_ignored",
    "answers each cancel": "test_cancelling_a_finished_task_brings_no_second_report",
    "cancels after a start only": "test_cancelling_before_the_start_is_ignored",
    "lets the running wait": "test_what_waiting_tasks_wait_for_is_true_or_not_told",
    "starts after the end": "test_starting_after_the_end_is_refused",
    "changes the environment": "test_the_environment_and_the_folder_are_left_alone",
    "ends once": "test_shutdown_twice",
    "ends after a start only": "test_shutdown_without_a_start",
    "ends the others": "test_two_at_once_do_not_disturb_each_other",
    "forgets the last": "test_shutdown_with_work_queued_answers_for_all_of_it",
    "reports after the end": "test_no_report_comes_after_the_end",
    "speaks a later contract": "test_it_declares_itself",
}
"""The faults, each with the check that catches it."""


class ThreadBackend(ExecutionBackend):
    """Runs functions and commands in two threads; a task may take the place of both."""

    capabilities = Capabilities(
        kinds={TaskKind.FUNCTION, TaskKind.EXECUTABLE},
        kills_running={TaskKind.EXECUTABLE},
        resources={"cores"},
        isolates=False,
    )
    faults: ClassVar[Collection[str]] = ()
    others: ClassVar[list[ThreadBackend]] = []

    def __init__(self, *, name: str = "thread") -> None:
        self.name = name
        self._sink: ReportSink
        self._news = threading.Condition()
        self._waiting: dict[TaskId, TaskRequest] = {}
        self._running: dict[_Key, TaskContext | Execution | _Shell] = {}
        self._seen: set[TaskId] = set()
        self._free = SLOTS
        self._over = False
        self._threads = [
            threading.Thread(target=self._work, daemon=True)
            for _ in range(SLOTS + self._has("oversubscribes"))
        ]
        self._left = len(self._threads)
        if self._has("speaks a later contract"):
            self.api_version = (99, 0)

    def _has(self, fault: str) -> bool:
        return fault in self.faults

    async def start(self, sink: ReportSink) -> None:
        if self._has("starts after the end") and self.is_shut_down:
            return
        await super().start(sink)
        self._sink = sink  # the threads report after the shutdown too
        guard().acquire()
        if self._has("changes the environment"):
            os.environ["STARTED_BY"] = self.name
        self.others.append(self)
        for thread in self._threads:
            thread.start()

    def check(self, spec: Any) -> None:
        if not self._has("takes any description"):
            super().check(spec)

    def submit(self, batch: Sequence[TaskRequest]) -> None:
        _ = self.sink  # raises before the start and after the end
        if self._has("needs a first request"):
            _ = batch[0]
        if self._has("needs a list"):
            batch = batch.copy()  # type: ignore[attr-defined]
        if self._has("keeps the batch"):
            asyncio.get_running_loop().call_soon(self._enqueue, batch)
        else:
            self._enqueue(batch)
        if self._has("stops the loop"):
            asyncio.get_running_loop().call_later(0.1, time.sleep, 1.5)

    def _enqueue(self, batch: Sequence[TaskRequest]) -> None:
        with self._news:
            for request in batch:
                if self._has("takes a task once") and request.task_id in self._seen:
                    continue
                if self._has("forgets the last") and request is batch[-1] and len(batch) > 1:
                    continue
                self._seen.add(request.task_id)
                self._waiting[request.task_id] = request
                if self._has("begins early"):
                    self._sink.running(request.task_id, request.attempt)
            self._news.notify_all()

    def cancel(self, task_ids: Collection[TaskId]) -> None:
        if self._has("cancels after a start only"):
            _ = self.sink
        if self._has("cancels later"):
            asyncio.get_running_loop().call_soon(self._cancel, task_ids)
        else:
            self._cancel(task_ids)

    def _cancel(self, task_ids: Collection[TaskId]) -> None:
        with self._news:
            for task_id in task_ids:
                if self._has("knows all ids") and task_id not in self._seen:
                    raise KeyError(task_id)
                if request := self._waiting.get(task_id):
                    if not self._has("runs what it cancelled"):
                        del self._waiting[task_id]
                    self._sink.cancelled(task_id, request.attempt)
                elif self._has("answers each cancel") and task_id in self._seen:
                    self._sink.cancelled(task_id, 1)
            for (task_id, _), running in self._running.items():
                if task_id in task_ids and not self._has("tells no function"):
                    running.cancel()

    def waits(self, task_ids: Collection[TaskId]) -> dict[TaskId, Wait]:
        if not self._has("lets the running wait"):
            return {}
        wait = Wait(WaitKind.SLOT, "for a slot")
        return dict.fromkeys({*task_ids} & {task_id for task_id, _ in self._running}, wait)

    async def shutdown(self, *, cancel: bool = True) -> None:
        if self._has("ends once") and self.is_shut_down:
            raise RuntimeError("it has ended already")
        if self._has("ends after a start only"):
            _ = self._sink
        await super().shutdown(cancel=cancel)
        self._end()
        if self._has("ends the others"):
            for other in self.others:
                other._end()
        with self._news:
            held = {*self._waiting, *(task_id for task_id, _ in self._running)}
        if cancel:
            self._cancel(held)
        deadline = time.monotonic() + GRACE if cancel else float("inf")
        while self._threads and time.monotonic() < deadline:  # noqa: ASYNC110 - they are threads
            await asyncio.sleep(0.005)
        if self._seen and self._has("reports after the end"):
            timer = threading.Timer(0.05, self._sink.running, [max(self._seen), 1])
            timer.start()

    def _end(self) -> None:
        with self._news:
            self._over = True
            self._news.notify_all()

    # Below this line: what happens in the threads.

    def _work(self) -> None:
        try:
            while (request := self._take()) is not None:
                self._run(request)
        finally:
            close_loop()
            with self._news:
                self._left -= 1
                is_last = not self._left
            if is_last:
                guard().release()
            self._threads.remove(threading.current_thread())

    def _take(self) -> TaskRequest | None:
        with self._news:
            while True:
                first = next(iter(self._waiting.values()), None)
                if first is not None and self._size(first) <= self._free:
                    del self._waiting[first.task_id]
                    self._free -= self._size(first)
                    return first
                if first is None and self._over:
                    return None
                self._news.wait()

    def _size(self, request: TaskRequest) -> int:
        if self._has("ignores cores"):
            return 1
        return 0 if self._has("oversubscribes") else request.spec.resources.cores

    def _run(self, request: TaskRequest) -> None:
        key = request.task_id, request.attempt
        kills = request.command is not None
        running = self._execution(request) if kills else TaskContext(request.spec.name, *key)
        with self._news:
            self._running[key] = running
        if not self._has("begins early"):
            self._sink.running(*key, threading.current_thread().name)
        caught = Exception if self._has("ends with its functions") else BaseException
        try:
            value = self._call(request, running)
        except caught as error:
            if running.cancelled:
                self._sink.cancelled(*key)
            else:
                self._sink.failed(*key, self._changed(error))
        else:
            if kills and running.cancelled:
                self._sink.cancelled(*key)
            else:
                self._sink.done(*key, value)
        finally:
            with self._news:
                del self._running[key]
                if not (self._has("keeps slots") and running.cancelled):
                    self._free += self._size(request)
                self._news.notify_all()

    def _call(self, request: TaskRequest, running: Any) -> Any:
        if not isinstance(running, TaskContext):
            return self._result(running.run())
        with running:
            args, kwargs = request.args, request.kwargs
            function = request.spec.function
            if self._has("drops keywords"):
                kwargs = {}
            if self._has("calls and no more"):
                return function(*args, **kwargs)
            return call(function, args, kwargs)

    def _changed(self, error: BaseException) -> BaseException:
        if self._has("wraps failures"):
            return RuntimeError(str(error))
        if self._has("makes failures anew"):
            return type(error)(*error.args).with_traceback(error.__traceback__)
        return error

    def _execution(self, request: TaskRequest) -> Execution | _Shell:
        command = request.command
        assert isinstance(command, Command)
        for fault, change in _COMMANDS.items():
            if self._has(fault):
                command = change(command)
        if self._has("ends the shell alone"):
            return _Shell(command)
        return Execution(
            command,
            name=request.spec.name,
            work_dir=self._sink.work_dir,
            capture_stdio=request.spec.capture_stdio and not self._has("captures nothing"),
            grace=1.0,
        )

    def _result(self, result: ExecutableResult) -> ExecutableResult:
        for fault, change in _RESULTS.items():
            if self._has(fault):
                result = change(result)
        return result


def _in_words(command: Command) -> Command:
    args = command.args
    return command if isinstance(args, str) else replace(command, args=" ".join(args))


def _in_short_words(command: Command) -> Command:
    args = command.args
    return command if isinstance(args, str) else replace(command, args=[a[:512] for a in args])


_COMMANDS: dict[str, Callable[[Command], Command]] = {
    "drops variables": lambda command: replace(command, env=None),
    "drops folders": lambda command: replace(command, cwd=None),
    "drops input": lambda command: replace(command, stdin=None),
    "joins words": _in_words,
    "cuts words": _in_short_words,
}
_RESULTS: dict[str, Callable[[ExecutableResult], ExecutableResult]] = {
    "hides exit codes": lambda result: result._replace(exit_code=0),
    "hides errors": lambda result: result._replace(stderr=""),
    "cuts output": lambda result: result._replace(stdout=result.stdout[:100_000]),
}


class _Shell:
    """A command whose end is that of its first process alone."""

    def __init__(self, command: Command) -> None:
        self._command = command
        self._process: subprocess.Popen[str] | None = None
        self.cancelled = False

    def run(self) -> ExecutableResult:
        command = self._command
        self._process = subprocess.Popen(
            command.args,
            shell=isinstance(command.args, str),
            cwd=command.cwd,
            env={**os.environ, **{key: str(value) for key, value in (command.env or {}).items()}},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        )
        return ExecutableResult(self._process.wait(), "", "")

    def cancel(self) -> None:
        self.cancelled = True
        if self._process is not None:
            self._process.kill()
