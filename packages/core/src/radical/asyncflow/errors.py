"""Every error that AsyncFlow raises of its own accord.

The tree::

    AsyncFlowError
    ├── ConfigurationError (ValueError)       a setting, an option or an argument is wrong
    │   ├── UnsupportedOptionError (NotImplementedError)   the chosen backend cannot honour it
    │   └── ResourceError                     a request that can never be satisfied
    ├── EngineClosedError (RuntimeError)      the engine was shut down
    ├── PendingLimitError (RuntimeError)      max_pending tasks are unfinished
    ├── CycleError (ValueError)               a task would wait for itself
    ├── BackendError (RuntimeError)
    │   ├── BackendNotFoundError (LookupError, ValueError)   no such backend, or not installed
    │   ├── BackendBrokenError                installed, but its code does not load
    │   ├── BackendIncompatibleError          built for another version of the contract
    │   ├── BackendStartError                 it did not come up
    │   └── BackendLostError                  it went away with tasks outstanding
    ├── PluginError (RuntimeError)            of a plugin that is asked for by name
    │   ├── PluginNotFoundError (LookupError)    no such plugin, or it is not installed
    │   ├── PluginBrokenError                 installed, but it does not load or work
    │   └── PluginIncompatibleError           built for another core or Python
    ├── JournalError (RuntimeError)           the journal cannot be written or read
    │   ├── JournalInUseError                 another run writes it
    │   ├── JournalCorruptError               something in its middle is damaged
    │   └── JournalFormatError                not a journal, or of another version
    ├── PreemptedError (RuntimeError)         the run's time is over; its journal can be resumed
    └── TaskError (RuntimeError)              a task did not succeed
        ├── ExecutableError                   non-zero exit code, or ended by a signal
        ├── TaskTimeoutError (TimeoutError)   ran longer than its timeout
        │   └── ServiceTimeoutError           a service was not up within it
        ├── ServiceLostError                  a service ended by itself
        ├── ServiceStoppedError               something needs a service that was stopped
        ├── DependencyFailureError            a task that it depends on failed
        ├── WorkerLostError                   the process that ran it died
        ├── TaskExitError                     it raised SystemExit, CancelledError or the like
        ├── SerializationError                argument, result or exception cannot travel
        ├── RemoteError                       stand-in for an exception that cannot be rebuilt
        └── FileError                         an input cannot be staged, an output is missing

All of them can be pickled, with their attributes.  The page "Troubleshooting" of the documentation
has an entry for each: what you see, why, and what to do.  ``asyncflow explain CLASS`` prints it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from ._text import error_line, safe_repr, safe_str, truncate

__all__ = [
    "AsyncFlowError",
    "BackendBrokenError",
    "BackendError",
    "BackendIncompatibleError",
    "BackendLostError",
    "BackendNotFoundError",
    "BackendStartError",
    "ConfigurationError",
    "CycleError",
    "DeathReason",
    "DependencyFailureError",
    "EngineClosedError",
    "ExecutableError",
    "FileError",
    "JournalCorruptError",
    "JournalError",
    "JournalFormatError",
    "JournalInUseError",
    "PendingLimitError",
    "PluginBrokenError",
    "PluginError",
    "PluginIncompatibleError",
    "PluginNotFoundError",
    "PreemptedError",
    "RemoteError",
    "RemoteTraceback",
    "ResourceError",
    "SerializationError",
    "ServiceLostError",
    "ServiceStoppedError",
    "ServiceTimeoutError",
    "TaskError",
    "TaskExitError",
    "TaskTimeoutError",
    "UnsupportedOptionError",
    "WorkerLostError",
]

_MADE_IN_PYTHON = 1 << 9  # Py_TPFLAGS_HEAPTYPE
_TAIL = 2000
_NAMES = 20
_SIGNALS = {
    1: "HUP",
    2: "INT",
    3: "QUIT",
    4: "ILL",
    5: "TRAP",
    6: "ABRT",
    8: "FPE",
    9: "KILL",
    11: "SEGV",
    13: "PIPE",
    14: "ALRM",
    15: "TERM",
    24: "XCPU",
    25: "XFSZ",
}


class AsyncFlowError(Exception):
    """Root of the tree: catch it to catch whatever AsyncFlow itself raises."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...], Any]:
        # Subclasses build their message from keyword attributes, so the default
        # (call the class with ``args``) would not rebuild them.
        return _rebuild, (type(self), self.args), self.__dict__.copy()


