"""The contract of a backend as a test class: `BackendConformance`.

Each theme of checks is a module with one class.  `suite` has the fixtures that all share,
`needs` says which checks a backend has to pass, and `waiting` how a check waits for a task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Collection
from typing import ClassVar, Literal

from ..._public import public
from ...backend import ExecutionBackend
from .cancellation import Cancellation
from .dependencies import Dependencies
from .executables import Executables
from .failures import Failures
from .instances import Instances
from .kinds import Kinds
from .lifecycle import Lifecycle
from .load import Load
from .order import Order
from .pickles import Pickles
from .plugin import Plugin
from .portability import Portability
from .processes import Processes
from .protocol import Protocol
from .records import Records
from .remote import Remote
from .services import Services
from .timeouts_retries import TimeoutsRetries
from .waits import Waits

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
    Services,
    Instances,
    TimeoutsRetries,
    Remote,
    Load,
    Order,
    Waits,
    Protocol,
    Lifecycle,
    Portability,
    Records,
    Plugin,
):
    """The checks that every backend has to pass, as a test class.

    Subclass it under a name that pytest collects, and say how a backend is made::

        class TestMyBackend(BackendConformance):
            unmet_needs = {"prompt", "markers", "spares functions"}

            def make_backend(self):
                return MyBackend(max_workers=4)

    `make_backend` returns a backend that was not started; it may be ``async``.

    A check may need something of the backend, such as a kind of task.  Whether the backend
    meets that need follows from its `Capabilities` and the attributes below, never from its
    name.  `unmet_needs` names the needs that are not met: pytest deselects the checks
    that have them.  One check compares `unmet_needs` with the backend, so that none goes
    missing unseen.

    Attributes:
        unmet_needs: the needs that this backend does not meet.  Leave it out once: then
            nothing is deselected, and a failing check tells you the set.
        slots: how many functions run at once; None if nothing limits them.
        inline: True if functions run in the engine's own loop and block it.
        load: how many tasks the big bag has; others have a tenth.
        patience: seconds that one step may take before it counts as hanging; a whole
            check may take four times as long.
        travel: seconds that news may be on its way between the backend and its workers:
            a cancellation, or the death of a worker.  Leave it at 0 where the backend
            knows at once.
        backend_scope: ``"test"`` gives every check a backend of its own; ``"class"``
            shares one, for what is slow to start.  Checks of the start and of the
            end always make their own.
        backend_name: the name under which the plugin is installed; then its `BackendSpec`
            is compared with the backend.  None leaves these checks out.
    """

    # They stand here, so that help() shows them before some two hundred checks.
    unmet_needs: ClassVar[Collection[str] | None] = None
    slots: ClassVar[int | None] = 4
    inline: ClassVar[bool] = False
    load: ClassVar[int] = 10_000
    patience: ClassVar[float] = 30.0
    travel: ClassVar[float] = 0.0
    backend_scope: ClassVar[Literal["test", "class"]] = "test"
    backend_name: ClassVar[str | None] = None

    def make_backend(self) -> ExecutionBackend | Awaitable[ExecutionBackend]:
        """Return a new backend that was not started."""
        raise NotImplementedError(
            f"{type(self).__name__} must define make_backend(self), which returns a new backend"
        )
