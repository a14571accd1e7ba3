"""Tell equal calls of one run apart, so that each finds its own earlier result.

Equal calls are numbered in their order.  Where blocks run at the same time, this order
differs from run to run.  So a call prefers a result that was recorded in its own scope, that
of the block that makes the call, and does not take one that belongs to another block of this
run.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..journal._recalled import Recalled

__all__ = ["Occurrences"]

MISSES_BEFORE_END = 2
"""Numbers in a row without a result (as failed calls have none) after which the search ends."""


class Occurrences:
    """The count of equal calls in one run.

    Args:
        recall: a function that returns what earlier runs recorded under a key.
    """

    def __init__(self, recall: Callable[[str], Recalled | None]) -> None:
        self._recall = recall
        self._calls: dict[bytes, int] = {}
        self._blocks: dict[bytes, int] = {}
        self._scopes: set[str] = set()
        self._unclaimed: dict[bytes, dict[int, str]] = {}

    def open_scope(self, scope: str, name: str, arguments: bytes) -> str:
        """Return the scope of the calls that a block makes; the block was called in *scope*."""
        call = blake2b(repr((scope, name, arguments)).encode(), digest_size=8).digest()
        number = self._blocks.get(call, 0)
        self._blocks[call] = number + 1
        opened = f"{call.hex()}.{number}" if number else call.hex()
        self._scopes.add(opened)
        return opened

    def key_of(self, digest: bytes, scope: str) -> str:
        """Return the key of the next call with the identity *digest*, made in *scope*."""
        number = self._calls.get(digest, 0)
        if self._scopes:
            unclaimed = self._unclaimed.get(digest)
            if unclaimed is None:
                unclaimed = self._recorded(digest, number)
            # If there was only ever one such call, its result is for whoever makes it now.
            chosen = self._choose(unclaimed, scope, alone=not number and unclaimed.keys() == {0})
            if chosen is not None:
                del unclaimed[chosen]
            if unclaimed:
                self._unclaimed[digest] = unclaimed
            else:
                self._unclaimed.pop(digest, None)
            if chosen is not None:
                self._calls[digest] = max(number, chosen + 1)
                return _key(digest, chosen)
            while number in unclaimed:
                number += 1
        self._calls[digest] = number + 1
        return _key(digest, number)

    def _recorded(self, digest: bytes, number: int) -> dict[int, str]:
        """Return the scopes of the recorded calls from *number* on, by number."""
        found: dict[int, str] = {}
        missing = 0
        while missing < MISSES_BEFORE_END:
            recalled = self._recall(_key(digest, number))
            if recalled is None:
                missing += 1
            else:
                found[number] = recalled.place
                missing = 0
            number += 1
        return found

    def _choose(self, unclaimed: dict[int, str], scope: str, *, alone: bool) -> int | None:
        for number, other in unclaimed.items():
            if other == scope:
                return number
        for number, other in unclaimed.items():
            if alone or other not in self._scopes:  # of no block, or of none that this run has
                return number
        return None


def _key(digest: bytes, number: int) -> str:
    return f"{digest.hex()}.{number}" if number else digest.hex()
