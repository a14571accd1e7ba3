"""The process that holds RADICAL-Pilot: it takes batches over a socket and sends states.

Run alone in a session.  Whatever it starts carries the token in its environment, by
which a guard process ends it all when this process is gone, however that comes.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from radical.asyncflow.worker import guard

from .processes import descendants, titled

__all__ = ["main"]

_LOOK = 1.0  # seconds between two looks whether the program is still there
_DRAIN = 4.0  # seconds for cancelled tasks to end
_GATHER = 0.005  # seconds in which states gather to a batch
_COLLECT = 3.0  # seconds for what was killed to be gone
_CANCEL = 60.0  # seconds for the batch system to be told that a job is not wanted
_LAST = 120.0  # seconds that this process may outlive the program
_LAUNCHER = "rp.pmgr_launching"
_SET_CHILD_SUBREAPER = 36  # of prctl
_QUEUED = ("PMGR_ACTIVE_PENDING", "PMGR_ACTIVE")


def main(descriptor: int, token: str) -> None:
    """Serve until the other end closes, then end everything that was started."""
    # The guard of this process looks for the token that this process was started with,
    # because RADICAL-Pilot forks helpers, and these show the first environment.
    guard().token = token
    guard().acquire()
    guard().start()
    _adopt_orphans()
    parent = os.getppid()
    link = Connection(descriptor)
    out: queue.SimpleQueue[tuple[Any, ...] | None] = queue.SimpleQueue()
    writer = threading.Thread(target=_write, args=(link, out), daemon=True)
    writer.start()
    host = _Host(out)
    threading.Thread(target=_see_to_the_end, args=(parent,), daemon=True).start()
    try:
        _serve(link, host, parent)
    except (EOFError, OSError):
        host.stop(cancel=True)
    except BaseException:
        traceback.print_exc()  # into host.log, whose end the errors quote
        raise
    finally:
        out.put(None)
        writer.join(2.0)
        _end()


def _end() -> None:
    _end_helpers()
    # This ends whatever still carries the token, and with it this process.
    guard().release()
    os._exit(0)


def _see_to_the_end(parent: int) -> None:
    """Without the program, this process goes soon, even if RADICAL-Pilot never returns."""
    while os.getppid() == parent:
        time.sleep(_LOOK)
    time.sleep(_LAST)
    _end()


def _serve(link: Connection, host: _Host, parent: int) -> None:
    while True:
        while not link.poll(_LOOK):
            # A fork of the program may hold the other end open.
            if os.getppid() != parent:
                raise EOFError
            _collect_tasks()
        verb, *arguments = link.recv()
        if verb == "close":
            host.stop(*arguments)
            return
        getattr(host, verb)(*arguments)


def _write(link: Connection, out: queue.SimpleQueue[tuple[Any, ...] | None]) -> None:
    while True:
        message = out.get()
        if message is None:
            return
        batch = [message]
        time.sleep(_GATHER)
        last = False
        while not out.empty():
            message = out.get()
            if message is None:
                last = True
                break
            batch.append(message)
        try:
            link.send(batch)
        except OSError:  # the program is gone; the reading side sees it, too
            return
        if last:
            return


def _adopt_orphans() -> None:
    """Become the parent of helpers that lose theirs, to collect them in the end (Linux).

    In a container, there may be nobody else who does.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _collect_tasks() -> None:
    """Collect what tasks left behind: they had sessions of their own.

    Helpers in this process's session are left to RADICAL-Pilot, which waits for them.
    """
    mine = os.getsid(0)
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if os.getsid(pid) != mine and pid != guard().pid:
                os.waitpid(pid, os.WNOHANG)


def _end_helpers() -> None:
    """Kill all descendants but the guard, and collect them.

    Not by the token: RADICAL-Pilot's helpers write their titles over their environment.
    """
    deadline = time.monotonic() + _COLLECT
    while time.monotonic() < deadline:
        left = descendants(os.getpid()) - {guard().pid}
        if not left:
            return
        for pid in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


