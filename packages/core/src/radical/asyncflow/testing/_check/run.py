"""Check an installed backend from outside: start the child, hear what it says, and report."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..._discovery.registry import registry
from ..._discovery.settings import BACKEND, CONFIG, JOURNAL, PROFILE, SET, WALLTIME
from ..._quality.promises import LEAKS, PROMISES, promise_of
from ..._quality.report import Benchmark, Check, Outcome, Report
from ...config import shown, validate
from ...errors import BackendError, ConfigurationError
from ...version import __version__
from ...worker import child_environment, guard, kill_tree, start_guarded
from . import package
from .subject import SUBJECT, Subject

__all__ = ["Found", "check_backend", "require_kit"]

_KIT = ("pytest", "pytest_asyncio", "psutil", "numpy")
_LOOK = 0.05
"""Seconds between two looks at what the child has written."""
_TAIL = 2_000
"""Characters of the child's output that are shown if it broke off."""

_RANK: dict[str, int] = {"not applicable": 0, "passed": 1, "not run": 2, "failed": 3}
"""Of several cases of one check, the outcome with the highest rank is that of the check."""


def require_kit() -> None:
    """Check that the kit can run here.

    Raises:
        ConfigurationError: it names the packages that are missing, and how to get them.
    """
    missing = [name for name in _KIT if find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"the checks need {', '.join(missing)}, which is not installed\n"
            "Try: pip install 'radical.asyncflow[testing]'"
        )


class Found:
    """The outcomes of the checks as they come.

    Attributes:
        checks: by name, in the order in which they ended.
        probed: what the child measured; empty if it never came so far.
        benchmarks: what a task cost.
        total: how many cases the child runs; 0 until that is known.
        ended: how many of them have ended.
    """

    def __init__(self, tell: Callable[[Found, Check | None], None]) -> None:
        self._tell = tell
        self._leaks: list[str] = []
        self.checks: dict[str, Check] = {}
        self.probed: dict[str, Any] = {}
        self.benchmarks: list[Benchmark] = []
        self.total = 0
        self.ended = 0
        self.running = ""
        self.is_whole = False
        self.broken = ""

    def add(self, name: str, outcome: Outcome, message: str = "", seconds: float = 0.0) -> None:
        """Add the end of a check, or of one of its cases, and tell it if it failed."""
        before = self.checks.get(name)
        promise = promise_of(name)
        check = Check(
            name=name,
            group=promise.group,
            promise=promise.text,
            page=promise.page,
            outcome=outcome,
            seconds=seconds,
            message=message,
        )
        if before is not None:
            worse = max(before, check, key=lambda one: _RANK[one.outcome])
            check = worse.model_copy(update={"seconds": round(before.seconds + seconds, 4)})
        self.checks[name] = check
        if outcome == "failed" and (before is None or before.outcome != "failed"):
            self._tell(self, check)

    def hear(self, line: dict[str, Any]) -> None:
        """Take in one line of the child."""
        if "broken" in line:
            self.broken = line["broken"]
        elif "probed" in line:
            self.probed = line["probed"]
        elif "total" in line:
            self.total = line["total"]
        elif "begins" in line:
            self.ended += bool(self.running)
            self.running = line["begins"]
        elif "end" in line:
            self.is_whole, self.running = True, ""
        elif line["outcome"] == "leak":
            self._leaks.append(f"{line['check']}: {line['message']}")
        else:
            self.add(
                line["check"], line["outcome"], line.get("message", ""), line.get("seconds", 0.0)
            )
            if "benchmark" in line:
                self.benchmarks.append(Benchmark(**line["benchmark"]))
        self._tell(self, None)

    def conclude(self, why: str) -> None:
        """Add the end of the checks that did not come to one; *why* says what ended the run."""
        if self.running:
            self.add(self.running, "failed", f"the run ended during this check: {why}")
        if self._leaks:
            self.add(LEAKS, "failed", "\n".join(self._leaks))
        elif any(check.group not in _OF_PACKAGE for check in self.checks.values()):
            self.add(LEAKS, "passed" if self.is_whole else "not run", why)
        for promise in PROMISES:
            for name in promise.checks:
                if name not in self.checks:
                    self.add(name, "not run", why)


_OF_PACKAGE = frozenset({"plugin", "typing", "settings", "package"})


