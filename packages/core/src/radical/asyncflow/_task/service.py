"""The future of a service: it is done when the service is up, and fails when that is lost."""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn, Protocol

from ..backend import Serving
from ..errors import ServiceStoppedError
from ..model import TaskState
from ..worker import Output, read_end
from .future import TaskFuture

__all__ = ["Phase", "Service", "ServiceFuture", "ServiceInfo"]

READ_BYTES = 1 << 20
"""The number of bytes of an output that are read, the last ones."""


class Phase(enum.Enum):
    """The phase of a service's life."""

    STARTING = enum.auto()
    UP = enum.auto()
    STOPPING = enum.auto()
    ENDED = enum.auto()


class ServiceListener(Protocol):
    """The calls of a service of functions."""

    def stop(self) -> None:
        """Have the service end when it has finished what was sent."""

    def down(self, error: BaseException) -> None:
        """Fail what was sent, because the service died and is started again."""

    def ended(self, error: BaseException) -> None:
        """Fail everything, because the service is no more."""


class Service:
    """A service, through all its starts.

    Attributes:
        future: what its caller holds.
        host: the task that runs it; another one after each restart.
        phase: how far its life has come.
        serving: what its backend has told of it.
        info: its result, when it is up.
        command: its command line.
        error: why nobody can use it any more; None while it may come up or is up.
        restarts_left: how many times it may still be started again.
        start: what it is started with, if it may be started again.
        listener: has the calls of a service of functions, and is told of its life.
        ended: done when it has ended; None until somebody waits for that.
    """

    __slots__ = (
        "command",
        "ended",
        "error",
        "future",
        "host",
        "info",
        "listener",
        "phase",
        "restarts_left",
        "serving",
        "start",
    )

    def __init__(self, future: ServiceFuture, restarts: int) -> None:
        self.future = future
        self.host = future
        self.phase = Phase.STARTING
        self.serving = Serving()
        self.info: Any = None
        self.command = ""
        self.error: BaseException | None = None
        self.restarts_left = restarts
        self.start: Any = None
        self.listener: ServiceListener | None = None
        self.ended: asyncio.Future[None] | None = None

    @property
    def name(self) -> str:
        return self.future.name

    @property
    def awaited(self) -> ServiceFuture | None:
        """The task that brings it up, if it is not up."""
        return None if self.host.done() else self.host

    def output(self, stream: str) -> Output:
        """Return what it has written to *stream* by now; of much, the last part."""
        name = getattr(self.serving, stream)
        return read_end(Path(name), READ_BYTES) if name else Output()


class ServiceInfo(str):
    """The info of a service, which knows whose it is: a call that gets it depends on the service.

    A task gets a plain `str`.
    """

    _service: Service

    @classmethod
    def of(cls, text: str, service: Service) -> ServiceInfo:
        """Return *text* as the info of *service*."""
        info = cls(text)
        info._service = service
        return info

    def __reduce__(self) -> tuple[Any, ...]:
        return str, (str(self),)


class ServiceFuture(TaskFuture[Any]):
    """The future of a service: done when it is up, with its info as the result.

    When the service is lost or was stopped, whoever asks for the result gets an error.  After a
    restart the result is the new info.
    """

    __slots__ = ("_service",)

    _service: Service

    def __getitem__(self, key: Any) -> NoReturn:
        raise TypeError(f"the info of the service {self.name!r} has no items such as [{key!r}]")

    @property
    def state(self) -> str:
        """The state of the task, DONE while the service is up, and FAILED when it was lost."""
        if self._service.phase is Phase.ENDED and self._stage is TaskState.FAILED:
            stopped = isinstance(self._service.error, ServiceStoppedError)
            return TaskState.DONE.public if stopped else TaskState.FAILED.public
        return super().state

    @property
    def stdout(self) -> str | None:
        """The output of the service by now; with ``capture_stdio`` the path of the file."""
        return self._written("stdout")

    @property
    def stderr(self) -> str | None:
        """The error output of the service by now; with ``capture_stdio`` the path of the file."""
        return self._written("stderr")

    def _written(self, stream: str) -> str | None:
        if self._spec.capture_stdio:
            return getattr(self._service.serving, stream) or None
        return self._service.output(stream)

    def stop(self) -> asyncio.Future[None]:
        stopped: asyncio.Future[None] = self._call.owner.stop(self._service)
        return stopped

    def result(self) -> Any:
        if self._service.error is not None and self.done() and not self.cancelled():
            raise self._service.error.with_traceback(None)
        value = super().result()
        return value if self._service.info is None else self._service.info

    def exception(self) -> BaseException | None:
        error = super().exception()
        return error or self._service.error

    def __await__(self) -> Generator[Any, None, Any]:
        yield from super().__await__()
        awaited = self._service.awaited
        if awaited is not None and awaited is not self:
            yield from asyncio.shield(awaited).__await__()
        return self.result()

    __iter__ = __await__
