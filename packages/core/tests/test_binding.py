"""The one walk through a call's arguments."""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from radical.asyncflow._graph.arguments import ATOMS, rewrite, rewrite_call
from radical.asyncflow.errors import ConfigurationError


class Leaf:
    """Stands for a future: hashable, found, and replaced by its number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __repr__(self) -> str:
        return f"Leaf({self.number})"


class Point(NamedTuple):
    x: Any
    y: Any


Untyped = namedtuple("Untyped", "a b")


def value_of(leaf: Any) -> Any:
    return leaf.number if isinstance(leaf, Leaf) else leaf


def unchanged(leaf: Any) -> Any:
    return leaf


def naive(value: Any) -> Any:
    """What `rewrite` with `value_of` has to give, written without any shortcut."""
    if isinstance(value, Leaf):
        return value.number
    if type(value) is dict:
        return {naive(key): naive(item) for key, item in value.items()}
    if type(value) is OrderedDict:
        return OrderedDict((naive(key), naive(item)) for key, item in value.items())
    if type(value) is defaultdict:
        return defaultdict(value.default_factory, naive(dict(value)))
    if type(value) in (list, tuple, set, frozenset, deque):
        return type(value)([naive(item) for item in value])
    if isinstance(value, Point | Untyped):
        return type(value)(*[naive(item) for item in value])
    return value


leaves = st.builds(Leaf, st.integers(100, 200))
hashables = st.recursive(
    leaves | st.integers() | st.text() | st.none(),
    lambda inner: st.frozensets(inner) | st.tuples(inner, inner),
    max_leaves=8,
)
trees = st.recursive(
    hashables | st.floats(allow_nan=False) | st.binary(),
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(hashables, inner)
        | st.dictionaries(hashables, inner).map(OrderedDict)
        | st.dictionaries(hashables, inner).map(lambda items: defaultdict(list, items))
        | st.lists(inner).map(deque)
        | st.sets(hashables)
        | st.builds(Point, inner, inner)
        | st.builds(Untyped, inner, inner)
    ),
    max_leaves=20,
)


def has_leaf(value: Any) -> bool:
    found = []
    rewrite(value, lambda leaf: found.append(leaf) if isinstance(leaf, Leaf) else leaf)
    return bool(found)


@given(trees)
def test_every_leaf_is_replaced_and_nothing_else(tree: Any) -> None:
    assert rewrite(tree, value_of) == naive(tree)


@given(trees)
def test_a_walk_that_only_looks_gives_back_the_very_object(tree: Any) -> None:
    assert rewrite(tree, unchanged) is tree


@given(st.lists(trees))
def test_what_holds_no_leaf_keeps_its_identity(trees: list[Any]) -> None:
    new = rewrite(trees, value_of)
    for old, now in zip(trees, new, strict=True):
        assert has_leaf(old) or now is old


@given(trees)
def test_a_walk_changes_nothing_in_place(tree: Any) -> None:
    before = repr(tree)
    rewrite(tree, value_of)
    assert repr(tree) == before


def test_keywords_are_walked_like_positions() -> None:
    args, kwargs = rewrite_call(([Leaf(1)],), {"key": {"inner": Leaf(2)}}, value_of)
    assert (args, kwargs) == (([1],), {"key": {"inner": 2}})


def test_a_named_tuple_stays_one() -> None:
    assert rewrite(Point(Leaf(1), [Leaf(2)]), value_of) == Point(1, [2])


@pytest.mark.parametrize("atom", [None, 1, 1.5, 2j, "s", b"b", True, range(3), int, len, naive])
def test_an_atom_is_never_visited(atom: Any) -> None:
    assert type(atom) in ATOMS
    seen: list[Any] = []
    rewrite([[atom], atom], lambda leaf: seen.append(leaf))
    assert seen == []


def test_a_list_inside_itself_is_left_alone() -> None:
    cyclic: list[Any] = [Leaf(1)]
    cyclic.append(cyclic)
    new = rewrite(cyclic, value_of)
    assert new[0] == 1
    assert new[1] is cyclic


def test_a_cycle_through_several_containers_ends() -> None:
    inner: dict[str, Any] = {}
    outer = [Leaf(1), (inner,)]
    inner["back"] = outer
    assert rewrite(outer, value_of)[0] == 1


def test_a_container_in_two_places_stays_one_object() -> None:
    shared = [Leaf(1)]
    first, second = rewrite([shared, shared], value_of)
    assert first == [1]
    assert first is second


def test_containers_shared_at_every_level_are_walked_once_each() -> None:
    value: Any = [Leaf(1)]
    for _ in range(100):
        value = [value, value]
    visits: list[Any] = []
    rewrite(value, lambda leaf: visits.append(leaf))
    assert len(visits) == 1


def test_what_a_collection_was_made_with_is_kept() -> None:
    last, groups = rewrite([deque([Leaf(1)], 3), defaultdict(list, {"a": Leaf(2)})], value_of)
    assert (last, last.maxlen) == (deque([1]), 3)
    assert (groups, groups["new"]) == ({"a": 2, "new": []}, [])


@pytest.mark.parametrize("kind", [type("Own", (list,), {}), type("Set", (set,), {})])
def test_a_subclass_of_a_container_is_a_leaf(kind: type) -> None:
    value = kind()
    visits: list[Any] = []
    rewrite([value], lambda leaf: visits.append(leaf))
    assert visits == [value]


def test_nesting_beyond_the_stack_is_a_clear_error() -> None:
    value: Any = Leaf(1)
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        rewrite(value, value_of)
    while type(value) is list:  # by hand: freeing it in one go would recurse as deeply
        value = value.pop()
