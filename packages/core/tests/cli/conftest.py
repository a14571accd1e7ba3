"""The command in this process, in a process of its own, and on a terminal."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from radical.asyncflow._discovery.registry import registry

fcntl = pytest.importorskip("fcntl")
termios = pytest.importorskip("termios")

COMMAND = (sys.executable, "-m", "radical.asyncflow")
VARIABLES = (
    "BACKEND",
    "PROFILE",
    "CONFIG",
    "SET",
    "DISABLE_PLUGINS",
    "JOURNAL",
    "WALLTIME",
    "PROGRESS",
    "OBSERVERS",
    "CARRIERS",
)

Invoke = Callable[..., Result]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
Script = Callable[[str], str]
Install = Callable[[str, str, str], None]


@pytest.fixture(autouse=True)
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hide the profiles of the user, and undo whatever the command sets."""
    for variable in VARIABLES:
        # Set first, so that monkeypatch also removes what was not there before.
        monkeypatch.setenv(f"ASYNCFLOW_{variable}", "")
        monkeypatch.delenv(f"ASYNCFLOW_{variable}")
    for variable in ("FORCE_COLOR", "NO_COLOR", "COLUMNS", "LINES", "CI"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TERM", "xterm-256color")
    yield
    registry.refresh()


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that runs the command in this process, with the plugins read anew."""
    import logging

    from radical.asyncflow.cli._command import command

    def call(*args: str) -> Result:
        registry.refresh()
        before = dict(command.commands)
        log = logging.getLogger("radical.asyncflow")
        handlers, propagate = log.handlers[:], log.propagate
        try:
            return CliRunner().invoke(command, args, prog_name="asyncflow")
        finally:
            command.commands = before
            command._plugins_added = False  # type: ignore[attr-defined]
            log.handlers[:], log.propagate = handlers, propagate

    return call


@pytest.fixture
def run() -> Run:
    """Return a function that runs the command in a process of its own, without a terminal."""

    def call(*args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (*COMMAND, *args), capture_output=True, text=True, timeout=60, check=False, **options
        )

    return call


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Return a function that writes a program and returns its path."""

    def write(text: str) -> str:
        path = tmp_path / "scripts" / "program.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Make a distribution with one entry point: ``install(group, name, code)``."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("PYTHONPATH", str(site))

    def write(group: str, name: str, code: str) -> None:
        info = site / f"{name}_dist.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-dist\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[{group}]\n{name} = module_of_{name}\n")
        (site / f"module_of_{name}.py").write_text(textwrap.dedent(code))

    yield write
    for name in [name for name in sys.modules if name.startswith("module_of_")]:
        del sys.modules[name]


@dataclass
class Terminal:
    """A process on a pseudo-terminal."""

    process: subprocess.Popen[bytes]
    master: int
    output: str = ""
    _bytes: bytearray = field(default_factory=bytearray)

    def read(self, until: str = "") -> str:
        """Read and return the output up to *until*, or to the end of the process."""
        while not until or until not in self.output:
            try:
                data = os.read(self.master, 65536)
            except OSError:  # how a pseudo-terminal ends on Linux
                data = b""
            if not data:
                assert not until, f"{until!r} never came:\n{self.output}"
                break
            self._bytes += data
            self.output = self._bytes.decode(errors="replace").replace("\r\n", "\n")
        return self.output

    def wait(self) -> int:
        self.read()
        return self.process.wait(30)


@pytest.fixture
def terminal() -> Iterator[Callable[..., Terminal]]:
    """Start the command on a terminal of so many columns; the test's timeout bounds the reading."""
    started: list[Terminal] = []

    def start(*args: str, columns: int = 80, stdout: Any = None) -> Terminal:
        master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        process = subprocess.Popen(
            (*COMMAND, *args),
            stdin=slave,
            stdout=slave if stdout is None else stdout,
            stderr=slave,
            start_new_session=True,
            # Given, because readline writes COLUMNS behind the back of os.environ.
            env=dict(os.environ),
        )
        os.close(slave)
        started.append(Terminal(process, master))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait()
        os.close(one.master)
