"""The checks of ``asyncflow doctor``; those of a backend run one task of each kind on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import click

from .._text import duration, printable, safe_message, safe_str
from ..backend import ExecutionBackend
from ..engine import WorkflowEngine
from ..errors import (
    AsyncFlowError,
    BackendStartError,
    ExecutableError,
    SerializationError,
    WorkerLostError,
)
from ..events import Event, TaskEvent
from ..model import TaskKind, TaskState
from . import _probes
from ._output import debugging

__all__ = ["Checks", "examine"]


class CheckError(Exception):
    """A failed check: *args* are the reason, and how to fix it."""


class Checks:
    """The outcomes of checks, each shown as soon as it is there.

    Attributes:
        failed: the number of failed checks.
    """

    def __init__(self) -> None:
        self.failed = 0

    def ok(self, what: str, detail: str = "") -> None:
        """Show a check that passed."""
        self._show("ok", "green", what, detail)

    def note(self, what: str, detail: str = "") -> None:
        """Show a fact that is neither good nor bad."""
        self._show("-", "", what, detail)

    def fail(self, what: str, why: str, fix: str = "") -> None:
        """Show a check that failed, why it did, and how to fix that."""
        self.failed += 1
        self._show("failed", "red", what, "")
        for title, text in (("why", why), ("fix", fix)):
            for place, line in enumerate(filter(str.strip, text.splitlines())):
                head = "" if place else f"{title}:"
                click.echo(f"          {head:<6}{printable(line)}")

    def conclude(self) -> None:
        """Show the sum of all outcomes."""
        if not self.failed:
            click.secho("\nNo problems found.", fg="green")
        else:
            checks = "check" if self.failed == 1 else "checks"
            click.secho(f"\n{self.failed} {checks} failed.", fg="red")

    def _show(self, word: str, color: str, what: str, detail: str) -> None:
        text = f"  {click.style(f'{word:<7}', fg=color or None)} "
        if detail:
            text += f"{printable(what):<33} {click.style(printable(detail), dim=True)}"
        else:
            text += printable(what)
        click.echo(text)


async def examine(backend: ExecutionBackend, checks: Checks, limit: float) -> None:
    """Start *backend*, run the checks that its capabilities allow, and shut it down.

    Args:
        limit: the most seconds that each check may take.
    """
    engines: list[WorkflowEngine] = []

    async def start() -> None:
        engines.append(await WorkflowEngine.create(backend))

    if not await _check(checks, "starts", start(), limit):
        return
    flow = engines[0]
    try:
        for what, check in _plan(flow, backend):
            await _check(checks, what, check(), limit)
    finally:
        await _check(checks, "shuts down", flow.shutdown(), max(limit, 30.0))


def _plan(
    flow: WorkflowEngine, backend: ExecutionBackend
) -> list[tuple[str, Callable[[], Awaitable[None]]]]:
    """Return the checks that the capabilities of *backend* allow, each with its title."""
    supported = backend.capabilities
    tasks = _Tasks(flow, executes=supported.executes)
    plan: list[tuple[str, Callable[[], Awaitable[None]]]] = []
    if TaskKind.FUNCTION in supported.kinds:
        plan += [("runs a function", tasks.function), ("runs an async function", tasks.coroutine)]
        if supported.executes:
            plan += [
                ("reports a function's failure", tasks.failure),
                ("cancels a function", tasks.cancelled_function),
            ]
    if TaskKind.EXECUTABLE in supported.kinds:
        plan.append(("runs an executable", tasks.executable))
        if supported.executes:
            plan += [
                ("reports an executable's failure", tasks.exit_code),
                ("cancels an executable", tasks.cancelled_executable),
            ]
    if TaskKind.PROMPT in supported.kinds:
        plan.append(("answers a prompt", tasks.prompt))
    return plan


class _Tasks:
    """The checks that run one task each, and raise CheckError if it does not end as it must.

    Args:
        executes: the backend runs tasks, so that their results can be compared.
    """

    def __init__(self, flow: WorkflowEngine, *, executes: bool) -> None:
        self._flow = flow
        self._executes = executes

    async def function(self) -> None:
        self._expect(await self._flow.function_task(_probes.add)(40, 2), 42)

    async def coroutine(self) -> None:
        self._expect(await self._flow.function_task(_probes.add_later)(40, 2), 42)

    async def failure(self) -> None:
        try:
            await self._flow.function_task(_probes.fail)()
        except ValueError as error:
            if str(error) != _probes.FAILURE:
                text = f"the text of the exception became {str(error)!r}"
                raise CheckError(text, _REPORT) from error
        else:
            raise CheckError("a function that raises was reported as done", _REPORT)

    async def executable(self) -> None:
        self._expect(await self._command(_probes.COMMAND)(), "well")

    async def exit_code(self) -> None:
        try:
            await self._command("exit 3")()
        except ExecutableError as error:
            if error.exit_code != 3:
                text = f"exit code 3 became {error.exit_code}"
                raise CheckError(text, _REPORT) from error
        else:
            raise CheckError("a command with the exit code 3 was reported as done", _REPORT)

    async def prompt(self) -> None:
        await self._flow.prompt_task(name="prompt")(_returning(_probes.PROMPT))()

    async def cancelled_function(self) -> None:
        await self._cancelled(self._flow.function_task(_probes.wait)())

    async def cancelled_executable(self) -> None:
        await self._cancelled(self._command(_probes.PATIENT_COMMAND)())

    def _command(self, line: str) -> Callable[[], Any]:
        return self._flow.executable_task(name="executable")(_returning(line))

    async def _cancelled(self, future: Any) -> None:
        """Cancel *future* when it runs, or after two seconds if no backend says that it runs."""
        running = asyncio.Event()
        stop = self._flow.observe(lambda events: _set_if_running(events, running))
        try:
            async with asyncio.timeout(2):
                await running.wait()
        except TimeoutError:
            pass
        finally:
            stop()
        future.cancel()
        await asyncio.wait([future])
        if not future.cancelled():
            raise CheckError(f"a cancelled task ended as {future.state}", _REPORT)

    def _expect(self, value: object, expected: object) -> None:
        if self._executes and value != expected:
            raise CheckError(f"the result is {value!r}, not {expected!r}", _REPORT)


def _set_if_running(events: Sequence[Event], running: asyncio.Event) -> None:
    if any(isinstance(event, TaskEvent) and event.state is TaskState.RUNNING for event in events):
        running.set()


def _returning(text: str) -> Callable[[], Awaitable[str]]:
    async def body() -> str:
        return text

    return body


async def _check(checks: Checks, what: str, work: Awaitable[None], limit: float) -> bool:
    began = time.monotonic()
    try:
        async with asyncio.timeout(limit):
            await work
    except Exception as error:
        checks.fail(what, *_diagnosis(error, limit, time.monotonic() - began))
        if debugging():
            import traceback

            traceback.print_exception(error)
        return False
    checks.ok(what, duration(time.monotonic() - began))
    return True


_REPORT = "The backend breaks its contract: report this to its authors."


def _diagnosis(error: Exception, limit: float, took: float) -> tuple[str, str]:
    """Return why the check failed, and how to fix it."""
    if isinstance(error, CheckError):
        return str(error.args[0]), str(error.args[1])
    if isinstance(error, TimeoutError) and took >= limit:
        return (
            f"it was not done within {limit:g} s",
            "Check that it has free workers and that they can reach this machine, "
            "or give it more time with --timeout SECONDS.",
        )
    text = str(error) if isinstance(error, AsyncFlowError) else safe_str(error)
    if error.__cause__ is not None and safe_message(error.__cause__) not in text:
        text += f"\ncaused by {safe_str(error.__cause__)}"
    if isinstance(error, BackendStartError):
        return text, "Correct its settings (asyncflow backends show NAME) with --set or --config."
    if isinstance(error, SerializationError):
        return (
            text,
            "Use the same Python, radical.asyncflow and cloudpickle on the workers as here.",
        )
    if isinstance(error, WorkerLostError):
        return text, "Read the log of the worker; often it ran out of memory."
    if isinstance(error, ImportError):
        return text, "Install the same packages on the workers as here."
    return text, "--debug shows where it was raised."
