"""The blocks: jobs of the batch system, as many as there is work for, and why one has ended."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from time import monotonic

from radical.asyncflow.backend import Wait, WaitKind
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.worker import Death, LastAnswer, explain_slurm_job, job_state, slurm_facts

from .._host.messages import (
    AddBlock,
    BlockAdded,
    BlockRefused,
    BlockStates,
    EndBlocks,
    LookAtBlocks,
    NodeEnded,
    Order,
)
from .._site.order import SiteOrder
from .._site.systems import SYSTEMS
from .._wire.lifeline import PROGRAM_GONE
from .nodes import Node

__all__ = ["NOT_EXPLAINED", "Block", "Blocks"]

_MOST_FAILURES = 3  # blocks in a row that end before a node of theirs has connected
_FIRST_LOOK_S = 2.0
_LAST_LOOK_S = 60.0
_LOOK_GROWTH = 1.7
_LOCAL_LOOK_S = 1.0
_EXPLAIN_S = 12.0  # for a batch system to know why a job has ended
_EXPLAIN_LOCAL_S = 1.5
_EXPLAIN_CUT_S = 4.0  # where the reason is known, and more would only be welcome
_EXPLAIN_KILL_S = 4.0  # for a batch system to say that it has killed a process
_EXPLAIN_PAUSE_S = 0.5  # until the batch system is asked again why a block has ended
_EXPLAIN_GROWTH = 1.7
_GUESSED_SLOTS = 32  # of a node, before one has connected
_KEPT_ENDS = 1000  # of the processes of nodes
_RETRY_S = 2.0  # until the next block is asked for, after one that failed
_LAST_RETRY_S = 300.0  # the same, after many that failed
_LAST_RETRY_ALONE_S = 10.0  # the same, where there is no block at all
_BELIEVED_S = 30.0  # of refusals, where there is no block at all

# What Slurm says of a job that waits and will never run, whatever the user does.
_HOPELESS = frozenset(
    {
        "AccountNotAllowed",
        "BadConstraints",
        "DependencyNeverSatisfied",
        "InvalidAccount",
        "InvalidQOS",
        "PartitionInactive",
        "PartitionNodeLimit",
        "PartitionTimeLimit",
    }
)
# What it also says while nodes are away, though mostly for ever.
_DOUBTFUL = frozenset({"PartitionConfig"})
_DOUBT_S = 30.0
_log = logging.getLogger("radical.asyncflow")


@dataclass(eq=False, slots=True)
class Block:
    """A block that was asked for.

    Attributes:
        job: the batch system's name for it; "" until it is submitted.
        nodes: how many of its nodes have taken tasks so far.
        ended: of how many the process has ended.
        runs_since: when it was first seen to run without a node; None before.
        idle_since: when the last task on it ended; None while it has one.
        doubted_since: when it was first seen to wait for what hardly comes; 0.0 before.
        is_draining: its nodes get no more tasks, because one that it had is gone.
        is_ending: it was told to end.
        is_over: it has ended.
        said: what is known of its end.
        death: why it has ended, once Slurm has told.
        next_why: when to ask the batch system again why it has ended.
        why_pause: seconds from that to the time after.
    """

    number: int
    job: str = ""
    nodes: int = 0
    ended: int = 0
    runs_since: float | None = None
    idle_since: float | None = None
    doubted_since: float = 0.0
    is_draining: bool = False
    is_ending: bool = False
    is_over: bool = False
    said: str = ""
    death: Death | None = None
    next_why: float = 0.0
    why_pause: float = _EXPLAIN_PAUSE_S

    @property
    def name(self) -> str:
        """The name by which its nodes know it."""
        return str(self.number)


NOT_EXPLAINED = Death(DeathReason.UNKNOWN, "")


class Blocks:
    """The blocks of one backend; any thread may call any method."""

    def __init__(
        self,
        site: SiteOrder,
        *,
        backend: str,
        idle_seconds: float,
        connect_timeout: float,
        send: Callable[[Order], None],
        lose_hope: Callable[[str], None],
        retire: Callable[[Collection[Node]], bool],
        drain: Callable[[Collection[Node]], None],
    ) -> None:
        """Ask for no block yet.

        Args:
            send: sends an order to the process that holds Parsl.
            lose_hope: called when no block comes up any more, with the reason.
            retire: tells nodes that have no task to end; returns False if one has.
            drain: lets nodes get no more tasks.
        """
        self._site = site
        self._backend = backend
        self._idle_seconds = idle_seconds
        self._connect_timeout = connect_timeout
        self._send = send
        self._lose_hope = lose_hope
        self._retire = retire
        self._drain = drain
        self._asks = SYSTEMS[site.system].asks if site.system else ""
        self._is_queued = not site.system or SYSTEMS[site.system].queued
        self._lock = threading.RLock()
        self._blocks: dict[int, Block] = {}
        self._count = 0
        self._failures: list[str] = []
        self._node_ends: list[NodeEnded] = []
        self._has_news = threading.Condition(self._lock)
        self._slots_of_node: int | None = None
        self._look_every = _FIRST_LOOK_S if self._is_queued else _LOCAL_LOOK_S
        self._next_look = 0.0
        self._looks_since: float | None = None
        self._refusals = 0  # attempts in a row, each of one block or of several at a time
        self._is_modest = False  # whether to ask for one block at a time
        self._troubled_at = -math.inf  # when the last block was refused, or failed
        self._alone_since: float | None = None  # when one was refused, and there was no other
        self._is_closing = False
        self._told = LastAnswer(self._ask_for_job)
        self.first_answer = threading.Event()
        """Set when the batch system has taken or refused the first block."""
        self.refusal = ""
        """Why it has refused the first block; "" if it has not."""

    # ------------------------------------------------------------ what is needed

    def adjust(
        self, demand: int, nodes: Collection[Node], now: float, *, needs_whole: bool = False
    ) -> float:
        """Ask for blocks, and end some, as *demand* in slots asks for.

        Args:
            needs_whole: a task waits for more nodes than any block has that is up.

        Returns:
            The seconds after which to call it again.
        """
        with self._lock:
            if self._is_closing:
                return 1.0
            alive = [block for block in self._blocks.values() if not block.is_over]
            open_blocks = [block for block in alive if not block.is_ending]
            for _ in range(self._askable(self._wanted(demand), open_blocks, now)):
                if len(alive) >= self._site.max_blocks:
                    break
                alive.append(self._ask_for_block())
            if needs_whole and self._askable(len(open_blocks) + 1, open_blocks, now):
                self._replace_short(alive, nodes)
            self._end_idle(open_blocks, demand, nodes, now)
            self._end_silent(open_blocks, now)
            self._look_if_due(alive, now)
            return 0.5 if self._is_waiting(alive) else 1.0

    def _wanted(self, demand: int) -> int:
        site = self._site
        least = site.min_blocks if self._count else max(site.init_blocks, site.min_blocks)
        slots = self._slots_of_node or site.workers.most or _GUESSED_SLOTS
        wanted = math.ceil(demand / (slots * site.nodes_per_block))
        return min(site.max_blocks, max(least, wanted))

    def _askable(self, wanted: int, open_blocks: Sequence[Block], now: float) -> int:
        """Return how many of the *wanted* blocks to ask for now.

        A batch system that has refused one, such as for a limit of the user's jobs, is asked ever
        more seldom, and for one at a time.
        """
        missing = max(0, wanted - len(open_blocks))
        trouble = max(self._refusals, len(self._failures))
        if trouble:
            most = _LAST_RETRY_S if open_blocks else _LAST_RETRY_ALONE_S
            if now < self._troubled_at + min(most, _RETRY_S * 2.0 ** (min(trouble, 20) - 1)):
                return 0
        if self._is_modest:
            return 0 if any(not block.job for block in open_blocks) else min(1, missing)
        return missing

    def _ask_for_block(self) -> Block:
        self._count += 1
        block = self._blocks[self._count] = Block(self._count)
        self._send(AddBlock(block.number))
        self._look_every = _FIRST_LOOK_S if self._is_queued else _LOCAL_LOOK_S
        return block

    def _replace_short(self, alive: list[Block], nodes: Collection[Node]) -> None:
        """Get a block with all its nodes, if those that there are have lost some."""
        short: dict[int, list[Node]] = {}
        for block in alive:
            own = [node for node in nodes if node.block == block.number]
            is_short = block.nodes and (block.ended or len(own) < block.nodes)
            if not is_short and len(own) < self._site.nodes_per_block:
                return  # it is still coming up
            if block.is_ending or block.is_draining:
                return  # then there is room for another one
            if is_short:
                short[block.number] = own
        if len(alive) < self._site.max_blocks:
            alive.append(self._ask_for_block())
        elif short:
            number = min(short, key=lambda number: sum(len(node.sent) for node in short[number]))
            self._blocks[number].is_draining = True
            self._drain(short[number])

    def _end_idle(
        self, open_blocks: Sequence[Block], demand: int, nodes: Collection[Node], now: float
    ) -> None:
        """End blocks that have had nothing to do for long, and no task."""
        spare = len(open_blocks) - max(self._site.min_blocks, self._wanted(demand))
        for block in open_blocks:
            own = [node for node in nodes if node.block == block.number]
            if not own or any(node.sent for node in own):
                block.idle_since = None
                continue
            if block.idle_since is None:
                block.idle_since = now
            is_over = spare > 0 and now - block.idle_since >= self._idle_seconds
            if (is_over or block.is_draining) and self._retire(own):
                spare -= 1
                block.is_ending = True
                self._send(EndBlocks([block.number]))

    def _end_silent(self, open_blocks: Sequence[Block], now: float) -> None:
        """Give up blocks that run, but whose nodes do not connect."""
        for block in open_blocks:
            since = block.runs_since
            if since is None or block.nodes or now - since < self._connect_timeout:
                continue
            self._give_up(
                block,
                "runs, but no node of it has connected to this machine within "
                f"connect_timeout={self._connect_timeout:g} s\n{block.said}".rstrip(),
            )

    def _give_up(self, block: Block, why: str) -> None:
        """End a block that is of no use, and count it as a failure."""
        block.is_ending = True
        self._send(EndBlocks([block.number]))
        self._fail(f"{self._title(block)} {why}{self._node_words()}")

    def _is_waiting(self, alive: Sequence[Block]) -> bool:
        return any(not block.nodes or block.is_ending for block in alive)

    def _look_if_due(self, alive: Sequence[Block], now: float) -> None:
        """Ask the batch system about blocks of which no node has connected, ever more seldom."""
        if not self._is_waiting([block for block in alive if block.job]) or now < self._next_look:
            return
        self._next_look = now + self._look_every
        if self._is_queued:
            self._look_every = min(self._look_every * _LOOK_GROWTH, _LAST_LOOK_S)
        self._look()

    def _look(self) -> None:
        """Ask the batch system about all blocks, unless it has not answered yet."""
        now = monotonic()
        if self._looks_since is None or now - self._looks_since > _LAST_LOOK_S:
            self._looks_since = now
            self._send(LookAtBlocks())

    # -------------------------------------------------------------- what happens

    def add(self, event: BlockAdded) -> None:
        """Take note that a block was submitted."""
        with self._lock:
            block = self._blocks[event.number]
            block.job = event.job
            self._refusals = 0
            self._alone_since = None
            self._told.forget()
        self.first_answer.set()

    def refuse(self, event: BlockRefused) -> None:
        """Take note that the batch system did not take a block."""
        with self._lock:
            self._blocks.pop(event.number, None)
            if self.first_answer.is_set():
                self._take_refusal(event.error, monotonic())
            else:
                self.refusal = event.error
        self.first_answer.set()

    def _take_refusal(self, error: str, now: float) -> None:
        """Wait for better times; for some seconds only if there is no other block."""
        others = [block for block in self._blocks.values() if block.job and not block.is_over]
        if others:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        elif now - self._alone_since >= _BELIEVED_S:
            self._lose_hope(error)
            return
        if not self._refusals:
            _log.warning("backend %r gets no more blocks for now: %s", self._backend, error)
        # Those that were asked for at the same time count as one.
        if not self._refusals or now - self._troubled_at >= _RETRY_S:
            self._refusals += 1
        self._troubled_at = now
        self._is_modest = True

    def take_states(self, states: BlockStates) -> None:
        """Take in what the batch system says of the blocks."""
        now = monotonic()
        waiting: list[Block] = []
        failed: list[Block] = []
        with self._lock:
            self._looks_since = None
            for number, told in states.told.items():
                block = self._blocks.get(number)
                if block is None or block.is_over:
                    continue
                if told.is_over:
                    block.is_over = True
                    words = "\n".join(filter(None, (told.state, told.said)))
                    block.said = words
                    if not block.nodes and not block.is_ending:
                        failed.append(block)
                elif told.state.startswith("RUNNING"):
                    block.said = told.said
                    if block.runs_since is None:
                        block.runs_since = now
                else:
                    if told.state.startswith(("PENDING", "HELD")):
                        block.runs_since = None  # it is in the queue again
                    if self._asks == "slurm" and not block.is_ending:
                        waiting.append(block)
            self._has_news.notify_all()
        for block in failed:
            self._fail_start(block)
        for block in waiting:
            self._check_hope(block)

    def _fail_start(self, block: Block) -> None:
        """Count a block that was of no use; Slurm tells more of its end than Parsl does."""
        words = block.said
        if self._asks == "slurm":
            death = explain_slurm_job(block.job, ended=True)
            if death is not None:
                words = "\n".join((death.evidence, *words.splitlines()[1:]))
        with self._lock:
            self._fail(
                f"{self._title(block)} ended before a node of it had connected: "
                f"{words}{self._node_words()}"
            )

    def _check_hope(self, block: Block) -> None:
        """Give up a job that waits for something that will never come."""
        reason = slurm_facts(block.job).get("Reason", "")
        if reason in _DOUBTFUL:
            block.doubted_since = block.doubted_since or monotonic()
            if monotonic() - block.doubted_since < _DOUBT_S:
                return
        elif reason not in _HOPELESS:
            block.doubted_since = 0.0
            return
        text = f"job {block.job} will never start: Slurm says {reason}"
        with self._lock:
            if block.is_over or block.is_ending or self._is_closing:
                return
            block.is_ending = True
            self._send(EndBlocks([block.number]))
            if self._has_nodes():
                self._fail(text)
                return
        self._lose_hope(text)

    def take_node_end(self, event: NodeEnded) -> None:
        """Take note of the end of the process of some node; give up a block that had no other."""
        with self._lock:
            self._node_ends.append(event)
            del self._node_ends[:-_KEPT_ENDS]
            self._has_news.notify_all()
            for block in self._blocks.values():
                if block.name == event.block:
                    block.ended += 1
                    is_lost = not block.nodes and block.ended >= self._site.nodes_per_block
                    if is_lost and not block.is_ending and not block.is_over:
                        self._give_up(block, "ran, but none of its nodes could take tasks")

    def expects(self, name: str) -> bool:
        """Tell whether nodes of the block *name* may take tasks.

        It may have been told to end just before one connects. And a batch system may have taken a
        block though it seemed to refuse it.
        """
        with self._lock:
            return any(
                block.name == name and not block.is_ending and not block.is_over
                for block in self._blocks.values()
            )

    def connect(self, node: Node) -> None:
        """Take note that a node has connected."""
        with self._lock:
            for block in self._blocks.values():
                if block.name == node.facts.block:
                    node.block = block.number
                    if node.is_ready:
                        block.nodes += 1
                        self._failures.clear()
            self._slots_of_node = node.facts.slots

    def drop(self, node: Node, others: Collection[Node]) -> None:
        """Take note that a node is gone; end its block if that has no other node.

        The job may go on without it, such as after the end of the process that ran the tasks.
        """
        with self._lock:
            block = self._blocks.get(node.block or -1)
            if block is None or block.is_ending or block.is_over or self._is_closing:
                return
            if not block.nodes:  # it never took tasks, and its process will tell why
                return
            if all(other.block != block.number for other in others):
                block.is_ending = True
                self._send(EndBlocks([block.number]))

    def fail_node(self, reason: str) -> None:
        """Take note that a node is of no use."""
        with self._lock:
            self._fail(reason)

    def _fail(self, reason: str) -> None:
        """Count a failure; the last of several in a row ends all hope."""
        self._failures.append(reason)
        self._troubled_at = monotonic()
        if len(self._failures) < _MOST_FAILURES or self._has_nodes():
            _log.warning("backend %r: %s", self._backend, reason)
            return
        self._lose_hope(reason)

    def _has_nodes(self) -> bool:
        """Tell whether a block is up."""
        return any(block.nodes and not block.is_over for block in self._blocks.values())

    def _node_words(self) -> str:
        said = next((end.said for end in reversed(self._node_ends) if end.said), "")
        return f"\nthe node wrote: {said.strip()}" if said else ""

    def _title(self, block: Block) -> str:
        if self._is_queued:
            return f"job {block.job}"
        return f"block {block.name} of this machine (process {block.job})"

    # -------------------------------------------------------------- explanations

    def explain(self, node: Node, why: str) -> Death:
        """Say why *node* is gone, as far as anybody tells within some seconds.

        Do not call this in the thread of the channel.
        """
        with self._lock:
            block = self._blocks.get(node.block or -1)
        patience = _EXPLAIN_S if self._is_queued else _EXPLAIN_LOCAL_S
        if why == "cut":
            told = "the network to it is cut, or it is switched off: it does not answer any more"
            end = Death(DeathReason.NODE, told)
            patience = min(patience, _EXPLAIN_CUT_S)
        else:
            told = why or "its connection to the program ended, and nothing tells why"
            end = Death(DeathReason.UNKNOWN, told)
        began = monotonic()
        limit = began + patience
        wait_s = _EXPLAIN_KILL_S if self._asks == "slurm" else 0.0
        while True:
            if block is not None and block.job:
                found = self._ask_why(block)
                if found is not None:
                    return found
            with self._lock:
                process = self._end_of_process(node.name)
            if process is not None:
                # A batch system that ends a job kills its processes first, and then says why.
                if monotonic() >= began + wait_s:
                    return process
            elif monotonic() >= limit:
                break
            with self._lock:
                self._has_news.wait(_EXPLAIN_PAUSE_S)
        if node.told and not why:
            return Death(DeathReason.KILLED, f"it was told to end by {node.told}")
        return end

    def _ask_why(self, block: Block) -> Death | None:
        """Return why *block* has ended; None if it has not, as far as the batch system has told.

        All nodes of a block may be lost at once, and then one thread asks for all of them.
        """
        with self._lock:
            now = monotonic()
            if block.death is not None:
                return block.death
            if block.is_over and self._asks != "slurm":
                # Parsl takes a job that is in no queue any more for completed.
                said = block.said.removeprefix("COMPLETED") or "the batch system does not say why"
                text = f"{self._title(block)} has ended: {said.strip()}"
                return Death(DeathReason.UNKNOWN, text)
            if now < block.next_why:
                return None
            if now - block.next_why > _EXPLAIN_S:
                block.why_pause = _EXPLAIN_PAUSE_S
            block.next_why = now + block.why_pause
            block.why_pause *= _EXPLAIN_GROWTH
        if self._asks != "slurm":
            with self._lock:
                self._look()
            return None
        found = explain_slurm_job(block.job, ended=True)
        if found is not None:
            with self._lock:
                block.death = found
                block.is_over = True
                self._has_news.notify_all()
        return found

    def _end_of_process(self, node: str) -> Death | None:
        """Return how the process of *node* ended, if it was not by order of the program."""
        for event in self._node_ends:
            # Where it has lost its way to the program, the program knows better what cut it.
            if event.node != node or event.code in (0, PROGRAM_GONE):
                continue
            if event.code < 0:
                said = f"its process got signal {-event.code}"
                return Death(DeathReason.KILLED, said)
            return Death(
                DeathReason.EXIT, f"its process exited with code {event.code}: {event.said.strip()}"
            )
        return None

    def holdup(self) -> Wait:
        """Return what all tasks wait for as long as there is no node."""
        with self._lock:
            alive = [
                block
                for block in self._blocks.values()
                if not block.is_over and not block.is_ending
            ]
            block = next((block for block in alive if block.job and not block.nodes), None)
        if block is None:
            text = f"the first node of backend {self._backend!r}, which is asked for"
            return Wait(kind=WaitKind.BACKEND, text=text)
        if not self._is_queued or block.runs_since is not None:
            text = f"the first node of backend {self._backend!r}, whose {self._title(block)} runs"
            return Wait(kind=WaitKind.BACKEND, text=text)
        told = self._told.get()
        says = f"; {self._asks} says: {told}" if told else ""
        return Wait(
            kind=WaitKind.QUEUE,
            text=f"{self._title(block)} of backend {self._backend!r}, which is in the queue{says}",
        )

    def _ask_for_job(self) -> str:
        with self._lock:
            waiting = [
                block.job
                for block in self._blocks.values()
                if block.job and not block.nodes and not block.is_over
            ]
        return job_state(waiting[0], self._asks) if waiting and self._asks else ""

    def close(self) -> None:
        """Ask for no more blocks."""
        with self._lock:
            self._is_closing = True
        self._told.close()
