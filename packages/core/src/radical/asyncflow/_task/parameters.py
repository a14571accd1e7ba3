"""The parameters of a task's body as type checkers see them; imported for type checkers only.

`TaskFunction.__call__` is overloaded on the type of its *self*: an overload names the first
parameters of the body one by one, and can then accept a future in the place of each.  *self*
is matched by these protocols, through ``__wrapped__``, because mypy infers the parameters of
a callable but not those inside ``TaskFunction[Concatenate[A, Q], R]``.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import (
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    SupportsIndex,
    TypeAlias,
    TypeVar,
)

__all__ = [
    "A",
    "B",
    "C",
    "D",
    "DictOf",
    "E",
    "Given",
    "K",
    "ListOf",
    "Q",
    "Takes0",
    "Takes1",
    "Takes2",
    "Takes3",
    "Takes4",
    "Takes5",
]

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
K = TypeVar("K")
Q = ParamSpec("Q")

A_contra = TypeVar("A_contra", contravariant=True)
B_contra = TypeVar("B_contra", contravariant=True)
C_contra = TypeVar("C_contra", contravariant=True)
D_contra = TypeVar("D_contra", contravariant=True)
E_contra = TypeVar("E_contra", contravariant=True)
T_co = TypeVar("T_co", covariant=True)


class Takes0(Protocol[Q]):
    """A task whose body takes *Q*."""

    @property
    def __wrapped__(self) -> Callable[Q, Any]: ...


class Takes1(Protocol[A_contra, Q]):
    """A task whose body takes an *A* by position, and then *Q*."""

    @property
    def __wrapped__(self) -> Callable[Concatenate[A_contra, Q], Any]: ...


class Takes2(Protocol[A_contra, B_contra, Q]):
    """A task whose body takes two values by position, and then *Q*; and so on."""

    @property
    def __wrapped__(self) -> Callable[Concatenate[A_contra, B_contra, Q], Any]: ...


class Takes3(Protocol[A_contra, B_contra, C_contra, Q]):
    @property
    def __wrapped__(self) -> Callable[Concatenate[A_contra, B_contra, C_contra, Q], Any]: ...


class Takes4(Protocol[A_contra, B_contra, C_contra, D_contra, Q]):
    @property
    def __wrapped__(
        self,
    ) -> Callable[Concatenate[A_contra, B_contra, C_contra, D_contra, Q], Any]: ...


class Takes5(Protocol[A_contra, B_contra, C_contra, D_contra, E_contra, Q]):
    @property
    def __wrapped__(
        self,
    ) -> Callable[Concatenate[A_contra, B_contra, C_contra, D_contra, E_contra, Q], Any]: ...


class Items(Protocol[T_co]):
    """A list of which a call only reads the items.

    ``list`` itself would refuse a list of futures where values and futures may stand
    side by side, and ``Sequence`` would accept a text as a list of texts.
    """

    def __iter__(self) -> Iterator[T_co]: ...

    def pop(self, index: SupportsIndex = ..., /) -> T_co: ...


Given: TypeAlias = A | Awaitable[A]
"""What a call may give for a parameter of type *A*."""

ListOf: TypeAlias = Items[A | Awaitable[A]]
"""What it may give for a parameter that takes a ``list[A]``."""

DictOf: TypeAlias = Mapping[K, A | Awaitable[A]]
"""What it may give for a parameter that takes a ``dict[K, A]``."""
