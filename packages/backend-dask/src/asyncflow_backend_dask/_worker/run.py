"""The body of every Dask task: it runs the calls of one order."""

from __future__ import annotations

import pickle
import time
from collections.abc import Sequence
from typing import Any

from distributed import get_worker
from radical.asyncflow.errors import SerializationError
from radical.asyncflow.worker import (
    Buffer,
    Meter,
    Raised,
    RankCall,
    TaskContext,
    call,
    close_loop,
    dump_arguments,
    gpus_by_rank,
    safe_str,
)

from .._messages.events import (
    CANCELLED,
    DONE_INLINE,
    DONE_REMOTE,
    FAILED,
    GIVEN_BACK,
    SKIPPED,
    UNSENDABLE,
)
from .._messages.orders import (
    IN_PLACEHOLDER,
    SAME_TASK,
    LargeBuffers,
    PackedCall,
    Placeholder,
    RankOrder,
    WorkOrder,
)
from .._messages.pickles import load
from .._messages.results import CallResult
from .commands import fields_of, run_command
from .imports import use_path
from .inline import dump_if_small
from .running import CallQueue, WorkerCalls, calls_on
from .traces import CallContext, RanksMeter

__all__ = ["run"]

_MAX_INLINE_BYTES = 4096  # a larger pickled value stays on the worker


class _GivenBackError(Exception):
    """A dependency was given back, so its result is computed elsewhere."""


def run(order: bytes, buffers: LargeBuffers | None, *dependencies: Any) -> Any:
    """Run the calls of *order*, and tell by events what becomes of each.

    Returns:
        The `CallResult` of the call, or a list of them if there are several; None in the
        place of a call that was given back.
    """
    worker_calls = calls_on(get_worker())
    work: WorkOrder = pickle.loads(order)
    if work.command_options is not None:
        result = run_command(worker_calls, work)
        worker_calls.outbox.flush()
        return result
    results = _CallRunner(worker_calls, work, buffers, dependencies).run()
    worker_calls.outbox.flush()
    # A call that was given back has its result in a Dask task of its own.
    listed = [results.get(one.task_id) for one in work.calls]
    return listed[0] if len(listed) == 1 else listed


