"""The process that holds Parsl, as the program sees it."""

from __future__ import annotations

import os
import pickle
import secrets
import sysconfig
from collections.abc import Callable
from pathlib import Path

from radical.asyncflow.worker import SupervisedProcess

from .messages import Close, Event, Order

__all__ = ["HostProcess"]

_ENTRY = "asyncflow_backend_parsl._host.main:main"
_END_S = 10.0  # for the batch system to end the blocks


class HostProcess:
    """Its start, the messages to and from it, and its end; for any thread."""

    def __init__(
        self,
        folder: Path,
        *,
        on_event: Callable[[Event], None],
        on_end: Callable[[int | None], None],
    ) -> None:
        """Start it.

        Args:
            folder: for its files.
            on_event: called with each event, in a thread of this object; so is *on_end*, once.
        """

        def receive(messages: list[list[bytearray]]) -> None:
            for (part,) in messages:
                on_event(pickle.loads(part))

        # Slurm would put a job whose node fails into the queue again, and tell of no end.
        environment = {**os.environ, "SBATCH_NO_REQUEUE": "1"}
        # A block with a worker_init finds its interpreter by name, though no environment is active.
        environment["PATH"] = os.pathsep.join([_programs(), environment.get("PATH", os.defpath)])
        self._process = SupervisedProcess(
            _ENTRY,
            log=folder / "host.log",
            token=secrets.token_hex(16),
            on_messages=receive,
            on_end=on_end,
            environment=environment,
            cwd=folder,
        )

    def send(self, order: Order) -> None:
        """Send an order, without waiting for it to arrive."""
        self._process.send([pickle.dumps(order, 5)])

    def last_words(self) -> str:
        """Return the last lines that it printed."""
        return self._process.last_words()

    def is_stopped(self) -> bool:
        """Tell whether somebody has stopped it, such as by SIGSTOP; only Linux tells."""
        try:
            told = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return False
        return told.rpartition(")")[2].split()[0] == "T"

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """Have it end all blocks and itself; kill what is left."""
        self.send(Close())
        self._process.wait(_END_S)
        self._process.kill()


def _programs() -> str:
    """Return the folder with the programs of the environment of this interpreter."""
    return sysconfig.get_path("scripts")
