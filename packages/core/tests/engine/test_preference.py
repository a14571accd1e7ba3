"""Several backends in the order of preference: the first that can be used is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel
from radical.asyncflow import (
    BackendNotFoundError,
    BackendStartError,
    ConfigurationError,
    WorkflowEngine,
    registry,
)
from radical.asyncflow.backend import Capabilities, ReportSink, TaskKind
from radical.asyncflow.testing import ScriptedBackend

made: list[Scripted] = []


class Settings(BaseModel):
    size: int = 0


class Scripted(ScriptedBackend):
    """A scripted backend that notes what became of it."""

    def __init__(self, settings: Any = None, *, name: str = "willing") -> None:
        super().__init__(name=name)
        self.settings = settings
        made.append(self)


class Unwilling(Scripted):
    async def start(self, sink: ReportSink) -> None:
        await super().start(sink)
        raise OSError("no licence\nleft")


@pytest.fixture(autouse=True)
def backends(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for variable in ("BACKEND", "PROFILE", "CONFIG", "SET"):
        monkeypatch.delenv(f"ASYNCFLOW_{variable}", raising=False)
    able = Capabilities(kinds={TaskKind.FUNCTION}, contexts=True, kills_running={TaskKind.FUNCTION})
    registry.register_backend("willing", Scripted, config_model=Settings, capabilities=able)
    registry.register_backend("unwilling", Unwilling, config_model=Settings, capabilities=able)
    yield
    registry.unregister_backend("willing")
    registry.unregister_backend("unwilling")
    made.clear()


async def test_the_first_that_can_be_used_is_and_one_line_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, "radical.asyncflow"):
        async with WorkflowEngine.create("nowhere, unwilling, willing, concurrent") as flow:
            assert [*flow.backends] == ["willing"]
            assert await flow.function_task(len)("four") == 4
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("backend 'willing' is used, because nowhere: ")
    assert "unwilling: backend 'unwilling' did not start: OSError: no licence left" in line
    assert "\n" not in line
    unwilling, willing = made
    assert unwilling.is_shut_down
    assert willing.is_shut_down


async def test_the_preferred_one_needs_no_word(caplog: pytest.LogCaptureFixture) -> None:
    async with WorkflowEngine.create("willing, unwilling") as flow:
        assert [*flow.backends] == ["willing"]
    assert caplog.records == []
    assert len(made) == 1


async def test_if_none_can_be_used_the_error_names_each_with_its_reason() -> None:
    with pytest.raises(BackendStartError) as caught:
        await WorkflowEngine.create("nowhere, unwilling")
    first, second, third = str(caught.value).splitlines()
    assert first == "none of the backends nowhere, unwilling can be used:"
    assert second.startswith("  nowhere: Backend 'nowhere' is not available.")
    assert third.startswith("  unwilling: backend 'unwilling' did not start")
    assert isinstance(caught.value.__cause__, BackendStartError)


async def test_if_none_is_there_it_is_not_found() -> None:
    with pytest.raises(BackendNotFoundError, match="none of the backends nowhere, neither can"):
        await WorkflowEngine.create("nowhere, neither")


async def test_wrong_settings_are_an_error_and_not_a_reason_to_pass_over() -> None:
    with pytest.raises(ConfigurationError, match="max_worker"):
        await WorkflowEngine.create("concurrent, willing", config={"concurrent": {"max_worker": 2}})
    assert made == []


async def test_each_has_settings_of_its_own() -> None:
    config = {"unwilling": {"size": 1}, "willing": {"size": 2}}
    async with WorkflowEngine.create("unwilling, willing", config=config):
        assert [backend.settings.size for backend in made] == [1, 2]


async def test_each_of_several_backends_may_be_a_preference() -> None:
    async with WorkflowEngine.create(["unwilling, willing", ScriptedBackend(name="two")]) as flow:
        assert [*flow.backends] == ["willing", "two"]
        second = flow.function_task(backend="two")(len)
        assert (await second("four"), second("four").backend) == (4, "two")


async def test_the_variable_may_be_a_preference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASYNCFLOW_BACKEND", "unwilling,willing")
    async with WorkflowEngine.create() as flow:
        assert [*flow.backends] == ["willing"]


async def test_a_dry_run_plans_for_the_first_that_can_be_made() -> None:
    async with WorkflowEngine.create("nowhere, unwilling, willing", dry_run=True) as flow:
        assert [*flow.backends] == ["unwilling"]


@pytest.mark.parametrize(
    ("names", "why"),
    [("willing, ", "a comma without a name"), ("willing,willing", "has 'willing' twice")],
)
async def test_a_wrong_list_is_refused(names: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        await WorkflowEngine.create(names)
