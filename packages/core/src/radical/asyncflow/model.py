"""What a task is: its states, its options and what it asks for. Values only.

The life of a task::

    PENDING ──► READY ──► SUBMITTED ──► RUNNING ──► DONE
       │          ▲           │            │    ├─► FAILED
       │          └── retry ──┴────────────┘    └─► CANCELLED
       └─► FAILED, CANCELLED  (so may READY and SUBMITTED)

``PENDING`` waits for dependencies, ``READY`` for the next flush to its backend,
``SUBMITTED`` for a worker.  ``TRANSITIONS`` is the only place that says which
state may follow which.  Users see five names: PENDING (for the first three),
RUNNING, DONE, FAILED and CANCELLED.

This module is on the lowest floor: it imports nothing of ours and knows no
event loop, thread, clock or file.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from types import MappingProxyType
from typing import Any, NamedTuple, cast

from .errors import ConfigurationError, TransitionError

__all__ = [
    "TRANSITIONS",
    "Command",
    "ExecutableResult",
    "Prompt",
    "Resources",
    "RetryPolicy",
    "TaskKind",
    "TaskSpec",
    "TaskState",
    "check_transition",
    "closest",
    "retry_delay",
]


class TaskState(enum.IntEnum):
    """Where a task stands; those from DONE on are final."""

    PENDING = 0
    READY = 1
    SUBMITTED = 2
    RUNNING = 3
    DONE = 4
    FAILED = 5
    CANCELLED = 6

    @property
    def public(self) -> str:
        """The name that users see."""
        return "PENDING" if self < TaskState.RUNNING else self.name


_S = TaskState
TRANSITIONS: Mapping[TaskState, frozenset[TaskState]] = MappingProxyType(
    {
        _S.PENDING: frozenset({_S.READY, _S.FAILED, _S.CANCELLED}),
        _S.READY: frozenset({_S.PENDING, _S.READY, _S.SUBMITTED, _S.FAILED, _S.CANCELLED}),
        _S.SUBMITTED: frozenset({_S.RUNNING, _S.READY, _S.DONE, _S.FAILED, _S.CANCELLED}),
        _S.RUNNING: frozenset({_S.READY, _S.DONE, _S.FAILED, _S.CANCELLED}),
        _S.DONE: frozenset(),
        _S.FAILED: frozenset(),
        _S.CANCELLED: frozenset(),
    }
)


def check_transition(old: TaskState, new: TaskState) -> None:
    """Raise TransitionError unless *new* may follow *old*."""
    if new not in TRANSITIONS[old]:
        allowed = ", ".join(sorted(state.name for state in TRANSITIONS[old])) or "nothing"
        raise TransitionError(f"{old.name} may be followed by {allowed}, not by {new.name}")


class TaskKind(enum.StrEnum):
    """How a task's body is used."""

    FUNCTION = "function"
    """The body runs on the backend; its return value is the result."""
    EXECUTABLE = "executable"
    """The body returns a command; the backend runs that, its stdout is the result."""
    PROMPT = "prompt"
    """The body returns a prompt; a backend with that capability answers it."""
    BLOCK = "block"
    """The body is a coroutine in the engine's own loop; no backend sees it."""


def closest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the known word nearest to *word*, or ``""``."""
    import difflib  # here, because only errors need it

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {found[0]!r}?" if found else ""


_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {unit + "i": 2 ** (10 * power) for power, unit in enumerate("kmgt", start=1)}
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgt]i?)?b?\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Resources:
    """What one task occupies while it runs.

    Each of *ranks* processes gets *cores*, *gpus* and *memory* of its own.

    Attributes:
        cores: processor cores a rank, at least 1.
        gpus: whole GPUs a rank.
        memory: bytes a rank; 0 asks for nothing in particular.  A string such as
            ``"4GB"`` or ``"512 MiB"`` is accepted by `of`.
        ranks: processes, for MPI; 1 is an ordinary task.
    """

    cores: int = 1
    gpus: int = 0
    memory: int = 0
    ranks: int = 1

    def __post_init__(self) -> None:
        wrong = [
            f"{item.name} must be a whole number of at least {_least(item)}, not {value!r}"
            for item in fields(self)
            for value in (getattr(self, item.name),)
            if not isinstance(value, int) or isinstance(value, bool) or value < _least(item)
        ]
        if wrong:
            raise ConfigurationError("resources: " + "; ".join(wrong))

    @classmethod
    def of(cls, value: Resources | Mapping[str, Any] | None) -> Resources:
        """*value* as Resources; every unknown or wrong entry is named in one error."""
        if value is None:
            return DEFAULT_RESOURCES
        if isinstance(value, Resources):
            return value
        if not isinstance(value, Mapping):
            raise ConfigurationError(
                f"resources must be a Resources or a mapping such as {{'cores': 2}}, not {value!r}"
            )
        known = [item.name for item in fields(cls)]
        unknown = [
            f"unknown key {key!r}{closest(str(key), known)}" for key in value if key not in known
        ]
        if unknown:
            raise ConfigurationError(f"resources: {'; '.join(unknown)} (known: {', '.join(known)})")
        values = dict(value)
        if isinstance(values.get("memory"), str):
            values["memory"] = parse_size(values["memory"])
        return cls(**values)

    @property
    def total_cores(self) -> int:
        return self.cores * self.ranks

    @property
    def total_gpus(self) -> int:
        return self.gpus * self.ranks

    @property
    def total_memory(self) -> int:
        """Bytes."""
        return self.memory * self.ranks


def _least(item: Field[int]) -> int:
    """A field's default is also its smallest sensible value."""
    return cast(int, item.default)


