"""The backends that may take one place in an engine: the first that can be used does."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Iterable
from typing import TYPE_CHECKING

from .._text import safe_message, shorten
from ..backend import ExecutionBackend
from ..backend._sharing import share_of
from ..errors import BackendError, BackendNotFoundError, BackendStartError, EngineClosedError
from . import _launch

if TYPE_CHECKING:
    from .._discovery.profiles import Choice
    from .._dispatch.dispatcher import Dispatcher
    from .._resume.recorder import Recorder
    from ..backend._lane import Lane
    from ..model import Container

__all__ = ["Candidates", "Launcher"]

log = logging.getLogger("radical.asyncflow")

LONGEST_REASON = 300
"""The most characters of the reason why a backend was passed over."""


class Candidates:
    """The backends that may take one place, the preferred one first.

    One that is not installed, does not load or does not start is passed over if another one
    was given in its place.  Wrong settings are an error, whatever follows.

    Attributes:
        container: what the profile says for the commands of the backend that was made last.
    """

    def __init__(self, candidates: Iterable[Choice | ExecutionBackend]) -> None:
        self._left = deque(candidates)
        self._several = len(self._left) > 1
        self._reasons: dict[str, str] = {}
        self._errors: list[BackendError] = []
        self.container: Container | None = None

    @property
    def left(self) -> bool:
        """True if there is one that was not tried."""
        return bool(self._left)

    def look_ahead(self) -> None:
        """Make the next backend already, without starting it; `make` returns it then.

        Raises:
            BackendError: none can be made.
            ConfigurationError: its settings are wrong.
        """
        self._left.appendleft(self.make())

    def make(self) -> ExecutionBackend:
        """Make the next backend, which is not started.

        Raises:
            BackendError: it cannot be made and there is no other.
            ConfigurationError: its settings are wrong.
        """
        from .._discovery.registry import registry

        while self._left:
            candidate = self._left.popleft()
            if isinstance(candidate, ExecutionBackend):
                return candidate
            self.container = candidate.container
            try:
                return registry.create(candidate.name, candidate.config)
            except BackendError as error:
                self.pass_over(candidate.instance, error)
        raise self._nobody()

    def pass_over(self, name: str, error: BackendError) -> None:
        """Note that *error* keeps the backend *name* from being used.

        Raises:
            BackendError: *error*, if no other was given.
        """
        if not self._several:
            raise error
        self._errors.append(error)
        self._reasons[name] = _reason(error)

    def tell_choice(self, name: str) -> None:
        """Log why *name* is used and not one that was preferred to it, if there is any."""
        if self._reasons:
            log.warning(
                "backend %r is used, because %s",
                name,
                "; ".join(f"{other}: {why}" for other, why in self._reasons.items()),
            )

    def _nobody(self) -> BackendError:
        """Return the error for a place that no backend can take."""
        lines = "".join(f"\n  {name}: {why}" for name, why in self._reasons.items())
        names = ", ".join(self._reasons)
        missing = all(isinstance(each, BackendNotFoundError) for each in self._errors)
        error = (BackendNotFoundError if missing else BackendStartError)(
            f"none of the backends {names} can be used:{lines}"
        )
        error.__cause__ = self._errors[-1]
        return error


def _reason(error: BackendError) -> str:
    """Return the text of *error* on one line, without the list of other backends."""
    lines = safe_message(error).splitlines()
    words = [line.strip() for line in lines if not line.startswith("Available backends")]
    return shorten(" ".join(words), LONGEST_REASON)


class Launcher:
    """Starts the backends of one engine.

    Args:
        backends: a list to which each backend is added.

    Attributes:
        recorder: the writer of the journal, if there is one.
    """

    def __init__(self, dispatcher: Dispatcher, backends: list[ExecutionBackend]) -> None:
        self._dispatcher = dispatcher
        self._backends = backends
        self._places: dict[Lane, Candidates] = {}
        self.recorder: Recorder | None = None

    async def fill(self, candidates: Candidates) -> Lane:
        """Start the first of *candidates* that can be used, and return its lane.

        Raises:
            BackendError: none can be used.
            ConfigurationError: the settings of one are wrong.
            EngineClosedError: the engine was shut down meanwhile.
        """
        dispatcher = self._dispatcher
        while True:
            if dispatcher.run.closed:
                raise EngineClosedError("the engine was shut down")
            instance = candidates.make()
            lane = dispatcher.add_lane(share_of(instance, dispatcher.run.uid))
            self._backends.append(instance)
            try:
                await _launch.start(lane)
            except BackendError as error:
                candidates.pass_over(instance.name, error)
            else:
                break
            await _launch.end_all([lane])
            self._backends.remove(instance)
            dispatcher.remove_lane(lane)
        dispatcher.lane_up(lane, candidates.container)
        self._places[lane] = candidates
        candidates.tell_choice(instance.name)
        if self.recorder is not None:
            self.recorder.backend_up(instance)
        return lane

    def allow_failover(self) -> None:
        """Let the run go on with the next backend when one is lost."""
        from .._dispatch.failover import Failover  # because most programs do without

        dispatcher = self._dispatcher

        def start_next(lost: Lane) -> Awaitable[Lane] | None:
            candidates = self._places[lost]
            return self.fill(candidates) if candidates.left else None

        dispatcher.outcomes.failover = Failover(
            dispatcher.run,
            dispatcher.background,
            dispatcher.outcomes,
            bind=dispatcher.bind,
            register=dispatcher.register_again,
            start_next=start_next,
        )

    async def abandon(self) -> None:
        """Shut down everything, because the engine is not created after all."""
        await _launch.end_all([*self._dispatcher.run.lanes.values()])
