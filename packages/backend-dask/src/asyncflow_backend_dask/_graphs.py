"""Jobs on their way to the scheduler: one message for many, and none for what is gone."""

from __future__ import annotations

import asyncio
import itertools
import pickle
import re
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dask._task_spec import DataNode, GraphNode, Task
from dask._task_spec import TaskRef as DaskRef
from radical.asyncflow.backend import TaskId, TaskRef
from radical.asyncflow.worker import Codes, by_value, unsendable

from . import _remote
from ._client import GraphClient
from ._jobs import Job
from ._values import DaskValue
from ._wire import SAME_TASK, Call, Order, Parcel, Slot, dump_with_slots

__all__ = ["GoneError", "Graphs"]

_APART = 32 * 1024  # bytes of a pickled function above which workers get it once, as data


class GoneError(LookupError):
    """A task is to use the result of one that has none (any more).

    Attributes:
        task_id: of that one.
    """

    def __init__(self, task_id: TaskId) -> None:
        super().__init__(task_id)
        self.task_id = task_id


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
    ) -> list[tuple[Job, BaseException]]:
        """Send each group as one Dask task, with its annotations; those that cannot be sent.

        *jobs* and *values* are where the dependencies are.
        """
        bad: list[tuple[Job, BaseException]] = []
        graph: dict[str, GraphNode] = {}
        current: Mapping[str, Any] = {}
        for group, wanted in groups:
            # One message has one set of annotations, and the order must be kept.
            if wanted != current and graph:
                self._send(graph, current)
                graph = {}
            current = wanted
            try:
                key, node = self._node(group, jobs, values, graph)
            except BaseException as exc:  # whatever the arguments' own methods raise
                bad.extend((job, exc) for job in group)
                continue
            graph[key] = node
            for index, job in enumerate(group):
                job.key, job.index = key, index if len(group) > 1 else 0
        if graph:
            self._send(graph, current)
        return bad

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

    def _node(
        self,
        group: Sequence[Job],
        jobs: Mapping[TaskId, Job],
        values: Mapping[TaskId, DaskValue],
        graph: dict[str, GraphNode],
    ) -> tuple[str, GraphNode]:
        first = group[0]
        if first.is_command:
            payload = pickle.dumps(first.request.command, 5)
            call = Call(first.task_id, first.attempt, first.name, payload, (), self._lives(first))
            options = dict(self._command_options, capture_stdio=first.request.spec.capture_stdio)
            folder = options.pop("work_dir")
            options["folder"] = str(folder()) if options["capture_stdio"] else None
            key = self._key(first, 1)
            order = Order(
                self._topic,
                key,
                0,
                None,
                (call,),
                gpus=first.request.spec.resources.gpus,
                options=options,
            )
            return key, Task(key, _remote.run, pickle.dumps(order, 5), None)
        code = first.code
        assert code is not None
        references: list[Any] = []
        buffers: list[Any] = []
        places: dict[TaskId, Slot] = {}
        behind: list[tuple[TaskId, int]] = []
        for task_id in first.request.dependencies:
            if task_id not in places:
                slot = self._slot(task_id, len(references), jobs, values, references)
                places[task_id] = slot
                if slot.place >= 0:
                    behind.append((task_id, slot.nth))
        calls = tuple(
            Call(
                job.task_id,
                job.attempt,
                job.name,
                job.payload or self._dump(job, buffers, places),
                tuple(behind) if job is first else (),
                self._lives(job),
                job.after,
            )
            for job in group
        )
        function: bytes | None = code.pickled
        if len(code.pickled) > _APART and code.number in self.codes.alive:
            function = None
            references.append(DaskRef(self._code_key(code.number, code.pickled, graph)))
        key = self._key(first, len(group))
        order = Order(
            self._topic, key, code.number, function, calls, gpus=first.request.spec.resources.gpus
        )
        parcel = Parcel(buffers) if buffers else None
        return key, Task(key, _remote.run, pickle.dumps(order, 5), parcel, *references)

    def _lives(self, job: Job) -> int:
        return self._allowed_failures if job.request.spec.retries is None else 0

    def _slot(
        self,
        task_id: TaskId,
        place: int,
        jobs: Mapping[TaskId, Job],
        values: Mapping[TaskId, DaskValue],
        references: list[Any],
    ) -> Slot:
        held: Job | DaskValue | None = jobs.get(task_id)
        if held is None:
            held = values.get(task_id)
            if held is not None and held.inline is not None:
                return Slot(-1, 0, held.inline)
        if held is None or not held.key:
            raise GoneError(task_id)
        references.append(DaskRef(held.key))
        return Slot(place, held.index)

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