DEFAULT_RESOURCES = Resources()


def parse_size(text: str) -> int:
    """Bytes in a text such as ``"1.5 GB"`` or ``"512MiB"``."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ConfigurationError(
            f"not a size in bytes: {text!r} (write it like '4GB' or '512 MiB')"
        )
    return int(float(match[1]) * _UNITS[(match[2] or "").lower()])


class RetryState(NamedTuple):
    """What a tenacity strategy may look at: the part of RetryCallState that we have."""

    attempt_number: int
    outcome: RetryOutcome
    seconds_since_start: float = 0.0
    idle_for: float = 0.0
    next_action: None = None
    upcoming_sleep: float = 0.0


class RetryOutcome(NamedTuple):
    """A failed attempt, in the shape of the future that tenacity hands to predicates."""

    error: BaseException
    failed: bool = True

    def exception(self) -> BaseException:
        return self.error


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When to run a failed task again, in tenacity's words.

    Attributes:
        attempts: how many runs at the most, the first included.
        wait: seconds before the second run, or a tenacity wait strategy such as
            ``tenacity.wait_exponential_jitter(initial=1, max=60)``.
        exp_base: each further wait is this many times longer (1: always the same).
        wait_max: no wait is longer than this many seconds.
        jitter: up to this many random seconds are added to each wait.
        retry: which exceptions: a type, a tuple of types, or a tenacity predicate
            such as ``tenacity.retry_if_exception_message(match="busy")``.
    """

    attempts: int = 3
    wait: float | Callable[[Any], float] = 0.0
    exp_base: float = 2.0
    wait_max: float = 60.0
    jitter: float = 0.0
    retry: type[BaseException] | tuple[type[BaseException], ...] | Callable[[Any], bool] = Exception

    def __post_init__(self) -> None:
        wrong = []
        if (
            not isinstance(self.attempts, int)
            or isinstance(self.attempts, bool)
            or self.attempts < 1
        ):
            wrong.append(f"attempts must be a whole number of at least 1, not {self.attempts!r}")
        if not callable(self.wait) and not _seconds(self.wait):
            wrong.append(f"wait must be seconds or a tenacity wait strategy, not {self.wait!r}")
        wrong += [
            f"{name} must be seconds, not {getattr(self, name)!r}"
            for name in ("wait_max", "jitter")
            if not _seconds(getattr(self, name))
        ]
        if not _seconds(self.exp_base) or self.exp_base < 1:
            wrong.append(f"exp_base must be at least 1, not {self.exp_base!r}")
        types = self.retry if isinstance(self.retry, tuple) else (self.retry,)
        if not callable(self.retry) and not all(
            isinstance(item, type) and issubclass(item, BaseException) for item in types
        ):
            wrong.append(
                f"retry must be exception types or a tenacity predicate, not {self.retry!r}"
            )
        if wrong:
            raise ConfigurationError("retries: " + "; ".join(wrong))

    @classmethod
    def of(cls, value: int | RetryPolicy | None) -> RetryPolicy | None:
        """``3`` is three retries, so four attempts; ``0`` and None are one attempt."""
        if value is None or isinstance(value, RetryPolicy):
            return value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigurationError(
                f"retries must be a whole number of at least 0 or a RetryPolicy, not {value!r}"
            )
        return cls(attempts=value + 1) if value else None