def _rebuild(cls: type[AsyncFlowError], args: tuple[Any, ...]) -> AsyncFlowError:
    # Not cls.__new__: by the order of bases that may be RuntimeError's, which refuses to
    # make a TimeoutError.  The layout of an instance is that of the chain of __base__.
    base: Any = cls
    while base.__flags__ & _MADE_IN_PYTHON:
        base = base.__base__
    error: AsyncFlowError = base.__new__(cls, *args)
    error.args = args
    return error


class ConfigurationError(AsyncFlowError, ValueError):
    """A setting, an option or an argument is wrong; the message names every one that is."""


class UnsupportedOptionError(ConfigurationError, NotImplementedError):
    """The chosen backend cannot honour what was asked of it."""


class ResourceError(ConfigurationError):
    """The resources asked for can never be free on this backend."""


class EngineClosedError(AsyncFlowError, RuntimeError):
    """The engine, or the backend, was shut down before this call."""


class PendingLimitError(AsyncFlowError, RuntimeError):
    """The engine holds ``max_pending`` unfinished tasks already."""


class CycleError(AsyncFlowError, ValueError):
    """A task would wait for its own result."""


class BackendError(AsyncFlowError, RuntimeError):
    """Something is wrong with a backend, not with a task."""


class BackendNotFoundError(BackendError, LookupError, ValueError):
    """No backend of this name, or its distribution is not installed."""


class BackendBrokenError(BackendError):
    """The backend is installed, but its code does not load; see ``__cause__``."""


class BackendIncompatibleError(BackendError):
    """The backend was built for a version of the contract that this core does not speak."""


class BackendStartError(BackendError):
    """The backend did not come up; nothing that it began is left behind."""


class BackendLostError(BackendError):
    """The backend went away; every task it held ends with this."""


class PluginError(AsyncFlowError, RuntimeError):
    """Something is wrong with a plugin that was asked for by name, and is no backend."""


class PluginNotFoundError(PluginError, LookupError):
    """No plugin of this name, or its distribution or a requirement is not installed."""


class PluginBrokenError(PluginError):
    """The plugin is installed, but it does not load or does not work; see ``__cause__``."""


class PluginIncompatibleError(PluginError):
    """The plugin was built for another version of the core, or of Python."""


class JournalError(AsyncFlowError, RuntimeError):
    """The journal cannot be written or read."""


class JournalInUseError(JournalError):
    """Another run writes the journal."""


class JournalCorruptError(JournalError):
    """Something in the middle of the journal is damaged; the message names the place."""


class JournalFormatError(JournalError):
    """The file is no journal, or one of a version that this release cannot read."""


class PreemptedError(AsyncFlowError, RuntimeError):
    """The time of the run is over, and the task was ended or not even started.

    With a journal, the same program goes on from there when it is run again.
    """


class DeathReason(enum.StrEnum):
    """The reason why a worker or a command died, as far as anything shows it."""

    MEMORY = "memory"
    """The kernel, or a limit, ended it because memory was short."""
    LIMIT = "limit"
    """It went beyond a limit of its own, such as that of processor time."""
    WALLTIME = "walltime"
    """The time of the batch job that it ran in was over."""
    JOB_CANCELLED = "job cancelled"
    """Somebody cancelled the batch job that it ran in."""
    NODE = "node lost"
    """The node that it ran on failed, or cannot be reached."""
    CRASH = "crash"
    """A signal of its own ended it, such as that of a segmentation fault."""
    KILLED = "killed"
    """A signal from outside ended it."""
    EXIT = "exit"
    """It ended by itself, with an exit code."""
    UNKNOWN = "unknown"
    """Nothing tells how it ended."""


