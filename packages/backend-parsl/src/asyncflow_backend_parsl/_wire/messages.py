"""The messages between the program and its nodes.

A message is a list of frames: the secret of the run, a pickle of number, kind and content, and
any number of large buffers.  The number counts the messages of one direction, so that a lost one
is seen.
"""

from __future__ import annotations

import enum
import pickle
from collections.abc import Sequence
from hmac import compare_digest
from typing import Any, NamedTuple

from radical.asyncflow.worker import RankNode

__all__ = ["Buffer", "Event", "Frame", "Kind", "Message", "NodeFacts", "Setup", "Share"]

Buffer = bytes | bytearray | memoryview
Frame = Buffer

_PROTOCOL = 5


class Kind(enum.IntEnum):
    """The kind of a message."""

    HELLO = enum.auto()
    """A node is up; its content is `NodeFacts`."""
    SETUP = enum.auto()
    """The answer to that; its content is a `Setup`."""
    READY = enum.auto()
    """The node takes tasks."""
    TASKS = enum.auto()
    """New specs, the numbers of those to forget, and tasks."""
    SHARE = enum.auto()
    """A spec, and a `Share` of a task of that."""
    CANCEL = enum.auto()
    """The ids of tasks to cancel."""
    EVENTS = enum.auto()
    """Events on a node, a list."""
    LEAVE = enum.auto()
    """The node is told to end; its content says whether to cancel what runs."""
    LEAVING = enum.auto()
    """The node was told by somebody else to end; it begins nothing more, and names the signal."""
    LEFT = enum.auto()
    """The node ends in good order, and nothing follows."""
    OPEN = enum.auto()
    """The host of a service has connected; number of the connection, id of the task, attempt."""
    DATA = enum.auto()
    """Bytes on the connection of that number, as a buffer."""
    TAKEN = enum.auto()
    """The number of a connection, and how many bytes more its socket has taken."""
    CLOSE = enum.auto()
    """The program has closed the connection of that number."""


class Event(enum.IntEnum):
    """The kind of an event on a node."""

    RUNNING = enum.auto()
    ANSWER = enum.auto()
    """The end of a function, with code and body of its answer, and how many buffers follow."""
    RESULT = enum.auto()
    """The end of something else, with a pickled value."""
    FAILED = enum.auto()
    """A pickled `Failure`."""
    CANCELLED = enum.auto()
    TRACE = enum.auto()
    SERVING = enum.auto()
    OUTPUT = enum.auto()
    LOG = enum.auto()
    REFUSED = enum.auto()
    """It never began, and goes back."""


class NodeFacts(NamedTuple):
    """A node, as it introduces itself.

    Attributes:
        block: Parsl's name for the block.
        job: the batch system's name for the job; "" outside of one.
        slots: how many tasks of one core it runs at once.
        gpus: how many it has.
        memory: its bytes.
        versions: those of Python and of this distribution.
        pid: of the process that runs the tasks.
        name: the batch system's name for the node.
        address: that of the node in the network that reaches the program.
    """

    host: str
    block: str
    job: str
    slots: int
    gpus: int
    memory: int
    versions: tuple[str, str]
    pid: int
    name: str = ""
    address: str = ""


class Share(NamedTuple):
    """The part of a task with ranks that one of several nodes runs.

    Attributes:
        body: the pickled command.
        ranks: how many are to run on the node.
        first: the number of the first of them.
        total: how many there are on all nodes.
        folder, secret: as those of a `SpreadCommand`.
        nodes: all of them, for the node that the launcher runs on; empty for another one.
    """

    task_id: int
    attempt: int
    depth: int
    body: bytes
    ranks: int
    first: int
    total: int
    folder: str
    secret: str
    nodes: tuple[RankNode, ...]


class Setup(NamedTuple):
    """The facts about the program that a node needs.

    Attributes:
        path: for ``sys.path``.
        arguments: for ``sys.argv``.
        folder: the current folder of the program.
        work_dir: for files of the run.
        keeps_output, keeps_usage: as those of the `ReportSink`.
        logs: as `log_setup` returns it; None if records stay on the node.
        uid: the name of the run.
    """

    path: list[str]
    arguments: list[str]
    folder: str
    work_dir: str
    keeps_output: bool
    keeps_usage: bool
    logs: Any
    uid: str


class Message(NamedTuple):
    """A message that arrived."""

    number: int
    kind: Kind
    content: Any
    buffers: Sequence[Buffer]


def pack(
    secret: bytes, number: int, kind: Kind, content: Any, buffers: Sequence[Buffer] = ()
) -> list[Frame]:
    """Return the frames of a message."""
    return [secret, pickle.dumps((number, int(kind), content), _PROTOCOL), *buffers]


def unpack(secret: bytes, frames: Sequence[Frame]) -> Message | None:
    """Return the message in *frames*; None if it does not hold the *secret*."""
    if len(frames) < 2 or not compare_digest(bytes(frames[0]), secret):
        return None
    number, kind, content = pickle.loads(frames[1])
    return Message(number, Kind(kind), content, frames[2:])
