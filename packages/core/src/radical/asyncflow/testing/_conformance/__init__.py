"""The contract of a backend as a test class; one module for each theme."""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import ClassVar, Literal

from ..._public import public
from ...backend import ExecutionBackend
from .cancellation import Cancellation
from .dependencies import Dependencies
from .executables import Executables
from .failures import Failures
from .kinds import Kinds
from .lifecycle import Lifecycle
from .load import Load
from .pickles import Pickles
from .plugin import Plugin
from .processes import Processes
from .protocol import Protocol
from .remote import Remote
from .timeouts_retries import TimeoutsRetries

__all__ = ["BackendConformance"]


@public("radical.asyncflow.testing")
class BackendConformance(
    Kinds,
    Dependencies,
    Failures,
    Pickles,
    Cancellation,
    Processes,
    Executables,
    TimeoutsRetries,
    Remote,
    Load,
    Protocol,
    Lifecycle,
    Plugin,
):
    """Subclass it under a name that pytest collects, and say how a backend is made::

        class TestMyBackend(BackendConformance):
            expected_skips = {"prompt", "markers", "spares functions"}

            def make_backend(self):
                return MyBackend(max_workers=4)

    `make_backend` may be ``async``; it is called for each new engine.  Checks are
    skipped by what the backend's `Capabilities` declare, never by its name, and the
    whole of what is skipped must be what `expected_skips` says.

    Attributes:
        expected_skips: the needs of checks that this backend does not meet, by the
            words in the skip messages; leave it out once to be told.
        slots: how many functions run at once; None if nothing bounds them.
        inline: True if functions run in the engine's own loop and block it.
        load: how many tasks the big bag has; others have a tenth.
        patience: seconds that one step may take before it counts as hanging; a whole
            check may take four times as long.
        travel: seconds that a cancellation may be on its way to where tasks wait: more
            than none where they wait on other machines, whose workers may come first.
        backend_scope: ``"test"`` gives every check a backend of its own; ``"class"``
            shares one, for what is slow to start.  Checks of the start and of the
            end always make their own.
        backend_name: the name under which the plugin is installed; then its `BackendSpec`
            is compared with the backend.  That is not checked if it is None.
    """

    # Here, and not in the base: so that help() shows them before some two hundred checks.
    expected_skips: ClassVar[Collection[str] | None] = None
    slots: ClassVar[int | None] = 4
    inline: ClassVar[bool] = False
    load: ClassVar[int] = 10_000
    patience: ClassVar[float] = 30.0
    travel: ClassVar[float] = 0.0
    backend_scope: ClassVar[Literal["test", "class"]] = "test"
    backend_name: ClassVar[str | None] = None

    def make_backend(self) -> ExecutionBackend | Awaitable[ExecutionBackend]:
        """A new backend, not started."""
        raise NotImplementedError(
            f"{type(self).__name__} must define make_backend(self), which returns a new backend"
        )
