"""A backend in Markdown, and the tables that pages take from there, between two comments.

In a page, what stands between ``<!-- asyncflow: settings of dask -->`` (or ``capabilities of``, or
some settings only: ``settings of dask: address, client``) and ``<!-- asyncflow: end -->`` is
written by `update_tables`.  Each comment begins a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from .._text import closest, printable
from ..errors import ConfigurationError
from .abilities import abilities_of, limits_of
from .settings import REQUIRED, Setting, settings_of

__all__ = [
    "Block",
    "blocks_of",
    "capabilities_table",
    "page_of",
    "settings_table",
    "tasks_table",
    "update_tables",
]

END = "<!-- asyncflow: end -->"
"""The comment behind a table that `update_tables` writes."""

_COMMENT = re.compile(r"^<!-- asyncflow: ", re.MULTILINE)
_BLOCK = re.compile(
    r"<!-- asyncflow: (?P<what>settings|capabilities) of (?P<name>[^\s:]+)"
    r"(?:: (?P<keys>[^>]+?))?\s*-->\n"
)
_CODE = re.compile(r"(`[^`\n]+`)")
_SPECIAL = re.compile(r"([\\|*\[\]`]|(?<![^\W_])_|_(?![^\W_]))")


class Block(NamedTuple):
    """The place of a table in a page.

    Attributes:
        what: "settings" or "capabilities".
        name: the backend.
        keys: the settings that it shows; none for all.
        begin, end: where what it shows begins and ends.
    """

    what: str
    name: str
    keys: tuple[str, ...]
    begin: int
    end: int


def blocks_of(page: str) -> Iterator[Block]:
    """Yield the places of the tables in the text of a page.

    Raises:
        ConfigurationError: one has no end, or its comment asks for something else.
    """
    position = 0
    while comment := _COMMENT.search(page, position):
        place = comment.start()
        line = f"line {page.count(chr(10), 0, place) + 1}"
        found = _BLOCK.match(page, place)
        if found is None:
            text = printable(page[place:].partition("\n")[0])
            raise ConfigurationError(
                f"{line}: {text} asks for no table; write settings of NAME, settings of NAME: "
                "KEY, KEY or capabilities of NAME"
            )
        after = _COMMENT.search(page, found.end())
        end = after.start() if after else -1
        if not page.startswith(END, end):
            raise ConfigurationError(f"{line}: the table has no end; write {END} behind it")
        keys = tuple(key.strip() for key in (found["keys"] or "").split(",") if key.strip())
        yield Block(found["what"], found["name"], keys, found.end(), end)
        position = end + len(END)


def update_tables(page: str, facts: Mapping[str, Any]) -> str:
    """Return the text of a page with its tables of one backend written anew.

    Args:
        facts: what `Registry.describe` returns of that backend; tables of others stay.

    Raises:
        ConfigurationError: a comment of the page asks for something that there is not.
    """
    parts, position = [], 0
    for block in blocks_of(page):
        if block.name != facts["name"]:
            continue
        if block.what == "settings":
            table = settings_table(facts["config_schema"], block.keys)
        else:
            table = capabilities_table(facts["capabilities"])
        parts += [page[position : block.begin], f"\n{table}\n"]
        position = block.end
    return "".join([*parts, page[position:]])


def page_of(facts: Mapping[str, Any]) -> str:
    """Return a page about the backend that *facts*, of `Registry.describe`, are about."""
    summary = facts["summary"] or ""
    parts = [
        f"# {_text(str(facts['name']))}\n",
        *([f"{_text(summary)}\n"] if summary else []),
        "## Settings\n",
        settings_table(facts["config_schema"]),
        "## Capabilities\n",
        capabilities_table(facts["capabilities"]),
    ]
    if facts["capabilities"].get("executes"):
        parts += ["## Tasks and options\n", tasks_table(facts["tasks"])]
    return "\n".join(parts)


def settings_table(schema: object, keys: Sequence[str] = ()) -> str:
    """Return a table of the settings in a JSON schema; of *keys* only, if any are named.

    A section brings its own settings along.

    Raises:
        ConfigurationError: there is no setting with such a key.
    """
    found = settings_of(schema)
    if keys:
        found = list(_chosen(found, keys))
    if not found:
        return "There are no settings.\n"
    return _table(
        ("setting", "type", "default", "meaning"),
        ((_code(one.key), _type(one), _default(one), _text(one.description)) for one in found),
    )


def capabilities_table(capabilities: Mapping[str, Any]) -> str:
    """Return a table of the capabilities, and a list of the limits below it."""
    table = _table(
        ("what it does", "capability", "", "meaning"),
        (
            (ability.title, _code(ability.field), _text(answer), _text(ability.meaning))
            for ability, answer in abilities_of(capabilities)
        ),
    )
    limits = [f"- {_text(_sentence(limit))}\n" for limit in limits_of(capabilities)]
    return f"{table}\nIts limits:\n\n{''.join(limits)}" if limits else table


def tasks_table(lacking: Mapping[str, str]) -> str:
    """Return a table of what a program may use, with "yes" or why not."""
    rows = (
        (title, f"no, because {_text(why)}" if why else "yes") for title, why in lacking.items()
    )
    return _table(("task or option", ""), rows)


def _chosen(found: Sequence[Setting], keys: Sequence[str]) -> Iterator[Setting]:
    known = [one.key for one in found]
    for key in keys:
        if key not in known:
            raise ConfigurationError(f"there is no setting {key!r}{closest(key, known)}")
        inner = tuple(f"{key}{suffix}" for suffix in (".", "[].", ".*."))
        yield from (one for one in found if one.key == key or one.key.startswith(inner))


def _type(one: Setting) -> str:
    return _code(one.type) + (f", {_text(one.unit)}" if one.unit else "")


def _default(one: Setting) -> str:
    if one.default == REQUIRED:
        return "required"
    return "" if one.is_section or not one.default else _code(one.default)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(
        f"{''.join(f'| {cell} ' if cell else '| ' for cell in line)}|\n" for line in lines
    )


def _code(text: str) -> str:
    """Return *text* as code in a cell, where a bar must be escaped even there."""
    text = printable(text).replace("|", r"\|")
    ticks = "`" * (max((len(run) for run in re.findall("`+", text)), default=0) + 1)
    return f"{ticks}{text}{ticks}" if len(ticks) == 1 else f"{ticks} {text} {ticks}"


def _text(text: str) -> str:
    """Return *text* for a cell, in one line; words between backquotes stay code."""
    parts = _CODE.split(" ".join(text.split()))
    return "".join(
        _code(part[1:-1])
        if place % 2
        else _SPECIAL.sub(r"\\\1", printable(part)).replace("&", "&amp;").replace("<", "&lt;")
        for place, part in enumerate(parts)
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".") + "."