class _CallRunner:
    """Runs the function calls of one Dask task."""

    def __init__(
        self,
        worker_calls: WorkerCalls,
        work: WorkOrder,
        buffers: LargeBuffers | None,
        dependencies: Sequence[Any],
    ) -> None:
        self._worker_calls = worker_calls
        self._work = work
        self._buffers: Sequence[Any] = buffers.buffers if buffers is not None else ()
        self._dependencies = dependencies
        self._results: dict[int, CallResult] = {}
        self._pickled = b""  # the function
        left_out = {*work.struck_out, *work.given_back, *(place for place, _ in work.ended)}
        self._queue = CallQueue(one for at, one in enumerate(work.calls) if at not in left_out)

    def run(self) -> dict[int, CallResult]:
        """Run all calls and return their results by task id."""
        work, results = self._work, self._results
        function: Any = None
        broken: str | None = None
        try:
            if work.path is not None:
                use_path(work.path)
            if work.reloaded is not None:
                self._worker_calls.reload(*work.reloaded)
            self._pickled = work.function or self._dependencies[-1]
            function = self._worker_calls.load_function(work.topic, work.code, self._pickled)
        except BaseException as exc:  # unpickling runs foreign code
            broken = safe_str(exc)
        for place in work.struck_out:
            results[work.calls[place].task_id] = CallResult(failed=True)
        for place, pickled in work.ended:
            results[work.calls[place].task_id] = CallResult.of_ended(pickled)
        while (one := self._queue.take()) is not None:
            if broken is not None:
                results[one.task_id] = self._fail(UNSENDABLE, one, ("function", broken))
                continue
            try:
                results[one.task_id] = self._run_call(one, function)
            except _GivenBackError:
                self._worker_calls.tell(work, one, GIVEN_BACK)
        return results

    def _run_call(self, one: PackedCall, function: Any) -> CallResult:
        """Run one call, if it can run, and return its result.

        Raises:
            _GivenBackError: a dependency was given back, so this call must be, too.
        """
        if (self._work.topic, one.task_id, one.attempt) in self._worker_calls.cancelled:
            return self._fail(CANCELLED, one)
        if failed := self._failed_dependencies(one):
            return self._fail(SKIPPED, one, failed)
        try:
            own = self._buffers[one.first_buffer :]
            args, kwargs = load(one.payload, own, self._value_of)
        except SerializationError as exc:
            return self._fail(UNSENDABLE, one, ("arguments", safe_str(exc.__cause__ or exc)))
        return self._execute(one, function, args, kwargs)

    def _execute(self, one: PackedCall, function: Any, args: Any, kwargs: Any) -> CallResult:
        worker_calls, work = self._worker_calls, self._work
        context = CallContext(work.topic, work.key, one.name, one.task_id, one.attempt)
        key = worker_calls.begin(work, one, context.cancel, self._queue, confirm=work.confirm_begin)
        if key in worker_calls.cancelled:
            context.cancel()
        of_ranks = RanksMeter() if work.ranks is not None else None
        meter = self._begin_to_measure(of_ranks)
        begun = time.monotonic()
        try:
            if work.ranks is not None:
                value = self._call_ranks(work.ranks, context, of_ranks, function, args, kwargs)
            else:
                with worker_calls.gpus.take(work.gpus) as context.gpus, context:
                    value = call(function, args, kwargs)
        except BaseException as exc:  # SystemExit must not end Dask's thread
            ended = time.monotonic()
            worker_calls.traces.tell(context, meter)
            worker_calls.end(key)
            if context.cancelled:
                return self._end_failed(CANCELLED, one, ended - begun, ended)
            return self._end_failed(FAILED, one, ended - begun, ended, fields_of(exc))
        finally:
            if worker_calls.worker.nanny is None:
                close_loop()  # the thread is the program's, and may end without notice
        ended = time.monotonic()
        seconds = ended - begun
        worker_calls.traces.tell(context, meter)
        worker_calls.end(key)
        worker_calls.proven.add((work.topic, work.code))
        try:
            inline = dump_if_small(value, _MAX_INLINE_BYTES)
        except BaseException as exc:  # whatever the value's own methods raise
            error = "result", safe_str(exc)
            return self._end_failed(UNSENDABLE, one, seconds, ended, error)
        kind = DONE_REMOTE if inline is None else DONE_INLINE
        worker_calls.tell_end(work, one, kind, seconds, inline, ended)
        return CallResult(value)

    def _begin_to_measure(self, of_ranks: RanksMeter | None) -> Meter | RanksMeter | None:
        """Keep what a call leaves behind, as the program wants it, and return its meter if any."""
        order, traces = self._work.traces, self._worker_calls.traces
        if order is None:
            return None
        if of_ranks is not None:
            return of_ranks if order.usage else None
        traces.follow(order)
        if not order.usage:
            return None
        meter = traces.meter()
        meter.begin(self._work.code)
        return meter

    def _call_ranks(
        self,
        order: RankOrder,
        context: TaskContext,
        meter: RanksMeter | None,
        function: Any,
        args: Any,
        kwargs: Any,
    ) -> Any:
        """Run the function on all ranks, and return its result.

        Raises:
            BaseException: what a rank raises, or the error if they do not start or one dies.
        """
        worker_calls, asked = self._worker_calls, order.resources
        worker_calls.keep_guard()
        buffers: list[Buffer] = []
        arguments = dump_arguments(function, args, kwargs, buffers)
        with worker_calls.gpus.take_shares(asked.gpus, asked.ranks) as gpus:
            ranks = RankCall(
                name=context.name,
                task_id=context.task_id,
                attempt=context.attempt,
                function=self._pickled,
                arguments=arguments,
                buffers=buffers,
                ranks=asked.ranks,
                cores=asked.cores,
                gpus=gpus_by_rank(gpus, asked.gpus, asked.ranks),
                root=order.root,
                measure=self._work.traces is not None and self._work.traces.usage,
            )
            outcome = worker_calls.rank_groups(order).run(
                *(ranks, context, worker_calls.worker.address),
                running=lambda: None,
                used=None if meter is None else meter.take,
            )
        if type(outcome) is Raised:
            raise outcome.error
        return outcome

    def _failed_dependencies(self, one: PackedCall) -> list[int]:
        """Return the ids of the dependencies that have no value.

        Raises:
            _GivenBackError: one was given back.
        """
        if one.predecessor:
            before = self._results.get(one.predecessor)
            if before is None:
                raise _GivenBackError
            return [one.predecessor] if before.failed else []
        failed = []
        for task_id, source, index in one.dependencies:
            item = self._dependencies[source]
            result = item[index] if isinstance(item, list) else item
            if result is None:
                raise _GivenBackError
            if result.failed:
                failed.append(task_id)
        return failed

    def _value_of(self, placeholder: Placeholder) -> Any:
        if placeholder.source == SAME_TASK:
            return self._results[placeholder.call_index].get()
        if placeholder.source == IN_PLACEHOLDER:
            return load(placeholder.inline)
        result = self._dependencies[placeholder.source]
        if isinstance(result, list):
            result = result[placeholder.call_index]
        return result.get()

    def _fail(self, kind: int, one: PackedCall, data: Any = None) -> CallResult:
        """Tell why *one* has not begun; return the result that says that it has no value."""
        self._worker_calls.tell(self._work, one, kind, 0.0, data)
        return CallResult(failed=True)

    def _end_failed(
        self, kind: int, one: PackedCall, seconds: float, ended: float, data: Any = None
    ) -> CallResult:
        """Tell why *one* has ended without a value; return the result that says so."""
        self._worker_calls.tell_end(self._work, one, kind, seconds, data, ended)
        return CallResult(failed=True)
