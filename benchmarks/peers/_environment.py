"""Make a virtual environment for each peer, because their requirements conflict."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEERS", "Peer", "interpreter"]

INSTALL_TIMEOUT_S = 900.0
"""Seconds that an installation may take."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An engine, or one way of using it.

    Attributes:
        environment: the name of its environment, which several peers may share; None for ours.
        requirements: the requirements for pip.
        script: the file in ``scripts`` that runs the work on it.
        kind: the argument of the script: ``"thread"`` or ``"process"``, after the name of our
            backend if that is not ``concurrent``.
    """

    name: str
    environment: str | None
    requirements: tuple[str, ...]
    script: str
    kind: str


def _peer(name: str, environment: str, requirements: str, script: str, kind: str) -> Peer:
    return Peer(name, environment, (*requirements.split(), "numpy"), script, kind)


PACKAGES = Path(__file__).parents[2] / "packages"
OURS_ON_RHAPSODY = " ".join(
    str(PACKAGES / name)
    for name in ("core", "backend-noop", "backend-concurrent", "backend-rhapsody")
)

PEERS = (
    Peer("ours, threads", None, (), "with_ours.py", "thread"),
    Peer("ours, processes", None, (), "with_ours.py", "process"),
    _peer(
        *("ours on RHAPSODY, threads", "ours-on-rhapsody"),
        *(OURS_ON_RHAPSODY, "with_ours.py", "rhapsody-thread"),
    ),
    _peer(
        *("ours on RHAPSODY, processes", "ours-on-rhapsody"),
        *(OURS_ON_RHAPSODY, "with_ours.py", "rhapsody-process"),
    ),
    _peer("Parsl, threads", "parsl", "parsl", "with_parsl.py", "thread"),
    _peer("Parsl, HTEX", "parsl", "parsl", "with_parsl.py", "process"),
    _peer("executorlib", "executorlib", "executorlib", "with_executorlib.py", "process"),
    _peer("Dask, its own client", "dask", "distributed", "with_dask.py", "process"),
    _peer(
        *("public asyncflow 0.6, threads", "asyncflow06"),
        *("radical.asyncflow==0.6.* rhapsody-py", "with_public_asyncflow.py", "thread"),
    ),
    _peer(
        *("public asyncflow 0.6, processes", "asyncflow06"),
        *("radical.asyncflow==0.6.* rhapsody-py", "with_public_asyncflow.py", "process"),
    ),
    _peer("Ray", "ray", "ray", "with_ray.py", "process"),
)


def interpreter(peer: Peer, folder: Path) -> Path:
    """Return the Python that has *peer*, and create its environment in *folder* if needed.

    Raises:
        OSError: the environment could not be created; the text says why.
    """
    if peer.environment is None:
        return Path(sys.executable)
    home = folder / peer.environment
    python = home / "bin" / "python"
    ready = home / "ready"
    if ready.exists():
        return python
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(home)],
        [str(python), "-m", "pip", "install", "--quiet", *peer.requirements],
    ):
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise OSError(f"the installation took more than {INSTALL_TIMEOUT_S:.0f} s") from None
        if done.returncode:
            reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise OSError(f"does not install: {reason[-1]}")
    ready.touch()
    return python
