"""The policy of retries: when a failed task runs again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from .._public import public
from ..deprecation import deprecated_parameter
from ..errors import ConfigurationError

__all__ = ["RetryOutcome", "RetryPolicy", "RetryState", "retry_delay"]

EXP_BASE = 2.0
WAIT_MAX = 60.0

_COROUTINE = 1 << 7  # inspect.CO_COROUTINE


@public("radical.asyncflow")
@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """A policy of when to run a failed task again.

    The waits grow as ``wait * exp_base ** n`` up to *wait_max*; or a wait strategy of tenacity
    or a function decides them.  Strategies and predicates are called with a state that has
    ``attempt_number`` and ``outcome``, as the one of tenacity has.  They must be quick, because
    the engine's loop calls them.

    Attributes:
        attempts: the largest number of attempts, the first included.
        wait: seconds before the second attempt; or a strategy that returns each wait in
            seconds, such as ``tenacity.wait_random_exponential(max=60)``.
        exp_base: the factor by which each further wait is longer, 1 for equal waits; by
            default 2.
        wait_max: the longest wait in seconds; by default 60, or *wait* if that is longer.
        jitter: the largest number of random seconds that is added to each wait.
        on: the failures after which the task runs again: an exception type, a tuple of types,
            or a predicate such as ``tenacity.retry_if_exception_message(match="busy")``.

    Raises:
        ConfigurationError: a setting is wrong; the error lists every problem.  A setting that
            would have no effect is wrong too: *exp_base*, *wait_max* or *jitter* together with
            a strategy, or a type that no failure has.
    """

    attempts: int = 3
    wait: float | Callable[[Any], float] = 0.0
    exp_base: float | None = None
    wait_max: float | None = None
    jitter: float = 0.0
    on: type[BaseException] | tuple[type[BaseException], ...] | Callable[[Any], bool] = Exception

    def __post_init__(self) -> None:
        wrong = []
        whole = isinstance(self.attempts, int) and not isinstance(self.attempts, bool)
        if not whole or self.attempts < 1:
            wrong.append(f"attempts must be a whole number of at least 1, not {self.attempts!r}")
        wrong += _wrong_waits(self)
        wrong += _wrong_failures(self.on)
        if wrong:
            raise ConfigurationError("retries: " + "; ".join(wrong))

    @classmethod
    def of(cls, value: int | RetryPolicy | None) -> RetryPolicy | None:
        """Return the policy for a task's option ``retries``.

        ``3`` means three retries, so four attempts.  ``0`` and None mean one attempt, for which
        there is no policy.
        """
        if value is None or isinstance(value, RetryPolicy):
            return value
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise ConfigurationError(
                f"retries must be a whole number of at least 0 or a RetryPolicy, not {value!r}"
            )
        return cls(attempts=value + 1) if value else None


RetryPolicy.__init__ = deprecated_parameter(  # type: ignore[method-assign]
    "retry", new="on", since="1.0", removal="2.0"
)(RetryPolicy.__init__)


def _wrong_waits(policy: RetryPolicy) -> Iterator[str]:
    """Yield what is wrong with the waits of *policy*, or has no effect on them."""
    wait = policy.wait
    if policy.exp_base is not None and not (_seconds(policy.exp_base) and policy.exp_base >= 1):
        yield f"exp_base must be a number of at least 1, not {policy.exp_base!r}"
    if policy.wait_max is not None and not _seconds(policy.wait_max):
        yield f"wait_max must be seconds, not {policy.wait_max!r}"
    if not _seconds(policy.jitter):
        yield f"jitter must be seconds, not {policy.jitter!r}"
    given = [name for name in ("exp_base", "wait_max") if getattr(policy, name) is not None]
    if callable(wait):
        yield from _wrong_callable("wait", wait, "wait_base", "a wait strategy")
        given += ["jitter"] if policy.jitter else []
        if given:
            yield (
                f"{' and '.join(given)} would have no effect, because {_name(wait)} decides "
                "the waits: give it these settings"
            )
    elif not _seconds(wait):
        yield f"wait must be seconds or a tenacity wait strategy, not {wait!r}"
    elif not wait and given:
        yield f"{' and '.join(given)} would have no effect, because wait is 0"
    elif policy.wait_max is not None and _seconds(policy.wait_max) and policy.wait_max < wait:
        yield f"wait_max, {policy.wait_max:g} s, is shorter than wait, {wait:g} s"


def _wrong_failures(on: object) -> Iterator[str]:
    """Yield what is wrong with *on*, or would never match a failure."""
    if isinstance(on, type | tuple):
        kinds: tuple[Any, ...] = on if isinstance(on, tuple) else (on,)
        strangers = [
            kind
            for kind in kinds
            if not (isinstance(kind, type) and issubclass(kind, BaseException))
        ]
        if strangers or not kinds:
            yield f"on must be exception types or a tenacity predicate, not {on!r}"
            return
        for kind in kinds:
            if kind is not BaseException and (
                not issubclass(kind, Exception) or issubclass(kind, StopIteration)
            ):
                yield (
                    f"on: no task fails with {kind.__name__}; one that raises it fails with "
                    "TaskExitError"
                )
    elif callable(on):
        yield from _wrong_callable("on", on, "retry_base", "a predicate")
        if judges := _tenacity_names(on) & {"retry_if_result", "retry_if_not_result"}:
            yield (
                f"on: {', '.join(sorted(judges))} judges results, but only failures are tried "
                "again: raise an exception for a result that is not good enough"
            )
    else:
        yield f"on must be exception types or a tenacity predicate, not {on!r}"


def _wrong_callable(setting: str, value: Any, base: str, expected: str) -> Iterator[str]:
    """Yield why *value* cannot be *expected*; an object of tenacity must derive from *base*."""
    if isinstance(value, type):
        yield f"{setting} is the class {value.__name__}: call it, as in {value.__name__}(...)"
        return
    bases = _tenacity_names(value) & {"retry_base", "stop_base", "wait_base"}
    if bases and base not in bases:
        yield f"{setting} must be {expected}, not {_name(value)}"
    code = getattr(value, "__code__", None) or getattr(type(value).__call__, "__code__", None)
    if code is not None and code.co_flags & _COROUTINE:
        yield f"{setting} cannot be asynchronous: {_name(value)}"


def _tenacity_names(value: Any) -> set[str]:
    """Return the names of tenacity's classes that *value*, or a part of it, belongs to."""
    names = {
        kind.__name__
        for kind in type(value).__mro__
        if kind.__module__.partition(".")[0] == "tenacity"
    }
    if names:
        for part in getattr(value, "retries", ()):  # of retry_any and retry_all
            names |= _tenacity_names(part)
    return names


