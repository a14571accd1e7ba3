"""Run the same work on every peer in turn, and make the table of the results."""

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
WORK = {
    "bag": 1_000,
    "chain": 200,
    "fan": 1_000,
    "layers": 1_000,
    "executables": 200,
    "trips": 200,
    "payload": 20,
    "pauses": 200,
}
"""The tasks of each piece of work, few because some engines need tens of milliseconds a task."""

LEGEND = """\
A *fan* is one task, many that depend on it, and one that depends on those; *layers* are 100 wide
with three parents each; *executables* are /bin/true; *trips* are calls that are awaited one by
one; *payload* passes an array of 10 MB from task to task; *pauses* wait for 10 ms each, so that
5,000 µs is ideal."""

ROUNDS = 3
ROUND_TIMEOUT_S = 180.0
"""Seconds that one peer has for all the work of a round, with its start and its end."""


@dataclass(slots=True)
class Standing:
    """The figures of one peer.

    Attributes:
        costs: microseconds a task by the name of the work, the median of the rounds.
        missing: the reasons for missing figures by the name of the work; "" means all work.
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
            f"medians of {self.rounds} interleaved rounds.  {LEGEND}",
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
    """Measure all `PEERS`; their environments are in *folder*."""
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
    costs: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for peer, standing in zip(PEERS, standings, strict=True):
            todo = {name: size for name, size in work.items() if name not in standing.missing}
            if peer.name not in pythons or not todo:
                continue
            print(f"{peer.name}: {', '.join(todo)}", file=sys.stderr, flush=True)
            answers, problem = _run(pythons[peer.name], peer, todo)
            for data in answers:
                name = data["work"]
                standing.version = data["version"]
                cost = data["seconds"] / todo.pop(name) * 1e6
                costs.setdefault((peer.name, name), []).append(cost)
            if todo:
                # It failed at this piece of work; the next round tries those after it.
                standing.missing[next(iter(todo))] = problem
    for (peer_name, name), found in costs.items():
        standing = next(one for one in standings if one.name == peer_name)
        if name not in standing.missing:
            standing.costs[name] = statistics.median(found)
    for standing in standings:
        for name in work:
            if name not in standing.costs and not standing.missing.keys() & {name, ""}:
                standing.missing[name] = "not reached"
    return Outcome(standings, work, rounds)


def _run(python: Path, peer: Peer, works: dict[str, int]) -> tuple[list[dict[str, Any]], str]:
    """Run *works* in a process, and end everything that the process started.

    Returns:
        The answers, and the reason why there are no others.
    """
    command = [str(python), str(SCRIPTS / peer.script), peer.kind]
    command += [f"{name}={size}" for name, size in works.items()]
    # The workers of peers import the bodies, and some peers look for scripts of their own.
    path = f"{python.parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(SCRIPTS)}
    problem = ""
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-", ignore_cleanup_errors=True) as folder,
        tempfile.TemporaryFile("w+") as output,
        tempfile.TemporaryFile("w+") as errors,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        try:
            process.wait(ROUND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            problem = f"took more than {ROUND_TIMEOUT_S:.0f} s"
        finally:
            _end(process)
        if process.wait() and not problem:
            errors.seek(0)
            lines = errors.read().strip().splitlines() or [f"exit code {process.returncode}"]
            problem = lines[-1]
        output.seek(0)
        # Some engines print messages of their own.
        answers = [json.loads(line) for line in output if line.startswith('{"work": ')]
    return answers, problem or "no answer"


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the process and everything that is left in its group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
