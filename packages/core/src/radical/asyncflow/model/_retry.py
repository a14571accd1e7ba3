"""When a failed task is run again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from .._public import public
from ..errors import ConfigurationError

__all__ = ["RetryOutcome", "RetryPolicy", "RetryState", "retry_delay"]


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


@public("radical.asyncflow")
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
