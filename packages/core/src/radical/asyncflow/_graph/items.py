"""The item of a result that is not there yet: which task, and which keys."""

from __future__ import annotations

from itertools import islice
from typing import Any, ClassVar, NoReturn

from .._text import safe_repr

__all__ = ["ItemOf", "item_of", "parent_of"]

_SHOWN = 5  # keys that an error names


class ItemOf:
    """An item of the result of a task, as arguments hold it.

    Attributes:
        _future: the future of the result.
        _keys: the way to the item: that of the result first, and then each of the one before.
        _in_place: what may be passed in place of it, as an error says it.
    """

    __slots__ = ("_future", "_keys")
    _in_place: ClassVar[str]

    def __init__(self, future: Any, keys: tuple[Any, ...]) -> None:
        self._future = future
        self._keys = keys

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{self!r} cannot be sent to a worker: items of results are found in lists, tuples, "
            "dicts and sets, but not inside other objects; pass it as an argument of its own, or "
            f"{self._in_place}"
        )

    def __repr__(self) -> str:
        keys = "".join(f"[{safe_repr(key)}]" for key in self._keys)
        return f"<{type(self).__name__} {keys} of {self._future!r}>"


def parent_of(thing: Any) -> Any:
    """Return the future that *thing* is an item of, or *thing* itself if it is none."""
    return thing._future if isinstance(thing, ItemOf) else thing


def item_of(item: ItemOf, result: Any) -> Any:
    """Return what *item* stands for in *result*, the result of its task.

    Raises:
        LookupError: there is no such item; the message names the task, what it returned and the
            key.
    """
    value = result
    for place, key in enumerate(item._keys):
        try:
            value = value[key]
        except Exception as error:
            raise LookupError(_missing(item, place, value)) from error
    return value


def _missing(item: ItemOf, place: int, value: Any) -> str:
    """Return the words for the item that *value*, which the keys before *place* lead to, lacks."""
    future = item._future
    task = f"task {getattr(future, 'name', future)!r}"
    if (number := getattr(future, "id", None)) is not None:
        task += f" ({number})"
    way = "".join(f"[{safe_repr(key)}]" for key in item._keys[:place])
    what = f"{task} returned" if place == 0 else f"the item {way} of what {task} returned is"
    kind = type(value).__name__
    what += f" {'an' if kind[0] in 'aeiou' else 'a'} {kind}"
    if not hasattr(type(value), "__getitem__"):
        return f"{what}, which has no items, so no {safe_repr(item._keys[place])} either"
    what += f", which has no item {safe_repr(item._keys[place])}"
    if isinstance(value, dict):
        some = ", ".join(safe_repr(key) for key in islice(value, _SHOWN))
        more = ", ..." if len(value) > _SHOWN else ""
        return f"{what}; its keys are {some}{more}" if value else f"{what}: it is empty"
    if isinstance(value, list | tuple | str):
        return f"{what}: its length is {len(value)}"
    return what
