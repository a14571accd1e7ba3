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
    "LookAtBlocks",
    "NodeEnded",
    "Open",
    "OpenFailed",
    "Opened",
    "Order",
]


class Open(NamedTuple):
    """Make a provider of Parsl's.

    Attributes:
        label: a name for its jobs, which nobody else has.
        folder: for its files.
        node_order: the file with what every node is told.
    """

    site: SiteOrder
    label: str
    folder: str
    node_order: str


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
    """The provider takes orders."""


class OpenFailed(NamedTuple):
    """The provider could not be made.

    Attributes:
        is_configuration: the settings are at fault.
    """

    error: str
    is_configuration: bool


class BlockAdded(NamedTuple):
    """A block is submitted; *job* is the batch system's name for it."""

    number: int
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
    """The process of a node has ended.

    Attributes:
        code: its exit code.
        said: the end of what it printed.
        node: its host and its id, as in ``Node.name``.
        block: the name of its block.
    """

    code: int
    said: str
    node: str
    block: str


Order = Open | AddBlock | EndBlocks | LookAtBlocks | Close
Event = Opened | OpenFailed | BlockAdded | BlockRefused | BlockStates | NodeEnded
