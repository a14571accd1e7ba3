"""The main loop of the process: it obeys orders, and sends what happens."""

from __future__ import annotations

import json
import os
import pickle
import signal
import traceback
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import Any

import zmq
from parsl.jobs.states import JobState, JobStatus
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.worker import ProgramLink, safe_str

from .._site.parsl_objects import correct_states, make_executor, make_provider
from .ledger import Ledger
from .messages import (
    AddBlock,
    BlockAdded,
    BlockRefused,
    BlockStates,
    BlockTold,
    Close,
    EndBlocks,
    Event,
    InterchangeEnded,
    LookAtBlocks,
    NodeEnded,
    Open,
    Opened,
    OpenFailed,
    Order,
)

__all__ = ["main"]

_SEAT = "asyncflow_backend_parsl._node.seat.main"
_LOOK_S = 1.0  # between two looks at the interchange
_TAIL_BYTES = 2000
_SEND_MS = 5000  # for an interchange to take a message; one that has ended takes none


def main(descriptor: int, token: str) -> None:
    """Serve until the program closes the connection."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    link = ProgramLink(descriptor, token)
    host = _Host(link)
    code = 0
    try:
        _serve(host, link)
    except EOFError:  # the program is gone
        pass
    except BaseException:
        traceback.print_exc()
        code = 1
    host.close()
    # Threads of Parsl's may hang, and all that it started is ended by the program.
    os._exit(code)


def _serve(host: _Host, link: ProgramLink) -> None:
    while True:
        for (part,) in link.receive(_LOOK_S):
            order: Order = pickle.loads(part)
            if isinstance(order, Close):
                return
            host.obey(order)
        host.keep_interchange()
        host.look_at_ends()


class _Host:
    """Holds the executor."""

    def __init__(self, link: ProgramLink) -> None:
        self._link = link
        self._opened: Open | None = None
        self._provider: Any = None
        self._executor: Any = None
        self._ledger: Ledger | None = None
        self._jobs: dict[int, str] = {}
        self._is_unsure = False  # whether there may be a job that it has heard nothing of

    def obey(self, order: Order) -> None:
        match order:
            case Open():
                self._open(order)
            case AddBlock(number):
                self._add(number)
            case EndBlocks(numbers):
                self._end([self._jobs[number] for number in numbers if number in self._jobs])
            case LookAtBlocks():
                self._look()

    def keep_interchange(self) -> None:
        """Start the interchange again if it has ended: same ports, same keys.

        Nodes that are up do not need it, and blocks in the queue find the new one.
        """
        executor = self._executor
        if executor is None or executor.interchange_proc is None:
            return
        code = executor.interchange_proc.poll()
        if code is None:
            return
        self._tell(InterchangeEnded(code))
        executor.interchange_proc = None
        executor._start_local_interchange_process()
        # It may have taken seats to its grave.  One too many does no harm: nobody takes it.
        self._submit_seats(len(self._jobs))

    def look_at_ends(self) -> None:
        """Tell of nodes that have ended."""
        if self._opened is None:
            return
        for file in _ends(self._opened).glob("*.json"):
            told = json.loads(file.read_bytes())
            file.unlink()
            self._tell(NodeEnded(told["code"], told["said"], told["node"], told["block"]))

    def close(self) -> None:
        """End all blocks and the executor."""
        if self._ledger is None:
            return
        with suppress(Exception):  # the program ends the jobs of a ledger that it finds
            self._end(self._ledger.jobs)
            if not self._is_unsure:
                self._ledger.clear()

    def _tell(self, event: Event) -> None:
        with suppress(OSError):  # the program is gone
            self._link.send([pickle.dumps(event, 5)])

    def _open(self, order: Open) -> None:
        self._opened = order
        try:
            self._provider = make_provider(order.site)
            correct_states(self._provider)
            scripts = _scripts(order)
            scripts.mkdir(mode=0o700, parents=True, exist_ok=True)
            _ends(order).mkdir(mode=0o700, exist_ok=True)
            self._provider.script_dir = str(scripts)
            self._ledger = Ledger(Path(order.folder), order.site.system, order.label)
            self._executor = self._start_executor(order)
        except Exception as error:
            is_configuration = isinstance(error, ConfigurationError)
            text = safe_str(error) if is_configuration else f"{type(error).__name__}: {error}"
            self._tell(OpenFailed(text, is_configuration))
            return
        self._tell(Opened())

    def _start_executor(self, order: Open) -> Any:
        """Return an executor whose interchange runs."""
        executor = make_executor(order.site, self._provider, order.label)
        folder = Path(order.folder, "parsl")
        folder.mkdir(mode=0o700, exist_ok=True)
        executor.run_dir = str(folder)
        executor.start()
        executor.outgoing_q.zmq_socket.setsockopt(zmq.SNDTIMEO, _SEND_MS)
        return executor

    def _add(self, number: int) -> None:
        executor = self._executor
        assert self._ledger is not None
        try:
            (name,) = executor.scale_out_facade(1) or ("",)
            if not name:
                self._is_unsure = True
                failed = list(executor._simulated_status.values())
                self._tell(BlockRefused(number, failed[-1].message or "Parsl gives no reason"))
                return
            job = str(executor.blocks_to_job_id[name])
        except Exception as error:
            self._tell(BlockRefused(number, f"{type(error).__name__}: {safe_str(error)}"))
            return
        self._jobs[number] = job
        self._ledger.add(job)
        self._tell(BlockAdded(number, name, job))
        self._submit_seats(1)

    def _submit_seats(self, blocks: int) -> None:
        """Have Parsl run a node on each of the workers of so many blocks."""
        assert self._opened is not None
        context = {"task_executor": {"f": _SEAT}}
        with suppress(zmq.Again):  # the interchange has ended, and the next one will be told
            for _ in range(blocks * self._opened.site.nodes_per_block):
                seat = self._executor.submit_payload(context, self._opened.node_order)
                seat.add_done_callback(self._seat_ended)

    def _seat_ended(self, seat: Future[None]) -> None:
        try:
            seat.result()
        except BaseException as error:  # it could not begin, or its node is lost
            self._tell(NodeEnded(None, safe_str(error)))

    def _end(self, jobs: list[str]) -> None:
        if jobs and self._provider is not None:
            known = [job for job in jobs if job in self._provider.resources]
            if known:
                self._provider.cancel(known)

    def _look(self) -> None:
        numbers = list(self._jobs)
        try:
            states = self._provider.status([self._jobs[number] for number in numbers])
        except Exception:  # it may answer the next time
            traceback.print_exc()
            return
        assert self._ledger is not None
        assert self._opened is not None
        names = {str(job): name for name, job in self._executor.blocks_to_job_id.items()}
        told = {}
        for number, state in zip(numbers, states, strict=True):
            written = f"*.block-{names.get(self._jobs[number])}.*"
            told[number] = _told(state, _scripts(self._opened), written)
        self._ledger.drop([self._jobs[number] for number in numbers if told[number].is_over])
        self._tell(BlockStates(told))


def _ends(opened: Open) -> Path:
    return Path(opened.folder, "ends")


def _scripts(opened: Open) -> Path:
    return Path(opened.folder, "scripts")


def _told(status: JobStatus, scripts: Path, written: str) -> BlockTold:
    """Return what is known of a block; *written* finds its files where Parsl names none."""
    is_over = bool(status.terminal)
    said = ""
    if is_over and status.state is not JobState.CANCELLED:
        files = [status.stderr_path, status.stdout_path]
        if files == [None, None]:
            files = [
                str(file)
                for kind in ("stderr", "stdout")
                for file in scripts.glob(f"{written}.{kind}")
            ]
        said = "\n".join(filter(None, map(_tail, files)))
    words = [status.state.name, status.message or ""]
    if status.exit_code is not None:
        words.append(f"exit code {status.exit_code}")
    return BlockTold(", ".join(filter(None, words)), is_over, said)


def _tail(path: str | None) -> str:
    if not path:
        return ""
    with suppress(OSError):
        return Path(path).read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip()
    return ""
