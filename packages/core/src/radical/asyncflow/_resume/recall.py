"""Look up whether a task that is about to be sent was done in an earlier run."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from .._dispatch.background import Background
from .._dispatch.outbox import Outbox
from .._dispatch.run import Run
from .._dispatch.values import UnfinishedArguments, owner_of, substitute
from .._files.declared import InputFile, OutputFile
from .._files.delivery import replace_paths
from .._files.sources import URL_TIMEOUT_S, is_url, show
from .._graph.arguments import rewrite_call
from .._graph.items import ItemOf, item_of, parent_of
from .._task.function import TaskFunction
from .._task.future import Activity, TaskFuture, extras_of, outside_awaitables
from .._text import safe_str
from ..aside import in_thread
from ..errors import JournalError
from ..model import TaskKind, TaskState
from .bodies import Bodies, Body
from .files import digest, restore
from .identity import LARGE_BYTES, Descriptions, Unidentified, default_content, is_large
from .occurrences import Occurrences
from .outside import (
    FROM_TASK,
    MISSING,
    Fact,
    Unread,
    broken,
    declared,
    digest_of,
    state_of,
    uses_among,
    with_outputs,
)

if TYPE_CHECKING:
    from ..journal._recalled import Recalled
    from ..journal._writer import JournalWriter
    from .entry import Entry

__all__ = ["Recall"]

log = logging.getLogger("radical.asyncflow")

Reuse = Callable[[TaskFuture[Any], str, Any, str], None]

THREADS_AT_ONCE = 4
"""The number of threads that read arguments and results at the same time."""


class Recall:
    """The search for the identities of one engine's tasks, and for their results in the journal.

    Args:
        reuse: called in the loop with a task, the task whose result it gets (``"RUN/NUMBER"``),
            the value, and the error output if it is an executable.
    """

    def __init__(
        self,
        run: Run,
        background: Background,
        outbox: Outbox,
        writer: JournalWriter,
        bodies: Bodies,
        descriptions: Descriptions,
        reuse: Reuse,
    ) -> None:
        self._run = run
        self._background = background
        self._outbox = outbox
        self._writer = writer
        self._bodies = bodies
        self._descriptions = descriptions
        self._reuse = reuse
        self._occurrences = Occurrences(writer.recall)
        self._first_calls: dict[str, TaskFuture[Any]] = {}
        self._last_look: asyncio.Future[None] | None = None
        self._thread_slots = asyncio.Semaphore(THREADS_AT_ONCE)

    def look_up(self, node: TaskFuture[Any], entry: Entry) -> bool:
        """Look up *node*, which is ready.

        Returns:
            True if *node* is not to be sent, or not yet: its result was found, or a thread has
            to look for it.
        """
        spec, lane = node._call.spec, node._call.lane
        if entry.key is None:  # or else it has waited for an equal call
            entry.body = self._bodies.describe_body(spec)
        body = entry.body
        if body.why is not None or lane is None or not lane.executes:
            entry.known = True
            if lane is None:
                self._open_scope(node, entry)
            entry.why = body.why
            return False
        extras = node._extras
        if (extras is not None and extras.files is not None) or is_large(node._args, node._kwargs):
            try:
                substitute(node)
            except UnfinishedArguments:
                return False  # `sending` lets it wait, and then it is looked up again
            self._look_up_in_thread(node, entry, body)
            return True
        try:
            digest = b"" if entry.key else self._identity(node, body, {})
            if spec.uses:
                entry.facts = declared(spec.uses, self._descriptions.content, read=False)
        except Unread:
            self._look_up_in_thread(node, entry, body)
            return True
        except UnfinishedArguments:
            return False
        except Unidentified as reason:
            entry.known = True
            entry.why = str(reason)
            return False
        entry.known = True
        if entry.key is None:
            entry.key = self._next_key(node, digest)
        if spec.cache == "always" and (first := self._first_equal_call(node, entry)) is not None:
            self._wait_or_reuse(node, entry, first)
            return True
        found = self._writer.recall(entry.key)
        if found is None:
            return False
        try:
            if self._differs(entry, found, read=False):
                return False
        except Unread:
            self._look_up_in_thread(node, entry, body)
            return True
        if found.size > LARGE_BYTES or found.files or spec.capture_stdio:
            self._look_up_in_thread(node, entry, body)
            return True
        try:
            value = found.load()
        except JournalError as error:
            self._note_unreadable(node, entry, error)
            return False
        entry.stored = True
        self._reuse(node, found.task, value, found.stderr)
        return True

    def _wait_or_reuse(self, node: TaskFuture[Any], entry: Entry, first: TaskFuture[Any]) -> None:
        """Give *node* the result of the equal call *first*, or let it wait until there is one."""
        if first._stage < TaskState.DONE:
            entry.known = False
            self._run.scheduler.wait_more(node, (), holds=1)
            first.add_done_callback(lambda _: self._outbox.release(node))
        else:
            self._reuse_from_this_run(node, first)

    def _differs(self, entry: Entry, found: Recalled, *, read: bool = True) -> bool:
        """Tell whether something outside is not as it was for the result *found*.

        Raises:
            Unread: a file has to be read, and *read* is False.
        """
        recorded = found.facts
        if not recorded and not entry.facts:
            return False
        facts = tuple(Fact(*map(str, fact)) for fact in recorded)
        why = broken(facts, entry.facts, read=read)
        if why is not None:
            entry.why = why
            return True
        entry.facts = facts
        return False

    def _first_equal_call(self, node: TaskFuture[Any], entry: Entry) -> TaskFuture[Any] | None:
        """Return the equal call of this run whose result *node* gets; None if there is none."""
        key = entry.key or ""
        if node._spec.uses:
            key += digest_of(uses_among(entry.facts)).hex()
        first = self._first_calls.get(key)
        if first is None or first is node or first._stage > TaskState.DONE or self._stale(first):
            self._first_calls[key] = node
            return None
        return first

    def _stale(self, first: TaskFuture[Any]) -> bool:
        """Tell whether what the result of *first* depends on is another by now."""
        if first._stage < TaskState.DONE or not first._entry.facts:
            return False
        facts = first._entry.facts
        try:
            return broken(facts, facts, read=False) is not None
        except Unread:
            return True

    def _reuse_from_this_run(self, node: TaskFuture[Any], first: TaskFuture[Any]) -> None:
        node._entry.stored = first._entry.stored
        node._entry.facts = first._entry.facts
        task = f"{self._run.uid}/{first._number}"
        if first._extras is not None and first._extras.outputs is not None:
            extras_of(node).outputs = first._extras.outputs
        self._reuse(node, task, first.result(), first.stderr or "")

    # ------------------------------------------------------- beside the loop

    def _look_up_in_thread(self, node: TaskFuture[Any], entry: Entry, body: Body) -> None:
        """Look up *node* as `look_up` does, but in a thread, where it does not hold the loop."""
        run = self._run
        entry.known = True
        previous_look, this_look = self._last_look, run.loop.create_future()
        self._last_look = this_look

        async def look() -> None:
            reuse: Callable[[], None] | None = None
            try:
                async with self._thread_slots:
                    entry.facts = await self._facts_before(node)
                    if entry.key is None:
                        digest = await self._digest(node, body)
                        if previous_look is not None:
                            await asyncio.shield(
                                previous_look
                            )  # so that equal calls are numbered in order
                        entry.key = self._next_key(node, digest)
                    _resolve(this_look)
                    reuse = await self._find_result(node, entry)
            except Unidentified as reason:
                entry.why = str(reason)
            except JournalError as error:
                self._note_unreadable(node, entry, error)
            except asyncio.CancelledError:
                raise
            except BaseException as error:  # raised by a class among the arguments
                entry.why = safe_str(error)
                log.warning(
                    "task %s %r could not be looked up in the journal, so it runs",
                    node.id,
                    node.name,
                    exc_info=True,
                )
            finally:
                if previous_look is None:
                    _resolve(this_look)
                else:
                    previous_look.add_done_callback(lambda _: _resolve(this_look))
            extras_of(node).work = None
            if reuse is None:
                run.scheduler.requeue(node)
            elif node._stage is TaskState.READY:
                reuse()
            run.wake()

        self._background.work_for(node, Activity.LOOK_UP, look())

    async def _digest(self, node: TaskFuture[Any], body: Body) -> bytes:
        digests: dict[int, bytes] = {}
        files = node._extras.files if node._extras is not None else None
        for item in files.inputs if files is not None else ():
            if isinstance(item.source, str):
                digests[id(item)] = await _digest_in_time(item.source, item.timeout)
        return await in_thread(self._identity, node, body, digests)

    async def _facts_before(self, node: TaskFuture[Any]) -> tuple[Fact, ...]:
        """Return what *node* declares that it uses, and the files that other tasks name for it."""
        facts: tuple[Fact, ...] = ()
        if node._spec.uses:
            facts = await in_thread(declared, node._spec.uses, self._descriptions.content)
        files = node._extras.files if node._extras is not None else None
        for number, item in enumerate(files.inputs if files is not None else (), 1):
            path = _path_from(item)
            if path is not None:
                state = await _state_in_time(path, item.timeout)
                facts = *facts, Fact(FROM_TASK, str(number), state)
        return facts

    async def _find_result(self, node: TaskFuture[Any], entry: Entry) -> Callable[[], None] | None:
        outputs = (
            node._extras is not None
            and node._extras.files is not None
            and node._extras.files.outputs
        )
        if node._spec.cache == "always" and not outputs:
            while (first := self._first_equal_call(node, entry)) is not None:
                if first._stage is TaskState.DONE and first.done():
                    return partial(self._reuse_from_this_run, node, first)
                await asyncio.wait([first])
        found = self._writer.recall(entry.key or "")
        if found is None or await in_thread(self._differs, entry, found):
            return None
        value = await in_thread(found.load)
        if found.files:
            places = await in_thread(restore, found.files, self._run.targets.path)
            value = replace_paths(value, dict(places.values()))
            extras_of(node).outputs = {name: path for name, (_, path) in places.items()}
            entry.facts = with_outputs(entry.facts, found.files)
        entry.stored = True
        return partial(self._reuse, node, found.task, value, found.stderr)

    def _note_unreadable(self, node: TaskFuture[Any], entry: Entry, error: JournalError) -> None:
        entry.why = f"its earlier result cannot be read: {error}"
        log.warning("task %s %r runs again: %s", node.id, node.name, entry.why)

    # ---------------------------------------------------------------- identity

    def _next_key(self, node: TaskFuture[Any], digest: bytes) -> str:
        """Return the key of *node*, which differs from those of equal calls in this run."""
        if node._spec.cache == "always":
            return digest.hex()
        return self._occurrences.key_of(digest, node._entry.scope)

    def _open_scope(self, node: TaskFuture[Any], entry: Entry) -> None:
        """Open the scope of the block *node*, which tells its calls from those of other blocks."""
        try:
            large = is_large(node._args, node._kwargs)
            arguments = b"" if large else self._arguments(node, entry.body, {})
        except (UnfinishedArguments, Unidentified):
            arguments = b""
        entry.inner_scope = self._occurrences.open_scope(entry.scope, node._spec.name, arguments)

    def _identity(self, node: TaskFuture[Any], body: Body, files: dict[int, bytes]) -> bytes:
        """Return the hash that is the identity of *node*; see `_arguments` for the rest."""
        arguments = None
        if node._spec.cache_key is None:
            arguments = body.calls.plain(*body.calls.arrange(node._args, node._kwargs))
        if arguments is None:
            arguments = self._arguments(node, body, files)
        if node._spec.kind is TaskKind.PROMPT:
            arguments += self._backend_identity(node)
        return blake2b(body.prefix + arguments, digest_size=16).digest()

    def _backend_identity(self, node: TaskFuture[Any]) -> bytes:
        """Return the bytes for what the backend of *node* says that its answers depend on.

        Raises:
            Unidentified: the backend raised, or what it says cannot be compared.
        """
        lane = node._lane
        try:
            known = lane.backend.identity(node._spec)
        except Exception as error:
            raise Unidentified(
                f"backend {lane.name!r} raised in identity(): {safe_str(error)}"
            ) from error
        return b"" if known is None else b"backend" + self._descriptions.content(known)

    def _arguments(self, node: TaskFuture[Any], body: Body, files: dict[int, bytes]) -> bytes:
        """Return the bytes that stand for the arguments of *node*; any thread may call this.

        Args:
            files: the hashes of the local files among the arguments, by the id of the InputFile.

        Raises:
            Unidentified: something among the arguments cannot be compared.
            UnfinishedArguments: a future that was added after the call is unfinished.
        """

        def leaf(value: Any) -> bytes | None:
            if isinstance(value, TaskFuture) and value._owner is node._owner:
                return self._future_content(value)
            if isinstance(value, ItemOf) and owner_of(value._future) is node._owner:
                return self._item_content(value)
            if isinstance(value, InputFile):
                if isinstance(value.source, TaskFuture):
                    output = b"" if value._output is None else f"\0{value._output}".encode()
                    name = str(value.name).encode() + output
                    return b"from" + self._future_content(value.source) + name
                if isinstance(value.source, ItemOf):
                    return b"from" + self._item_content(value.source) + str(value.name).encode()
                return b"file" + files.get(id(value), b"") + str(value.name).encode()
            if isinstance(value, OutputFile):
                return b"output" + value.name.encode()
            if isinstance(value, TaskFunction):
                spec = value.spec
                return repr((spec.kind, spec.name, spec.version)).encode() + content(spec.function)
            return default_content(value) or self._outside_content(node, value)

        content = self._descriptions.content
        chosen = node._spec.cache_key
        if chosen is None:
            args, kwargs = body.calls.arrange(node._args, node._kwargs)
            return content((args, dict(kwargs)), leaf)
        if callable(chosen):
            args, kwargs = rewrite_call(node._args, node._kwargs, self._future_values(node))
            try:
                chosen = chosen(*args, **kwargs)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                raise Unidentified(f"its cache_key raised {safe_str(error)}") from error
        return b"key" + content(chosen, leaf)

    def _future_content(self, future: TaskFuture[Any]) -> bytes:
        """Return the bytes that stand for *future*: its key, or the content of its result."""
        if future._stage is not TaskState.DONE or not future.done():
            raise UnfinishedArguments([future])
        entry: Entry = future._entry
        if entry.key is not None and entry.stored:
            made_from = digest_of(entry.facts) if entry.facts else b""
            return b"key" + entry.key.encode() + made_from
        return b"value" + self._descriptions.content(future.result())

    def _item_content(self, item: ItemOf) -> bytes:
        """Return the bytes that stand for *item*: those of its result, and its keys."""
        keys = self._descriptions.content(item._keys)
        return b"item" + self._future_content(item._future) + keys

    def _outside_content(self, node: TaskFuture[Any], value: Any) -> bytes | None:
        outside = outside_awaitables(node)
        if id(value) not in outside:
            return None
        return b"value" + self._descriptions.content(outside[id(value)].result())

    def _future_values(self, node: TaskFuture[Any]) -> Callable[[Any], Any]:
        """Return the visitor that replaces futures by results, for a user's cache_key."""
        outside = outside_awaitables(node)

        def value_of(leaf: Any) -> Any:
            if isinstance(leaf, TaskFuture) and leaf._owner is node._owner:
                if leaf._stage is not TaskState.DONE or not leaf.done():
                    raise UnfinishedArguments([leaf])
                return leaf.result()
            if isinstance(leaf, ItemOf) and owner_of(leaf._future) is node._owner:
                return item_of(leaf, value_of(leaf._future))
            awaited = outside.get(id(leaf))
            return leaf if awaited is None else awaited.result()

        return value_of


