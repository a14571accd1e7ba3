"""A command that is a service: it is up at some time, and then runs on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .._public import public
from ..errors import ServiceLostError
from ..model import Command, ExecutableResult, Readiness
from ..model._command import DeathResult
from ._command import Execution
from ._outlets import FileOutlets, Outlets
from ._output import read_end
from ._processes import signal_group
from ._readiness import find_info, find_other

__all__ = ["ServiceExecution"]

_LAST_BYTES = 64 * 1024  # of each stream, in the result
_LEAVE_S = 3.0  # for the thread that looks, when the service has ended

OnServing = Callable[[str, str, "str | None"], object]


@public("radical.asyncflow.worker")
class ServiceExecution(Execution):
    """The execution of a service, which tells when it is up; its output goes to files.

    `run` returns, in the calling thread, when the service has ended.  When its process ends by
    itself, whoever it left behind is ended first, as by `cancel`, so that nobody holds the port
    that the next start needs.  The result has the last 64 KiB of each stream, or with
    *capture_stdio* the paths; the files stay in either case.
    """

    def __init__(
        self,
        command: Command,
        readiness: Readiness,
        on_serving: OnServing,
        *,
        host: str = "localhost",
        **options: Any,
    ) -> None:
        """Prepare the execution; nothing is started.

        Args:
            readiness: how to see that it is up.
            on_serving: called with the paths of stdout and stderr and None when it has begun,
                and with its info in the place of None when it is up; in some thread.
            host: the name of this machine for those who use the service.
            options: those of `Execution`.
        """
        super().__init__(command, **options)
        self._readiness = readiness
        self._on_serving = on_serving
        self._host = host
        self._paths: dict[str, Path] = {}
        self._over = threading.Event()

    def run(self) -> ExecutableResult:
        """Execute the service and wait for its end; once only.

        Raises:
            ServiceLostError: what the service is looked for by answers before it has begun.
            OSError: as `Execution.run` does.
        """
        if not self.cancelled and (found := find_other(self._readiness, self._host)):
            raise ServiceLostError(
                self.name,
                f"was not started, because {found} already: give it another port, or end what "
                "has that one",
            )
        result = self.start()
        if result is not None:
            return self._with_texts(result)
        stdout, stderr = str(self._paths["stdout"]), str(self._paths["stderr"])
        self._on_serving(stdout, stderr, None)
        watcher = threading.Thread(
            target=self._watch_for_info,
            args=(stdout, stderr),
            name=f"{self.name}-up",
            daemon=True,
        )
        watcher.start()
        try:
            return self._with_texts(self.finish())
        finally:
            self._over.set()
            watcher.join(_LEAVE_S)

    def _begin_end(self) -> bool:
        self._over.set()  # what answers from now on is a child that is about to end
        if self.exchange is not None:
            signal_group(self.exchange.process.pid, signal.SIGTERM)
        return True

    def _open_outlets(self) -> Outlets:
        def new_path(kind: str) -> Path:
            self._paths[kind] = self._new_path(kind)
            return self._paths[kind]

        return FileOutlets(new_path)

    def _watch_for_info(self, stdout: str, stderr: str) -> None:
        def stopped(pause: float) -> bool:
            return self._over.wait(pause) or self.cancelled

        info = find_info(self._readiness, self._paths, stopped, self._host)
        if info is not None and not self._over.is_set():
            self._on_serving(stdout, stderr, info)

    def _with_texts(self, result: ExecutableResult) -> ExecutableResult:
        """Return *result* with the ends of its output, unless the paths were asked for."""
        if self._capture_stdio or not self._paths:
            return result
        stdout, stderr = (read_end(self._paths[kind], _LAST_BYTES) for kind in ("stdout", "stderr"))
        texts = ExecutableResult(result.exit_code, stdout, stderr)
        if isinstance(result, DeathResult):
            return DeathResult.of(texts, result.reason, result.evidence)
        return texts
