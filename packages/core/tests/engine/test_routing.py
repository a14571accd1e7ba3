"""Options and backends: where a task runs, and what is refused at the call."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from radical.asyncflow import (
    BackendError,
    BackendStartError,
    ConfigurationError,
    ResourceError,
    UnsupportedOptionError,
    WorkflowEngine,
)
from radical.asyncflow._discovery.registry import registry
from radical.asyncflow.backend import Capabilities, ReportSink, TaskKind, TaskSpec
from radical.asyncflow.testing import ScriptedBackend


def identity(value: Any = None) -> Any:
    return value


async def test_tasks_without_a_backend_run_on_the_first() -> None:
    one, two = ScriptedBackend(name="one"), ScriptedBackend(name="two")
    async with WorkflowEngine.create([one, two]) as flow:
        await flow.function_task(identity)()
        assert flow.backend is one
    assert (len(one.submitted), len(two.submitted)) == (1, 0)


async def test_a_task_runs_on_the_backend_that_it_names() -> None:
    one, two = ScriptedBackend(name="one"), ScriptedBackend(name="two")
    async with WorkflowEngine.create([one, two]) as flow:
        future = flow.function_task(backend="two")(identity)(7)
        assert (await future, future.backend) == (7, "two")
        assert dict(flow.backends) == {"one": one, "two": two}
    assert (len(one.submitted), len(two.submitted)) == (0, 1)


async def test_a_value_goes_from_one_backend_to_another() -> None:
    async with WorkflowEngine.create(
        [ScriptedBackend(name="one"), ScriptedBackend(name="two")]
    ) as flow:
        task = flow.function_task(identity)
        assert await task.options(backend="two")([task(7)]) == [7]


async def test_an_unknown_backend_is_refused_at_the_call_with_the_closest(
    flow: WorkflowEngine,
) -> None:
    task = flow.function_task(backend="skripted")(identity)
    with pytest.raises(ConfigurationError, match="no backend 'skripted'; did you mean 'scripted'"):
        task()


async def test_a_kind_that_no_backend_runs_is_refused_at_the_call() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        with pytest.raises(UnsupportedOptionError, match="runs no executable tasks"):
            flow.executable_task(identity)()


async def test_resources_that_are_not_honoured_are_refused_at_the_call(
    flow: WorkflowEngine,
) -> None:
    task = flow.function_task(resources={"gpus": 1, "memory": "1GB"})(identity)
    with pytest.raises(UnsupportedOptionError, match=r"gpus, memory \(it honours: cores"):
        task()


async def test_a_service_is_refused_where_there_are_none(flow: WorkflowEngine) -> None:
    with pytest.raises(UnsupportedOptionError, match="runs no services"):
        flow.executable_task(service=True)(identity)("sleep 600")


async def test_a_function_is_no_service(flow: WorkflowEngine) -> None:
    with pytest.raises(ConfigurationError, match="service is for executable tasks"):
        flow.function_task(service=True)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"info_pattern": "stdout:x"}, "info_pattern is for a service: add service=True"),
        ({"restarts": 2, "ready_port": 80}, "ready_port, restarts is for a service"),
        ({"service": True, "info_pattern": "listening"}, "must be 'stdout:REGULAR EXPRESSION'"),
        ({"service": True, "info_pattern": "stdout:("}, "regular expression in info_pattern is"),
        ({"service": True, "ready_url": "localhost:80"}, "ready_url must be an http:// or https"),
        ({"service": True, "ready_url": "http://h/{info}"}, "there is no info_pattern"),
        ({"service": True, "ready_port": 0}, "ready_port must be a port from 1 to 65535"),
        ({"service": True, "restarts": -1}, "restarts must be a whole number of at least 0"),
    ],
)
async def test_wrong_options_of_a_service_are_refused_where_they_are_given(
    flow: WorkflowEngine, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        flow.executable_task(**options)
    with pytest.raises(ConfigurationError, match=why):
        flow.executable_task(identity).options(**options)


async def test_a_task_description_is_refused_by_default(flow: WorkflowEngine) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"takes no task_description \(given: 'queue'"):
        flow.function_task(task_description={"queue": "gpu"})(identity)()


class Picky(ScriptedBackend):
    def check(self, spec: TaskSpec) -> None:
        if spec.resources.cores > 4:
            raise ResourceError(f"{spec.name} asks for more than 4 cores")


async def test_a_backends_own_check_refuses_at_the_call() -> None:
    async with WorkflowEngine.create(Picky(resources=("cores",))) as flow:
        with pytest.raises(ResourceError, match="more than 4 cores"):
            flow.function_task(resources={"cores": 5})(identity)()


async def test_the_description_reaches_the_backend_untouched() -> None:
    backend = Picky()
    async with WorkflowEngine.create(backend) as flow:
        await flow.function_task(task_description={"queue": ["gpu"]})(identity)()
    assert backend.submitted[0].spec.description == {"queue": ["gpu"]}


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"retires": 3}, "unknown option 'retires'; did you mean 'retries'"),
        ({"timeout": 0}, "timeout must be seconds above 0"),
        ({"timeout": "5"}, "timeout must be seconds"),
        ({"retries": -1}, "retries must be a whole number"),
        ({"name": ""}, "name must be a string"),
        ({"resources": {"core": 1}}, "did you mean 'cores'"),
        ({"capture_stdio": True}, "capture_stdio is for executable tasks"),
        ({"service": 1}, "service must be True or False"),
        ({"task_description": 3}, "task_description must map names"),
        ({"backend": 3}, "backend must be a string"),
    ],
)
async def test_a_wrong_option_is_refused_where_it_is_given(
    flow: WorkflowEngine, options: dict[str, Any], why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(**options)
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(identity).options(**options)


async def test_all_wrong_options_are_in_one_error(flow: WorkflowEngine) -> None:
    with pytest.raises(ConfigurationError, match=r"retries .*; timeout "):
        flow.function_task(retries=-1, timeout=-1)


async def test_a_block_takes_no_backend(flow: WorkflowEngine) -> None:
    with pytest.raises(ConfigurationError, match="takes no backend"):
        flow.block(backend="scripted")


async def test_two_backends_of_one_name_are_refused() -> None:
    one, two = ScriptedBackend(), ScriptedBackend()
    with pytest.raises(BackendError, match="two backends of one engine have the name 'scripted'"):
        await WorkflowEngine.create([one, two])


class Unwilling(ScriptedBackend):
    async def start(self, sink: ReportSink) -> None:  # noqa: ARG002
        raise OSError("no licence")


async def test_if_one_backend_does_not_start_the_others_are_shut_down() -> None:
    one = ScriptedBackend(name="one")
    with pytest.raises(BackendStartError, match="no licence"):
        await WorkflowEngine.create([one, Unwilling(name="two")])
    with pytest.raises(RuntimeError, match="shut down"):
        one.submit([])


class LateKnowledge(ScriptedBackend):
    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        self.capabilities = Capabilities(kinds={TaskKind.PROMPT})


async def test_capabilities_may_be_known_only_after_the_start() -> None:
    async with WorkflowEngine.create(LateKnowledge()) as flow:
        with pytest.raises(UnsupportedOptionError, match="it runs: prompt"):
            flow.function_task(identity)()


@pytest.mark.parametrize("bad", [[], [3], 3])
async def test_what_is_no_backend_is_refused(bad: Any) -> None:
    with pytest.raises((ConfigurationError, TypeError)):
        await WorkflowEngine.create(bad)


async def test_a_config_for_an_instance_is_refused(backend: ScriptedBackend) -> None:
    with pytest.raises(ConfigurationError, match="config is for a backend that is given by name"):
        WorkflowEngine.create(backend, {"max_workers": 1})


async def test_an_object_that_a_plugin_takes_is_a_backend(
    backend: ScriptedBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = object()
    monkeypatch.setattr(registry, "adopt", {theirs: backend}.get)
    async with WorkflowEngine.create([theirs, "noop"]) as flow:
        assert next(iter(flow.backends.values())) is backend
    with pytest.raises(ConfigurationError, match="config is for a backend that is given by name"):
        await WorkflowEngine.create(theirs, {"max_workers": 1})


@pytest.mark.parametrize("bad", [0, -1, "3"])
async def test_max_pending_is_a_number_of_tasks(backend: ScriptedBackend, bad: Any) -> None:
    with pytest.raises(ConfigurationError, match="max_pending must be at least 1"):
        WorkflowEngine.create(backend, max_pending=bad)


# -------------------------------------------------------------------- workflows


async def test_a_scope_names_the_workflow_of_its_calls(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    with flow.workflow_scope("outer"):
        first = task()
        with flow.workflow_scope("inner"):
            second = task()
        third = task(workflow_id="own")
    fourth = task()
    ids = [future.workflow_id for future in (first, second, third, fourth)]
    assert ids == ["outer", "inner", "own", None]


async def test_the_tasks_of_a_block_belong_to_its_workflow(flow: WorkflowEngine) -> None:
    @flow.block
    async def body() -> str | None:
        return flow.function_task(identity)().workflow_id

    assert await body(workflow_id="mine") == "mine"


async def test_a_body_with_a_parameter_of_that_name_gets_it(flow: WorkflowEngine) -> None:
    def body(workflow_id: str) -> str:
        return workflow_id

    future = flow.function_task(body)(workflow_id="an argument")
    assert (await future, future.workflow_id) == ("an argument", None)


async def test_a_scope_of_one_engine_does_not_name_tasks_of_another(flow: WorkflowEngine) -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as other:
        with flow.workflow_scope("mine"):
            assert other.function_task(identity)().workflow_id is None


async def test_the_plan_shows_every_call_and_its_dependencies(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    first = task()
    await task([first, task()])
    plan = flow.plan()
    assert (plan.width, plan.depth) == (2, 2)


async def test_the_work_folder_is_made_when_it_is_asked_for(
    backend: ScriptedBackend, tmp_path: Any
) -> None:
    with contextlib.chdir(tmp_path):
        flow = await WorkflowEngine.create(backend, uid="run.mine")
    assert list(tmp_path.iterdir()) == []
    assert flow.work_dir == tmp_path / "asyncflow-runs" / "run.mine"
    (flow.work_dir / "file").touch()
    await flow.shutdown()
    assert [path.name for path in (tmp_path / "asyncflow-runs" / "run.mine").iterdir()] == ["file"]


async def test_a_work_folder_without_files_goes_with_the_run(
    backend: ScriptedBackend, tmp_path: Any
) -> None:
    with contextlib.chdir(tmp_path):
        async with WorkflowEngine.create(backend) as flow:
            assert flow.work_dir.is_dir()
    assert list(tmp_path.iterdir()) == []


async def test_a_work_folder_that_was_given_is_kept(
    backend: ScriptedBackend, tmp_path: Any
) -> None:
    async with WorkflowEngine.create(backend, work_dir=tmp_path / "new") as flow:
        assert flow.work_dir == tmp_path / "new"
        (flow.work_dir / "file").touch()
    assert (tmp_path / "new" / "file").exists()
