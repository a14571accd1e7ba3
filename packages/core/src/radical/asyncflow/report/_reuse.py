"""Explain why a task reused an earlier result, or ran."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .._public import public
from .._text import count, size_text, task_id_text
from ..journal import FunctionRecord, RunRecord, TaskRecord
from ._facts import is_consequence

__all__ = ["Explanation", "Reuse"]

_MAX_ROOTS = 3
"""The most changed dependencies whose own reason is given."""

_MAX_PARTS = 5
"""The most changed things that a sentence names."""

_CODE = "the code of "
_VERSION = "the version of "
"""The beginnings of the names in `FunctionRecord.parts`; a value has neither."""


@public("radical.asyncflow.report")
class Explanation(NamedTuple):
    """The reasons why one task reused an earlier result, or ran.

    Attributes:
        reused: ``"RUN/NUMBER"`` of the task whose result it reused, or None.
        reasons: at least one sentence, each without a full stop.
    """

    task: TaskRecord
    reused: str | None
    reasons: tuple[str, ...]


@public("radical.asyncflow.report")
class Reuse:
    """A run and the runs before it, compared to explain which results it reused.

    Args:
        runs: all runs of the journal, the oldest first; *run* is one of them.
    """

    def __init__(self, runs: Sequence[RunRecord], run: RunRecord) -> None:
        place = next(place for place, one in enumerate(runs) if one is run)
        self._run = run
        self._first = place == 0
        self._keys: dict[str, tuple[RunRecord, TaskRecord]] = {}
        # For each name the tasks of the last run that has any: they are what a task of the
        # resumed run is compared with.
        self._names: dict[str, tuple[RunRecord, list[TaskRecord]]] = {}
        for one in runs[:place]:
            for task in one.tasks.values():
                if task.key is not None:
                    self._keys[task.key] = one, task
                if task.name not in self._names or self._names[task.name][0] is not one:
                    self._names[task.name] = one, []
                self._names[task.name][1].append(task)
        self._ordinals: dict[int, int] = {}
        seen: Counter[str] = Counter()
        for task in run.tasks.values():
            self._ordinals[task.number] = seen[task.name]
            seen[task.name] += 1
        self._roots: dict[int, TaskRecord] = {}

    def explain(self, task: TaskRecord) -> Explanation:
        """Explain why *task*, which is one of the run, reused a result or ran."""
        return Explanation(task, task.reused, tuple(self._reasons(task)))

    def _reasons(self, task: TaskRecord) -> Iterator[str]:
        if task.reused is not None:
            yield self._origin(task)
        elif task.kind == "block":
            yield "a block always runs; only the tasks that it calls are reused"
        elif is_consequence(task.error):
            yield "it did not run, because a task that it depends on failed"
        elif task.function.cache == "no":
            yield "it is declared with cache=False"
        elif task.name not in self._names:
            yield self._nothing_earlier(task)
        elif task.key is not None and task.key in self._keys:
            yield self._same(task, *self._keys[task.key])
        else:
            yield from self._changes(task)

    def _origin(self, task: TaskRecord) -> str:
        uid, _, number = str(task.reused).rpartition("/")
        place = task_id_text(int(number)) if number.isdecimal() else number
        if uid == self._run.uid:
            return f'an equal call of this run, {place}, already had a result (cache="always")'
        return f"the journal already had the result of the same call, {place} of {uid}"

    def _nothing_earlier(self, task: TaskRecord) -> str:
        if self._first:
            return "this is the first run in the journal"
        return f"no earlier run in the journal has a task named {task.name}"

    def _same(self, task: TaskRecord, run: RunRecord, other: TaskRecord) -> str:
        """Return why the result of an equal call was not reused."""
        which = f"the same call, {other.id} of {run.uid},"
        if other.state == "FAILED":
            kind = "" if other.error is None else f" with {other.error.type.rpartition('.')[2]}"
            return f"{which} failed{kind}"
        if other.state == "CANCELLED":
            return f"{which} was cancelled"
        if other.state != "DONE":
            return f"{which} had not ended when that run ended"
        if other.result_bytes is None and other.reused is None:
            why = f": {other.unstored}" if other.unstored else ""
            return f"the result of {which} was not stored{why}"
        if task.why:
            return task.why
        stored = f" ({size_text(other.result_bytes)})" if other.result_bytes is not None else ""
        return f"{which} has a result{stored}, but the journal does not say why it was not reused"

    def _changes(self, task: TaskRecord) -> Iterator[str]:
        run, others = self._names[task.name]
        if task.key is None and task.why:
            yield task.why
            return
        other = self._counterpart(task, others)
        before = f"{other.id} of {run.uid}"
        found = False
        if task.function.source != other.function.source:
            found = True
            yield _changed_source(task.function, other.function, run.uid)
        if task.function.version != other.function.version:
            found = True
            versions = f"{other.function.version or 'none'} → {task.function.version or 'none'}"
            yield f"its declared version changed since {run.uid} ({versions})"
        changed = self._changed(task)
        if changed:
            found = True
            yield from self._dependencies(changed)
        if task.why:
            found = True
            yield task.why
        if found:
            return
        if task.key is None:
            yield "it ended before the engine could identify the call"
        elif task.function.cache == "key":
            yield f"its cache_key differs from that in {run.uid}"
        else:
            yield (
                f"its arguments changed: none of the {count(len(others), 'call')} of "
                f"{task.name} in {run.uid} has the same arguments"
                if len(others) > 1
                else f"its arguments changed since {before}"
            )

    def _counterpart(self, task: TaskRecord, others: Sequence[TaskRecord]) -> TaskRecord:
        """Return the call of the earlier run at the same place as *task* in its own."""
        return others[min(self._ordinals[task.number], len(others) - 1)]

    def _changed(self, task: TaskRecord) -> list[TaskRecord]:
        """Return its dependencies that no earlier run has; they gave it a new identity."""
        tasks = self._run.tasks
        above = (tasks[number] for number in task.after if number in tasks)
        return [one for one in above if one.kind != "block" and self._new(one)]

    def _new(self, task: TaskRecord) -> bool:
        return task.reused is None and (task.key is None or task.key not in self._keys)

    def _dependencies(self, changed: Sequence[TaskRecord]) -> Iterator[str]:
        for one in changed[:_MAX_ROOTS]:
            root = self._root(one)
            reason = next(self._reasons(root))
            if root is not one:
                yield (
                    f"it depends on {one.id} ({one.name}), which changed "
                    f"because of {root.id} ({root.name}): {reason}"
                )
            else:
                yield f"it depends on {one.id} ({one.name}), which ran again: {reason}"
        if len(changed) > _MAX_ROOTS:
            more = count(len(changed) - _MAX_ROOTS, "more dependency", "more dependencies")
            yield f"{more} changed"

    def _root(self, task: TaskRecord) -> TaskRecord:
        """Return the task, *task* itself or one above it, at which the change began."""
        way = []
        # A dependency has a smaller number than what depends on it: this ends.
        while task.number not in self._roots:
            way.append(task.number)
            above = [one for one in self._changed(task) if one.number < task.number]
            if not above:
                self._roots[task.number] = task
            else:
                task = above[0]
        root = self._roots[task.number]
        self._roots.update(dict.fromkeys(way, root))
        return root


def _changed_source(new: FunctionRecord, old: FunctionRecord, uid: str) -> str:
    """Say whether the code of a function changed since the run *uid*, or what it reaches."""
    before, after = old.parts, new.parts
    own = next((name for name in after if name.startswith(_CODE)), None)
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not names or own is None or own in names or own not in before:
        return f"its source changed since {uid} ({old.source[:8] or '?'} → {new.source[:8] or '?'})"
    shown = [
        f"{name} ({before.get(name) or 'none'} → {after.get(name) or 'none'})"
        if name.startswith(_VERSION)
        else name
        for name in names[:_MAX_PARTS]
    ]
    more = f" and {len(names) - _MAX_PARTS} more" if len(names) > _MAX_PARTS else ""
    return f"what it uses changed since {uid}: {', '.join(shown)}{more}"
