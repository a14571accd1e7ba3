"""The process that holds RADICAL-Pilot: it obeys orders and sends events, by a `ProgramLink`.

It leads a session of its own, where the kernel's signals to the program do not reach it.
What it starts inherits a token in its environment; when this process is gone, however it
ended, a guard process kills everything that carries the token.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import queue
import signal
import threading
import time
import traceback

from radical.asyncflow.worker import ProgramLink, end_all, guard

from .messages import CancelTasks, ClosePilot, Event, Order, StartPilot, SubmitTasks
from .processes import descendants
from .session import PilotSession

__all__ = ["main"]

_PROGRAM_CHECK_S = 1.0  # between two checks whether the program is still there
_OUTLIVE_PROGRAM_S = 120.0  # that this process may outlive the program
_BATCH_S = 0.005  # in which events gather to a batch
_LAST_BATCH_S = 2.0  # for the last events to be sent
_REAP_S = 3.0  # for the processes that were killed to be gone
_SET_CHILD_SUBREAPER = 36  # of prctl

_Events = queue.SimpleQueue[Event | None]


def main(descriptor: int, token: str) -> None:
    """Serve until the other end closes; then end everything that was started."""
    # RADICAL-Pilot has to learn how its processes end, even if the program ignores that.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    link = ProgramLink(descriptor, token)
    _adopt_orphans()
    program = os.getppid()
    events: _Events = queue.SimpleQueue()
    writer = threading.Thread(target=_send_events, args=(link, events), daemon=True)
    writer.start()
    session = PilotSession(events.put)
    threading.Thread(target=_end_after_program, args=(program,), daemon=True).start()
    try:
        _serve(link, session, program)
    except EOFError:  # the program is gone
        session.end()
    except BaseException:
        traceback.print_exc()  # into host.log, whose end errors quote
        raise
    finally:
        events.put(None)
        writer.join(_LAST_BATCH_S)
        _end()


def _end() -> None:
    _kill_descendants()
    # The guard kills whatever still carries the token, and so this process.
    guard().release()
    os._exit(0)


def _end_after_program(program: int) -> None:
    """End this process some time after the program, even if RADICAL-Pilot never returns."""
    while os.getppid() == program:
        time.sleep(_PROGRAM_CHECK_S)
    time.sleep(_OUTLIVE_PROGRAM_S)
    _end()


def _serve(link: ProgramLink, session: PilotSession, program: int) -> None:
    """Obey orders, up to the one to close.

    Raises:
        EOFError: the program is gone.
    """
    while True:
        messages = link.receive(_PROGRAM_CHECK_S)
        if not messages:
            # A fork of the program may hold the other end open.
            if os.getppid() != program:
                raise EOFError
            _reap_tasks()
        session.look()
        for (pickled,) in messages:
            order: Order = pickle.loads(pickled)
            match order:
                case StartPilot():
                    session.start_pilot(order)
                case SubmitTasks(descriptions):
                    session.submit(descriptions)
                case CancelTasks(uids):
                    session.cancel(uids)
                case ClosePilot():
                    session.end()
                    return


def _send_events(link: ProgramLink, events: _Events) -> None:
    """Send what comes, in batches, until None comes or the program is gone."""
    while (event := events.get()) is not None:
        batch = [event]
        time.sleep(_BATCH_S)
        is_last = False
        while not events.empty():
            event = events.get()
            if event is None:
                is_last = True
                break
            batch.append(event)
        try:
            link.send([pickle.dumps(batch)])
        except OSError:  # the reading side sees it as well, and ends
            return
        if is_last:
            return


def _adopt_orphans() -> None:
    """Become the parent of descendants that lose theirs, so that they can be reaped (Linux).

    In a container nobody else may do that.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _reap_tasks() -> None:
    """Reap the zombies of tasks, which lead sessions of their own.

    Helpers in the session of this process are left to RADICAL-Pilot, which waits for them.
    """
    session = os.getsid(0)
    for pid in descendants(os.getpid()):
        with contextlib.suppress(OSError):
            if os.getsid(pid) != session and pid != guard().pid:
                os.waitpid(pid, os.WNOHANG)


def _kill_descendants() -> None:
    """Kill and reap all descendants but the guard.

    They are not found by the token, because RADICAL-Pilot's helpers write their titles over
    their environment.
    """

    def reap_and_find() -> set[int]:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        return descendants(os.getpid()) - {guard().pid}

    end_all(reap_and_find, seconds=_REAP_S)
