"""The ranks of a task on a node that the launcher is not on."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from hmac import compare_digest
from pathlib import Path
from typing import Any

from .._public import public
from ..model import Command, ExecutableResult, Written
from ._command import MOST_WRITTEN, Execution
from ._death import explain_death
from ._gpus import Gpu
from ._guard import guard, new_mark
from ._guardian import PROGRAM_VARIABLE
from ._processes import end_marked
from ._rank_nodes import SpreadCommand, write_node
from ._rank_start import (
    END,
    EXIT,
    HEAD,
    NONCE_BYTES,
    START,
    STDERR,
    STDOUT,
    exactly,
    proof,
)

__all__ = ["RankShare"]

_GREETING_S = 20.0  # for whoever connects to say what it wants
_PAUSE_S = 0.02
_MOST_BYTES = 1 << 24  # of an order
_PIECE_BYTES = 1 << 20


@public("radical.asyncflow.worker")
class RankShare(Execution):
    """The place for ranks on this node, until `cancel` ends all of them.

    The launcher, on another node, starts here what it would start by ssh.  That runs with the
    environment, and in the folder, of the command.
    """

    def __init__(
        self,
        command: SpreadCommand,
        *,
        ranks: int,
        rank_gpus: Sequence[Sequence[Gpu]] = (),
        ready: Callable[[str], object],
        **options: Any,
    ) -> None:
        """Prepare it; nothing is started.

        Args:
            ranks: how many run here.
            rank_gpus: the GPUs of each; empty if no rank has any.
            ready: called by `run` with ``"localhost:PORT"``, where it listens.
            options: as for `Execution`.
        """
        super().__init__(command, **options)
        self._spread = command
        self._ranks = ranks
        self._rank_gpus = rank_gpus
        self._ready = ready
        # Guarded by the lock:
        self._server: socket.socket | None = None
        self._started: list[Execution] = []
        self._threads: list[threading.Thread] = []

    def cancel(self) -> None:
        """End everything that was started here, as `Execution.cancel` does; from any thread."""
        with self._lock:
            self.cancelled = True
            started = list(self._started)
            if self._server is not None:
                with suppress(OSError):
                    self._server.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
        for execution in started:
            execution.cancel()

    def run(self) -> ExecutableResult:
        """Start what the launcher asks for, until `cancel`; once only."""
        guard().acquire()
        guard().start()
        try:
            self._mark = new_mark()
            with socket.create_server(("", 0), backlog=64) as server:
                with self._lock:
                    self._server = server
                self._tell_ranks()
                self._ready(f"localhost:{server.getsockname()[1]}")
                while not self.cancelled:
                    try:
                        connection, _ = server.accept()
                    except OSError:
                        time.sleep(_PAUSE_S)  # the end, or no descriptor is left
                        continue
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()
        finally:
            with self._lock:
                self.cancelled = True  # whatever comes late
                self._server = None
                threads = list(self._threads)
            for thread in threads:
                thread.join()
            if self._mark:
                end_marked(self._mark, self._grace)  # a launcher may have ways of its own
            guard().release()
        return ExecutableResult(-signal.SIGTERM)

    def written(self, most: int = MOST_WRITTEN) -> Written | None:  # noqa: ARG002 - no output
        return None  # the ranks write into files, which the node of the launcher reads

    def _tell_ranks(self) -> None:
        marks = {PROGRAM_VARIABLE: guard().token}
        name, _, value = self._mark.decode().partition("=")
        marks[name] = value
        assert self._server is not None
        command = self._spread
        port = self._server.getsockname()[1]
        folder = Path(command.folder)
        write_node(folder, marks, command.first, self._rank_gpus, self._ranks, port)

    def _serve(self, connection: socket.socket) -> None:
        """Do what somebody asks for who knows the secret."""
        with connection, suppress(OSError):
            connection.settimeout(_GREETING_S)
            nonce = secrets.token_bytes(NONCE_BYTES)
            connection.sendall(nonce)
            given = exactly(connection, len(proof("", b"", b"")))
            head = exactly(connection, HEAD.size)
            kind, length = HEAD.unpack(head)
            if length > _MOST_BYTES:
                return
            content = exactly(connection, length)
            if not compare_digest(proof(self._spread.secret, nonce, head + content), given):
                return
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            connection.settimeout(None)
            if kind == START:
                self._run_line(connection, os.fsdecode(content))
            elif kind == END:
                pid, code, peak = map(int, content.split())
                reason, evidence = explain_death(pid, code, peak=peak)
                _send(connection, END, f"{reason.value}|{evidence}".encode())

    def _run_line(self, connection: socket.socket, line: str) -> None:
        """Run *line*, until it ends or nobody waits for it any more."""
        execution = Execution(
            Command(line, env=self.command.env, cwd=self.command.cwd),
            name=self.name,
            work_dir=self._work_dir,
            grace=self._grace,
            mark=self._mark,
        )
        with self._lock:
            self._started.append(execution)
            self._threads.append(threading.current_thread())
            if self.cancelled:
                execution.cancel()
        watcher = threading.Thread(target=_watch, args=(connection, execution.cancel), daemon=True)
        watcher.start()
        try:
            result = execution.run()
        except Exception as error:
            result = ExecutableResult(1, "", f"node {socket.gethostname()}: {error}\n")
        finally:
            with self._lock:
                self._started.remove(execution)
        code = result.exit_code if result.exit_code >= 0 else 128 - result.exit_code
        try:
            for kind, text in ((STDOUT, result.stdout), (STDERR, result.stderr)):
                for piece in _pieces(text.encode("utf-8", "surrogateescape")):
                    _send(connection, kind, piece)
            _send(connection, EXIT, b"%d" % code)
        finally:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            watcher.join()


def _send(connection: socket.socket, kind: int, content: bytes) -> None:
    connection.sendall(HEAD.pack(kind, len(content)) + content)


def _pieces(data: bytes) -> list[bytes]:
    return [data[first : first + _PIECE_BYTES] for first in range(0, len(data), _PIECE_BYTES)]


def _watch(connection: socket.socket, cancel: Callable[[], object]) -> None:
    """Call *cancel* when the other side is gone, or this one."""
    with suppress(OSError):
        connection.recv(1)  # nothing comes
    cancel()
