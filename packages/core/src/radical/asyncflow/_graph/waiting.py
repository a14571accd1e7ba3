"""Follow what a task waits for to the causes, over the unfinished tasks in between."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

from ..model._waiting import TaskNow, Wait, WaitCause, Waiting, WaitKind, WaitReason

__all__ = ["Group", "Inputs", "Tasks", "explain", "explain_all", "grouped", "reason_of"]

MOST_TASKS = 5
"""The most tasks that a reason or a cause holds."""

RUNS = Wait(kind=WaitKind.RUNNING, text="nothing: it runs")


class Inputs(NamedTuple):
    """The tasks that one waits for.

    Attributes:
        unfinished: those that have not ended.
        total: how many there are with those that have.
        what: what they are for it, in the plural.
    """

    unfinished: Sequence[Any]
    total: int
    what: str = "inputs"


class Group(NamedTuple):
    """Some tasks that wait for the same."""

    wait: Wait
    nodes: list[Any]


class Tasks(Protocol):
    """The tasks of a run, whatever a node is: a number, or a future."""

    def now(self, node: Any) -> TaskNow:
        """Return *node* as it is now."""

    def named(self, number: int) -> TaskNow:
        """Return the task with this *number* as it is now, even if it has ended."""

    def number(self, node: Any) -> int:
        """Return the number of *node*."""

    def is_running(self, node: Any) -> bool:
        """Tell whether *node* runs."""

    def inputs(self, node: Any) -> Inputs:
        """Return what *node* depends on."""

    def waits(self, nodes: Sequence[Any]) -> Mapping[int, Sequence[Wait]]:
        """Return, by number, what each of *nodes* waits for beside other tasks.

        A node that only waits for other tasks may be left out.
        """


def explain(tasks: Tasks, node: Any) -> Waiting:
    """Say what *node*, which has not ended, waits for."""
    if tasks.is_running(node):
        own = tasks.waits([node]).get(tasks.number(node), ())
        return Waiting(
            task=tasks.now(node),
            reasons=tuple(reason_of(tasks, wait) for wait in own),
            causes=_causes(tasks, [node]),
        )
    inputs = tasks.inputs(node)
    own = tasks.waits([node]).get(tasks.number(node), ())
    reasons = [reason_of(tasks, wait) for wait in own]
    if not inputs.unfinished:
        return Waiting(task=tasks.now(node), reasons=tuple(reasons), causes=_causes(tasks, [node]))
    roots, between = _roots(tasks, inputs.unfinished)
    if own:
        roots.append(node)
    return Waiting(
        task=tasks.now(node),
        reasons=(_dependency(tasks, inputs), *reasons),
        causes=_causes(tasks, roots),
        between=between,
    )


def explain_all(tasks: Tasks, nodes: Iterable[Any]) -> Waiting:
    """Say what *nodes*, which have not ended, wait for.

    Those that depend on others count as one cause.
    """
    roots: list[Any] = []
    dependents: list[Any] = []
    for node in nodes:
        is_dependent = not tasks.is_running(node) and tasks.inputs(node).unfinished
        (dependents if is_dependent else roots).append(node)
    causes = list(_causes(tasks, roots))
    if dependents:
        reason = WaitReason(kind=WaitKind.DEPENDENCY, text="other tasks")
        examples = tuple(tasks.now(node) for node in dependents[:MOST_TASKS])
        causes.append(WaitCause(reason=reason, tasks=examples, count=len(dependents)))
    causes.sort(key=lambda cause: (cause.reason.kind is not WaitKind.RUNNING, -cause.count))
    return Waiting(task=None, causes=tuple(causes))


def reason_of(tasks: Tasks, wait: Wait) -> WaitReason:
    """Return the reason that *wait* stands for."""
    holders = tuple(tasks.named(number) for number in tuple(wait.holders)[:MOST_TASKS])
    return WaitReason(
        kind=wait.kind,
        text=wait.text,
        holders=holders,
        held_by=max(wait.held_by, len(wait.holders)),
        ahead=wait.ahead,
        outranked=wait.outranked,
        seconds=wait.seconds,
    )


def _dependency(tasks: Tasks, inputs: Inputs) -> WaitReason:
    missing = len(inputs.unfinished)
    first = tasks.now(inputs.unfinished[0])
    if inputs.total == 1:
        text = first.title
    elif inputs.what == "inputs":
        text = f"{missing:,} of its {inputs.total:,} inputs"
    else:
        text = f"{missing:,} {inputs.what}"
    holders = tuple(tasks.now(node) for node in inputs.unfinished[:MOST_TASKS])
    return WaitReason(
        kind=WaitKind.DEPENDENCY, text=text, holders=holders, held_by=missing, of=inputs.total
    )


def _roots(tasks: Tasks, first: Sequence[Any]) -> tuple[list[Any], int]:
    """Return what *first* waits for in the end, and how many tasks are between."""
    seen: set[int] = set()
    queue: list[Any] = []
    roots: list[Any] = []
    between = 0
    for node in first:
        if (number := tasks.number(node)) not in seen:
            seen.add(number)
            queue.append(node)
    for node in queue:  # it grows meanwhile
        others = () if tasks.is_running(node) else tasks.inputs(node).unfinished
        if not others:
            roots.append(node)
            continue
        between += 1
        for other in others:
            if (number := tasks.number(other)) not in seen:
                seen.add(number)
                queue.append(other)
    return roots, between


def grouped(tasks: Tasks, roots: Sequence[Any]) -> list[Group]:
    """Return *roots*, which wait for no other task, in groups that wait for the same.

    Those that run come first, and then the largest group.
    """
    known = tasks.waits(roots)
    groups: dict[tuple[WaitKind, str], Group] = {}
    for node in roots:
        waits = known.get(tasks.number(node), ())
        if not waits and tasks.is_running(node):
            waits = (RUNS,)
        for wait in waits:
            key = wait.kind, wait.text
            group = groups.get(key)
            if group is None:
                groups[key] = Group(wait, [node])
                continue
            group.nodes.append(node)
            soonest = group.wait.seconds
            if wait.seconds is not None and (soonest is None or wait.seconds < soonest):
                groups[key] = Group(wait, group.nodes)
    return sorted(
        groups.values(), key=lambda one: (one.wait.kind is not WaitKind.RUNNING, -len(one.nodes))
    )


def _causes(tasks: Tasks, roots: Sequence[Any]) -> tuple[WaitCause, ...]:
    causes = []
    for wait, nodes in grouped(tasks, roots):
        reason = reason_of(tasks, wait)
        if len(nodes) > 1:  # each has its own place in the order
            reason = replace(reason, ahead=None, outranked=0)
        now = [tasks.now(node) for node in nodes]
        if wait.kind is WaitKind.RUNNING:
            now.sort(key=lambda task: -(task.seconds or 0.0))
        causes.append(WaitCause(reason=reason, tasks=tuple(now[:MOST_TASKS]), count=len(nodes)))
    return tuple(causes)