def check_backend(subject: Subject, tell: Callable[[Found, Check | None], None]) -> Report:
    """Check the backend, and return the report; *tell* hears of all that happens, as it does.

    Raises:
        BackendNotFoundError: no such backend is installed.
        ConfigurationError: the settings are wrong, or the kit cannot run here.
    """
    require_kit()
    began = datetime.now(UTC)
    declarations = package.declarations(subject.name)
    _check_settings(subject)
    found = Found(tell)
    for name, outcome, message in package.check(declarations):
        found.add(name, outcome, message)
    loads = found.checks["entry point"].outcome == "passed"
    why = _run_child(subject, found) if loads else "the plugin cannot be loaded"
    found.conclude(why or ("a fast run leaves it out" if subject.fast else ""))
    order = {name: place for place, name in enumerate(_names())}
    described = registry.describe(subject.name)
    conditions = {key: found.probed.get(key) for key in _CONDITIONS} if found.probed else {}
    return Report(
        backend=subject.name,
        distribution=declarations[0].distribution,
        version=declarations[0].version,
        core=__version__,
        python=platform.python_version(),
        platform=platform.platform(),
        date=began.isoformat(timespec="seconds"),
        given=shown(subject.settings),
        load=subject.load,
        conditions={**conditions, "patience": subject.patience, "fast": subject.fast},
        checks=tuple(sorted(found.checks.values(), key=lambda check: order[check.name])),
        benchmarks=tuple(found.benchmarks),
        capabilities=found.probed.get("capabilities") or described.get("capabilities", {}),
        settings=described.get("config_schema"),
        portability=found.probed.get("portability") or described.get("tasks", {}),
    )


def _check_settings(subject: Subject) -> None:
    """Raise ConfigurationError if the settings are wrong, as far as the plugin can be loaded."""
    try:
        model = registry.get_backend_spec(subject.name).config_model
        registry.load_factory(subject.name)
    except BackendError:
        return  # a failed check will say so
    settings = {key: value for key, value in subject.settings.items() if key != "name"}
    validate(model, settings, backend=subject.name)


_CONDITIONS = ("slots", "inline", "travel", "backend_scope")


def _names() -> Iterator[str]:
    return (name for promise in PROMISES for name in promise.checks)


def _run_child(subject: Subject, found: Found) -> str:
    """Run the kit in a child, and return why it ended early; "" if it did not."""
    guard().acquire()
    try:
        with tempfile.TemporaryDirectory() as folder:
            return _hear_child(subject, found, Path(folder))
    finally:
        guard().release()


def _hear_child(subject: Subject, found: Found, folder: Path) -> str:
    mark = child_environment()
    lines, output = folder / "lines", folder / "output"
    lines.touch()
    with output.open("wb") as sink:
        process = start_guarded(
            [sys.executable, "-m", "radical.asyncflow.testing._check.child", str(lines)],
            cwd=str(folder),
            env=_environment(subject) | mark,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
        )
    try:
        how = _follow(process, lines, found, subject.silence)
    finally:
        kill_tree(process.pid, mark)
        guard().forget(process.pid)
        process.wait()
    if found.broken:
        return found.broken
    if found.is_whole:
        return ""
    return f"{how}\n{output.read_text(encoding='utf-8', errors='replace')[-_TAIL:]}".rstrip()


def _follow(process: subprocess.Popen[bytes], lines: Path, found: Found, silence: float) -> str:
    """Hear the lines of the child until it has ended, and return how it ended."""
    with lines.open(encoding="utf-8") as file:
        rest, last = "", time.monotonic()
        while True:
            ended = _has_ended(process)
            if text := file.read():
                last = time.monotonic()
                *whole, rest = (rest + text).split("\n")
                for line in whole:
                    found.hear(json.loads(line))
            elif ended:
                code = process.wait()
                return f"the process ended with {f'signal {-code}' if code < 0 else f'code {code}'}"
            elif found.is_whole or found.broken:
                return ""
            elif time.monotonic() - last > silence:
                return f"nothing happened for {silence:g} s"
            time.sleep(_LOOK)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether the process has ended, and leave it to be waited for: its group may live on."""
    how = os.WEXITED | os.WNOHANG | os.WNOWAIT
    return os.waitid(os.P_PID, process.pid, how) is not None


def _environment(subject: Subject) -> dict[str, str]:
    """Return the environment of the child: nothing in it chooses backends, journals or plugins."""
    left_out = {BACKEND, CONFIG, JOURNAL, PROFILE, SET, WALLTIME, "PYTEST_ADDOPTS"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    if path := kept.get("PYTHONPATH"):
        places = [str(Path(place).absolute()) for place in path.split(os.pathsep) if place]
        kept["PYTHONPATH"] = os.pathsep.join(places)
    kept["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    kept[SUBJECT] = subject.to_environment()
    return kept
