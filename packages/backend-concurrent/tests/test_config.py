"""Settings are checked as a whole, and what the plugin declares is what is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend, plugin
from asyncflow_backend_concurrent.backend import _Settings
from asyncflow_backend_concurrent.config import ConcurrentConfig
from radical.asyncflow.backend import TaskKind
from radical.asyncflow.errors import ConfigurationError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_worker": 2}, ["max_worker", "did you mean 'max_workers'"]),
        ({"max_workers": 0, "grace": -1}, ["max_workers", "grace"]),
        ({"max_workers": "4"}, ["max_workers"]),
        ({"executor_type": "fiber"}, ["executor_type", "'thread'", "'process'"]),
        ({"executor": "threads"}, ["executor"]),
        ({"gpus": [1, 1]}, ["gpus", "twice"]),
        ({"gpus": ["0", "cuda:1"]}, ["gpus", "'0', 'cuda:1': a GPU is a number", "MIG-9b0c"]),
        ({"gpus": [True, -1, 0.5]}, ["gpus", "True, -1, 0.5: a GPU is a number"]),
        ({"gpus": "all"}, ["gpus", "how many", "'all'"]),
        ({"gpus": True}, ["gpus", "how many", "True"]),
        ({"gpu_idle_timeout": -1, "executor_type": "process"}, ["gpu_idle_timeout"]),
        ({"gpu_idle_timeout": 5}, ["gpu_idle_timeout", "executor_type='process'"]),
        ({"memory": "lots"}, ["memory", "4GB"]),
        ({"shutdown_executor": False}, ["shutdown_executor"]),
    ],
)
def test_everything_that_is_wrong_is_named(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        ConcurrentExecutionBackend(**settings)
    assert [word for word in words if word not in str(caught.value)] == []


def test_an_executor_and_a_type_contradict_each_other() -> None:
    with ThreadPoolExecutor(1) as executor, pytest.raises(ConfigurationError, match="executor"):
        ConcurrentExecutionBackend(executor, executor_type="process")


def test_validated_settings_are_taken_as_they_are() -> None:
    settings = ConcurrentConfig(max_workers=3, executor_type="process")
    backend = ConcurrentExecutionBackend.from_settings(settings, name="pool")
    assert (backend.name, backend.max_workers, backend.capabilities.pickles) == ("pool", 3, True)
    with pytest.raises(ConfigurationError, match="'grace' given beside settings"):
        ConcurrentExecutionBackend(settings, grace=1.0)


def test_a_keyword_that_is_none_has_its_default() -> None:
    given = {"executor_type": None, "max_workers": 1}
    assert ConcurrentExecutionBackend(**given).capabilities.quick


def test_the_keywords_of_the_constructor_are_the_settings() -> None:
    assert {"executor", *_Settings.__annotations__} == ConcurrentConfig.model_fields.keys()


async def test_it_is_made_by_await_as_older_programs_do() -> None:
    async with await ConcurrentExecutionBackend(ThreadPoolExecutor(), name="old") as backend:
        assert (backend.name, TaskKind.FUNCTION in backend.capabilities.kinds) == ("old", True)


@pytest.mark.parametrize(
    ("kind", "kills"), [("thread", False), ("process", True), ("async", False)]
)
def test_capabilities_follow_the_configuration(kind: Any, kills: bool) -> None:
    able = ConcurrentExecutionBackend(executor_type=kind).capabilities
    assert (TaskKind.FUNCTION in able.kills_running, able.isolates, able.pickles) == (kills,) * 3


def test_the_plugin_declares_the_default_configuration() -> None:
    spec = plugin.asyncflow_backend()
    assert spec.capabilities == ConcurrentExecutionBackend().capabilities


def test_gpus_are_counted_or_named_or_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert ConcurrentExecutionBackend()._resources.gpus == (3, 5)
    assert ConcurrentExecutionBackend(gpus=1)._resources.gpus == (3,)
    assert ConcurrentExecutionBackend(gpus=[7])._resources.gpus == (7,)
    assert ConcurrentExecutionBackend(gpus=range(2, 4))._resources.gpus == (2, 3)
    assert ConcurrentExecutionBackend(gpus=["MIG-1", 2])._resources.gpus == ("MIG-1", 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-5f3a,GPU-77")
    assert ConcurrentExecutionBackend()._resources.gpus == ("GPU-5f3a", "GPU-77")
    assert ConcurrentExecutionBackend(gpus=2)._resources.gpus == ("GPU-5f3a", "GPU-77")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert ConcurrentExecutionBackend(gpus=2)._resources.gpus == (0, 1)
    assert ConcurrentExecutionBackend()._resources.gpus == ()


@pytest.mark.parametrize("visible", ["", "GPU-5f3a", "0,-1"])
def test_more_gpus_than_this_process_may_use_are_refused(
    visible: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with pytest.raises(
        ConfigurationError, match=r"gpus is 2, but there are only . to use .*CUDA_VISIBLE"
    ):
        ConcurrentExecutionBackend(gpus=2)


def test_settings_may_be_one_mapping() -> None:
    backend = ConcurrentExecutionBackend({"max_workers": 3}, executor_type="process")
    assert (backend.max_workers, backend.capabilities.pickles) == (3, True)
