"""The host process as the program sees it: its start, the messages to and from it, its end."""

from __future__ import annotations

import os
import pickle
import secrets
import signal
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from radical.asyncflow.worker import SupervisedProcess, end_all

from .environment import host_environment
from .messages import ClosePilot, Event, Order
from .processes import helpers
from .psij_plugin import write_plugin

__all__ = ["HostProcess"]

_ENTRY = "asyncflow_backend_radical._host.main:main"
_KILL_S = 5.0  # for what the process started to be gone
_PILOT_TIDIES_UP_S = 0.3


class HostProcess:
    """A process that holds RADICAL-Pilot; every method may be called from any thread.

    Attributes:
        log: the file with what the process, and RADICAL-Pilot in it, printed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        configs: Path | None,
        has_job: bool,
        on_events: Callable[[list[Event]], None],
        on_exit: Callable[[int | None], None],
    ) -> None:
        """Start the process.

        Args:
            folder: where RADICAL-Pilot writes its session.
            configs: the folder of RADICAL-Pilot's user configurations; None for the user's own.
            has_job: the process will have a job in a queue.  It then outlives a program
                that dies, to cancel the job; otherwise it is killed with the program.
            on_events: called with each batch of events, in a thread of this object.
            on_exit: called with the exit code, or None if that is lost, last of all, in the
                same thread.
        """
        self._on_events = on_events
        self._has_job = has_job
        self._kill_lock = threading.Lock()
        self._is_killed = False
        self.log = folder / "host.log"
        token = secrets.token_hex(16)
        self._process = SupervisedProcess(
            _ENTRY,
            log=self.log,
            token=token,
            on_messages=self._receive,
            on_end=on_exit,
            environment=_environment(token, folder, configs, has_job=has_job),
            cwd=folder,
            watched=not has_job,
        )

    def send(self, order: Order) -> None:
        """Send *order*, without waiting for it to arrive."""
        self._process.send([pickle.dumps(order)])

    def close(self, limit_s: float) -> bool:
        """Have the process end the pilot and itself; kill what is left after *limit_s* seconds.

        Returns:
            False if the process is left alone, because it still has a job to cancel.
        """
        self.send(ClosePilot())
        if not self._process.wait(limit_s) and self._has_job:
            return False
        self.kill()
        return True

    def kill(self, *, gently: bool = False) -> None:
        """Kill the process and all that it started; *gently* lets a pilot tidy up first.

        A pilot that is starting runs the user's login scripts.  Some of these lock a file: after
        a SIGKILL the next login shell would wait for that lock.
        """
        with self._kill_lock:
            if self._is_killed:
                return
            self._is_killed = True
        if gently:
            self._process.signal_others(signal.SIGTERM)
            time.sleep(_PILOT_TIDIES_UP_S)
        self._process.kill()
        # RADICAL-Pilot's helpers have lost the token.
        end_all(lambda: helpers(self.log.parent), seconds=_KILL_S)

    def _receive(self, messages: Sequence[Sequence[bytearray]]) -> None:
        for (pickled,) in messages:
            self._on_events(pickle.loads(pickled))


def _environment(
    token: str, folder: Path, configs: Path | None, *, has_job: bool
) -> dict[str, str]:
    env = host_environment(token, folder)
    if configs is not None:
        env["RADICAL_CONFIG_USER_DIR"] = str(configs)
    if has_job:
        # Slurm would put a job whose node fails into the queue again, and tell of no end.
        env["SBATCH_NO_REQUEUE"] = "1"
        # The job does not inherit it.
        given = env.get("PYTHONPATH", "")
        env["PYTHONPATH"] = os.pathsep.join(filter(None, [str(write_plugin(folder)), given]))
    return env
