"""Measure, print the tables, and tell which goals are met: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

from ._model import Row, Settings
from ._report import as_json, as_markdown, table
from .scenarios import SCENARIOS


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    if options.list:
        for scenario in SCENARIOS.values():
            print(f"{scenario.name:16} {scenario.summary}")
        return 0
    names = _chosen(options.scenario)
    if not names and not options.peers:
        print(
            f"no scenario has the name {' or '.join(options.scenario)}; --list shows all names",
            file=sys.stderr,
        )
        return 2
    settings = Settings(options.repeat, options.quick)
    found: list[Row] = []
    for name in names:
        print(f"{name}: {SCENARIOS[name].summary}", file=sys.stderr, flush=True)
        new = SCENARIOS[name].measure(settings)
        print(*table(new)[2:], sep="\n", file=sys.stderr, flush=True)
        found += new
    text = as_markdown(found, settings)
    data = as_json(found, settings)
    if options.peers:
        from .peers import measure_peers

        outcome = measure_peers(options.peers.resolve(), settings)
        text += "\n" + outcome.as_markdown()
        data["peers"] = outcome.as_json()
    print(text)
    if options.markdown:
        options.markdown.write_text(text)
    if options.json:
        options.json.write_text(json.dumps(data, indent=1) + "\n")
    return int(options.check and any(row.met is False for row in found))


def _chosen(patterns: Sequence[str] | None) -> list[str]:
    if not patterns:
        return list(SCENARIOS)
    return [name for name in SCENARIOS if any(fnmatch(name, pattern) for pattern in patterns)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    add = parser.add_argument
    add(
        "--scenario",
        action="append",
        metavar="NAME",
        help="measure only this scenario, or a pattern such as 'noop-*'; may be repeated",
    )
    add("--list", action="store_true", help="name the scenarios")
    add("--repeat", type=int, default=5, metavar="N", help="the number of rounds (5)")
    add("--quick", action="store_true", help="use small sizes, to see that everything works")
    add("--json", type=Path, metavar="FILE", help="write all figures to FILE")
    add("--markdown", type=Path, metavar="FILE", help="write the tables to FILE")
    add("--check", action="store_true", help="exit with code 1 if a goal is not met")
    add(
        "--peers",
        type=Path,
        metavar="DIR",
        help="also measure other engines, each in an environment of its own in DIR",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
