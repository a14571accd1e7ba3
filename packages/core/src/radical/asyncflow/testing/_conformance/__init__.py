"""The contract of a backend as a test class; one module for each theme."""

from __future__ import annotations

from .cancellation import Cancellation
from .dependencies import Dependencies
from .executables import Executables
from .failures import Failures
from .kinds import Kinds
from .lifecycle import Lifecycle
from .load import Load
from .pickles import Pickles
from .protocol import Protocol
from .remote import Remote
from .timeouts_retries import TimeoutsRetries

__all__ = ["BackendConformance"]


class BackendConformance(
    Kinds,
    Dependencies,
    Failures,
    Pickles,
    Cancellation,
    Executables,
    TimeoutsRetries,
    Remote,
    Load,
    Protocol,
    Lifecycle,
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
        backend_scope: ``"test"`` gives every check a backend of its own; ``"class"``
            shares one, for what is slow to start.  Checks of the start and of the
            end always make their own.
    """
