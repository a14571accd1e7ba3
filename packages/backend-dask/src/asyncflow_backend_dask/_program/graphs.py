"""Graphs on their way to the scheduler, and keys that it may forget."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from dask._task_spec import GraphNode
from radical.asyncflow.backend import TaskId

from .client import GraphClient
from .dask_tasks import DaskTaskWriter, SentTask
from .jobs import Job, dask_priority
from .values import DaskValue

__all__ = ["GraphSender"]


class GraphSender:
    """Sends graphs to the scheduler and withdraws their keys.

    A scheduler takes a graph in beside its other work.  If a key were released while a
    graph that uses or makes it is under way, it would be lost, or never forgotten.  So a
    release waits for the graphs that were sent before it.
    """

    def __init__(self, client: GraphClient, writer: DaskTaskWriter, uid: str) -> None:
        """Send by *client* what *writer* writes; *uid* tells our graphs from others."""
        self._client = client
        self._writer = writer
        self._uid = uid
        self._sent = 0
        self._in_flight: set[int] = set()
        self._releases: deque[tuple[int, str]] = deque()
        self._is_releasing = False

    def send(
        self,
        groups: Iterable[tuple[Sequence[Job], Mapping[str, Any]]],
        jobs: Mapping[TaskId, Job],
        values: Mapping[TaskId, DaskValue],
    ) -> tuple[list[SentTask], list[tuple[Job, BaseException]]]:
        """Send each group as one Dask task, with its annotations.

        Args:
            jobs, values: where the results of dependencies are found.

        Returns:
            What was sent, and the jobs that cannot be sent, each with the reason.
        """
        sent: list[SentTask] = []
        unsent: list[tuple[Job, BaseException]] = []
        graph: dict[str, GraphNode] = {}
        priorities: dict[str, float] = {}
        current: Mapping[str, Any] = {}
        self._writer.look_for_reloads()
        for group, wanted in groups:
            # One message has one set of annotations, and the groups must stay in order.
            if wanted != current and graph:
                self._send(graph, priorities, current)
                graph, priorities = {}, {}
            current = wanted
            before = len(graph)
            if group[0].is_command:
                sent.append(self._writer.write_command(group[0], graph))
            elif (new := self._writer.write_calls(group, jobs, values, graph, unsent)) is not None:
                sent.append(new)
            if priority := dask_priority(group[0].request):
                priorities.update((key, priority) for key in islice(graph, before, None))
        if graph:
            self._send(graph, priorities, current)
        for key in self._writer.outdated_keys():
            self.release(key)
        return sent, unsent

    def release(self, key: str) -> None:
        """Have the scheduler forget *key* when no graph under way can need it."""
        self._releases.append((self._sent, key))
        if not self._is_releasing:
            self._is_releasing = True
            asyncio.get_running_loop().call_soon(self._release)

    def arrived(self, stimulus: str) -> None:
        """Note that the scheduler has taken in the graph with this *stimulus*."""
        number = stimulus.rpartition("-")[2]
        if number.isdigit():
            self._in_flight.discard(int(number))
            if self._releases:
                self._release()

    def _release(self) -> None:
        self._is_releasing = False
        oldest = min(self._in_flight, default=self._sent + 1)
        keys = []
        while self._releases and self._releases[0][0] < oldest:
            keys.append(self._releases.popleft()[1])
        if keys and self._client.is_running:
            self._client.release_keys(keys)

    def _send(
        self,
        graph: Mapping[str, GraphNode],
        priorities: Mapping[str, float],
        annotations: Mapping[str, Any],
    ) -> None:
        self._sent += 1
        self._in_flight.add(self._sent)
        stimulus = f"asyncflow-{self._uid}-{self._sent}"
        self._client.send_graph(graph, priorities, annotations, stimulus)