class _Host:
    """RADICAL-Pilot's session, managers and pilot."""

    def __init__(self, out: queue.SimpleQueue[tuple[Any, ...] | None]) -> None:
        self._out = out
        self._session: Any = None
        self._manager: Any = None
        self._pilots: Any = None
        self._pilot: Any = None
        self._queued = False
        self._lock = threading.Lock()
        self._open: set[str] = set()
        self._doomed: set[str] = set()
        self._ready = False
        self._active = False
        self._rp: Any = None

    def start(self, pilot: Mapping[str, Any], queued: bool) -> None:
        """Import, session, pilot; says ``ready`` or ``failed``."""
        self._queued = queued
        try:
            import radical.pilot as rp  # type: ignore[import-untyped]

            self._rp = rp
            known = sorted(rp.PilotDescription._schema)
            wrong = [key for key in pilot if key not in known]
            if wrong:
                self._out.put(("refused", wrong, known))
                return
            self._out.put(("attributes", sorted(rp.TaskDescription._schema)))
            self._session = rp.Session()
            self._out.put(("session", self._session.uid))
            self._pilots = rp.PilotManager(session=self._session)
            self._manager = rp.TaskManager(session=self._session)
            self._manager.register_callback(self._on_task)
            self._pilots.register_callback(self._on_pilot)
            self._pilot = self._pilots.submit_pilots(rp.PilotDescription(dict(pilot)))
            self._manager.add_pilots(self._pilot)
        except BaseException as exc:  # RADICAL-Pilot raises SystemExit and KeyboardInterrupt, too
            self._out.put(("failed", f"{type(exc).__name__}: {exc}", traceback.format_exc()))

    def submit(self, descriptions: Sequence[dict[str, Any]]) -> None:
        uids = [description["uid"] for description in descriptions]
        with self._lock:
            self._open.update(uids)
        try:
            self._manager.submit_tasks(
                [self._rp.TaskDescription(description) for description in descriptions]
            )
        except Exception as exc:
            # One wrong description stops the batch before any of it is submitted.
            if len(descriptions) > 1:
                for description in descriptions:
                    self.submit([description])
                return
            with self._lock:
                self._open.difference_update(uids)
            self._out.put(("states", [(uids[0], "REFUSED", None, f"{type(exc).__name__}: {exc}")]))

    def cancel(self, uids: Sequence[str]) -> None:
        with self._lock:
            doomed = [uid for uid in uids if uid in self._open]
            self._doomed.update(doomed)
        if doomed:
            self._manager.cancel_tasks(doomed)

    def stop(self, cancel: bool) -> None:
        """End the tasks, the pilot, the session: in bounded time."""
        limit = time.monotonic() + _DRAIN
        with self._lock:
            left = list(self._open)
        if cancel and left and self._active:
            self.cancel(left)
            while self._open and time.monotonic() < limit:
                time.sleep(0.02)
        if self._queued and self._pilot is not None:
            self._cancel_job()

    def _cancel_job(self) -> None:
        """The batch system would keep the job; a local pilot ends with its token.

        RADICAL-Pilot would wait until the batch system, which it asks twice a minute, says
        that the job is gone.  Its launcher has told the batch system when it ends.
        """
        launchers = titled(_LAUNCHER, descendants(os.getpid()))
        closer = threading.Thread(target=self._close, daemon=True)
        closer.start()
        deadline = time.monotonic() + _CANCEL
        while launchers and closer.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
            launchers = titled(_LAUNCHER, launchers)

    def _close(self) -> None:
        self._pilots.kill_pilots(_timeout=0.1)
        self._session.close()

    def _on_task(self, task: Any, state: str) -> None:
        """In a thread of RADICAL-Pilot's."""
        uid = task.uid
        if state in ("DONE", "FAILED", "CANCELED"):
            with self._lock:
                self._open.discard(uid)
                self._doomed.discard(uid)
            detail = ""
            if state == "FAILED":
                told = None if task.exit_code is None else task.stderr
                detail = str(told or task.exception_detail or task.exception or task.stderr or "")
            self._out.put(("states", [(uid, state, task.exit_code, detail)]))
        elif state == "AGENT_EXECUTING":
            with self._lock:
                doomed = uid in self._doomed
            if doomed:
                # A cancellation that met the task between two of RADICAL-Pilot's
                # components was lost.
                self._manager.cancel_tasks([uid])
            self._out.put(("states", [(uid, state, None, "")]))

    def _on_pilot(self, pilot: Any, state: str) -> None:
        if state in ("DONE", "FAILED", "CANCELED"):
            self._out.put(("pilot", state, str(pilot.pilot_sandbox), str(pilot.log or "")))
            return
        self._active = self._active or state == "PMGR_ACTIVE"
        if not self._ready and state in (_QUEUED if self._queued else _QUEUED[1:]):
            self._ready = True
            self._out.put(("ready", str(pilot.pilot_sandbox)))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
