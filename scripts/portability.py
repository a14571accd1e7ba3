"""Write the table of docs/portability.md: ``python scripts/portability.py``.

It needs an environment in which every backend of this repository loads.  The table is made from
the capabilities that the backends declare and from what they refuse at the call, and the
conformance kit runs a program for each of its rows.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from radical.asyncflow._discovery.registry import registry
from radical.asyncflow.backend._portability import ROWS, refusal
from radical.asyncflow.errors import BackendError

PAGE = Path(__file__).parents[1] / "docs/portability.md"
BEGIN, END = "<!-- table -->\n", "<!-- end of the table -->\n"


class Column(NamedTuple):
    """A backend, with the settings that decide what it can do."""

    title: str
    backend: str
    settings: Mapping[str, Any]


COLUMNS = (
    Column("`concurrent`, threads", "concurrent", {"max_workers": 2, "gpus": 1}),
    Column(
        "`concurrent`, processes",
        "concurrent",
        {"max_workers": 2, "gpus": 1, "executor_type": "process"},
    ),
    Column(
        "`concurrent`, async",
        "concurrent",
        {"max_workers": 2, "gpus": 1, "executor_type": "async"},
    ),
    Column("`dask`", "dask", {}),
    Column("`radical_pilot`", "radical_pilot", {"cores": 8, "gpus": 1}),
    Column("`parsl`", "parsl", {}),
    Column("`inference`", "inference", {"base_url": "http://localhost:8000/v1"}),
)

Table = dict[str, dict[str, str]]
"""``{column: {row: what is lacking, or ""}}``."""


def measure() -> Table:
    """Return the columns of the backends that load here."""
    found: Table = {}
    for column in COLUMNS:
        try:
            backend = registry.create(column.backend, column.settings)
        except BackendError:
            continue  # its packages are not installed
        found[column.title] = {row.title: refusal(row, backend) for row in ROWS}
    return found


def write(table: Table) -> str:
    """Return *table* in Markdown: one word in each cell, and numbered notes below."""
    notes: list[str] = []
    lines = [
        f"| | {' | '.join(table)} |",
        f"| --- |{' --- |' * len(table)}",
    ]
    for row in ROWS:
        able = [title for title, column in table.items() if not column[row.title]]
        cells = []
        for column in table.values():
            if not (lacking := column[row.title]):
                cells.append("yes")
                continue
            note = f"{lacking}; {advice(able)}"
            if note not in notes:
                notes.append(note)
            cells.append(f"no ({notes.index(note) + 1})")
        lines.append(f"| {row.title} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. No, because {note}." for number, note in enumerate(notes, 1)), ""]
    return "\n".join(lines)


def advice(able: list[str]) -> str:
    """Return what to use in place of a backend that lacks something."""
    names: list[str] = []
    for column in COLUMNS:
        kin = [other.title for other in COLUMNS if other.backend == column.backend]
        name = f"`{column.backend}`" if set(kin) <= set(able) else column.title
        if column.title in able and name not in names:
            names.append(name)
    return f"use {' or '.join(names)}" if names else "nothing here can"


def read(page: str) -> Table:
    """Return the table that *page* has."""
    text = page.partition(BEGIN)[2].partition(END)[0]
    notes = dict(
        re.findall(r"^(\d+)\. No, because (.*); (?:use|nothing) .*\.$", text, re.MULTILINE)
    )
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    table: Table = {title: {} for title in head[1:]}
    for title, *cells in rows:
        for column, cell in zip(table.values(), cells, strict=True):
            number = re.fullmatch(r"no \((\d+)\)", cell)
            column[title] = notes[number[1]] if number else {"yes": ""}[cell]
    return table


def main() -> int:
    """Write the table into the page; return 1 if a backend is missing here."""
    table = measure()
    if missing := [column.title for column in COLUMNS if column.title not in table]:
        print(f"these do not load here: {', '.join(missing)}", file=sys.stderr)
        return 1
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{write(table)}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
