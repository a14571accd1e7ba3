"""The main loop of the process: it obeys orders, and sends what happens."""

from __future__ import annotations

import json
import os
import pickle
import signal
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

from parsl.jobs.states import JobState, JobStatus
from radical.asyncflow.errors import ConfigurationError
from radical.asyncflow.worker import ProgramLink, safe_str

from .._site.parsl_objects import correct_states, make_provider, node_command
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
    LookAtBlocks,
    NodeEnded,
    Open,
    Opened,
    OpenFailed,
    Order,
)

__all__ = ["main"]

_LOOK_S = 1.0  # between two looks for nodes that have ended
_TAIL_BYTES = 2000


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
        host.look_at_ends()


class _Host:
    """Holds the provider."""

    def __init__(self, link: ProgramLink) -> None:
        self._link = link
        self._opened: Open | None = None
        self._provider: Any = None
        self._ledger: Ledger | None = None
        self._jobs: dict[int, str] = {}
        self._answer = ""  # what a program of the batch system said last when it failed
        # Whether there may be a job that it has heard nothing of.
        self._is_unsure = False
        self._was_unsure = False

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

    def look_at_ends(self) -> None:
        """Tell of nodes that have ended."""
        if self._opened is None:
            return
        for file in _ends(self._opened).glob("*.json"):
            told = json.loads(file.read_bytes())
            file.unlink()
            self._tell(NodeEnded(told["code"], told["said"], told["node"], told["block"]))

    def close(self) -> None:
        """End all blocks."""
        if self._ledger is None:
            return
        with suppress(Exception):  # the program ends the jobs of a ledger that it finds
            self._end(self._ledger.jobs)
            if not self._is_unsure and not self._was_unsure:
                self._ledger.clear()

    def _tell(self, event: Event) -> None:
        with suppress(OSError):  # the program is gone
            self._link.send([pickle.dumps(event, 5)])

    def _open(self, order: Open) -> None:
        self._opened = order
        try:
            self._provider = make_provider(order.site)
            correct_states(self._provider)
            self._listen()
            scripts = _scripts(order)
            scripts.mkdir(mode=0o700, parents=True, exist_ok=True)
            _ends(order).mkdir(mode=0o700, exist_ok=True)
            self._provider.script_dir = str(scripts)
            self._ledger = Ledger(Path(order.folder), order.site.system, order.label)
        except Exception as error:
            is_configuration = isinstance(error, ConfigurationError)
            text = str(error) if is_configuration else safe_str(error)
            self._tell(OpenFailed(text, is_configuration))
            return
        self._tell(Opened())

    def _add(self, number: int) -> None:
        """Submit a block, which starts a node on each of its nodes."""
        opened = self._opened
        assert opened is not None
        assert self._ledger is not None
        if self._is_unsure:
            if not self._ledger.end_unknown():
                self._tell(BlockRefused(number, "the batch system does not answer"))
                return
            self._is_unsure = False
            self._was_unsure = True
        self._answer = ""
        command = node_command(self._provider, Path(opened.node_order), str(number))
        try:
            job = self._provider.submit(command, 1, f"parsl.{opened.label}.block-{number}")
        except Exception as error:
            self._refuse(number, safe_str(error))
            return
        if not job:
            self._refuse(number, "it gave the job no number")
            return
        self._jobs[number] = str(job)
        self._ledger.add(str(job))
        self._tell(BlockAdded(number, str(job)))

    def _refuse(self, number: int, reason: str) -> None:
        """Tell that there is no block, in the words of the batch system if it said any."""
        self._is_unsure = True
        text = f"the batch system takes no block: {self._answer or reason}"
        self._tell(BlockRefused(number, text))

    def _listen(self) -> None:
        """Note what the programs of the batch system say, because Parsl may keep it to itself."""
        ask = getattr(self._provider, "execute_wait", None)
        if ask is None:
            return

        def ask_and_note(*args: Any, **kwargs: Any) -> Any:
            answer = ask(*args, **kwargs)
            code, out, err = answer
            if code != 0:
                self._answer = (err or out or "").strip()
            return answer

        self._provider.execute_wait = ask_and_note

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
            self._tell(BlockStates({}))
            return
        assert self._ledger is not None
        assert self._opened is not None
        told = {}
        for number, state in zip(numbers, states, strict=True):
            written = f"*.block-{number}.*"
            told[number] = _told(state, _scripts(self._opened), written)
        self.look_at_ends()  # the end of its last node tells more than that of a block
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
    if status.state is JobState.RUNNING or (is_over and status.state is not JobState.CANCELLED):
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
