"""``asyncflow doctor``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_gpus import Tools, gpu_tools
from radical.asyncflow import registry
from radical.asyncflow.backend import ReportSink, Route, TaskKind, TaskRequest
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


class Distant(ScriptedBackend):
    """A backend with a node that reaches one of two addresses."""

    async def check_from_node(
        self, *, wait: float, limit: float, tell: Callable[[str], None]
    ) -> Sequence[Route]:
        tell(f"job 7 waits {wait:g} s at most, and a step takes {limit:g} s at most")
        return [
            Route(address="10.0.0.2 (ib0)", origin="node n1, job 7", used=False),
            Route(address="10.0.0.3 (ib1)", origin="node n1, job 7", problem="cut", used=False),
            Route(
                address="10.0.0.1 (eth0)",
                origin="node n1, job 7",
                problem="no route to host",
                advice="Use ib0.",
            ),
        ]


class Quick(Optimist, Distant):
    """The same, with tasks that end at once."""


class Near(Distant):
    """A backend whose node reaches all that is used."""

    async def check_from_node(self, **options: Any) -> Sequence[Route]:
        routes = await super().check_from_node(**options)
        return [Route(address="10.0.0.4", origin="node n1"), *routes[:2]]


class Full(ScriptedBackend):
    """A backend whose job does not start in time."""

    async def check_from_node(self, **_: Any) -> Sequence[Route]:
        raise BackendStartError("job 7 did not run within 3 s")


class Alone(ScriptedBackend):
    """A backend that finds out that it has no nodes."""

    async def check_from_node(self, **_: Any) -> Sequence[Route]:
        return ()


class Asking(NoStart):
    def plan(self) -> dict[str, Any]:
        return {"job": {"nodes": 2}, "script": "#!/bin/sh\n\n  exit \x1b\n", "queued": True}


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


def test_each_backend_of_a_preference_is_tried(invoke: Invoke) -> None:
    result = invoke("doctor", "dask, noop, concurrent", "--set", "concurrent.max_workers=1")
    titles = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("Backend ")]
    assert titles == ["dask", "noop", "concurrent"]
    assert "passed over                       Backend 'dask' is not available." in result.stdout
    assert result.stdout.count("runs a function") == 2
    assert result.exit_code == 0
    assert invoke("doctor", "dask, no_such").exit_code == 2


def test_a_plan_is_shown_for_each_backend_of_a_preference(invoke: Invoke) -> None:
    assert invoke("doctor", "noop, concurrent", "--plan").stdout.count("asks for nothing") == 2


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
    assert result.stdout.splitlines() == [
        "Backend odd would ask for",
        "  job.nodes  2",
        "  queued     True",
        "  script",
        "    #!/bin/sh",
        "",
        "      exit \\x1b",
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


@pytest.mark.parametrize("backend", [Distant], indirect=True)
def test_an_address_that_a_node_does_not_reach_fails_before_the_others(
    invoke: Invoke, backend: str
) -> None:
    result = invoke("doctor", backend, "--from-node", "--wait", "3", "--timeout", "9")
    assert [line.split(maxsplit=1) for line in result.stdout.splitlines() if line] == [
        ["Backend", "odd, from a node"],
        ["-", "job 7 waits 3 s at most, and a step takes 9 s at most"],
        ["failed", "10.0.0.1 (eth0)"],
        ["why:", "no route to host (from node n1, job 7)"],
        ["fix:", "Use ib0."],
        ["-", "10.0.0.2 (ib0)                    not needed, but reached from node n1, job 7"],
        ["-", "10.0.0.3 (ib1)                    not needed, and not reached: cut"],
        ["1", "check failed."],
    ]
    assert result.exit_code == 1


@pytest.mark.parametrize("backend", [Near], indirect=True)
def test_addresses_that_are_not_needed_are_no_failures(invoke: Invoke, backend: str) -> None:
    result = invoke("doctor", backend, "--from-node")
    assert "waits 600 s at most, and a step takes 60 s at most" in result.stdout
    assert "reached from node n1\n" in result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize("backend", [Full], indirect=True)
def test_a_job_that_does_not_start_fails_with_its_reason(invoke: Invoke, backend: str) -> None:
    result = invoke("doctor", backend, "--from-node")
    assert "job 7 did not run within 3 s" in result.stdout
    assert "--wait SECONDS" in result.stdout
    assert result.exit_code == 1


@pytest.mark.parametrize("backend", [Alone], indirect=True)
def test_a_backend_without_a_node_says_so(invoke: Invoke, backend: str) -> None:
    result = invoke("doctor", backend, "--from-node")
    assert "all tasks run on this machine" in result.stdout
    assert result.exit_code == 0


@pytest.mark.parametrize("backend", [Quick], indirect=True)
def test_the_plain_check_says_that_there_is_one_from_a_node(invoke: Invoke, backend: str) -> None:
    result = invoke("doctor", backend)
    assert "asyncflow doctor odd --from-node" in result.stdout
    assert "job 7" not in result.stdout
    assert "--from-node" not in invoke("doctor", "noop").stdout


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--from-node"], "--from-node needs a backend"),
        (["noop", "--from-node"], "has no nodes to check from"),
        (["noop", "--from-node", "--plan"], "give one"),
        (["noop", "--wait", "3"], "--wait is for the job of --from-node"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_switches_that_mean_nothing_are_refused(
    invoke: Invoke, words: list[str], reason: str
) -> None:
    result = invoke("doctor", *words)
    assert reason in result.stderr
    assert result.exit_code == 2
