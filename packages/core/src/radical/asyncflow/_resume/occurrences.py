"""Tell equal calls of one run apart, so that each finds its own earlier result.

They are numbered in the order of the calls.  Where blocks run at the same time, that order
differs from run to run; so a call prefers what was recorded in its own scope, the block that
makes it, and leaves alone what belongs to another block of this run.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..journal._recalled import Recalled

__all__ = ["Occurrences"]

GAP = 2
"""Numbers without a result, as those of failed calls, after which there are no more."""


class Occurrences:
    """Counts the calls of one run.

    Args:
        recall: looks up what earlier runs left under a key.
    """

    def __init__(self, recall: Callable[[str], Recalled | None]) -> None:
        self._recall = recall
        self._calls: dict[bytes, int] = {}
        self._blocks: dict[bytes, int] = {}
        self._scopes: set[str] = set()
        self._left: dict[bytes, dict[int, str]] = {}

    def open_scope(self, scope: str, name: str, arguments: bytes) -> str:
        """Return the scope of the calls that a block makes, which is itself called in *scope*."""
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
            left = self._left.get(digest)
            if left is None:
                left = self._recorded(digest, number)
            # Where no equal call was ever made, the result is whoever's makes this one.
            mine = self._choose(left, scope, alone=not number and left.keys() == {0})
            if mine is not None:
                del left[mine]
            if left:
                self._left[digest] = left
            else:
                self._left.pop(digest, None)
            if mine is not None:
                self._calls[digest] = max(number, mine + 1)
                return _key(digest, mine)
            while number in left:
                number += 1
        self._calls[digest] = number + 1
        return _key(digest, number)

    def _recorded(self, digest: bytes, number: int) -> dict[int, str]:
        """Return the scopes of the recorded calls from *number* on, by number."""
        found: dict[int, str] = {}
        missing = 0
        while missing < GAP:
            recalled = self._recall(_key(digest, number))
            if recalled is None:
                missing += 1
            else:
                found[number] = recalled.place
                missing = 0
            number += 1
        return found

    def _choose(self, left: dict[int, str], scope: str, *, alone: bool) -> int | None:
        for number, other in left.items():
            if other == scope:
                return number
        for number, other in left.items():
            if alone or other not in self._scopes:  # of a block that is no more, or of none
                return number
        return None


def _key(digest: bytes, number: int) -> str:
    return f"{digest.hex()}.{number}" if number else digest.hex()