async def _digest_in_time(source: str, timeout: float | None) -> bytes:
    """Return the hash of *source*, for which a server has as long as for the copy of it."""
    if timeout is None and is_url(source):
        timeout = URL_TIMEOUT_S
    try:
        async with asyncio.timeout(timeout):
            return await in_thread(digest, source)
    except TimeoutError:
        raise Unidentified(
            f"the input {show(source)} could not be read within {timeout:g} s"
        ) from None


def _path_from(item: InputFile) -> str | None:
    """Return the path or URL that a task gave as its result, if *item* is that; else None."""
    source = parent_of(item.source)
    if item._output is not None:  # the key of the task stands for it
        return None
    if not isinstance(source, asyncio.Future) or not source.done() or source.cancelled():
        return None
    if isinstance(item.source, ItemOf):
        value = None if source.exception() is not None else item_of(item.source, source.result())
        return value.rstrip("\r\n") if isinstance(value, str) else None
    if isinstance(source, TaskFuture) and item.name is not None and source._extras is not None:
        files = source._extras.files
        if files is not None and any(output.name == item.name for output in files.outputs):
            return None  # it is the declared output, which the key of the task stands for
    value = None if source.exception() is not None else source.result()
    return value.rstrip("\r\n") if isinstance(value, str) else None


async def _state_in_time(path: str, timeout: float | None) -> str:
    """Return the state of the file that *path* or a URL names; one that is not there is missing."""
    if not is_url(path):
        there = await in_thread(os.path.exists, path)
        return await in_thread(state_of, "file", path) if there else MISSING
    try:
        return (await _digest_in_time(path, timeout)).hex()
    except Unidentified:
        return MISSING


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
