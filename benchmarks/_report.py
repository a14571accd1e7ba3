"""Write the figures of a run: Markdown to read, JSON to compare."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from ._model import OURS, Row, Settings

__all__ = ["as_json", "as_markdown", "goals", "table"]


def machine() -> dict[str, object]:
    """Return the facts about this machine that the figures depend on."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
    }


def as_json(rows: Sequence[Row], settings: Settings) -> dict[str, Any]:
    """Return all figures for `json.dump`."""
    return {
        "machine": machine(),
        "settings": asdict(settings),
        "rows": [asdict(row) | {"reached": row.reached, "met": row.met} for row in rows],
    }


def as_markdown(rows: Sequence[Row], settings: Settings) -> str:
    """Return the table, the goals and the machine as Markdown."""
    facts = machine()
    quick = " (quick: the figures mean little)" if settings.quick else ""
    head = (
        f"Medians of at least {settings.repeat} interleaved rounds{quick}; {facts['cores']} cores, "
        f"Python {facts['python']}, {facts['system']}, load {facts['load']} at the end.  "
        "A ratio is the median of the rounds' own ratios, ours over the reference.\n"
    )
    return "\n".join([head, *table(rows), "", *goals(rows), ""])


def table(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table, with the references in the order of the scenario."""
    lines = [
        "| scenario | tasks | figure | ours | reference | ratio |",
        "| --- | ---: | --- | ---: | --- | --- |",
    ]
    for row in rows:
        others = [side for side in row.medians if side != OURS]
        references = "; ".join(f"{side} {_number(row.medians[side])}" for side in others)
        ratios = "; ".join(_ratio(row, side) for side in others)
        lines.append(
            f"| {row.scenario} | {row.size:,} | {row.figure} | {_number(row.medians[OURS])} "
            f"| {references} | {ratios} |"
        )
    return lines


def goals(rows: Sequence[Row]) -> list[str]:
    """Return the lines of the table of goals, empty without goals."""
    lines = ["| goal | | reached | |", "| --- | --- | ---: | --- |"]
    for row in rows:
        if row.goal is None or row.reached is None:
            continue
        what = f"{row.scenario}, {row.size:,}: {row.figure}"
        if row.goal.reference is not None:
            what += f", ratio to {row.goal.reference}"
        verdict = "met" if row.met else "**not met**"
        lines.append(f"| {what} | {row.goal} | {_number(row.reached)} | {verdict} |")
    return lines if len(lines) > 2 else []


def _ratio(row: Row, side: str) -> str:
    ratio = row.ratios.get(side)
    return "–" if ratio is None else _number(ratio)


def _number(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"
