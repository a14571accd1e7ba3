"""Write the table of checks in docs/checking-a-backend.md: ``python scripts/checks.py``.

It is made from the promises that the checks of the conformance kit prove.
"""

from __future__ import annotations

import sys
from itertools import groupby
from pathlib import Path

from radical.asyncflow._quality.levels import GROUPS
from radical.asyncflow._quality.promises import PROMISES, Promise
from radical.asyncflow.testing import BackendConformance
from radical.asyncflow.testing._conformance.needs import is_slow

PAGE = Path(__file__).parents[1] / "docs/checking-a-backend.md"
STAR = "\\*"
BEGIN, END = "<!-- checks -->\n", "<!-- end of the checks -->\n"


def table() -> str:
    """Return the promises in Markdown, one table for each group."""
    lines = []
    ordered = sorted(PROMISES, key=lambda promise: list(GROUPS).index(promise.group))
    for group, promises in groupby(ordered, key=lambda promise: promise.group):
        title = f"{group[0].upper()}{group[1:]}"
        lines += [f"### {title} ({GROUPS[group]})", "", "| promise | checks |", "| --- | --- |"]
        lines += [_row(promise) for promise in promises]
        lines.append("")
    return "\n".join(lines)


def _row(promise: Promise) -> str:
    words = [f"`{name}`{STAR if _is_slow(name, promise) else ''}" for name in promise.checks]
    page = promise.page.removeprefix(PAGE.name)
    return f"| [{promise.text}]({page}) | {', '.join(words)} |"


def _is_slow(name: str, promise: Promise) -> bool:
    check = getattr(BackendConformance, name, None)
    return promise.group == "benchmarks" or is_slow(check)


def main() -> int:
    """Write the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    after = rest.partition(END)[2]
    PAGE.write_text(f"{before}{BEGIN}\n{table()}\n{END}{after}", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
