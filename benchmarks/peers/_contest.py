"""Running the same work on every peer in turn, and the table of it."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .._model import Settings
from ._environment import PEERS, Peer, interpreter

__all__ = ["Outcome", "measure_peers"]

SCRIPTS = Path(__file__).parent / "scripts"
WORK = {"bag": 1_000, "chain": 200, "executables": 200}
"""Tasks of each piece of work; small, because some need tens of milliseconds for one."""

ROUNDS = 3
TIMEOUT = 120.0
"""Seconds for one piece of work on one peer, with its start and end."""


@dataclass(slots=True)
class Standing:
    """What became of one peer.

    Attributes:
        costs: microseconds a task, by the name of the work; the median of the rounds.
        missing: why it has no figures, by the name of the work; "" for all of them.
    """

    name: str
    version: str = ""
    costs: dict[str, float] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Outcome:
    """The standings of all peers."""

    standings: list[Standing]
    work: dict[str, int]
    rounds: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    def as_markdown(self) -> str:
        titles = [f"{name} of {size:,}" for name, size in self.work.items()]
        lines = [
            "Other engines, two workers each, µs a task, "
            f"medians of {self.rounds} interleaved rounds.",
            "",
            f"| engine | version | {' | '.join(titles)} |",
            f"| --- | --- | {' | '.join(['---:'] * len(titles))} |",
        ]
        notes: list[str] = []
        for standing in self.standings:
            cells = [
                f"{standing.costs[name]:,.0f}" if name in standing.costs else "missing"
                for name in self.work
            ]
            lines.append(f"| {standing.name} | {standing.version} | {' | '.join(cells)} |")
            notes += [
                f"- {standing.name}{', ' + name if name else ''}: {reason}"
                for name, reason in standing.missing.items()
            ]
        return "\n".join([*lines, *(["", "Missing:", *notes] if notes else []), ""])


def measure_peers(folder: Path, settings: Settings) -> Outcome:
    """All `PEERS`, their environments below *folder*."""
    work = {name: settings.size(size) for name, size in WORK.items()}
    rounds = 1 if settings.quick else ROUNDS
    folder.mkdir(parents=True, exist_ok=True)
    standings: list[Standing] = []
    pythons: dict[str, Path] = {}
    for peer in PEERS:
        standing = Standing(peer.name)
        standings.append(standing)
        try:
            pythons[peer.name] = interpreter(peer, folder)
        except OSError as error:
            standing.missing[""] = str(error)
    for name, size in work.items():
        costs: dict[str, list[float]] = {}
        for _ in range(rounds):
            for peer, standing in zip(PEERS, standings, strict=True):
                if peer.name in pythons and name not in standing.missing:
                    print(f"{name}: {peer.name}", file=sys.stderr, flush=True)
                    try:
                        data = _run(pythons[peer.name], peer, name, size)
                    except OSError as error:
                        standing.missing[name] = str(error)
                        costs.pop(peer.name, None)
                        continue
                    standing.version = data["version"]
                    costs.setdefault(peer.name, []).append(data["seconds"] / size * 1e6)
        for standing in standings:
            if standing.name in costs:
                standing.costs[name] = statistics.median(costs[standing.name])
    return Outcome(standings, work, rounds)


def _run(python: Path, peer: Peer, work: str, size: int) -> dict[str, Any]:
    """One piece of work in a process of its own.

    Raises:
        OSError: it failed, or took too long; whatever it had started was ended.
    """
    command = [str(python), str(SCRIPTS / peer.script), peer.kind, work, str(size)]
    # Their workers import the bodies, and some look for scripts of their own.
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(SCRIPTS)}
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as place,
        tempfile.TemporaryFile("w+", dir=place) as errors,
        subprocess.Popen(
            command,
            cwd=place,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            text, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            raise OSError(f"took more than {TIMEOUT:.0f} s") from None
        finally:
            _end(process)
        if process.returncode:
            errors.seek(0)
            lines = errors.read().strip().splitlines() or [f"exit code {process.returncode}"]
            raise OSError(lines[-1])
    # Some engines print what they think is news; the figures come last.
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found


def _end(process: subprocess.Popen[str]) -> None:
    """End the process and what it left behind in its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
