"""The carrier, in real runs."""

from __future__ import annotations

from radical.asyncflow import WorkflowEngine
from radical.asyncflow.testing import ScriptedBackend

from asyncflow_skeleton.carrier import Label
from asyncflow_skeleton.worker import label


async def test_a_task_knows_the_label() -> None:
    carriers = ["skeleton:winter"]
    async with WorkflowEngine.create(ScriptedBackend(), carriers=carriers) as flow:
        assert await flow.function_task(label)() == "winter"
    assert label() is None


async def test_without_a_label_it_is_the_name_of_the_run() -> None:
    carriers = ["skeleton"]
    async with WorkflowEngine.create(ScriptedBackend(), carriers=carriers) as flow:
        assert await flow.function_task(label)() == flow.uid


def test_a_command_has_the_label_in_its_environment() -> None:
    assert Label("run.1", "").environment({"label": "winter"}) == {"ASYNCFLOW_RUN_LABEL": "winter"}