def _seconds(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= cast(float, value) < float("inf")


def retry_delay(
    policy: RetryPolicy | None, attempt: int, error: BaseException, dice: float
) -> float | None:
    """Seconds until the next attempt, or None when *error* is the last word.

    *attempt* is the number of the attempt that failed (the first is 1); *dice* is
    a random number from 0 to 1, handed in so that this stays a pure function.
    """
    if policy is None or attempt >= policy.attempts:
        return None
    state = RetryState(attempt, RetryOutcome(error))
    if isinstance(policy.retry, type | tuple):
        if not isinstance(error, policy.retry):
            return None
    elif not policy.retry(state):
        return None
    if callable(policy.wait):
        return max(0.0, float(policy.wait(state)))
    # The exponent is bounded, so that a million attempts do not overflow a float.
    wait = policy.wait * policy.exp_base ** min(attempt - 1, 64)
    return min(policy.wait_max, wait + policy.jitter * dice)


@dataclass(frozen=True, slots=True, eq=False)
class TaskSpec:
    """Everything about a task that all its calls share.

    Attributes:
        name: what users and dashboards see; the function's name unless given.
        function: the body.
        backend: the name of the backend it must run on; None for the engine's first.
        timeout: seconds a run may take, from its start; None for no limit.
        capture_stdio: an executable's result is the path of the file that holds
            its stdout, instead of the text.
        service: runs until the workflow ends, for backends with that capability.
        description: ``task_description``: reaches the backend untouched.
    """

    name: str
    kind: TaskKind
    function: Callable[..., Any]
    backend: str | None = None
    resources: Resources = DEFAULT_RESOURCES
    retries: RetryPolicy | None = None
    timeout: float | None = None
    capture_stdio: bool = False
    service: bool = False
    description: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Command:
    """A command to execute.

    Attributes:
        args: a `str` is a command line for ``/bin/sh -c``; a tuple of strings is
            executed directly, each one argument, nothing interpreted.
        env: variables added to those that the worker has; None as a value unsets one.
        cwd: the folder to run in; None for the worker's own.
        stdin: what the command reads; text is sent as UTF-8.  None is an empty input.
    """

    args: str | tuple[str, ...]
    env: Mapping[str, str | None] | None = None
    cwd: str | None = None
    stdin: str | bytes | None = None

    def __post_init__(self) -> None:
        if isinstance(self.args, str):
            parts: tuple[str, ...] = (self.args,)
            if not self.args.strip():
                raise ConfigurationError("the command line is empty")
        else:
            if isinstance(self.args, bytes) or not isinstance(self.args, Sequence):
                raise ConfigurationError(_command_advice(self.args))
            parts = tuple(_text(item) for item in self.args)
            if not parts or not parts[0]:
                raise ConfigurationError("the command is an empty list")
            object.__setattr__(self, "args", parts)
        if self.cwd is not None:
            object.__setattr__(self, "cwd", _text(self.cwd))
        if self.stdin is not None and not isinstance(self.stdin, str | bytes):
            kind = type(self.stdin).__name__
            raise ConfigurationError(f"stdin must be text or bytes, not {kind}")
        if self.env is not None:
            for key, value in self.env.items():
                if not isinstance(key, str) or not (value is None or isinstance(value, str)):
                    raise ConfigurationError(
                        f"env must map names to strings (or None to unset), not {key!r}: {value!r}"
                    )
                if not key or "=" in key:
                    raise ConfigurationError(f"not a name for an environment variable: {key!r}")
                parts += (key, value or "")
        if any("\0" in part for part in parts):
            raise ConfigurationError("a command and its environment cannot hold a NUL character")

    @classmethod
    def of(cls, value: object) -> Command:
        """What an executable task's body returned, as a Command."""
        if isinstance(value, Command):
            return value
        if isinstance(value, str):
            return cls(value)
        if isinstance(value, list | tuple):
            return cls(tuple(value))
        raise ConfigurationError(_command_advice(value))

    def __str__(self) -> str:
        """The command as a shell would read it."""
        if isinstance(self.args, str):
            return self.args
        return " ".join(map(_quote, self.args))


_SAFE = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def _quote(text: str) -> str:
    if _SAFE.fullmatch(text):
        return text
    return "'" + text.replace("'", "'\"'\"'") + "'"


def _text(item: object) -> str:
    """A string or a path as a string (the ``os.fspath`` protocol, without ``os``)."""
    if isinstance(item, str):
        return item
    convert = getattr(type(item), "__fspath__", None)
    path = convert(item) if convert is not None else item
    if isinstance(path, str):
        return path
    raise ConfigurationError(f"a command's arguments must be strings or paths, not {item!r}")


def _command_advice(value: object) -> str:
    return (
        "an executable task must return a command: a str (run by /bin/sh -c), a list of strings "
        f"(run without a shell) or a Command, not {type(value).__name__}"
    )


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a prompt task asks of a backend that answers prompts."""

    text: str

    @classmethod
    def of(cls, value: object) -> Prompt:
        """What a prompt task's body returned, as a Prompt."""
        if isinstance(value, Prompt):
            return value
        if isinstance(value, str):
            return cls(value)
        raise ConfigurationError(
            f"a prompt task must return a str or a Prompt, not {type(value).__name__}"
        )


class ExecutableResult(NamedTuple):
    """How a command ended; backends report it and the engine judges it.

    Attributes:
        exit_code: the exit code; ``-N`` if signal *N* ended it.
        stdout, stderr: the text; with ``capture_stdio`` the paths of the files.
    """

    exit_code: int
    stdout: str = ""
    stderr: str = ""
