"""``asyncflow doctor``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_gpus import Tools, gpu_tools
from radical.asyncflow import registry
from radical.asyncflow.backend import ReportSink, TaskKind, TaskRequest
from radical.asyncflow.errors import BackendStartError
from radical.asyncflow.testing import ScriptedBackend
from radical.asyncflow.worker import count_cores

from .conftest import Install, Invoke

__all__ = ["gpu_tools"]


class NoStart(ScriptedBackend):
    async def start(self, sink: ReportSink) -> None:  # noqa: ARG002 - the contract's
        raise BackendStartError("the head node does not answer")


class Mute(ScriptedBackend):
    """A backend that takes tasks and never answers."""

    def submit(self, batch: Any) -> None:
        pass

    def cancel(self, task_ids: Any) -> None:
        for task_id in task_ids:
            self.sink.cancelled(task_id, 1)


class Optimist(ScriptedBackend):
    """A backend that reports every task as done."""

    def submit(self, batch: Any) -> None:
        request: TaskRequest
        for request in batch:
            self.sink.done(request.task_id, request.attempt, 42)


class Asking(NoStart):
    def plan(self) -> dict[str, Any]:
        return {"job": {"nodes": 2}, "queued": True}


@pytest.fixture
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """Register the class that the test is parametrized with, for this test alone."""
    capabilities = ScriptedBackend(kinds=(TaskKind.FUNCTION,)).capabilities
    registry.register_backend("odd", request.param, capabilities=capabilities)
    yield "odd"
    registry.unregister_backend("odd")


@pytest.mark.parametrize(
    "args",
    [
        ["noop"],
        ["concurrent"],
        ["concurrent", "--set", "executor_type=process"],
        ["concurrent", "--set", "executor_type=async"],
    ],
    ids=" ".join,
)
def test_local_backends_have_no_problems(invoke: Invoke, args: list[str]) -> None:
    result = invoke("doctor", *args)
    assert "No problems found." in result.stdout
    assert result.exit_code == 0


def test_each_kind_of_task_is_tried(invoke: Invoke) -> None:
    lines = invoke("doctor", "concurrent").stdout.splitlines()
    assert [line[10:43].strip() for line in lines if line.startswith("  ok")] == [
        "starts",
        "runs a function",
        "runs an async function",
        "reports a function's failure",
        "cancels a function",
        "runs an executable",
        "reports an executable's failure",
        "cancels an executable",
        "shuts down",
    ]


@pytest.mark.parametrize("backend", [NoStart], indirect=True)
def test_backend_that_does_not_start_fails_with_its_reason(invoke: Invoke, backend: str) -> None:
    result = invoke("doctor", backend)
    assert result.exit_code == 1
    assert "the head node does not answer" in result.stdout
    assert "fix:" in result.stdout


@pytest.mark.parametrize("backend", [Mute], indirect=True)
def test_backend_that_never_answers_fails_in_time(invoke: Invoke, backend: str) -> None:
    result = invoke("doctor", backend, "--timeout", "0.2")
    assert result.exit_code == 1
    assert "it was not done within 0.2 s" in result.stdout


@pytest.mark.parametrize("backend", [Optimist], indirect=True)
def test_failure_that_is_reported_as_done_is_found(invoke: Invoke, backend: str) -> None:
    result = invoke("doctor", backend)
    assert result.exit_code == 1
    assert "a function that raises was reported as done" in result.stdout


def test_missing_backend_is_the_error_of_the_factory(invoke: Invoke) -> None:
    result = invoke("doctor", "dask")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "Error: Backend 'dask' is not available.",
        "Available backends: noop, concurrent",
        "Installation hint: Try: pip install 'radical.asyncflow[dask]'",
    ]


def test_config_file_is_what_the_backend_starts_with(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('backend = "concurrent"\nconfig = { max_wokers = 2 }\n')
    result = invoke("doctor", "concurrent", "--config", str(file))
    assert result.exit_code == 2
    assert "did you mean 'max_workers'" in result.stderr


def test_environment_needs_no_file(invoke: Invoke) -> None:
    result = invoke("doctor")
    assert result.exit_code == 0
    assert "no asyncflow.toml" in result.stdout
    assert "an engine that names no backend uses concurrent" in result.stdout


def test_broken_backend_fails_with_its_reason(invoke: Invoke, install: Install) -> None:
    install("radical.asyncflow.backends", "shaky", "raise OSError('no disk')")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "OSError: no disk" in result.stdout


def test_broken_plugin_fails(invoke: Invoke, install: Install) -> None:
    install("radical.asyncflow.plugins", "shaky", "raise OSError('no disk')")
    result = invoke("doctor")
    assert result.exit_code == 1
    assert "failed  plugin shaky" in result.stdout
    assert "no disk" in result.stderr


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("default = ", "is not TOML"),
        ('default = "x"\n', "no profile 'x'"),
        ('[profiles.a]\nbackend = "nopo"\n', "Backend 'nopo' is not available"),
        ('[profiles.a]\nbackend = "concurrent"\nconfig = { x = 1 }\n', "unknown key 'x'"),
    ],
    ids=["no TOML", "default", "backend", "setting"],
)
def test_wrong_profile_fails(invoke: Invoke, tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "site.toml"
    file.write_text(text)
    result = invoke("doctor", "--config", str(file))
    assert result.exit_code == 1
    assert reason in result.stdout


def test_profile_of_another_machine_is_no_failure(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "site.toml"
    file.write_text('[profiles.cluster]\nbackend = "dask"\n')
    result = invoke("doctor", "--config", str(file))
    assert result.exit_code == 0
    assert "dask is not installed here" in result.stdout


@pytest.mark.parametrize("backend", [Asking], indirect=True)
def test_a_plan_shows_what_a_backend_would_ask_for_and_starts_nothing(
    invoke: Invoke, backend: str
) -> None:
    result = invoke("doctor", backend, "--plan")
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["Backend", "odd", "would", "ask", "for"],
        ["job.nodes", "2"],
        ["queued", "True"],
    ]
    assert result.exit_code == 0


def test_the_plan_of_a_local_backend_is_empty(invoke: Invoke) -> None:
    assert "asks for nothing" in invoke("doctor", "concurrent", "--plan").stdout


def test_a_plan_with_wrong_settings_is_refused(invoke: Invoke) -> None:
    result = invoke("doctor", "concurrent", "--plan", "--set", "max_workers=none")
    assert "max_workers" in result.stderr
    assert result.exit_code == 2


def test_environment_tells_how_many_cores_there_are_to_use_and_why(invoke: Invoke) -> None:
    count = count_cores()
    lines = invoke("doctor").stdout.splitlines()
    (line,) = [line for line in lines if "cores:" in line]
    assert f"cores: {count.cores} " in line
    assert count.origin in line


def test_gpus_are_shown_with_how_they_were_found(invoke: Invoke, gpu_tools: Tools) -> None:
    assert "GPUs: none" in invoke("doctor").stdout
    gpu_tools.nvidia(2)
    gpu_tools.forget()
    lines = invoke("doctor").stdout.splitlines()
    (line,) = [line for line in lines if "GPUs: " in line]
    assert " ".join(line.split()) == "- GPUs: 0, 1 2 × NVIDIA H100, found by nvidia-smi"
