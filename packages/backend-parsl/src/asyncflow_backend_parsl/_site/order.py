"""The site as the process that holds Parsl is told of it, in values that can be pickled.

That process loads this module, so it needs nothing that takes long to load.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["Ports", "SiteOrder", "Workers"]


class Ports(NamedTuple):
    """The ports of this machine at which nodes may reach it.

    Attributes:
        least, limit: those from the first one, up to the second, which is not among them.
        messages: the one for messages; None for any of the others.
    """

    least: int
    limit: int
    messages: int | None = None


class Workers(NamedTuple):
    """The limits for the number of workers of a node.

    Attributes:
        most: None for as many as fit.
        cores, memory, gpus: what each needs; memory in bytes, and 0 for nothing in particular.
        available_gpus: the numbers or names of those that may be used; None for all that are found.
    """

    most: int | None = None
    cores: int = 1
    memory: int = 0
    gpus: int = 0
    available_gpus: Sequence[int | str] | None = None


class SiteOrder(NamedTuple):
    """A site.

    Attributes:
        system: a key of `SYSTEMS`; "" for a provider that is not among them.
        words: parameters of the provider, by Parsl's names.
        launcher: a key of `LAUNCHERS`.
        ports: None for any that is free.
        given: a provider itself, instead of these three.
    """

    system: str
    words: Mapping[str, Any]
    launcher: str
    workers: Workers
    nodes_per_block: int
    init_blocks: int
    min_blocks: int
    max_blocks: int
    address: str | None
    encrypted: bool
    ports: Ports | None = None
    given: Any = None