def _name(value: Any) -> str:
    return str(getattr(value, "__name__", type(value).__name__))


def _seconds(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= cast(float, value) < math.inf


class RetryState:
    """The state that a strategy or a predicate is called with, in the shape of tenacity's.

    Attributes:
        attempt_number: the number of the attempt that failed; the first is 1.
        outcome: the failed attempt.
    """

    __slots__ = ("attempt_number", "outcome")

    def __init__(self, attempt_number: int, error: BaseException) -> None:
        self.attempt_number = attempt_number
        self.outcome = RetryOutcome(attempt_number, error)

    def __getattr__(self, name: str) -> NoReturn:
        # tenacity's state has more attributes, such as seconds_since_start.  If the engine
        # measured that, it would count the time in queues; an invented 0 would be wrong silently.
        raise AttributeError(
            f"the state of a retry policy has attempt_number and outcome, but not {name!r}; "
            "attempts= limits how often a task runs, and the task's timeout= how long an attempt "
            "takes"
        )


class RetryOutcome:
    """A failed attempt, in the shape of the future that tenacity gives to predicates."""

    __slots__ = ("_error", "attempt_number")

    failed = True

    def __init__(self, attempt_number: int, error: BaseException) -> None:
        self.attempt_number = attempt_number
        self._error = error

    def exception(self) -> BaseException:
        """Return the exception that the attempt failed with."""
        return self._error

    def result(self) -> NoReturn:
        """Raise that exception, as any future of a failure does."""
        raise self._error


def retry_delay(
    policy: RetryPolicy | None, attempt: int, error: BaseException, dice: float
) -> float | None:
    """Return the seconds until the next attempt, or None if there is no other.

    Args:
        attempt: the number of the attempt that failed; the first is 1.
        dice: a random number from 0 to 1; an argument, so that this is a pure function.

    Raises:
        ConfigurationError: the wait strategy of *policy* returned no number of seconds.
        Exception: any error that a strategy or a predicate of the user raises.
    """
    if policy is None or attempt >= policy.attempts:
        return None
    state = RetryState(attempt, error)
    if isinstance(policy.on, type | tuple):
        if not isinstance(error, policy.on):
            return None
    elif not policy.on(state):
        return None
    if callable(policy.wait):
        return _strategy_delay(policy.wait, state)
    exp_base = EXP_BASE if policy.exp_base is None else float(policy.exp_base)
    longest = max(WAIT_MAX, policy.wait) if policy.wait_max is None else policy.wait_max
    try:
        grown = policy.wait * exp_base ** (attempt - 1)
    except OverflowError:  # a thousand attempts
        grown = longest
    return min(longest, grown) + policy.jitter * dice


def _strategy_delay(wait: Callable[[Any], float], state: RetryState) -> float:
    answer = wait(state)
    try:
        delay = float(answer)
    except (TypeError, ValueError):
        delay = math.nan
    if not math.isfinite(delay):
        raise ConfigurationError(
            f"the wait strategy {_name(wait)} must return seconds, not {answer!r}"
        )
    return max(0.0, delay)
