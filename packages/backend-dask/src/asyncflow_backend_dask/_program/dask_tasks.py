"""Dask tasks: the jobs of one group, written as a node of Dask's graph."""

from __future__ import annotations

import itertools
import pickle
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dask._task_spec import DataNode, GraphNode, Task
from dask._task_spec import TaskRef as DaskRef
from radical.asyncflow.backend import TaskId, TaskRef, TaskSpec
from radical.asyncflow.worker import Code, Codes, by_value, dump_arguments, reloaded, unsendable

from .._messages.orders import (
    IN_PLACEHOLDER,
    SAME_TASK,
    LargeBuffers,
    PackedCall,
    Placeholder,
    RankOrder,
    TraceOrder,
    WorkOrder,
)
from .._messages.pickles import dump_with_placeholders
from .._worker.run import run
from .jobs import Job
from .values import DaskValue

__all__ = ["DaskTaskWriter", "NoResultError", "SentTask"]

_PROGRAM = secrets.token_hex(4)  # by which workers know this process
_MIN_SHARED_FUNCTION_BYTES = 32 * 1024  # a larger pickled function is data of its own


class NoResultError(LookupError):
    """A task takes the result of a task that has none, or has none any longer.

    Attributes:
        task_id: the id of the latter.
    """

    def __init__(self, task_id: TaskId) -> None:
        super().__init__(task_id)
        self.task_id = task_id


class SentTask(NamedTuple):
    """A Dask task on its way.

    Attributes:
        waits_for: the keys that it waits for.
        needs_differ: whether some of its jobs do not need all of these.
    """

    key: str
    jobs: Sequence[Job]
    waits_for: Collection[str]
    needs_differ: bool


