"""Programs for the public AsyncFlow find their names, and are told what to write instead."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import radical.asyncflow
from polling import until
from radical.asyncflow import (
    AsyncFlowDeprecationWarning,
    BackendNotFoundError,
    Command,
    ConfigurationError,
    DependencyFailureError,
    InputFile,
    NoopExecutionBackend,
    OutputFile,
    TaskEvent,
    UnsupportedOptionError,
    WorkflowEngine,
    factory,
    registry,
)
from radical.asyncflow.testing import ScriptedBackend

MODULES = {
    "workflow_manager": ["WorkflowEngine"],
    "data": ["InputFile", "OutputFile"],
    "backends": ["NoopExecutionBackend"],
    "backends.factory": ["factory"],
    "backends.registry": ["registry"],
    "backends.execution": ["NoopExecutionBackend"],
    "backends.execution.noop": ["NoopExecutionBackend"],
}
NAMES = [(module, name) for module, names in MODULES.items() for name in names]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_former_module_gives_our_name_and_says_where_it_is(module: str, name: str) -> None:
    former = import_module(f"radical.asyncflow.{module}")
    with pytest.warns(AsyncFlowDeprecationWarning, match=rf"{name} .*: use ") as caught:
        value = getattr(former, name)
    assert value is getattr(radical.asyncflow, name)
    (warning,) = caught
    assert warning.filename == __file__
    assert str(warning.message).endswith(f": use radical.asyncflow.{name}")
    assert name in dir(former)


@pytest.mark.parametrize("module", ["concurrent", "dask_parallel", "radical_pilot"])
def test_each_backend_of_the_public_package_has_its_former_module(module: str) -> None:
    former = import_module(f"radical.asyncflow.backends.execution.{module}")
    (name,) = dir(former)
    assert name in radical.asyncflow._BACKENDS


def test_an_import_of_a_former_name_warns_once_and_names_the_line(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent("""
            from radical.asyncflow import LocalExecutionBackend, WorkflowEngine
            from radical.asyncflow.backends.execution.noop import NoopExecutionBackend
        """)
    )
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=60, check=True
    )
    warned = [line for line in done.stderr.splitlines() if "Deprecation" in line]
    assert [line.partition(": ")[0] for line in warned] == [f"{program}:2", f"{program}:3"]
    assert "use radical.asyncflow.ConcurrentExecutionBackend" in warned[0]


def test_the_local_backend_is_ours() -> None:
    with pytest.warns(AsyncFlowDeprecationWarning, match="ConcurrentExecutionBackend"):
        local = radical.asyncflow.LocalExecutionBackend
    assert local is radical.asyncflow.ConcurrentExecutionBackend


def test_the_base_of_the_public_backends_says_what_a_backend_derives_from() -> None:
    with pytest.raises(ImportError, match="Writing a backend"):
        from radical.asyncflow.backends.execution.base import (  # type: ignore[attr-defined]
            BaseExecutionBackend,  # noqa: F401
        )


def test_any_other_name_is_an_attribute_error() -> None:
    from radical.asyncflow import workflow_manager

    assert not hasattr(workflow_manager, "Nonsense")


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("former")
    yield logger
    for handler in logger.handlers:
        handler.close()
    logger.handlers.clear()


def test_the_default_logger_prints_and_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], logger: logging.Logger
) -> None:
    from radical.asyncflow.logging import init_default_logger

    logger.addHandler(logging.NullHandler())
    file = tmp_path / "logs" / "run.log"
    with pytest.warns(AsyncFlowDeprecationWarning, match=r"use logging.basicConfig\(\)"):
        made = init_default_logger(
            logging.INFO,
            output_file=file,
            file_log_level="DEBUG",
            logger_name=logger.name,
            clear_handlers=True,
            style="modern",
        )
    assert made is logger
    assert len(logger.handlers) == 2
    logger.info("seen by both")
    logger.debug("seen in the file")
    printed, written = capsys.readouterr().err, file.read_text()
    assert ("seen by both" in printed, "seen in the file" in printed) == (True, False)
    assert "seen by both" in written
    assert "seen in the file" in written


def test_structured_logging_is_refused_with_what_would_work() -> None:
    from radical.asyncflow.logging import init_default_logger

    with (
        pytest.warns(AsyncFlowDeprecationWarning),
        pytest.raises(ConfigurationError, match="journal"),
    ):
        init_default_logger(structured_logging=True)


def test_the_registry_answers_its_former_questions() -> None:
    with pytest.warns(AsyncFlowDeprecationWarning, match="list_available_backends"):
        assert registry.list_available()["noop"] is True
    with pytest.warns(AsyncFlowDeprecationWarning, match="create_backend"):
        assert registry.get_backend("noop") is NoopExecutionBackend
    with pytest.warns(AsyncFlowDeprecationWarning):
        assert registry.get_backend("nonsense") is None
    with pytest.warns(AsyncFlowDeprecationWarning, match="failure_reason"):
        assert registry.get_failure_reason("noop") is None
    with pytest.warns(AsyncFlowDeprecationWarning):
        assert registry.get_failure_reason("nonsense") is None


def test_the_registry_says_why_a_backend_does_not_load() -> None:
    registry.register_backend("former-broken", "no_such_module:Backend")
    try:
        with pytest.warns(AsyncFlowDeprecationWarning):
            assert registry.get_backend("former-broken") is None
        with pytest.warns(AsyncFlowDeprecationWarning):
            assert "no_such_module" in str(registry.get_failure_reason("former-broken"))
    finally:
        registry.unregister_backend("former-broken")


# ------------------------------------------------------------------------ errors


async def test_an_unknown_backend_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="nonsense") as caught:
        await factory.create_backend("nonsense")
    assert isinstance(caught.value, BackendNotFoundError)
    assert isinstance(caught.value, LookupError)


async def test_what_a_backend_cannot_do_is_not_implemented() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:

        @flow.function_task(priority=1)
        async def urgent() -> None: ...

        with pytest.raises(NotImplementedError) as caught:
            urgent()
    assert isinstance(caught.value, UnsupportedOptionError)


def test_the_failure_of_a_dependency_names_what_failed_and_why() -> None:
    cause = ValueError("no data")
    error = DependencyFailureError("last", ["first"], "first", cause)
    error.__cause__ = cause
    assert (error.failed_dependencies, error.root_cause) == (["first"], cause)


# -------------------------------------------------------------------- the engine


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("start_telemetry", "use flow.observe(callback) for events, journal= for"),
        ("components", "use flow.plan()"),
        ("task_callbacks", "flow.observe(callback)"),
    ],
)
async def test_what_the_engine_has_no_more_says_what_to_use(name: str, instead: str) -> None:
    async with WorkflowEngine.create("noop") as flow:
        with pytest.raises(AttributeError) as caught:
            getattr(flow, name)
        assert f"'WorkflowEngine' object has no attribute '{name}': " in str(caught.value)
        assert instead in str(caught.value)
        assert not hasattr(flow, name)
        with pytest.raises(AttributeError, match=r"has no attribute 'nonsense'$"):
            flow.nonsense  # type: ignore[attr-defined]  # noqa: B018


# ------------------------------------------------------------------ workflow_scope


async def test_a_workflow_scope_may_be_entered_by_async_with() -> None:
    seen: list[str | None] = []
    async with WorkflowEngine.create("noop") as flow:

        @flow.function_task
        async def task() -> None: ...

        flow.observe(
            lambda events: seen.extend(
                event.workflow_id for event in events if isinstance(event, TaskEvent)
            )
        )
        async with flow.workflow_scope() as name:
            await task()
        async with flow.workflow_scope("protein-7") as given:
            await task()
    assert given == "protein-7"
    assert set(seen) == {name, "protein-7"}


async def test_two_workflow_scopes_without_a_name_differ() -> None:
    async with WorkflowEngine.create("noop") as flow:
        with flow.workflow_scope() as one, flow.workflow_scope() as other:
            assert one != other


async def test_a_workflow_scope_is_entered_once() -> None:
    async with WorkflowEngine.create("noop") as flow:
        scope = flow.workflow_scope("one")
        with scope:
            pass
        with pytest.raises(RuntimeError, match="can be entered once"):
            scope.__enter__()


# ------------------------------------------------------------------------- files


async def test_a_file_in_the_body_of_a_command_has_its_former_attributes(tmp_path: Path) -> None:
    backend = ScriptedBackend(kinds=("executable",))  # type: ignore[arg-type]
    (tmp_path / "in.txt").touch()
    seen: list[Any] = []

    def body(source: Any, made: Any) -> list[str]:
        with pytest.warns(AsyncFlowDeprecationWarning, match="use the file itself") as caught:
            seen.extend([source, source.filename, source.filepath, made.filename])
        assert {warning.filename for warning in caught} == {__file__}
        return ["cp", source, made]

    async with WorkflowEngine.create(backend) as flow:
        backend.hold()
        future = flow.executable_task(body)(InputFile(tmp_path / "in.txt"), OutputFile("out.txt"))
        await until(backend.waiting)
        future.cancel()
    source, name, path, made = seen
    assert (type(name), name, path) == (str, str(source), Path(source))
    assert name.endswith("/task.000001/in.txt")
    assert made.endswith("/task.000001/out.txt")
    sent = backend.submitted[0].command
    assert isinstance(sent, Command)
    assert [type(word) for word in pickle.loads(pickle.dumps(sent.args))] == [str] * 3
