"""A command whose ranks run on several nodes, and what these tell each other in files.

All of it lies in one folder that the nodes share: how the command is to be started on each node,
which nodes there are, and the output of the ranks.
"""

from __future__ import annotations

import marshal
import os
import shlex
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from .._public import public
from ..model import Command
from ._found_gpus import gpu_variable
from ._gpus import Gpu, gpu_list
from ._mpi_launcher import RankHosts
from ._rank_watch import NODE

__all__ = ["HOST_FILE", "RankNode", "SpreadCommand", "write_node", "write_nodes"]

HOST_FILE = "hosts"
"""The name of the file with the name of the node of each rank, in their order."""

_SCRIPT = Path(__file__).with_name("_rank_start.py")


@public("radical.asyncflow.worker")
class RankNode(NamedTuple):
    """A node that runs ranks of a task.

    Attributes:
        host: its host name, by which the launcher knows it.
        name: its name in the batch system.
        ranks: how many it runs.
        addresses: where it is reached, the best first.
        port: where its `RankShare` listens; 0 for the node of the launcher.
    """

    host: str
    name: str
    ranks: int
    addresses: tuple[str, ...] = ()
    port: int = 0


@public("radical.asyncflow.worker")
@dataclass(frozen=True, slots=True)
class SpreadCommand(Command):
    """A command whose ranks run on several nodes, as one of them gets it.

    Attributes:
        folder: the folder of the ranks, which all nodes see.
        secret: what the nodes know each other by.
        first: the number of the first rank that is to run here.
        ranks: how many there are on all nodes.
        nodes: where they run, this node first; empty for a node that the launcher is not on.
    """

    folder: str = ""
    secret: str = ""
    first: int = 0
    ranks: int = 0
    nodes: tuple[RankNode, ...] = ()


def write_node(
    folder: Path,
    marks: Mapping[str, str],
    first: int,
    rank_gpus: Sequence[Sequence[Gpu]],
    ranks: int,
    port: int = 0,
) -> None:
    """Write what the ranks on this node have to know.

    Args:
        marks: the variables by which their processes are found.
        first: the number of the first one.
        rank_gpus: the GPUs of each; empty if no rank has any.
        ranks: how many there may be.
        port: where the share of this node listens; 0 without one.
    """
    variables = [{gpu_variable(): gpu_list(gpus)} for gpus in rank_gpus] or [{}] * ranks
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{socket.gethostname()}.{NODE}"
    path.write_bytes(marshal.dumps((dict(marks), first, variables, port)))


def write_nodes(folder: Path, secret: str, nodes: Sequence[RankNode]) -> RankHosts:
    """Write where the other nodes are reached, and what the launcher needs to know of all."""
    places = {node.host: (node.addresses, node.port) for node in nodes if node.port}
    own = folder / "nodes"
    own.touch(mode=0o600)
    own.write_bytes(marshal.dumps((secret, places)))
    start = folder / "start"
    words = shlex.join((sys.executable, "-I", "-S", str(_SCRIPT), os.fspath(folder)))
    start.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
    start.chmod(0o700)
    lines = [f"{node.name}\n" * node.ranks for node in nodes]
    (folder / HOST_FILE).write_text("".join(lines), encoding="utf-8")
    hosts = tuple((node.host, node.ranks) for node in nodes)
    return RankHosts(hosts, tuple(node.name for node in nodes), start)
