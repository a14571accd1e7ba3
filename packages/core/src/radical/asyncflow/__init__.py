"""Write a workflow once in plain asyncio; run it on a laptop, a cluster or a supercomputer.

Calls of decorated functions return futures, futures passed as arguments are
dependencies, and the growing graph runs on an execution backend::

    async with WorkflowEngine.create(backend="concurrent") as flow:

        @flow.function_task
        def double(number: int) -> int:
            return 2 * number

        print(await double(double(10)))
"""

from __future__ import annotations

from importlib import import_module

from .lazy import lazy_names
from .version import __version__

TYPE_CHECKING = False  # not from typing, whose import takes longer than that of this package
if TYPE_CHECKING:
    from typing import Any

    from . import errors, factory, registry
    from ._files.declared import InputFile, OutputFile
    from ._graph.plan import Plan, PlanTask
    from ._task.completed import AsCompleted
    from ._task.function import TaskFunction
    from ._task.future import TaskFuture
    from ._task.item import TaskItem
    from ._task.options import TaskOptions
    from ._task.service_class import ServiceClass, ServiceInstance
    from .backend import BackendSpec, Capabilities, ExecutionBackend, hookimpl
    from .deprecation import AsyncFlowDeprecationWarning
    from .engine import WorkflowEngine
    from .errors import (
        AsyncFlowError,
        BackendBrokenError,
        BackendError,
        BackendIncompatibleError,
        BackendLostError,
        BackendNotFoundError,
        BackendStartError,
        ConfigurationError,
        CycleError,
        DependencyFailureError,
        EngineClosedError,
        ExecutableError,
        FileError,
        JournalCorruptError,
        JournalError,
        JournalFormatError,
        JournalInUseError,
        PendingLimitError,
        PreemptedError,
        RemoteError,
        ResourceError,
        SerializationError,
        ServiceLostError,
        ServiceStoppedError,
        ServiceTimeoutError,
        TaskError,
        TaskExitError,
        TaskTimeoutError,
        UnsupportedOptionError,
        WorkerLostError,
    )
    from .events import BackendEvent, OutputEvent, RunEvent, ServiceEvent, TaskEvent
    from .model import (
        Answer,
        Command,
        Container,
        Env,
        Preemption,
        Prompt,
        Resources,
        RetryPolicy,
        Usage,
    )
    from .worker import cancelled, current_task

__all__ = [
    "Answer",
    "AsCompleted",
    "AsyncFlowDeprecationWarning",
    "AsyncFlowError",
    "BackendBrokenError",
    "BackendError",
    "BackendEvent",
    "BackendIncompatibleError",
    "BackendLostError",
    "BackendNotFoundError",
    "BackendSpec",
    "BackendStartError",
    "Capabilities",
    "Command",
    "ConfigurationError",
    "Container",
    "CycleError",
    "DependencyFailureError",
    "EngineClosedError",
    "Env",
    "ExecutableError",
    "ExecutionBackend",
    "FileError",
    "InputFile",
    "JournalCorruptError",
    "JournalError",
    "JournalFormatError",
    "JournalInUseError",
    "OutputEvent",
    "OutputFile",
    "PendingLimitError",
    "Plan",
    "PlanTask",
    "PreemptedError",
    "Preemption",
    "Prompt",
    "RemoteError",
    "ResourceError",
    "Resources",
    "RetryPolicy",
    "RunEvent",
    "SerializationError",
    "ServiceClass",
    "ServiceEvent",
    "ServiceInstance",
    "ServiceLostError",
    "ServiceStoppedError",
    "ServiceTimeoutError",
    "TaskError",
    "TaskEvent",
    "TaskExitError",
    "TaskFunction",
    "TaskFuture",
    "TaskItem",
    "TaskOptions",
    "TaskTimeoutError",
    "UnsupportedOptionError",
    "Usage",
    "WorkerLostError",
    "WorkflowEngine",
    "__version__",
    "cancelled",
    "current_task",
    "errors",
    "factory",
    "hookimpl",
    "registry",
]

# Everything is imported when it is first asked for: a worker process, which needs one
# small module, and a listing of backends start without the engine.
_MODULES = ("errors", "factory", "registry")

_HOMES = {
    **{name: "errors" for name in __all__ if name.endswith("Error")},
    "Answer": "model",
    "AsCompleted": "_task.completed",
    "AsyncFlowDeprecationWarning": "deprecation",
    "BackendEvent": "events",
    "BackendSpec": "backend",
    "Capabilities": "backend",
    "Command": "model",
    "Container": "model",
    "Env": "model",
    "ExecutionBackend": "backend",
    "InputFile": "_files.declared",
    "OutputFile": "_files.declared",
    "Plan": "_graph.plan",
    "PlanTask": "_graph.plan",
    "Preemption": "model",
    "Prompt": "model",
    "Resources": "model",
    "RetryPolicy": "model",
    "RunEvent": "events",
    "ServiceClass": "_task.service_class",
    "ServiceEvent": "events",
    "ServiceInstance": "_task.service_class",
    "TaskEvent": "events",
    "TaskFunction": "_task.function",
    "TaskFuture": "_task.future",
    "TaskItem": "_task.item",
    "TaskOptions": "_task.options",
    "OutputEvent": "events",
    "Usage": "model",
    "WorkflowEngine": "engine",
    "cancelled": "worker",
    "current_task": "worker",
    "hookimpl": "hookspecs",
}

_BACKENDS = {
    "ConcurrentExecutionBackend": "concurrent",
    "DaskExecutionBackend": "dask",
    "InferenceExecutionBackend": "inference",
    "NoopExecutionBackend": "noop",
    "RadicalExecutionBackend": "radical_pilot",
}
"""Classes of the official backends, by the name under which the registry finds them."""

_FORMER = {"LocalExecutionBackend": ":ConcurrentExecutionBackend"}
"""Names of the public AsyncFlow."""

# Everything is imported when it is first asked for: a worker process, which needs one
# small module, and a listing of backends start without the engine.
_load, _ = lazy_names(__name__, _HOMES)


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in _BACKENDS:
        value = globals()[name] = _backend_class(name)
        return value
    if name in _FORMER:
        from ._former import former_name

        return former_name(__name__, name, _FORMER[name])
    if name == "version_detail":
        # The program radical-stack, which lists all radical.* packages, reads it.
        return __version__
    return _load(name)


def _backend_class(name: str) -> Any:
    from ._discovery.registry import registry
    from .errors import BackendError

    try:
        return registry.load_factory(_BACKENDS[name])
    except BackendError as error:
        raise ImportError(f"cannot import {name}: {error}") from error


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