class DaskTaskWriter:
    """Writes groups of jobs as Dask tasks.

    Attributes:
        codes: the functions that were sent.
    """

    def __init__(
        self,
        topic: str,
        uid: str,
        *,
        work_dir: Callable[[], Path],
        changed_path: Callable[[], tuple[str, ...] | None],
        grace: float,
        launcher: str | None,
        allowed_failures: int,
        traces: TraceOrder,
    ) -> None:
        """Write orders whose events go to *topic*; the keys have *uid* in them.

        Args:
            work_dir: returns the folder for what a command prints.
            changed_path: returns the ``sys.path`` that workers must take over, or None.
            grace: seconds from SIGTERM to SIGKILL for a command.
            launcher: the setting ``mpi_launcher``.
            allowed_failures: how many deaths of workers a task without retries survives.
            traces: what the program wants of what calls leave behind.
        """
        self.codes = Codes()
        self._topic = topic
        self._uid = uid
        self._work_dir = work_dir
        self._changed_path = changed_path
        self._grace = grace
        self._launcher = launcher
        self._allowed_failures = allowed_failures
        self._traces = traces if any(traces) else None
        self._reloaded: tuple[str, tuple[str, ...]] | None = None
        self._repeats = itertools.count(1)
        self._code_keys: dict[int, str] = {}

    def pickle_arguments(self, job: Job) -> bytes | None:
        """Return the pickled arguments of *job*; None if large buffers have to go beside them.

        Raises:
            SerializationError: they cannot be pickled.
        """
        buffers: list[Any] = []
        payload = self._dump(job, buffers, {})
        return None if buffers else payload

    def pickle_chained(self, job: Job, predecessor: Job) -> bytes | None:
        """Do the same for a job that runs right after *predecessor*, in the same Dask task.

        Raises:
            SerializationError: they cannot be pickled.
        """
        buffers: list[Any] = []
        places = {predecessor.task_id: Placeholder(SAME_TASK, predecessor.task_id)}
        payload = self._dump(job, buffers, places)
        return None if buffers else payload

    def write_command(self, job: Job, graph: dict[str, GraphNode]) -> SentTask:
        """Add the Dask task of a command to *graph*."""
        spec = job.request.spec
        capture = spec.capture_stdio
        options = {
            "capture_stdio": capture,
            "grace": self._grace,
            "folder": str(self._work_dir()) if capture or spec.service else None,
            "readiness": spec.readiness if spec.service else None,
        }
        payload = pickle.dumps(job.request.command, 5)
        call = PackedCall(
            job.task_id, job.attempt, job.name, payload, allowed_deaths=self._allowed_deaths(job)
        )
        key = self._key(job, 1)
        gpus = spec.resources.gpus
        order = WorkOrder(
            *(self._topic, key, 0, None, (call,)),
            gpus=gpus,
            command_options=options,
            ranks=self._ranks(spec),
            traces=self._traces,
        )
        graph[key] = Task(key, run, pickle.dumps(order, 5), None)
        job.key, job.index = key, 0
        return SentTask(key, [job], (), False)

    def write_calls(
        self,
        group: Sequence[Job],
        jobs: Mapping[TaskId, Job],
        values: Mapping[TaskId, DaskValue],
        graph: dict[str, GraphNode],
        unsent: list[tuple[Job, BaseException]],
    ) -> SentTask | None:
        """Add the Dask task of function calls to *graph*.

        Args:
            jobs, values: where the results of dependencies are found.
            unsent: gets the jobs that cannot be sent, each with the reason.

        Returns:
            None if no job of *group* can be sent.
        """
        draft = _Draft(jobs, values)
        for job in group:
            first = len(draft.buffers)
            try:
                places = draft.places_of(job)
                payload = job.payload or self._dump(job, draft.buffers, places)
            except BaseException as exc:  # whatever the arguments' own methods raise
                del draft.buffers[first:]
                unsent.append((job, exc))
                continue
            draft.add(job, payload, places, first, self._allowed_deaths(job))
        if not draft.members:
            return None
        return self._finish(draft, graph)

    def look_for_reloads(self) -> None:
        """Have the orders from now on name the modules that the program has loaded anew."""
        names = reloaded()
        self._reloaded = (_PROGRAM, names) if names else None

    def outdated_keys(self) -> list[str]:
        """Return the keys of large functions that no longer exist, each key once."""
        gone = [number for number in self._code_keys if number not in self.codes.alive]
        return [self._code_keys.pop(number) for number in gone]

    def _finish(self, draft: _Draft, graph: dict[str, GraphNode]) -> SentTask:
        head, members = draft.members[0], draft.members
        code = head.code
        assert code is not None
        references: list[Any] = [DaskRef(key) for key in draft.waits_for]
        function: bytes | None = code.pickled
        if len(code.pickled) > _MIN_SHARED_FUNCTION_BYTES and code.number in self.codes.alive:
            function = None
            references.append(DaskRef(self._code_key(code, graph)))
        key = self._key(head, len(members))
        gpus = head.request.spec.resources.gpus
        order = WorkOrder(
            self._topic,
            key,
            code.number,
            function,
            tuple(draft.calls),
            gpus=gpus,
            path=self._changed_path(),
            reloaded=self._reloaded,
            seconds=code.seconds or 0.0,
            ranks=self._ranks(head.request.spec),
            traces=self._traces,
        )
        buffers = LargeBuffers(draft.buffers) if draft.buffers else None
        graph[key] = Task(key, run, pickle.dumps(order, 5), buffers, *references)
        for index, job in enumerate(members):
            job.key, job.index = key, index
        return SentTask(key, members, draft.waits_for, draft.needs_differ)

    def _ranks(self, spec: TaskSpec) -> RankOrder | None:
        """Return what a worker has to know of the ranks of a task; None for one rank."""
        asked = spec.resources
        if asked.ranks == 1:
            return None
        root = spec.mpi_result == "root"
        return RankOrder(asked, root, self._launcher, self._grace)

    def _allowed_deaths(self, job: Job) -> int:
        """Return how many workers may die under *job*; what follows for a service is not ours."""
        spec = job.request.spec
        return self._allowed_failures if spec.retries is None and not spec.service else 0

    def _dump(self, job: Job, buffers: list[Any], places: Mapping[TaskId, Placeholder]) -> bytes:
        request = job.request
        function = request.spec.function
        if not places:
            return dump_arguments(function, request.args, request.kwargs, buffers)

        def placeholder_of(item: Any) -> Placeholder | None:
            return places.get(item.task_id) if type(item) is TaskRef else None

        try:
            with by_value(function):
                arguments = request.args, dict(request.kwargs)
                return dump_with_placeholders(arguments, buffers, placeholder_of)
        except BaseException as exc:  # whatever the arguments' own methods raise
            raise unsendable("arguments", exc) from exc

    def _code_key(self, code: Code, graph: dict[str, GraphNode]) -> str:
        """Return the key under which the workers find a large function."""
        key = self._code_keys.get(code.number)
        if key is None:
            key = self._code_keys[code.number] = f"code-{self._uid}-{code.number}"
            graph[key] = DataNode(key, code.pickled)
        return key

    def _key(self, job: Job, count: int) -> str:
        """Return a key that is used once, and that a reader of the dashboard understands."""
        name = re.sub(r"[^\w.<>]", "_", job.name)[:80] or "task"
        key = f"{name}-{self._uid}-{job.task_id}-{job.attempt}"
        if count > 1:
            key += f"-x{count}"
        if job.key:  # it was sent before
            key += f"-r{next(self._repeats)}"
        return key


