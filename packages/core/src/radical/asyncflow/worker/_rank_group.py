"""A group of ranks that a launcher has started: call a function on all of them, and end them.

A method is for the one thread that owns the group, except for `cancel`.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b
from time import monotonic
from typing import IO, Any, NamedTuple

from ..errors import DeathReason, UnsupportedOptionError, WorkerLostError
from ..model import TaskUsage
from ._answer import VALUE, Raised, open_answer
from ._found_gpus import gpu_variable
from ._gpus import Gpu, gpu_list
from ._guard import child_environment, guard, start_guarded
from ._importing import import_path, program_arguments, reloads
from ._meter import sum_of_ranks
from ._mpi_launcher import MpiLauncher, own_environment
from ._pickling import Buffer
from ._processes import kill_tree, signal_group
from ._rank_end import RankEnd
from ._rank_messages import Listener, Message, receive, send
from ._rank_program import (
    MOST_FUNCTIONS,
    NO_MPI,
    START,
    START_VARIABLE,
    USED,
    Hello,
    Order,
    Settings,
    start_text,
)

__all__ = ["RankCall", "RankGroup"]

_START_LIMIT_S = 60.0  # for all ranks to be there
_SAYS_HOW_S = 0.5  # for the parent of a rank to say how it has ended
_LEAVE_S = 2.0  # for ranks that are told to end
_LAUNCHER_S = 0.5  # for a launcher to end what it has started, and to leave nothing behind
_LOOK_S = 0.05  # between looks at processes, where the system does not tell of their ends
_END_BYTES = 200  # more than tell of the end of a rank
_SAID_BYTES = 4000  # of the launcher's output


class RankCall(NamedTuple):
    """A function to call on every rank, with its arguments, as pickles.

    Attributes:
        name, task_id, attempt: of the task.
        function, arguments, buffers: as `dump_function` and `dump_arguments` make them.
        ranks: on how many.
        cores: what each rank has.
        gpus: those of each rank; empty if no rank has any.
        places: the numbers of the cores of each rank; empty where none is bound.
        root: True to return the value of the first rank alone.
        measure: True to find out what it uses.
    """

    name: str
    task_id: int
    attempt: int
    function: bytes
    arguments: bytes
    buffers: Sequence[Buffer]
    ranks: int
    cores: int = 1
    gpus: tuple[tuple[Gpu, ...], ...] = ()
    places: tuple[tuple[int, ...], ...] = ()
    root: bool = False
    measure: bool = False


class RankGroup:
    """The processes of some ranks, and the launcher that started them.

    Attributes:
        is_over: it cannot be used any more.
        usage: what the latest call used on all ranks together; None if that was not measured, or
            if a rank did not tell.
        reloads: what `reloads()` was before it started.
    """

    def __init__(self, launcher: MpiLauncher, call: RankCall, *, worker: str, grace: float) -> None:
        """Prepare a group that fits *call*; `start` starts it.

        Args:
            worker: its name in errors.
            grace: seconds between SIGTERM and SIGKILL after a cancel.
        """
        self.is_over = False
        self.usage: TaskUsage | None = None
        self.reloads = reloads()
        self._launcher = launcher
        self._size = call.ranks
        self._cores = call.cores
        self._gpus = call.gpus
        self._worker = worker
        self._grace = grace
        self._path = import_path()
        self._known: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()  # guards what follows
        self._call: RankCall | None = None  # that runs
        self._cancelled = False
        self._asked = False  # the launcher was asked to end
        self._environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        self._channels: list[socket.socket] = []
        self._ends: list[int] = []  # descriptors that tell of the ends of ranks
        self._watched: dict[int, int] = {}  # the ranks by these, when all are there
        self._launcher_end = -1
        self._wake, self._alarm = socket.socketpair()

    # ------------------------------------------------------- from any thread

    def cancel(self, call: RankCall) -> None:
        """End *call*, if it runs here, and the group; `run` returns when that is done."""
        with self._lock:
            if self._call is not call or self.is_over:
                return
            self._cancelled = True
            self._ask_to_end()
            self._alarm.send(b".")

    # ------------------------------------------------------------------ start

    def begin(self, call: RankCall) -> None:
        """Let `cancel` find *call*, which runs here next."""
        with self._lock:
            self._call = call

    def start(self, call: RankCall) -> Raised | None:
        """Start the ranks, for *call*; return the error if they do not come up."""
        try:
            guard().acquire()
            self._output = _unnamed_file()
            with contextlib.closing(Listener()) as listener:
                self._launch(listener.address)
                error = self._gather(listener, call)
            if error is None:
                self._settle()
        except (EOFError, BrokenPipeError, ConnectionResetError):
            error = self._not_started(call, "a rank has ended")
        except BaseException as fault:  # no process or descriptor left
            error = fault
        if error is None:
            return None
        self.close()
        return Raised(error)

    def _launch(self, address: str) -> None:
        if not sys.executable:
            raise RuntimeError("sys.executable is not set, so no rank can be started")
        self._environment = child_environment()
        visible = {}
        if self._gpus:
            every = dict.fromkeys(gpu for gpus in self._gpus for gpu in gpus)
            visible = {gpu_variable(): gpu_list(every)}
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
        process = start_guarded(
            [*self._launcher.command(self._size, self._cores), sys.executable, *flags, "-c", START],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            env={
                **own_environment(os.environ),
                **visible,
                **self._environment,
                START_VARIABLE: start_text(address, self._path, self._gpus),
            },
        )
        self._launcher_end = _end_of(process.pid)
        with self._lock:
            self._process = process
            if self._cancelled:
                self._ask_to_end()

    def _gather(self, listener: Listener, call: RankCall) -> BaseException | None:
        """Wait until all ranks are there; return an error if they do not come."""
        here: dict[int, tuple[socket.socket, int]] = {}
        deadline = monotonic() + _START_LIMIT_S
        poll = select.poll()
        for descriptor in (listener.channel.fileno(), self._wake.fileno(), self._launcher_end):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        while len(here) < self._size:
            left = deadline - monotonic()
            if left <= 0:
                return self._not_started(call, f"{len(here)} of {self._size} came in time")
            ready = {descriptor for descriptor, _ in poll.poll(_pause(left, self._launcher_end))}
            if self._cancelled:
                return self._not_started(call, "it was cancelled")
            if listener.channel.fileno() in ready:
                channel = listener.accept()
                if channel is None:
                    continue
                self._channels.append(channel)  # for `close`
                self._ends += socket.recv_fds(channel, 1, 1)[1]
                message = receive(channel)
                if message.code == NO_MPI:
                    return UnsupportedOptionError(
                        f"task {call.name!r}: mpi4py does not load an MPI library in the ranks: "
                        f"{message.body.decode(errors='replace')}"
                    )
                hello = Hello(*pickle.loads(message.body))
                if hello.size != self._size:
                    return self._stranger(call, hello)
                here[hello.rank] = channel, self._ends[-1]
            elif self._has_launcher_ended():
                return self._not_started(call, self._launcher_text())
        self._channels = [here[rank][0] for rank in range(self._size)]
        self._watched = {end: rank for rank, (_, end) in here.items()}
        return None

    def _stranger(self, call: RankCall, hello: Hello) -> UnsupportedOptionError:
        library = hello.library.splitlines()[0] if hello.library else "another MPI library"
        return UnsupportedOptionError(
            f"task {call.name!r}: the launcher {self._launcher.words[0]} belongs to another MPI "
            f"library than mpi4py has, which is {library}: each of its {self._size} ranks believes "
            f"to be one of {hello.size}.  Name the launcher of that library by the setting "
            "mpi_launcher, or have mpi4py take the library of this one (MPI4PY_MPIABI)"
        )

    def _not_started(self, call: RankCall, why: str) -> WorkerLostError:
        said = self._said()
        detail = f"its {self._size} ranks did not start: {why}" + (f":\n{said}" if said else "")
        return WorkerLostError(
            *(call.name, self._worker, None, call.attempt, detail), DeathReason.EXIT
        )

    def _settle(self) -> None:
        """Tell each rank about the program, and let it write where the program writes."""
        main = sys.modules.get("__main__")
        file = getattr(main, "__file__", None)
        settings = Settings(
            program_arguments(),
            file and os.path.abspath(file),  # noqa: PTH100 - a str
            getattr(getattr(main, "__spec__", None), "name", None),
        )
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            descriptors = [place if _is_open(place) else null for place in (1, 2)]
            for channel in self._channels:
                socket.send_fds(channel, [b"."], descriptors)
                send(channel, 0, pickle.dumps(settings))
        finally:
            os.close(null)

    # ------------------------------------------------------------------- call

    @property
    def is_whole(self) -> bool:
        """True if all ranks are there and wait for a call."""
        if self.is_over or self._has_launcher_ended():
            return False
        poll = select.poll()
        for descriptor in (*self._watched, *(channel.fileno() for channel in self._channels)):
            poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)

    def run(self, call: RankCall) -> Any:
        """Run *call* on all ranks; return the list of the values by rank, or that of the first.

        If it fails, this is a `Raised`, and the group is over, with all of its processes.
        """
        try:
            self._send(call)
            outcome = self._collect(call)
        except (BrokenPipeError, ConnectionResetError):
            outcome = self._lost(call, self._dead())
        except BaseException as error:
            outcome = Raised(error)
        with self._lock:
            self._call = None
        if self._cancelled or type(outcome) is Raised:
            self._end(self._grace if self._cancelled else _LAUNCHER_S)
        if type(outcome) is Raised:
            return outcome
        return outcome[0] if call.root else outcome

    def _send(self, call: RankCall) -> None:
        key = blake2b(call.function, digest_size=16).digest()
        function = b"" if key in self._known else call.function
        self._known[key] = None
        if len(self._known) > MOST_FUNCTIONS:
            self._known.popitem(last=False)
        path: list[str] | None = import_path()
        if path == self._path:
            path = None
        else:
            self._path = path or []
        parts = [memoryview(part).cast("B") for part in (function, call.arguments, *call.buffers)]
        order = Order(
            *(call.name, call.task_id, call.attempt, key),
            tuple(part.nbytes for part in parts),
            *(call.root, path, call.places, call.measure),
        )
        body = pickle.dumps(order)
        # The first comes last: the others are there when it has something to broadcast.
        for channel in self._channels[1:]:
            send(channel, 0, body)
        send(self._channels[0], 0, body, parts)

    def _collect(self, call: RankCall) -> Any:
        values: dict[int, Any] = {}
        used: dict[int, TaskUsage] = {}
        self.usage = None
        poll = select.poll()
        ranks = {channel.fileno(): rank for rank, channel in enumerate(self._channels)}
        for descriptor in (*ranks, *self._watched, self._wake.fileno(), self._launcher_end):
            if descriptor >= 0:
                poll.register(descriptor, select.POLLIN)
        while len(values) < self._size:
            ready = [descriptor for descriptor, _ in poll.poll(_pause(None, self._launcher_end))]
            if self._cancelled:
                return Raised(WorkerLostError(call.name, self._worker, attempt=call.attempt))
            dead = {self._watched[each] for each in ready if each in self._watched}
            failed: dict[int, Message] = {}
            for rank in sorted(ranks[each] for each in ready if each in ranks):
                try:
                    message = receive(self._channels[rank])
                except EOFError:
                    dead.add(rank)
                    continue
                if message.code == USED:
                    used[rank] = TaskUsage(*pickle.loads(message.body))
                    if len(used) == self._size:
                        self.usage = sum_of_ranks(used.values())
                elif message.code != VALUE:
                    failed[rank] = message
                else:
                    values[rank] = open_answer(message.code, message.body, message.parts)
                    if type(values[rank]) is Raised:
                        return self._failed(values[rank], rank)
            if failed:
                dead |= self._dead()  # one that fails may do so because another one is gone
            dead -= values.keys()
            if dead or (not failed and self._has_launcher_ended() and len(values) < self._size):
                return self._lost(call, dead)
            for rank, message in failed.items():
                return self._failed(open_answer(message.code, message.body, message.parts), rank)
        return [values[rank] for rank in range(self._size)]

    def _dead(self) -> set[int]:
        """Return the ranks that have ended."""
        return {self._watched[descriptor] for descriptor in self._told(0.0)}

    def _told(self, seconds: float) -> list[int]:
        """Wait for the end of any rank; return the descriptors that tell of one."""
        poll = select.poll()
        for descriptor in self._watched:
            poll.register(descriptor, select.POLLIN)
        return [descriptor for descriptor, _ in poll.poll(1000 * seconds)]

    def _failed(self, raised: Raised, rank: int) -> Raised:
        """Return *raised* with the number of the rank."""
        with contextlib.suppress(Exception):  # a class may forbid it
            raised.error.add_note(f"raised by rank {rank} of {self._size}")
        return raised

    def _lost(self, call: RankCall, dead: set[int]) -> Raised:
        """Return the error of a call that lost the ranks *dead*, or else its launcher.

        If several ranks have ended, it is that of the first one, for which the launcher ended
        the others.
        """
        ends = [
            (end, self._watched[descriptor])
            for descriptor in self._told(_SAYS_HOW_S if dead else 0.0)
            if (end := RankEnd.parse(os.read(descriptor, _END_BYTES)))
        ]
        number = None
        reason = DeathReason.EXIT
        if ends:
            end, rank = min(ends)
            detail = f"it exited with code {end.code} and gave no answer"
            if end.code < 0:
                number = -end.code
                reason, detail = end.death
        elif dead:
            rank = min(dead)
            detail = "it ended without an answer"
        else:
            said = self._said()
            detail = self._launcher_text() + (f":\n{said}" if said else "")
            lost = WorkerLostError(call.name, self._worker, None, call.attempt, detail, reason)
            return Raised(lost)
        worker = f"{self._worker}, rank {rank} of {self._size},"
        return Raised(WorkerLostError(call.name, worker, number, call.attempt, detail, reason))

    # -------------------------------------------------------------------- end

    def close(self) -> None:
        """End the ranks, which leave by themselves if they wait for a call."""
        if not self.is_over:
            for channel in self._channels:
                with contextlib.suppress(OSError):
                    channel.shutdown(socket.SHUT_WR)
            if not (self._watched and self._launcher_gone_within(_LEAVE_S)):
                self._end(_LAUNCHER_S)
            else:
                self._end(0.0)

    def _end(self, patience: float) -> None:
        """End all processes: the launcher has *patience* seconds to do it."""
        process = self._process
        with self._lock:
            if self.is_over:
                return
            if patience and not self._has_launcher_ended():
                self._ask_to_end()
        if process is not None and patience:
            self._launcher_gone_within(patience)
        with self._lock:
            self.is_over = True
        if process is not None:
            kill_tree(process.pid, self._environment)
            guard().forget(process.pid)
            process.wait()
        for channel in (*self._channels, self._wake, self._alarm):
            channel.close()
        for descriptor in (*self._ends, self._launcher_end):
            if descriptor >= 0:
                os.close(descriptor)
        if self._output is not None:
            self._output.close()
            guard().release()

    def _ask_to_end(self) -> None:
        """Ask the launcher to end, once; one that is killed leaves its files behind."""
        if self._process is not None and not self._asked:
            self._asked = True
            signal_group(self._process.pid, signal.SIGTERM)

    def _has_launcher_ended(self) -> bool:
        return self._launcher_gone_within(0.0)

    def _launcher_gone_within(self, seconds: float) -> bool:
        process = self._process
        if process is None:
            return True
        if self._launcher_end >= 0:
            poll = select.poll()
            poll.register(self._launcher_end, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        deadline = monotonic() + seconds
        while not _is_zombie(process.pid):
            if monotonic() >= deadline:
                return False
            select.select((), (), (), _LOOK_S)
        return True

    def _launcher_text(self) -> str:
        return f"the launcher {self._launcher.words[0]} has ended"

    def _said(self) -> str:
        """Return the end of what the launcher wrote."""
        if self._output is None or self._output.closed:
            return ""
        size = os.fstat(self._output.fileno()).st_size
        start = max(0, size - _SAID_BYTES)
        return os.pread(self._output.fileno(), size - start, start).decode(errors="replace").strip()


def _pause(seconds: float | None, descriptor: int) -> float | None:
    """Return for how many ms to wait, if *descriptor* would tell of an end (else it is -1)."""
    if descriptor < 0:
        seconds = _LOOK_S if seconds is None else min(seconds, _LOOK_S)
    return None if seconds is None else seconds * 1000


def _end_of(pid: int) -> int:
    """Return a descriptor that becomes readable when the process ends (Linux), or -1."""
    if hasattr(os, "pidfd_open"):
        with contextlib.suppress(OSError):
            return os.pidfd_open(pid)
    return -1


def _is_zombie(pid: int) -> bool:
    """Tell whether a child has ended; it still has to be waited for."""
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _unnamed_file() -> IO[bytes]:
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("asyncflow-ranks"), "w+b")
    return tempfile.TemporaryFile()