class TaskError(AsyncFlowError, RuntimeError):
    """A task did not succeed, and the reason is not an exception of its own code."""


class ExecutableError(TaskError):
    """A command ended with a non-zero exit code, or by a signal.

    Attributes:
        command: the command line, as a shell would read it.
        exit_code: the exit code; ``-N`` if signal *N* ended it.
        stdout, stderr: at most the last 2,000 characters of each.
        summary: how it ended, without the command, which may hold what is secret.
        reason: the kind of its end.
        evidence: in words, what shows the reason; "" if the exit code says everything.
    """

    def __init__(
        self,
        command: str,
        exit_code: int,
        stdout: str = "",
        stderr: str = "",
        reason: DeathReason = DeathReason.UNKNOWN,
        evidence: str = "",
    ) -> None:
        self.command = command
        self.exit_code = exit_code
        self.stdout = stdout[-_TAIL:]
        self.stderr = stderr[-_TAIL:]
        self.reason = DeathReason.EXIT if exit_code > 0 and not evidence else reason
        self.evidence = evidence
        how = f"exit code {exit_code}" if exit_code >= 0 else f"signal {_signal_text(-exit_code)}"
        self.summary = f"command ended with {how}"
        if evidence:
            self.summary += f" ({evidence})"
        first = f"{self.summary}: {command}"
        super().__init__("\n".join([first, *_output_lines(self.stdout, self.stderr)]))


class TaskTimeoutError(TaskError, TimeoutError):
    """The task ran longer than its ``timeout``; its work was ended.

    Attributes:
        task: name of the task.
        timeout: the limit, in seconds.
    """

    def __init__(self, task: str, timeout: float) -> None:
        self.task = task
        self.timeout = timeout
        super().__init__(f"task {task!r} ran longer than its timeout of {timeout:g} s")


class ServiceTimeoutError(TaskTimeoutError):
    """A service was not up within its ``timeout``, which ended it.

    Attributes:
        stdout, stderr: at most the last 2,000 characters of what it wrote.
    """

    def __init__(self, task: str, timeout: float, stdout: str = "", stderr: str = "") -> None:
        super().__init__(task, timeout)
        self.stdout = stdout[-_TAIL:]
        self.stderr = stderr[-_TAIL:]
        first = f"service {task!r} was not up within its timeout of {timeout:g} s"
        self.args = ("\n".join([first, *_output_lines(self.stdout, self.stderr)]),)


class ServiceLostError(TaskError):
    """A service ended by itself, or its worker died; ``__cause__`` says more where it is known.

    Attributes:
        service: name of the service.
        stdout, stderr: at most the last 2,000 characters of what its command wrote.
    """

    def __init__(self, service: str, how: str, stdout: str = "", stderr: str = "") -> None:
        self.service = service
        self.stdout = stdout[-_TAIL:]
        self.stderr = stderr[-_TAIL:]
        first = f"service {service!r} {how}"
        super().__init__("\n".join([first, *_output_lines(self.stdout, self.stderr)]))