class _Draft:
    """A Dask task of function calls while it is written.

    Attributes:
        buffers: the large buffers of all its calls.
        calls, members: the calls, and the jobs that they are of.
        waits_for: the keys that it waits for, with the index of each.
    """

    def __init__(self, jobs: Mapping[TaskId, Job], values: Mapping[TaskId, DaskValue]) -> None:
        self.buffers: list[Any] = []
        self.calls: list[PackedCall] = []
        self.members: list[Job] = []
        self.waits_for: dict[str, int] = {}
        self._jobs = jobs
        self._values = values
        self._needs: set[int] = set()  # how many keys the calls outside of a chain need

    @property
    def needs_differ(self) -> bool:
        """True if some of the calls do not need all that the Dask task waits for."""
        return self._needs != {len(self.waits_for)}

    def places_of(self, job: Job) -> dict[TaskId, Placeholder]:
        """Return a placeholder for each dependency; none for a job that follows in a chain.

        Raises:
            NoResultError: a dependency has no result.
        """
        if job.predecessor:
            if not self.members or self.members[-1].task_id != job.predecessor:
                raise NoResultError(job.predecessor)
            return {}
        return {task_id: self._place(task_id) for task_id in job.request.dependencies}

    def add(
        self,
        job: Job,
        payload: bytes,
        places: Mapping[TaskId, Placeholder],
        first_buffer: int,
        allowed_deaths: int,
    ) -> None:
        """Add the call of *job*."""
        dependencies = tuple(
            (task_id, place.source, place.call_index)
            for task_id, place in places.items()
            if place.source >= 0
        )
        if not job.predecessor:
            self._needs.add(len({source for _, source, _ in dependencies}))
        self.calls.append(
            PackedCall(
                job.task_id,
                job.attempt,
                job.name,
                payload,
                dependencies,
                allowed_deaths,
                job.predecessor,
                first_buffer,
            )
        )
        self.members.append(job)

    def _place(self, task_id: TaskId) -> Placeholder:
        held: Job | DaskValue | None = self._jobs.get(task_id)
        if held is None:
            held = self._values.get(task_id)
            if held is not None and held.inline is not None:
                return Placeholder(IN_PLACEHOLDER, 0, held.inline)
        if held is None or not held.key:
            raise NoResultError(task_id)
        source = self.waits_for.setdefault(held.key, len(self.waits_for))
        return Placeholder(source, held.index)
