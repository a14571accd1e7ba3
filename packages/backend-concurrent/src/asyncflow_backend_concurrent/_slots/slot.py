"""One slot: a thread that runs one task after the other."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from functools import partial
from typing import Any

from radical.asyncflow.backend import (
    AnyReport,
    Command,
    ExecutableResult,
    Serving,
    TaskId,
    TaskKind,
    TaskRequest,
    TaskTrace,
    TaskUsage,
    Written,
)
from radical.asyncflow.worker import (
    Execution,
    Gpu,
    GpuShares,
    Meter,
    Raised,
    ServiceExecution,
    TaskContext,
    call,
    close_loop,
    trace_of,
)

from .places import CorePlaces, settle
from .ranks import Ranks, has_ranks
from .seats import NO_GPUS, Admission, Seats, Sleeper
from .values import filled

__all__ = ["Slot"]

_EXECUTABLE = TaskKind.EXECUTABLE


class Slot:
    """Runs tasks, one after the other, in its own thread.

    Attributes:
        slots: where its tasks come from.
        wake: a lock that the thread waits for while it stands still.
        grace: seconds between SIGTERM and SIGKILL.
        core: the core to which its functions are bound, or None.
    """

    def __init__(
        self,
        slots: Seats,
        number: int,
        *,
        name: str,
        grace: float,
        ranks: Ranks,
        places: CorePlaces | None = None,
    ) -> None:
        self.slots = slots
        self.name = f"{name}-{number}"
        self.grace = grace
        self.wake = threading.Lock()
        self.wake.acquire()
        self.core: int | None = None
        self._places = places
        self._ranks = ranks
        self.thread = threading.Thread(target=self._main, name=self.name, daemon=True)
        self._job: TaskContext | None = None
        self._abandoned = False
        self._looking = False
        self._executing = False
        self._execution_now: Execution | None = None
        self._errand: Callable[[], None] | None = None
        sink = slots.sink
        self._meter = Meter(whole_process=False) if sink.keeps_usage else None
        self._keeps_output = sink.keeps_output
        self._is_traced = sink.keeps_usage or sink.keeps_output
        self._relieved = False  # another slot has taken its place

    # ------------------------------------------------------- from any thread

    def cancel(self, task_ids: Collection[TaskId]) -> Iterable[AnyReport]:
        """Stop those of the tasks that it runs; return the reports of what that ended."""
        job = self._job
        if job is not None and job.task_id in task_ids:
            job.cancel()
        return ()

    def holds(self) -> Iterable[TaskId]:
        """Return the tasks that it has taken."""
        job = self._job
        return () if job is None else (job.task_id,)

    def runs(self) -> Sequence[TaskId]:
        """Return the task that it runs, if it runs one."""
        job = self._job
        return () if job is None else (job.task_id,)

    def written(self) -> tuple[TaskId, Written] | None:
        """Return the command that it runs with its output so far; None if it runs none."""
        # In this order: the next command then finds another job here.
        execution, job = self._execution_now, self._job
        if execution is None or job is None or job.on_cancel != execution.cancel:
            return None
        written = execution.written()
        return None if written is None else (job.task_id, written)

    def stuck_on(self, task_ids: Collection[TaskId]) -> TaskContext | None:
        """Return the cancelled one of the tasks, if its function runs on here."""
        job = self._job
        stuck = job is not None and job.cancelled and job.task_id in task_ids
        return job if stuck and not (self._executing or self._relieved) else None

    def relieve(self) -> None:
        """Have it leave when its function returns, because another slot takes its place."""
        self._relieved = True

    def abandon(self) -> list[TaskContext]:
        """Stop reporting for good, and return the tasks that it would have reported."""
        self._abandoned = True
        job, self._job = self._job, None
        return [] if job is None else [job]

    # ----------------------------------------------------- in the own thread

    def _main(self) -> None:
        places = self._places
        if places is not None:
            self.core = places.take()
            self._settle((self.core,))
        try:
            self._serve()
        finally:
            if places is not None and self.core is not None:
                places.give_back(self.core)
            self.has_looked()
            self.close()
            self.slots.left()

    def close(self) -> None:
        """Release what the thread has; called in it, before it ends."""
        close_loop()

    def will_look(self) -> None:
        """Note that it will look into the queue, before the report that may fill the queue.

        That is not so if the queue is full: it will take what is there.
        """
        if not self._looking:
            self._looking = True
            self.slots.looking.append(None)

    def has_looked(self) -> None:
        """Note that it has looked: for a task that comes later it has to be woken."""
        if self._looking:
            self._looking = False
            self.slots.looking.pop()

    # -- bound to cores

    def _settle(self, cores: Sequence[int]) -> None:
        """Let functions run on *cores* alone: those of this thread."""
        settle(cores)

    @contextmanager
    def _spread(self, lent: Collection[Sleeper]) -> Iterator[None]:
        """Let a function that takes several slots run on the cores of all of them."""
        if self.core is None or not lent:
            yield
            return
        self._settle([self.core, *(slot.core for slot in lent if slot.core is not None)])
        try:
            yield
        finally:
            self._settle((self.core,))

    @contextmanager
    def _unbound(self) -> Iterator[None]:
        """Let a command, which inherits it, run on all cores."""
        if self.core is None or self._places is None:
            yield
            return
        self._settle(self._places.order)
        try:
            yield
        finally:
            self._settle((self.core,))

    def _serve(self) -> None:
        slots = self.slots
        queue = slots.queue
        while not self._abandoned:
            seen = slots.changes
            if slots.specials:
                admission = slots.admit(self)
                if admission is not None:
                    self.has_looked()
                    try:
                        if has_ranks(admission.request):
                            self._take_ranks(admission)
                        else:
                            with self._spread(admission.lent):
                                self._take(admission.request, admission.gpus)
                    finally:
                        slots.release(admission)
                    del admission
                    continue
            try:
                request = queue.first.popleft()
            except IndexError:
                if not queue.advance() and not slots.park(self, seen):
                    return
                self._run_errand()
                continue
            if self._looking:
                self.has_looked()
            if slots.idle and queue:
                # Whoever takes a task and leaves another wakes the next slot.
                slots.wake(1)
            if (
                slots.crews
                and request.spec.kind is _EXECUTABLE
                and slots.leave_to_crew(self, request)
            ):
                del request
                self._run_errand()
                continue
            self._take(request)
            del request  # a slot that waits keeps no argument alive

    def _take(self, request: TaskRequest, gpus: GpuShares = NO_GPUS) -> None:
        """Run *request*, unless it was cancelled, and then what may follow at once."""
        slots = self.slots
        assigned = tuple(gpus) if gpus else ()
        if request.spec.kind is _EXECUTABLE:
            execution = self.prepare(request, assigned)
            if execution is not None:
                with self._unbound():
                    self.conclude(execution, execution.run)
            return
        follower: TaskRequest | None = request
        while follower is not None:
            request, follower = follower, None
            task_id, attempt, spec = request.task_id, request.attempt, request.spec
            # Before the claim: a cancel that comes after it finds the task here.
            self._job = job = TaskContext(spec.name, task_id, attempt, assigned)
            claimed = slots.waiting.pop(task_id, None)
            args, kwargs, context = request.args, request.kwargs, request.context
            if request.dependencies:
                args, kwargs = filled(args, kwargs, slots.values.pop(task_id, None))
            if claimed is not request:
                if claimed is not None:
                    # This attempt was cancelled while it waited, and the next one is here.
                    slots.requeue((claimed,))
                break
            slots.sink.running(task_id, attempt, self.name)
            try:
                context = Context() if context is None else context.copy()
                if self._is_traced:
                    value = self._call_traced(context, request, args, kwargs, job)
                else:
                    value = context.run(call, spec.function, args, kwargs, job)
            except BaseException as exc:  # SystemExit and the like fail the task, not the slot
                self._failed(job, exc)
                self._leave_if_relieved()
                break
            if job.cancelled or self._abandoned:
                self._cancelled(job)
                self._leave_if_relieved()
                break
            follower = slots.behind.pop(task_id, None) if slots.behind else None
            if follower is None and not slots.queue.first:
                self.will_look()
            slots.sink.done(task_id, attempt, value)
            if follower is not None:
                follower = slots.follow(follower, value)
        self._job = None

    def _call_traced(
        self, context: Context, request: TaskRequest, args: Any, kwargs: Any, job: TaskContext
    ) -> Any:
        """Call the function of *request*, and tell what it printed, logged and used."""
        spec, meter = request.spec, self._meter
        usage = None
        if meter is not None:
            meter.begin(id(spec))
        try:
            return context.run(call, spec.function, args, kwargs, job)
        finally:
            if meter is not None:
                usage = meter.end()
            trace = trace_of(job, usage)
            if trace is not None and not self._abandoned:
                self.slots.sink.traced(job.task_id, job.attempt, trace)

    def _take_ranks(self, admission: Admission) -> None:
        """Run a task with ranks, unless it was cancelled."""
        slots, request, gpus = self.slots, admission.request, admission.gpus
        spec = request.spec
        job = TaskContext(spec.name, request.task_id, request.attempt, tuple(gpus))
        self._job = job
        claimed = slots.waiting.pop(request.task_id, None)
        if claimed is request:
            self._executing = True
            with self._unbound():  # a launcher inherits it, and so do its ranks
                if spec.kind is _EXECUTABLE:
                    self._execute_ranks(request, job, gpus)
                else:
                    self._call_ranks(request, job, admission)
            self._executing = False
        elif claimed is not None:
            slots.requeue((claimed,))
        self._job = None

    def _execute_ranks(self, request: TaskRequest, job: TaskContext, gpus: GpuShares) -> None:
        try:
            sink = self.slots.sink
            execution = self._ranks.execution(
                request,
                gpus,
                sink.work_dir,
                measure=sink.keeps_usage,
                ready=lambda place: sink.serving(job.task_id, job.attempt, Serving(info=place)),
            )
        except BaseException as error:
            self._failed(job, error)
            return
        self._begin(execution, job)
        self.conclude(execution, execution.run)

    def _call_ranks(self, request: TaskRequest, job: TaskContext, admission: Admission) -> None:
        sink = self.slots.sink

        def tell(usage: TaskUsage) -> None:
            sink.traced(job.task_id, job.attempt, TaskTrace(usage=usage))

        cores = [slot.core for slot in (self, *admission.lent) if slot.core is not None]
        try:
            outcome = self._ranks.call(
                *(request, job, admission.gpus, cores),
                worker=self.name,
                running=partial(sink.running, job.task_id, job.attempt, self.name),
                used=tell if sink.keeps_usage else None,
            )
        except BaseException as error:  # an error of ours
            outcome = Raised(error)
        if type(outcome) is Raised:
            self._failed(job, outcome.error)
        elif job.cancelled or self._abandoned:
            self._cancelled(job)
        else:
            sink.done(job.task_id, job.attempt, outcome)

    def _leave_if_relieved(self) -> None:
        if self._relieved:
            self._job = None
            self._abandoned = True
            self.slots.dismiss(self)

    # ------------------------- commands, also in another thread: see `Sleeper`

    def prepare(self, request: TaskRequest, gpus: tuple[Gpu, ...] = ()) -> Execution | None:
        slots = self.slots
        self._executing = True
        # Before the claim, as for a function.
        job = self._job = TaskContext(request.spec.name, request.task_id, request.attempt, gpus)
        claimed = slots.waiting.pop(request.task_id, None)
        slots.values.pop(request.task_id, None)
        if claimed is request:
            return self._execution(request, job)
        self._job = None
        self._executing = False
        if claimed is not None:
            slots.requeue((claimed,))
        return None

    def conclude(self, execution: Execution, step: Callable[[], ExecutableResult]) -> None:
        job = self._job
        error: BaseException | None = None
        result = None
        try:
            result = step()
        except BaseException as exc:
            error = exc
        if job is not None:  # else it was abandoned
            if self._is_traced and (trace := execution.trace(output=self._keeps_output)):
                self.slots.sink.traced(job.task_id, job.attempt, trace)
            if execution.cancelled or self._abandoned:
                self._cancelled(job)
            elif error is not None:
                self._failed(job, error)
            else:
                self.slots.sink.done(job.task_id, job.attempt, result)
        self._job = self._execution_now = None
        self._executing = False

    def go_on(self, execution: Execution, step: Callable[[], ExecutableResult]) -> None:
        self._errand = partial(self.conclude, execution, step)
        self.wake.release()

    def _run_errand(self) -> None:
        """Go on with a command that a crew has left to this thread, if there is one."""
        errand, self._errand = self._errand, None
        if errand is not None:
            with self._unbound():
                errand()

    def _execution(self, request: TaskRequest, job: TaskContext) -> Execution:
        """Return the command of *request* for execution, reported as RUNNING."""
        sink = self.slots.sink
        command = request.command
        assert isinstance(command, Command)
        self._executing = True
        spec = request.spec
        options: dict[str, Any] = {
            "name": job.name,
            "work_dir": sink.work_dir,
            "capture_stdio": spec.capture_stdio,
            "gpus": job.gpus,
            "grace": self.grace,
        }
        if spec.service:
            execution: Execution = ServiceExecution(
                command,
                spec.readiness,
                lambda *serving: sink.serving(job.task_id, job.attempt, Serving(*serving)),
                measure=sink.keeps_usage,
                **options,
            )
        else:
            execution = Execution(command, measure=sink.keeps_usage, **options)
        self._begin(execution, job)
        return execution

    def _begin(self, execution: Execution, job: TaskContext) -> None:
        """Let a cancel find *execution*, and report its task as RUNNING."""
        self._execution_now = execution
        job.on_cancel = execution.cancel
        if job.cancelled:
            execution.cancel()
        self.slots.sink.running(job.task_id, job.attempt, self.name)

    def _failed(self, job: TaskContext, error: BaseException) -> None:
        if job.cancelled or self._abandoned:
            self._cancelled(job)
        else:
            self.slots.sink.failed(job.task_id, job.attempt, error)
            self._withdraw_behind(job)

    def _cancelled(self, job: TaskContext) -> None:
        if not self._abandoned:
            self.slots.sink.cancelled(job.task_id, job.attempt)
        self._withdraw_behind(job)

    def _withdraw_behind(self, job: TaskContext) -> None:
        gone = self.slots.withdraw(job.task_id)
        if gone:
            self.slots.sink.report(gone)
