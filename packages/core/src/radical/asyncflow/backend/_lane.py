"""One backend as the engine holds it: its capabilities, and the tasks that wait to be sent."""

from __future__ import annotations

from time import monotonic
from typing import Any

from ..errors import BackendBrokenError, BackendIncompatibleError, UnsupportedOptionError
from ..model import DEFAULT_RESOURCES, Prompt, TaskKind, TaskSpec
from . import API_VERSION, Capabilities, ExecutionBackend, TaskRequest
from ._inbox import Sink

__all__ = ["Lane", "asked_resources", "missing_capabilities"]


class Lane:
    """One backend of an engine, with the batch of the current turn.

    Attributes:
        index: its position among the backends of the engine.
        batch: the requests that are submitted at the end of this turn.
        capabilities, contexts, executes, native, remote: its capabilities, read once.
        chains: True if a task may be sent together with the only one that it waits for.
        lost: the error with which the backend was lost; None as long as it is there.
        sink: where the backend reports.
        since: the time when it came up, in seconds of `time.monotonic`; 0 before.
    """

    __slots__ = (
        "backend",
        "batch",
        "capabilities",
        "chains",
        "contexts",
        "executes",
        "index",
        "lost",
        "name",
        "native",
        "remote",
        "since",
        "sink",
    )

    def __init__(self, index: int, backend: ExecutionBackend) -> None:
        _check(backend)
        self.index = index
        self.backend = backend
        self.sink: Sink
        self.name = backend.name
        self._read_capabilities()
        self.batch: list[TaskRequest] = []
        self.lost: BaseException | None = None
        self.since = 0.0

    def note_start(self) -> None:
        """Note that the backend has started, with which its capabilities may have changed."""
        self._read_capabilities()
        self.since = monotonic()

    def _read_capabilities(self) -> None:
        self.capabilities = self.backend.capabilities
        self.executes = self.capabilities.executes
        self.contexts = self.capabilities.contexts and self.executes
        self.native = self.capabilities.native_dependencies
        self.remote = self.capabilities.remote_results
        # A backend that orders whole graphs does this itself.
        self.chains = self.capabilities.chains and not self.native

    def check(self, spec: TaskSpec) -> None:
        """Check that this backend can run *spec*.

        Raises:
            UnsupportedOptionError: the backend cannot honour the kind of task, or an option.
            ResourceError: the resources can never be free.
        """
        if missing := missing_capabilities(self.capabilities, spec):
            raise UnsupportedOptionError(
                f"task {spec.name!r}: backend {self.name!r} {' and '.join(missing)}"
            )
        self.backend.check(spec)

    def check_prompt(self, name: str, prompt: Prompt[Any]) -> None:
        """Check that this backend honours all parts of *prompt*, which the task *name* asks.

        Raises:
            UnsupportedOptionError: it does not.
        """
        if beyond := prompt.parts - frozenset(self.capabilities.prompts):
            honoured = ", ".join(sorted({"text", *self.capabilities.prompts} - {"answer"}))
            raise UnsupportedOptionError(
                f"task {name!r}: backend {self.name!r} does not honour the "
                f"{' and '.join(sorted(beyond))} of a prompt (it honours: {honoured})"
            )


def asked_resources(spec: TaskSpec) -> list[str]:
    """Return the names of the resources that *spec* asks for, beside the usual ones."""
    return [
        name
        for name in ("cores", "gpus", "memory", "ranks")
        if getattr(spec.resources, name) != getattr(DEFAULT_RESOURCES, name)
    ]


def missing_capabilities(capabilities: Capabilities, spec: TaskSpec) -> list[str]:
    """Return what *spec* asks for and *capabilities* do not have, each as a predicate."""
    if spec.kind not in capabilities.kinds:
        kinds = ", ".join(sorted(capabilities.kinds))
        return [f"runs no {spec.kind} tasks (it runs: {kinds})"]
    missing = []
    if beyond := [name for name in asked_resources(spec) if name not in capabilities.resources]:
        honoured = ", ".join(sorted(capabilities.resources)) or "none"
        missing.append(f"does not honour resources {', '.join(beyond)} (it honours: {honoured})")
    if spec.service and spec.kind is TaskKind.FUNCTION and not capabilities.instances:
        missing.append("runs no services of functions")
    elif spec.service and spec.kind is not TaskKind.FUNCTION and not capabilities.service:
        missing.append("runs no services")
    if spec.answer is not None and "answer" not in capabilities.prompts:
        missing.append(f"answers with text only, not with {spec.answer.__name__}")
    if spec.priority and not capabilities.priorities:
        missing.append("begins its tasks in an order of its own, so it takes no priority")
    return missing


def _check(backend: ExecutionBackend) -> None:
    for attribute in ("name", "capabilities"):
        if not hasattr(backend, attribute):
            raise BackendBrokenError(
                f"the backend class {type(backend).__name__} sets no {attribute!r}, "
                "which the contract asks for"
            )
    major, minor = backend.api_version
    if major != API_VERSION[0] or minor > API_VERSION[1]:
        ours = ".".join(map(str, API_VERSION))
        raise BackendIncompatibleError(
            f"backend {backend.name!r} was written for version {major}.{minor} of the backend "
            f"contract, but this core supports {ours}: install matching releases of the two"
        )
