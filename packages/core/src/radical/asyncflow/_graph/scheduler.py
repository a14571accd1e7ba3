"""The scheduler: it decides which task may run, and what the end of one means for the others.

It is pure and synchronous.  The engine tells it what happened, and it answers with what to
do: tasks that became ready are put into `Scheduler.ready`, and everything that ends is
returned as `Resolution`s.  It holds unfinished tasks only, so its memory follows the live
graph and not the history.

A task is a `Node`.  The nodes of an engine are its futures: one object for both takes half
the memory, and leaves no cycle for the garbage collector.  The nodes of tests are plain
objects.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from ..errors import CycleError, DependencyFailureError
from ..model import TaskSpec, TaskState
from ..model._states import check_transition
from .arguments import rewrite_call
from .items import parent_of

__all__ = ["MOST_DEPTH", "Node", "Resolution", "Scheduler"]

PENDING, READY, SUBMITTED, RUNNING = (
    TaskState.PENDING,
    TaskState.READY,
    TaskState.SUBMITTED,
    TaskState.RUNNING,
)
DONE, FAILED, CANCELLED = TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED


MOST_DEPTH = 256
"""The largest depth that is counted, so that a backend has few orders to keep apart."""

_DEPTH_BEHIND = (*range(1, MOST_DEPTH + 1), MOST_DEPTH)  # of a task behind one, by its depth


class Node:
    """One task of the growing graph, as the scheduler sees it.

    A subclass has ``Node._FIELDS`` as slots (this class has none, so that it can be combined
    with a C type), and implements *_lane*, *_native*, *_origin* and *_spec* in its own way.
    The names have underscores because users hold these objects; the engine reads them.

    Attributes:
        _number: the task's id in its engine, in the order of the calls from 1.
        _lane: the backend it runs on; the scheduler only compares it.
        _native: True if its lane orders it among the other native tasks there: they may be
            sent while their dependencies are unfinished.
        _depth: the length of the longest chain of tasks before it, each of which takes the
            result of the one before; 0 if it takes no result, and `MOST_DEPTH` at most.
        _blockers: the number of unfinished dependencies, and of holds of the engine.
        _dependents: the tasks that wait for it, once for each time that they name it: None,
            the only one, or a list of several.
        _followers: the tasks on the same lane that were sent before it finished.
        _stage: its state; `check_transition` guards it.
        _attempt: the number of the current attempt; the first is 1.
        _origin: after a failure, the name of the task that failed first, and its error.
    """

    if not TYPE_CHECKING:  # a type checker would take these empty slots for the subclass's too
        __slots__ = ()
    _FIELDS: ClassVar[tuple[str, ...]] = (
        "_args",
        "_attempt",
        "_blockers",
        "_dependents",
        "_depth",
        "_followers",
        "_kwargs",
        "_number",
        "_stage",
    )

    _number: int
    _args: tuple[Any, ...]
    _kwargs: Mapping[str, Any]
    _depth: int
    _blockers: int
    _dependents: Node | list[Node] | None
    _followers: list[Node] | None
    _stage: TaskState
    _attempt: int

    if TYPE_CHECKING:

        @property
        def _spec(self) -> TaskSpec: ...
        @property
        def _lane(self) -> Any: ...
        @property
        def _native(self) -> bool: ...
        @property
        def _origin(self) -> tuple[str, BaseException] | None: ...
        @_origin.setter
        def _origin(self, origin: tuple[str, BaseException] | None) -> None: ...


class Resolution(NamedTuple):
    """The end of a task that did not succeed.

    Attributes:
        state: FAILED, with *error*, or CANCELLED.
        was: the state that the task left.
        heir: the last of the tasks, one behind the other, that ended with it, so that somebody
            sees its error; None if none did.
        late: the dependents that had failed before it, because of another dependency.
    """

    node: Node
    state: TaskState
    error: BaseException | None
    was: TaskState
    heir: Node | None
    late: Sequence[Node]


class Scheduler:
    """The live graph.

    Attributes:
        tasks: by number, the tasks that wait for others or were taken to be sent.
        ready: the tasks to be sent, in order; the engine takes them from the left, and puts
            each into `tasks`.  A task that never waited is in `tasks` only from then on: for a
            million such tasks at once `tasks` would take an eighth of all memory.
        first: tasks that go before all in `ready`, because others ended or because of their
            priority; the engine has `put_first` put them there.  They are in `tasks`, too.
    """

    __slots__ = ("first", "ready", "tasks")

    def __init__(self) -> None:
        self.tasks: dict[int, Node] = {}
        self.ready: deque[Node] = deque()
        self.first: deque[Node] = deque()

    def add(
        self,
        node: Node,
        dependencies: Sequence[Node] | None = None,
        holds: int = 0,
        depth: int = 0,
    ) -> Sequence[Resolution]:
        """Add *node*, which waits for *dependencies* and for *holds* calls of `release`.

        It is PENDING, as all new ones are.  A dependency that has failed or was cancelled ends
        it at once.  With *dependencies*, even if these are none, it goes before what has none;
        *depth* is its least depth.
        """
        if dependencies is None and not holds:
            node._blockers = node._depth = 0
            node._stage = READY
            self.ready.append(node)
            return ()
        self.tasks[node._number] = node
        blockers = holds + len(dependencies) if dependencies else holds
        for other in dependencies or ():
            behind = _DEPTH_BEHIND[other._depth]
            if behind > depth:
                depth = behind
            stage = other._stage
            if stage is not PENDING and stage is not READY:
                if stage is DONE:
                    blockers -= 1
                    continue
                if stage is not SUBMITTED and stage is not RUNNING:
                    node._blockers, node._depth = blockers, depth
                    if stage is FAILED:
                        return self.fail(node, self._dependency_failure(node, other))
                    return self.cancel(node)
                if other._native and node._native and other._lane is node._lane:
                    followers = other._followers
                    if followers is None:
                        other._followers = [node]
                    else:
                        followers.append(node)
                    blockers -= 1
                    continue
            dependents = other._dependents
            if dependents is None:
                other._dependents = node
            elif isinstance(dependents, list):
                dependents.append(node)
            else:
                other._dependents = [dependents, node]
        node._blockers = blockers
        node._depth = depth
        if not blockers:
            node._stage = READY
            self.first.append(node)
        return ()

    def put_first(self) -> None:
        """Put what is in `first` before all else that is ready, in the same order."""
        first = self.first
        if self.ready:
            first.reverse()
            self.ready.extendleft(first)
        else:
            self.ready.extend(first)
        first.clear()

    @property
    def idle(self) -> bool:
        """True if no task is unfinished."""
        return not self.tasks and not self.ready

    def unfinished(self) -> list[Node]:
        """Return the unfinished tasks in the order of their calls."""
        tasks = self.tasks
        fresh = [node for node in self.ready if node._stage is READY and node._number not in tasks]
        return sorted((*tasks.values(), *fresh), key=lambda node: node._number)

    def has_room(self, limit: int) -> bool:
        """Tell whether fewer than *limit* tasks are unfinished."""
        # A task may be in both; they are counted exactly only where that could matter.
        return len(self.tasks) + len(self.ready) < limit or len(self.unfinished()) < limit

    def wait_more(
        self, node: Node, dependencies: Iterable[Node], holds: int = 0
    ) -> Sequence[Resolution]:
        """Let the ready *node* wait again, because it depends on more than was known.

        Raises:
            CycleError: one of *dependencies* waits for *node*; nothing was changed.
        """
        dependencies = list(dependencies)
        self._check_cycle(node, dependencies)
        check_transition(node._stage, PENDING)
        node._stage = PENDING
        return self.add(node, dependencies, holds, node._depth)

    def release(self, node: Node) -> None:
        """Remove one hold or dependency from *node*, which may make it ready."""
        node._blockers -= 1
        if not node._blockers and node._stage is PENDING:
            node._stage = READY
            self.first.append(node)

    def submitted(self, node: Node) -> None:
        """Note that *node* was sent, and release the dependents that its backend orders itself."""
        node._stage = SUBMITTED
        if node._dependents is not None and node._native:
            followers: list[Node] = []
            others: list[Node] = []
            for other in dependents_of(node):
                native = other._native and other._lane is node._lane
                (followers if native else others).append(other)
            if followers:
                node._dependents = others or None
                node._followers = followers
                for other in followers:
                    self.release(other)

    def submitted_behind(self, node: Node, dependent: Node) -> None:
        """Note that *dependent*, which waited for *node* alone, was sent right behind it."""
        node._followers, node._dependents = [dependent], None
        dependent._blockers = 0
        dependent._stage = SUBMITTED

    def running(self, node: Node) -> bool:
        """Note that a worker began with *node*; return False if that was known."""
        if node._stage is not SUBMITTED:
            return False
        node._stage = RUNNING
        return True

    def retry(self, node: Node, *, now: bool) -> None:
        """Start another attempt of *node*: at once if *now*, else when `requeue` is called."""
        self._enter(node, READY)
        node._attempt += 1
        if now:
            self.requeue(node)

    def requeue(self, node: Node) -> None:
        """Make *node* ready to be sent again, after a wait or a preparation."""
        if node._stage is READY:
            (self.first if node._depth or node._spec.priority > 0 else self.ready).append(node)

    def withdraw(self, nodes: Sequence[Node]) -> None:
        """Take back *nodes*, which were sent and did not begin, so that they are sent again.

        Each waits again for what was sent together with it and is not finished.
        """
        for node in nodes:
            followers, node._followers = node._followers, None
            for other in followers or ():
                if other._stage >= DONE:
                    continue
                other._blockers += 1
                if other._stage is READY:
                    other._stage = PENDING
                dependents = node._dependents
                if isinstance(dependents, list):
                    dependents.append(other)
                else:
                    node._dependents = other if dependents is None else [dependents, other]
        for node in nodes:
            self._enter(node, READY)
            if node._blockers:
                self._enter(node, PENDING)
            else:
                self.ready.append(node)

    def succeed(self, node: Node) -> None:
        """Note that *node* is done, and make dependents without another blocker ready."""
        if node._stage is not RUNNING and node._stage is not SUBMITTED:
            check_transition(node._stage, DONE)
        node._stage = DONE
        tasks = self.tasks
        if tasks.pop(node._number, None) is not None and not tasks:
            tasks.clear()
        node._followers = None
        dependents = node._dependents
        if dependents is not None:
            node._dependents = None
            first = self.first
            for other in dependents if isinstance(dependents, list) else (dependents,):
                other._blockers -= 1
                if not other._blockers and other._stage is PENDING:
                    other._stage = READY
                    first.append(other)

    def fail(self, node: Node, error: BaseException) -> list[Resolution]:
        """Fail *node* for good and, without running it, everything that depends on it."""
        origin = (node._spec.name, error)
        if isinstance(error, DependencyFailureError) and error.__cause__ is not None:
            origin = (error.root, error.__cause__)
        return self._end(node, FAILED, error, origin)

    def cancel(self, node: Node) -> list[Resolution]:
        """Cancel *node* and everything that depends on it."""
        return self._end(node, CANCELLED, None, None)

    def _end(
        self,
        node: Node,
        state: TaskState,
        error: BaseException | None,
        origin: tuple[str, BaseException] | None,
    ) -> list[Resolution]:
        check_transition(node._stage, state)
        queue: list[tuple[Node, BaseException | None]] = [(node, error)]
        ended: list[tuple[Node, BaseException | None, TaskState, Node | None, Sequence[Node]]] = []
        # The queue grows while it is walked: breadth first, and without recursion, however
        # long the chain of dependents is.
        for current, reason in queue:
            orphans, late = self._orphans(current)
            heir = orphans[0] if orphans else None
            ended.append((current, reason, current._stage, heir, late))
            current._stage = state
            current._origin = origin
            self._remove(current)
            queue.extend(
                (other, self._dependency_failure(other, current) if origin else None)
                for other in orphans
            )
        last: dict[int, Node] = {}
        for current, _, _, heir, _ in reversed(ended):
            if heir is not None:
                last[current._number] = last.get(heir._number, heir)
        return [
            Resolution(current, state, reason, was, last.get(current._number), late)
            for current, reason, was, _, late in ended
        ]

    def _orphans(self, node: Node) -> tuple[list[Node], Sequence[Node]]:
        """Take the unfinished tasks that wait for *node*, each once; no later call returns them.

        Returns:
            These tasks, and those that had failed before.
        """
        waiting = (*dependents_of(node), *(node._followers or ()))
        node._dependents = node._followers = None
        orphans = []
        late: dict[int, Node] = {}
        for other in waiting:
            if other._stage is FAILED:
                late[other._number] = other
            elif other._stage < DONE and other._blockers >= 0:
                other._blockers = -1
                orphans.append(other)
        return orphans, tuple(late.values())

    def _check_cycle(self, node: Node, dependencies: Iterable[Node]) -> None:
        """Raise CycleError if one of *dependencies* waits for *node*."""
        targets = {other._number for other in dependencies}
        seen = {node._number}
        waiting = [node]
        for current in waiting:
            if current._number in targets:
                names = repr(node._spec.name)
                if current is not node:
                    names += f", which {current._spec.name!r} waits for,"
                raise CycleError(f"task {names} would wait for {current._spec.name!r}")
            for other in (*dependents_of(current), *(current._followers or ())):
                if other._number not in seen and other._stage < DONE:
                    seen.add(other._number)
                    waiting.append(other)

    def _dependency_failure(self, node: Node, failed: Node) -> DependencyFailureError:
        """Make the error of *node*, whose dependency *failed*."""
        names: dict[int, Node] = {failed._number: failed}

        def collect_failed(leaf: Any) -> Any:
            found = parent_of(leaf)
            if isinstance(found, Node) and found._stage is FAILED:
                names[found._number] = found
            return leaf

        rewrite_call(node._args, node._kwargs, collect_failed)
        root, cause = failed._origin or ("", RuntimeError("unknown"))
        error = DependencyFailureError(
            node._spec.name, [other._spec.name for other in names.values()], root, cause
        )
        error.__cause__ = cause
        for other in names.values():
            if other is not failed and other._origin is not None and other._origin[1] is not cause:
                error._note_failed(other._spec.name, other._origin[1])
        return error

    def _enter(self, node: Node, state: TaskState) -> None:
        check_transition(node._stage, state)
        node._stage = state

    def _remove(self, node: Node) -> None:
        # The task is missing if a KeyboardInterrupt came before it was added to the graph.
        # An empty dict keeps the memory of its largest size; clear() frees it.
        tasks = self.tasks
        if tasks.pop(node._number, None) is not None and not tasks:
            tasks.clear()


def dependents_of(node: Node) -> Sequence[Node]:
    """Return the dependents of *node*."""
    dependents = node._dependents
    if dependents is None:
        return ()
    return dependents if isinstance(dependents, list) else (dependents,)
