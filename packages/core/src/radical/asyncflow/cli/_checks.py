"""Checks and their outcomes; those of a backend run one task of each kind on it."""

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
from ..events import Event
from ..model import TaskKind, TaskState
from . import _probes
from ._output import debugging

__all__ = ["Checks", "examine"]


class CheckError(Exception):
    """A check came out wrong: *args* are what is wrong, and how to mend it."""


class Checks:
    """Outcomes, shown one by one.

    Attributes:
        failed: how many were not well.
    """

    def __init__(self) -> None:
        self.failed = 0

    def ok(self, what: str, detail: str = "") -> None:
        self._show("ok", "green", what, detail)

    def note(self, what: str, detail: str = "") -> None:
        """Something to know, neither good nor bad."""
        self._show("-", "", what, detail)

    def fail(self, what: str, wrong: str, mend: str = "") -> None:
        self.failed += 1
        self._show("failed", "red", what, "")
        for title, text in (("what", wrong), ("mend", mend)):
            for place, line in enumerate(filter(str.strip, text.splitlines())):
                head = "" if place else f"{title}:"
                click.echo(f"          {head:<6}{printable(line)}")

    def conclude(self) -> None:
        """Say how it went."""
        if not self.failed:
            click.secho("\nAll is well.", fg="green")
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
        limit: seconds that each check may take.
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
    """What there is to check, with the words for it."""
    able = backend.capabilities
    tasks = _Tasks(flow, really=able.executes)
    plan: list[tuple[str, Callable[[], Awaitable[None]]]] = []
    if TaskKind.FUNCTION in able.kinds:
        plan += [("runs a function", tasks.function), ("runs an async function", tasks.coroutine)]
        if able.executes:
            plan += [
                ("reports a function's failure", tasks.failure),
                ("cancels a function", tasks.cancelled_function),
            ]
    if TaskKind.EXECUTABLE in able.kinds:
        plan.append(("runs an executable", tasks.executable))
        if able.executes:
            plan += [
                ("reports an executable's failure", tasks.exit_code),
                ("cancels an executable", tasks.cancelled_executable),
            ]
    if TaskKind.PROMPT in able.kinds:
        plan.append(("answers a prompt", tasks.prompt))
    return plan


class _Tasks:
    """One task each; each raises CheckError if it ends in another way than it must."""

    def __init__(self, flow: WorkflowEngine, *, really: bool) -> None:
        self._flow = flow
        self._really = really

    async def function(self) -> None:
        self._expect(await self._flow.function_task(_probes.add)(40, 2), 42)

    async def coroutine(self) -> None:
        self._expect(await self._flow.function_task(_probes.add_later)(40, 2), 42)

    async def failure(self) -> None:
        try:
            await self._flow.function_task(_probes.fail)()
        except ValueError as error:
            if str(error) != _probes.FAILURE:
                raise CheckError(f"the exception's text became {str(error)!r}", _REPORT) from error
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
            raise CheckError("a command that ends with exit code 3 was reported as done", _REPORT)

    async def prompt(self) -> None:
        await self._flow.prompt_task(name="prompt")(_say(_probes.PROMPT))()

    async def cancelled_function(self) -> None:
        await self._cancelled(self._flow.function_task(_probes.wait)())

    async def cancelled_executable(self) -> None:
        await self._cancelled(self._command(_probes.PATIENT_COMMAND)())

    def _command(self, line: str) -> Callable[[], Any]:
        return self._flow.executable_task(name="executable")(_say(line))

    async def _cancelled(self, future: Any) -> None:
        """Cancel *future* when it runs, or after two seconds if nobody says that it does."""
        running = asyncio.Event()
        stop = self._flow.observe(lambda events: _notice(events, running))
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
            raise CheckError(f"a task that was cancelled ended as {future.state}", _REPORT)

    def _expect(self, value: object, expected: object) -> None:
        if self._really and value != expected:
            raise CheckError(f"the result is {value!r}, not {expected!r}", _REPORT)


def _notice(events: Sequence[Event], running: asyncio.Event) -> None:
    if any(event.state is TaskState.RUNNING for event in events):
        running.set()


def _say(text: str) -> Callable[[], Awaitable[str]]:
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
    """What is wrong, and how to mend it."""
    if isinstance(error, CheckError):
        return str(error.args[0]), str(error.args[1])
    if isinstance(error, TimeoutError) and took >= limit:
        return (
            f"nothing came within {limit:g} s",
            "See whether it has free workers, and whether they can reach this machine; "
            "or allow it more time: --timeout SECONDS.",
        )
    text = str(error) if isinstance(error, AsyncFlowError) else safe_str(error)
    if error.__cause__ is not None and safe_message(error.__cause__) not in text:
        text += f"\nbecause {safe_str(error.__cause__)}"
    if isinstance(error, BackendStartError):
        return text, "Check the settings (asyncflow backends show), with --set or --config."
    if isinstance(error, SerializationError):
        return text, "Use the same versions of Python, radical.asyncflow and cloudpickle there."
    if isinstance(error, WorkerLostError):
        return text, "See the worker's own log; often it was short of memory."
    if isinstance(error, ImportError):
        return text, "Install on the workers what is installed here."
    return text, "--debug shows where it was raised."
