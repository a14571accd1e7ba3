"""Observers and carriers that an engine is given by name."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from radical.asyncflow import ConfigurationError, RunEvent, TaskEvent, WorkflowEngine
from radical.asyncflow.errors import PluginBrokenError, PluginError, PluginNotFoundError
from radical.asyncflow.testing import ScriptedBackend

from ..conftest import Distribution

CODE = """
    import contextlib, contextvars, threading
    from radical.asyncflow.hookspecs import Carrier
    from radical.asyncflow.errors import ConfigurationError

    asked, seen, threads = [], [], set()
    here = contextvars.ContextVar("here", default=None)

    @contextlib.contextmanager
    def enter(headers):
        token = here.set(headers)
        try:
            yield
        finally:
            here.reset(token)

    class Watch:
        def __init__(self, run, text):
            asked.append((run, text))
        def __call__(self, events):
            threads.add(threading.current_thread().name)
            seen.extend(events)

    class Send(Carrier):
        enter = "acme_watch:enter"
        def __init__(self, run, text):
            self.text = text
        def carry(self, spec, task_id):
            return f"{self.text} {spec.name}"

    def broken(run, text):
        raise OSError("no disk")

    def refusing(run, text):
        raise ConfigurationError(f"needs a file, as in refusing:FILE, not {text!r}")

    def nothing(run, text):
        return None
"""
NAMES = {"watch": "Watch", "broken": "broken", "refusing": "refusing", "nothing": "nothing"}


def where() -> Any:
    import acme_watch  # type: ignore[import-not-found]

    return acme_watch.here.get()


@pytest.fixture
def acme(distribution: Distribution) -> Any:
    entries = {
        "observers": {name: f"acme_watch:{value}" for name, value in NAMES.items()},
        "carriers": {"send": "acme_watch:Send", "broken": "acme_watch:broken"},
    }
    distribution("acme", entries, {"acme_watch": CODE})
    return lambda: sys.modules["acme_watch"]


async def test_an_observer_by_name_gets_the_whole_run_in_a_thread_of_its_own(acme: Any) -> None:
    async with WorkflowEngine.create("concurrent", observers=["watch:a text: more"]) as flow:
        uid = flow.uid
        await flow.function_task(name="one")(abs)(-1)
    module = acme()
    assert module.asked == [(uid, "a text: more")]
    states = [each.state for each in module.seen if isinstance(each, RunEvent)]
    assert states == ["begun", "ended"]
    assert {each.name for each in module.seen if isinstance(each, TaskEvent)} == {"one"}
    assert module.threads == {"asyncflow-plugin-observer watch"}


@pytest.mark.parametrize("kind", ["thread", "process"])
async def test_a_carrier_by_name_reaches_the_task(acme: Any, kind: str) -> None:
    config = {"executor_type": kind, "max_workers": 1}
    async with WorkflowEngine.create("concurrent", config, carriers="send:hello") as flow:
        assert await flow.function_task(where)() == "hello where"


async def test_nobody_who_is_not_asked_for_is_imported(acme: Any) -> None:
    async with WorkflowEngine.create(ScriptedBackend()):
        pass
    with pytest.raises(KeyError):
        acme()


@pytest.mark.parametrize("value", ["watch:x,watch", '["watch:x", "watch"]', " watch:x , watch "])
async def test_the_environment_adds_observers_and_each_comes_once(
    acme: Any, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("ASYNCFLOW_OBSERVERS", value)
    async with WorkflowEngine.create(ScriptedBackend(), observers=["watch"], uid="mine"):
        pass
    assert acme().asked == [("mine", ""), ("mine", "x")]


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"observers": "wacth"}, PluginNotFoundError, "Closest known names: watch"),
        ({"carriers": "watch"}, PluginNotFoundError, "Carrier 'watch' is not available"),
        ({"observers": "broken"}, PluginBrokenError, "observer broken does not work: OSError: no"),
        ({"carriers": "broken"}, PluginBrokenError, "carrier broken does not work: OSError: no"),
        ({"observers": "nothing"}, PluginBrokenError, "must give a function for a run, not None"),
        ({"observers": "refusing:"}, ConfigurationError, "needs a file"),
        ({"observers": ["a", 7]}, ConfigurationError, "observers must be a name, or a list"),
        ({"observers": 7}, ConfigurationError, "observers must be a name, or a list of names"),
        ({"carriers": ":x"}, ConfigurationError, "carriers: ':x' names no plugin"),
    ],
)
@pytest.mark.usefixtures("acme")
async def test_a_wrong_one_is_an_error_before_a_backend_starts(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    backend = ScriptedBackend()
    with pytest.raises(kind, match=text):
        await WorkflowEngine.create(backend, **options)
    assert not backend.is_shut_down
    async with WorkflowEngine.create(backend):
        pass


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize(
    ("value", "text"), [("[1]", "must be a list of names"), ("[", "is not JSON")]
)
async def test_a_wrong_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, value: str, text: str
) -> None:
    monkeypatch.setenv("ASYNCFLOW_CARRIERS", value)
    with pytest.raises(ConfigurationError, match=f"ASYNCFLOW_CARRIERS {text}"):
        await WorkflowEngine.create(ScriptedBackend())


async def test_an_observer_that_raises_costs_the_run_nothing(
    distribution: Distribution, caplog: pytest.LogCaptureFixture
) -> None:
    code = "def make(run, text):\n    return bad\ndef bad(events):\n    raise SystemExit(9)\n"
    distribution("acme", {"observers": {"bad": "bad_watch:make"}}, {"bad_watch": code})
    async with WorkflowEngine.create("concurrent", observers="bad") as flow:
        assert await flow.function_task(abs)(-3) == 3
    assert "plugin observer bad raised; the run goes on" in caplog.text


def test_a_plugin_error_is_caught_with_all_of_ours() -> None:
    assert {kind.__mro__[1] for kind in (PluginBrokenError, PluginNotFoundError)} == {PluginError}