class ServiceStoppedError(TaskError):
    """Something needs a service that was stopped.

    Attributes:
        service: name of the service.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        super().__init__(f"service {service!r} was stopped; start another one")


class DependencyFailureError(TaskError):
    """A task was not run, because a task that it depends on failed.

    The failure at the root of it all is ``__cause__``, one level deep however
    long the chain of dependents is.

    The failures of other tasks that it depends on are notes of the error, as long
    as nobody has looked at it when they come.

    Attributes:
        task: name of the task that was not run.
        failed: names of the direct dependencies that had failed, at most 20.
        root: name of the task whose failure is ``__cause__``.
    """

    def __init__(self, task: str, failed: Sequence[str], root: str, cause: BaseException) -> None:
        self._noted = 0
        self.task = task
        self.failed = tuple(failed[:_NAMES])
        self.root = root
        names = ", ".join(repr(name) for name in self.failed)
        if len(failed) > _NAMES:
            names += f" and {len(failed) - _NAMES} more"
        via = "" if root in self.failed else f" (it began with {root!r})"
        reason = truncate(safe_str(cause))
        super().__init__(f"task {task!r} was not run: its dependency {names} failed{via}: {reason}")

    def _note_failed(self, name: str, cause: BaseException) -> None:
        """Note that the task *name*, which *task* depends on, failed because of *cause*."""
        self._noted += 1
        if self._noted <= _NAMES:
            reason = error_line(cause)
            self.add_note(f"{name!r}, which it depends on, failed too: {reason}")
            return
        more = f"and {self._noted - _NAMES - 1} more that it depends on"
        if more in self.__notes__:
            self.__notes__.remove(more)
        self.add_note(f"and {self._noted - _NAMES} more that it depends on")

    @property
    def failed_dependencies(self) -> list[str]:
        """The names of *failed*, in a list."""
        return [*self.failed]

    @property
    def root_cause(self) -> BaseException | None:
        """The failure at the root of it all, which is ``__cause__``."""
        return self.__cause__


class WorkerLostError(TaskError):
    """The process that ran the task died under it.

    Attributes:
        task: name of the task.
        worker: which worker died, in the backend's own terms.
        signal: number of the signal that ended the worker, or None if it exited.
        attempt: the attempt it cost; the first is 1.
        reason: the kind of its end.
    """

    def __init__(
        self,
        task: str,
        worker: str = "",
        signal: int | None = None,
        attempt: int = 1,
        detail: str = "",
        reason: DeathReason = DeathReason.UNKNOWN,
    ) -> None:
        self.task = task
        self.worker = worker
        self.signal = signal
        self.attempt = attempt
        self.reason = reason
        who = f"worker {worker}" if worker else "the worker"
        how = f"was ended by signal {_signal_text(signal)}" if signal else "died"
        more = f": {detail}" if detail else ""
        super().__init__(f"{who} {how} while it ran task {task!r} (attempt {attempt}){more}")


class TaskExitError(TaskError):
    """The task raised what would end a program or a coroutine, not a failure.

    SystemExit, KeyboardInterrupt, CancelledError, GeneratorExit or StopIteration
    raised by a task fails that task alone; the original is ``__cause__``.
    """

    def __init__(self, task: str, cause: BaseException) -> None:
        self.task = task
        super().__init__(f"task {task!r} raised {truncate(safe_repr(cause))}")


class SerializationError(TaskError):
    """A function, an argument, a result or an exception cannot be pickled or rebuilt.

    Attributes:
        what: ``"function"``, ``"arguments"``, ``"result"`` or ``"exception"``.
    """

    def __init__(self, what: str, reason: str) -> None:
        self.what = what
        super().__init__(f"the {what} cannot travel to or from a worker: {truncate(reason)}")


class RemoteError(TaskError):
    """Stand-in for a worker's exception that could not be pickled or rebuilt here.

    Attributes:
        type_name: qualified name of the original type.
        message: its text.
    """

    def __init__(self, type_name: str, message: str) -> None:
        self.type_name = type_name
        self.message = message
        super().__init__(f"{type_name}: {message}")


class RemoteTraceback(Exception):
    """Text of a traceback that was made in another process; stands as ``__cause__``."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f'\n"""\n{self.text.rstrip()}\n"""'


class FileError(TaskError):
    """An input file cannot be staged, or a declared output is not there."""


def _output_lines(stdout: str, stderr: str) -> list[str]:
    """Return what a command wrote, as lines of a message."""
    both = (("stderr", stderr), ("stdout", stdout))
    return [f"{name}: {text.rstrip()}" for name, text in both if text.strip()]


def _signal_text(number: int) -> str:
    """Return a signal by its number and, where all systems agree, its name: ``"9 (SIGKILL)"``."""
    name = _SIGNALS.get(number)
    return str(number) if name is None else f"{number} (SIG{name})"
