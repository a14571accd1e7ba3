"""Run the checks that plugins add to ``asyncflow doctor``."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from .._text import safe_repr, safe_str
from ..hookspecs import CheckResult
from ._output import debugging

if TYPE_CHECKING:
    from .._discovery.metadata import Declaration
    from ._checks import Checks

__all__ = ["run_checks"]


def run_checks(found: Iterable[tuple[Declaration, Any]], checks: Checks, limit: float) -> None:
    """Run all checks, one after the other, and show each result.

    Args:
        limit: the most seconds that each may take; one that takes longer is left behind.
    """
    for declaration, check in found:
        try:
            for result in _results(declaration.name, check, limit):
                if result.passed is None:
                    checks.note(result.title, result.detail)
                elif result.passed:
                    checks.ok(result.title, result.detail)
                else:
                    checks.fail(result.title, result.detail, result.fix)
        except Exception as error:
            why = f"the check {declaration.title} does not work: {safe_str(error)}"
            checks.fail(declaration.name, why, "--debug shows where it was raised.")
            if debugging():
                import traceback

                traceback.print_exception(error)


def _results(name: str, check: Any, limit: float) -> Sequence[CheckResult]:
    """Return what *check* returns, and raise what it raises."""
    answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put((_checked(check()), None))
        except BaseException as error:  # SystemExit of a plugin is an error like any other
            answer.put((None, error))

    threading.Thread(target=work, name=f"asyncflow-check-{name}", daemon=True).start()
    try:
        results, error = answer.get(timeout=limit)
    except queue.Empty:
        raise TimeoutError(f"it was not done within {limit:g} s") from None
    if error is not None:
        raise error if isinstance(error, Exception) else RuntimeError(safe_str(error))
    return results  # type: ignore[no-any-return]


def _checked(results: Any) -> list[CheckResult]:
    """Return *results*, one or several, as a list."""
    listed = [results] if isinstance(results, CheckResult) else list(results)
    for each in listed:
        if not isinstance(each, CheckResult):
            raise TypeError(f"a check must return CheckResults, not {safe_repr(each)}")
        if not isinstance(each.passed, bool | None) or not all(
            isinstance(text, str) for text in (each.title, each.detail, each.fix)
        ):
            raise TypeError(f"a CheckResult has texts, and True, False or None, not {each!r}")
    return listed
