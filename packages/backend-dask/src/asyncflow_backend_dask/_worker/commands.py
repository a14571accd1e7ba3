"""Commands: what a Dask task does for an executable."""

from __future__ import annotations

import pickle
import tempfile
import time
from pathlib import Path
from typing import Any

from distributed.comm import get_address_host
from radical.asyncflow.backend import ExecutableResult
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.worker import (
    Execution,
    Failure,
    GpuShares,
    RankedExecution,
    ServiceExecution,
    gpus_by_rank,
)

from .._messages.events import CANCELLED, DONE_INLINE, DONE_REMOTE, FAILED, SERVING, TRACE
from .._messages.orders import PackedCall, WorkOrder
from .._messages.results import CallResult
from .inline import dump_if_small
from .running import CallQueue, WorkerCalls

__all__ = ["run_command"]

_MAX_INLINE_BYTES = 64 * 1024  # larger than for functions, because the program wants all output


def run_command(worker_calls: WorkerCalls, work: WorkOrder) -> CallResult:
    """Run the command of *work*, and tell by events what becomes of it."""
    (one,) = work.calls
    if work.struck_out:
        return CallResult(failed=True)
    if work.ended:
        return CallResult.of_ended(work.ended[0][1])
    try:
        ranks = 1 if work.ranks is None else work.ranks.resources.ranks
        with worker_calls.gpus.take_shares(work.gpus, ranks) as gpus:
            return _run_with(gpus, worker_calls, work, one)
    except (RuntimeError, ConfigurationError) as exc:  # no such GPUs, or no launcher
        worker_calls.tell(work, one, FAILED, 0.0, fields_of(exc))
        return CallResult(failed=True)


def fields_of(exc: BaseException) -> tuple[Any, ...]:
    """Return the fields of the `Failure` that *exc* becomes on its way to the program."""
    failure = Failure.pack(exc)
    return failure.type_name, failure.message, failure.traceback, failure.pickled


def _run_with(
    gpus: GpuShares, worker_calls: WorkerCalls, work: WorkOrder, one: PackedCall
) -> CallResult:
    if (work.topic, one.task_id, one.attempt) in worker_calls.cancelled:
        worker_calls.tell(work, one, CANCELLED)
        return CallResult(failed=True)
    worker_calls.keep_guard()
    execution = _execution(worker_calls, work, one, gpus)
    # Confirmed before it begins, because whoever cancels it waits for its end.
    key = worker_calls.begin(work, one, execution.cancel, CallQueue(), confirm=True)
    if key in worker_calls.cancelled:
        execution.cancel()
    worker_calls.commands[key] = execution
    begun = time.monotonic()
    try:
        result: ExecutableResult = execution.run()
    except BaseException as exc:
        ended = time.monotonic()
        worker_calls.tell_end(work, one, FAILED, ended - begun, fields_of(exc), ended)
        return CallResult(failed=True)
    finally:
        del worker_calls.commands[key]
        worker_calls.end(key)
    ended = time.monotonic()
    seconds = ended - begun
    if work.traces is not None and (trace := execution.trace(output=work.traces.output)):
        usage = None if trace.usage is None else tuple(trace.usage)
        printed = pickle.dumps(trace, 5) if trace.stdout or trace.stderr else None
        worker_calls.tell(work, one, TRACE, 0.0, (usage, printed))
    if execution.cancelled:
        worker_calls.tell_end(work, one, CANCELLED, seconds, None, ended)
        return CallResult(failed=True)
    inline = dump_if_small(result, _MAX_INLINE_BYTES)
    kind = DONE_REMOTE if inline is None else DONE_INLINE
    worker_calls.tell_end(work, one, kind, seconds, inline, ended)
    return CallResult(result)


def _execution(
    worker_calls: WorkerCalls, work: WorkOrder, one: PackedCall, gpus: GpuShares
) -> Execution:
    options = work.command_options
    assert options is not None
    folder = options["folder"] or Path(tempfile.gettempdir()) / f"asyncflow-{work.topic}"

    def work_dir() -> Path:
        path = Path(folder)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    command = pickle.loads(one.payload)
    of_both: dict[str, Any] = {
        "name": one.name,
        "work_dir": work_dir,
        "capture_stdio": options["capture_stdio"],
        "grace": options["grace"],
        "gpus": tuple(gpus),
        "measure": _measures(work),
    }
    if work.ranks is not None:
        asked = work.ranks.resources
        return RankedExecution(
            command,
            launcher=worker_calls.rank_groups(work.ranks).launcher,
            resources=asked,
            rank_gpus=gpus_by_rank(gpus, asked.gpus, asked.ranks),
            **of_both,
        )
    if options["readiness"] is None:
        return Execution(command, **of_both)

    def tell(*serving: Any) -> None:
        worker_calls.tell(work, one, SERVING, 0.0, serving)
        worker_calls.worker.loop.add_callback(worker_calls.outbox.send)

    address = worker_calls.worker.address
    in_program = address.startswith("inproc://")
    host = "localhost" if in_program else get_address_host(address)
    return ServiceExecution(command, options["readiness"], tell, host=host, **of_both)


def _measures(work: WorkOrder) -> bool:
    return work.traces is not None and work.traces.usage
