"""Settings are checked as a whole, and what the plugin declares is what is there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend, plugin
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


async def test_it_is_made_by_await_as_older_programs_do() -> None:
    async with await ConcurrentExecutionBackend(ThreadPoolExecutor(), name="old") as backend:
        assert (backend.name, TaskKind.FUNCTION in backend.capabilities.kinds) == ("old", True)


@pytest.mark.parametrize(("kind", "kills"), [("thread", False), ("process", True)])
def test_capabilities_follow_the_configuration(kind: Any, kills: bool) -> None:
    able = ConcurrentExecutionBackend(executor_type=kind).capabilities
    assert (TaskKind.FUNCTION in able.kills_running, able.isolates, able.pickles) == (kills,) * 3


def test_the_plugin_declares_the_default_configuration() -> None:
    spec = plugin.asyncflow_backend()
    assert spec.capabilities == ConcurrentExecutionBackend().capabilities


def test_gpus_are_counted_or_named_or_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert ConcurrentExecutionBackend()._ledger.gpus == (3, 5)
    assert ConcurrentExecutionBackend(gpus=1)._ledger.gpus == (3,)
    assert ConcurrentExecutionBackend(gpus=[7])._ledger.gpus == (7,)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert ConcurrentExecutionBackend(gpus=2)._ledger.gpus == (0, 1)
    assert ConcurrentExecutionBackend()._ledger.gpus == ()
