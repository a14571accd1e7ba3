"""The messages: orders from the program to the process that holds Parsl, and its answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .._site.order import SiteOrder

__all__ = [
    "AddBlock",
    "BlockAdded",
    "BlockRefused",
    "BlockStates",
    "BlockTold",
    "Close",
    "EndBlocks",
    "Event",
    "InterchangeEnded",
    "LookAtBlocks",
    "NodeEnded",
    "Open",
    "OpenFailed",
    "Opened",
    "Order",
]


class Open(NamedTuple):
    """Make an executor of Parsl's.

    Attributes:
        label: its name, which no other of this machine has.
        folder: for its files.
        node_order: what every node is told, as JSON.
    """

    site: SiteOrder
    label: str
    folder: str
    node_order: bytes


class AddBlock(NamedTuple):
    """Ask for a block; *number* is the program's for it."""

    number: int


class EndBlocks(NamedTuple):
    """Have the batch system end blocks."""

    numbers: Sequence[int]


class LookAtBlocks(NamedTuple):
    """Ask the batch system for the states of all blocks."""


class Close(NamedTuple):
    """End all blocks, and then the process."""


class Opened(NamedTuple):
    """The executor is up."""


class OpenFailed(NamedTuple):
    """The executor did not come up.

    Attributes:
        is_configuration: the settings are at fault.
    """

    error: str
    is_configuration: bool


class BlockAdded(NamedTuple):
    """A block is submitted: *name* is Parsl's for it, *job* the batch system's."""

    number: int
    name: str
    job: str


class BlockRefused(NamedTuple):
    """The batch system did not take a block; *error* has its words."""

    number: int
    error: str


class BlockTold(NamedTuple):
    """The state of a block, as the batch system, by Parsl, tells it.

    Attributes:
        state: a name of Parsl's ``JobState``.
        is_over: the block has ended.
        said: the end of what the job itself wrote.
    """

    state: str
    is_over: bool
    said: str


class BlockStates(NamedTuple):
    """The states of the blocks, by their numbers."""

    told: Mapping[int, BlockTold]


class NodeEnded(NamedTuple):
    """The process of a node has ended, or could not be started.

    Attributes:
        code: its exit code; None if Parsl lost it.
        said: the end of what it printed, or Parsl's error.
        node: its host and its id, as in ``Node.name``; "" where Parsl does not tell.
        block: Parsl's name for its block; "" where Parsl does not tell.
    """

    code: int | None
    said: str
    node: str = ""
    block: str = ""


class InterchangeEnded(NamedTuple):
    """Parsl's interchange has ended by itself; the blocks that are up go on."""

    code: int


Order = Open | AddBlock | EndBlocks | LookAtBlocks | Close
Event = Opened | OpenFailed | BlockAdded | BlockRefused | BlockStates | NodeEnded | InterchangeEnded
