"""Jobs on their way to the scheduler: one message for many, and none for what is gone."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import re
from collections import deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from dask._task_spec import DataNode, GraphNode, Task
from dask._task_spec import TaskRef as DaskRef
from radical.asyncflow.backend import TaskId, TaskRef
from radical.asyncflow.worker import Codes, by_value, unsendable

from .._wire import SAME_TASK, Call, Order, Parcel, Slot, dump_with_slots
from .._worker import run as _remote
from .client import GraphClient
from .jobs import Job
from .values import DaskValue

__all__ = ["GoneError", "Graphs", "Sent"]

_APART = 32 * 1024  # bytes of a pickled function above which workers get it once, as data


class GoneError(LookupError):
    """A task is to use the result of one that has none (any more).

    Attributes:
        task_id: of that one.
    """

    def __init__(self, task_id: TaskId) -> None:
        super().__init__(task_id)
        self.task_id = task_id


class Sent(NamedTuple):
    """A Dask task on its way.

    Attributes:
        behind: the keys that it waits for.
        mixed: some of its jobs do not need all of them.
    """

    key: str
    jobs: Sequence[Job]
    behind: Collection[str]
    mixed: bool


class Graphs:
    """Sends graphs to the scheduler and withdraws their keys.

    A scheduler takes a graph in beside its other work, so a key must not be released
    while a graph is under way that uses or makes it: it would be lost, or never
    forgotten.  Releases therefore wait for the graphs that were sent before them.

    Attributes:
        codes: the functions that were sent.
    """

    def __init__(
        self,
        client: GraphClient,
        topic: str,
        command_options: dict[str, Any],
        *,
        allowed_failures: int,
    ) -> None:
        self.codes = Codes()
        self._allowed_failures = allowed_failures
        self._client = client
        self._topic = topic
        self._uid = re.sub(r"[^\w]", "", topic)[-8:]
        self._command_options = command_options
        self._numbers = itertools.count(1)
        self._sent = 0
        self._open: set[int] = set()
        self._releases: deque[tuple[int, str]] = deque()
        self._releasing = False
        self._code_keys: dict[int, str] = {}

    def pickle_arguments(self, job: Job) -> bytes | None:
        """Its arguments, if nothing in them has to travel apart.

        Raises:
            SerializationError: they cannot be pickled.
        """
        buffers: list[Any] = []
        payload = self._dump(job, buffers, None)
        return None if buffers else payload

    def pickle_link(self, job: Job, before: Job) -> bytes | None:
        """As `pickle_arguments`, for one that runs right after *before*, in one Dask task.

        Raises:
            SerializationError: they cannot be pickled.
        """
        buffers: list[Any] = []
        places = {before.task_id: Slot(SAME_TASK, before.task_id)}
        payload = self._dump(job, buffers, places)
        return None if buffers else payload

    def send(
        self,
        groups: Iterable[tuple[Sequence[Job], Mapping[str, Any]]],
        jobs: Mapping[TaskId, Job],
        values: Mapping[TaskId, DaskValue],
    ) -> tuple[list[Sent], list[tuple[Job, BaseException]]]:
        """Send each group as one Dask task, with its annotations; also the jobs that cannot be.

        *jobs* and *values* are where the dependencies are.
        """
        sent: list[Sent] = []
        bad: list[tuple[Job, BaseException]] = []
        graph: dict[str, GraphNode] = {}
        current: Mapping[str, Any] = {}
        for group, wanted in groups:
            # One message has one set of annotations, and the order must be kept.
            if wanted != current and graph:
                self._send(graph, current)
                graph = {}
            current = wanted
            if group[0].is_command:
                sent.append(self._command(group[0], graph))
            elif (new := self._calls(group, jobs, values, graph, bad)) is not None:
                sent.append(new)
        if graph:
            self._send(graph, current)
        return sent, bad

    def release(self, key: str) -> None:
        """Have the scheduler forget *key*, in time."""
        self._releases.append((self._sent, key))
        if not self._releasing:
            self._releasing = True
            asyncio.get_running_loop().call_soon(self._release)

    def arrived(self, stimulus: str) -> None:
        """The scheduler has taken a graph in."""
        number = stimulus.rpartition("-")[2]
        if number.isdigit():
            self._open.discard(int(number))
            if self._releases:
                self._release()

    def _release(self) -> None:
        self._releasing = False
        oldest = min(self._open, default=self._sent + 1)
        keys = []
        while self._releases and self._releases[0][0] < oldest:
            keys.append(self._releases.popleft()[1])
        if keys and self._client.status == "running":
            self._client.release_keys(keys)

    def _send(self, graph: Mapping[str, GraphNode], annotations: Mapping[str, Any]) -> None:
        self._sent += 1
        self._open.add(self._sent)
        self._client.send_graph(graph, annotations, f"asyncflow-{self._uid}-{self._sent}")

    def _command(self, job: Job, graph: dict[str, GraphNode]) -> Sent:
        spec = job.request.spec
        payload = pickle.dumps(job.request.command, 5)
        call = Call(job.task_id, job.attempt, job.name, payload, (), self._lives(job))
        options = dict(self._command_options, capture_stdio=spec.capture_stdio)
        folder = options.pop("work_dir")
        options["folder"] = str(folder()) if options["capture_stdio"] else None
        key = self._key(job, 1)
        order = Order(self._topic, key, 0, None, (call,), gpus=spec.resources.gpus, options=options)
        graph[key] = Task(key, _remote.run, pickle.dumps(order, 5), None)
        job.key, job.index = key, 0
        return Sent(key, [job], (), False)

    def _calls(
        self,
        group: Sequence[Job],
        jobs: Mapping[TaskId, Job],
        values: Mapping[TaskId, DaskValue],
        graph: dict[str, GraphNode],
        bad: list[tuple[Job, BaseException]],
    ) -> Sent | None:
        """Put those of *group* that can be sent into *graph*, as one Dask task."""
        behind: dict[str, int] = {}
        needs: set[int] = set()  # how many of *behind* each needs, that is no link of a chain
        buffers: list[Any] = []
        calls: list[Call] = []
        members: list[Job] = []
        for job in group:
            first = len(buffers)
            try:
                places: dict[TaskId, Slot] = {}
                if job.after:
                    if not members or members[-1].task_id != job.after:
                        raise GoneError(job.after)
                else:
                    for task_id in job.request.dependencies:
                        places[task_id] = self._slot(task_id, behind, jobs, values)
                payload = job.payload or self._dump(job, buffers, places)
            except BaseException as exc:  # whatever the arguments' own methods raise
                del buffers[first:]
                bad.append((job, exc))
                continue
            there = [(task_id, slot.place, slot.nth) for task_id, slot in places.items()]
            there = [item for item in there if item[1] >= 0]
            if not job.after:
                needs.add(len({place for _, place, _ in there}))
            calls.append(
                Call(
                    job.task_id,
                    job.attempt,
                    job.name,
                    payload,
                    tuple(there),
                    self._lives(job),
                    job.after,
                    first,
                )
            )
            members.append(job)
        if not members:
            return None
        head = members[0]
        code = head.code
        assert code is not None
        references: list[Any] = [DaskRef(key) for key in behind]
        function: bytes | None = code.pickled
        if len(code.pickled) > _APART and code.number in self.codes.alive:
            function = None
            references.append(DaskRef(self._code_key(code.number, code.pickled, graph)))
        key = self._key(head, len(members))
        gpus = head.request.spec.resources.gpus
        order = Order(self._topic, key, code.number, function, tuple(calls), gpus=gpus)
        parcel = Parcel(buffers) if buffers else None
        graph[key] = Task(key, _remote.run, pickle.dumps(order, 5), parcel, *references)
        for index, job in enumerate(members):
            job.key, job.index = key, index if len(members) > 1 else 0
        return Sent(key, members, behind, needs != {len(behind)})

    def _lives(self, job: Job) -> int:
        return self._allowed_failures if job.request.spec.retries is None else 0

    def _slot(
        self,
        task_id: TaskId,
        behind: dict[str, int],
        jobs: Mapping[TaskId, Job],
        values: Mapping[TaskId, DaskValue],
    ) -> Slot:
        """Where its value is; *behind* are the keys that are needed, with their places."""
        held: Job | DaskValue | None = jobs.get(task_id)
        if held is None:
            held = values.get(task_id)
            if held is not None and held.inline is not None:
                return Slot(-1, 0, held.inline)
        if held is None or not held.key:
            raise GoneError(task_id)
        return Slot(behind.setdefault(held.key, len(behind)), held.index)

    def _dump(self, job: Job, buffers: list[Any], places: Mapping[TaskId, Slot] | None) -> bytes:
        slots = places or {}

        def slot_of(item: Any) -> Slot | None:
            return slots.get(item.task_id) if type(item) is TaskRef else None

        request = job.request
        arguments = request.args, dict(request.kwargs)
        try:
            with by_value(request.spec.function):
                return dump_with_slots(arguments, buffers, slot_of if places else None)
        except BaseException as exc:  # whatever the arguments' own methods raise
            raise unsendable("arguments", exc) from exc

    def _code_key(self, number: int, pickled: bytes, graph: dict[str, GraphNode]) -> str:
        """The key under which the workers find a large function."""
        key = self._code_keys.get(number)
        if key is None:
            for old in [item for item in self._code_keys if item not in self.codes.alive]:
                self.release(self._code_keys.pop(old))
            key = self._code_keys[number] = f"code-{self._uid}-{number}"
            graph[key] = DataNode(key, pickled)
        return key

    def _key(self, job: Job, count: int) -> str:
        """Readable in the dashboard, and used once."""
        name = re.sub(r"[^\w.<>]", "_", job.name)[:80] or "task"
        many = f"-x{count}" if count > 1 else ""
        again = next(self._numbers) if job.key else ""
        return f"{name}-{self._uid}-{job.task_id}-{job.attempt}{many}{again and f'-r{again}'}"
