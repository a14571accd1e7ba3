"""Several backends in one engine: a task goes where it can run."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from radical.asyncflow import ResourceError, UnsupportedOptionError, WorkflowEngine
from radical.asyncflow.backend import TaskKind, TaskSpec
from radical.asyncflow.testing import ScriptedBackend

FUNCTION, EXECUTABLE, PROMPT = TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT


class Small(ScriptedBackend):
    """A backend with four cores."""

    def check(self, spec: TaskSpec) -> None:
        if spec.resources.cores > 4:
            raise ResourceError(f"task {spec.name!r} asks for more than 4 cores")


class Counting(ScriptedBackend):
    """A backend that counts how often it is asked whether it can run a task."""

    asked = 0

    def check(self, spec: TaskSpec) -> None:
        self.asked += 1
        super().check(spec)


def plain() -> ScriptedBackend:
    return ScriptedBackend(name="plain")


async def test_a_task_goes_to_the_default_if_that_can_run_it() -> None:
    both = [plain(), ScriptedBackend(name="more", kinds=(FUNCTION, PROMPT))]
    async with WorkflowEngine.create(both) as flow:
        assert flow.function_task(len)("four").backend == "plain"


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (PROMPT, {}),
        (EXECUTABLE, {}),
        (FUNCTION, {"resources": {"ranks": 2}}),
    ],
)
async def test_a_task_that_the_default_cannot_run_goes_to_the_only_one_that_can(
    kind: TaskKind, options: dict[str, Any]
) -> None:
    able = ScriptedBackend(name="able", kinds=[FUNCTION, EXECUTABLE, PROMPT], resources=["ranks"])
    async with WorkflowEngine.create([plain(), able]) as flow:
        make = getattr(flow, f"{kind}_task")
        future = make(**options)(lambda: "words")()
        assert future.backend == "able"
        assert await future == "words"


async def test_a_task_too_large_for_the_default_goes_where_there_is_room() -> None:
    large = ScriptedBackend(name="large", resources=["cores"])
    async with WorkflowEngine.create([Small(name="small", resources=["cores"]), large]) as flow:
        task = flow.function_task(len)
        assert task.options(resources={"cores": 4})("four").backend == "small"
        assert task.options(resources={"cores": 5})("four").backend == "large"


async def test_where_several_can_the_error_names_them() -> None:
    others = [ScriptedBackend(name=name, kinds=[FUNCTION, PROMPT]) for name in ("one", "two")]
    async with WorkflowEngine.create([plain(), *others]) as flow:
        task = flow.prompt_task(lambda: "words")
        with pytest.raises(UnsupportedOptionError) as caught:
            task()
        assert str(caught.value) == (
            "task '<lambda>': backend 'plain' runs no prompt tasks (it runs: function); give the "
            "task backend='one' or backend='two'"
        )
        assert task.options(backend="two")().backend == "two"


async def test_where_none_can_the_error_says_why_and_which_other_could() -> None:
    async with WorkflowEngine.create([plain(), ScriptedBackend(name="too")]) as flow:
        with pytest.raises(UnsupportedOptionError) as caught:
            flow.executable_task(lambda: "true")()
    text = str(caught.value)
    assert text.startswith(
        "task '<lambda>': backend 'plain' runs no executable tasks (it runs: function); "
        "backend 'too' runs no executable tasks (it runs: function); "
        "add a backend that can to the engine: 'concurrent'"
    )
    assert "noop" not in text  # it could, but runs nothing


async def test_a_backend_whose_settings_keep_it_from_the_task_is_not_advised_as_another() -> None:
    class Tally:
        pass

    with ThreadPoolExecutor(1) as executor:
        async with WorkflowEngine.create("concurrent", {"executor": executor}) as flow:
            with pytest.raises(UnsupportedOptionError) as caught:
                flow.service(Tally)()
    assert "'concurrent' runs no services of functions; with other settings 'concurrent' can" in (
        str(caught.value)
    )
    assert "to the engine: 'concurrent'" not in str(caught.value)


async def test_where_none_that_is_installed_can_the_error_says_how_to_get_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "concurrent, dask, radical_pilot")
    async with WorkflowEngine.create([plain()]) as flow:
        with pytest.raises(UnsupportedOptionError, match=r"'concurrent' .*'radical_pilot' "):
            flow.executable_task(service=True)(lambda: "true")()


async def test_a_named_backend_is_not_left_but_others_that_can_are_named() -> None:
    able = ScriptedBackend(name="able", kinds=[FUNCTION, PROMPT])
    async with WorkflowEngine.create([able, plain()]) as flow:
        with pytest.raises(UnsupportedOptionError, match=r"'plain' runs no .*backend='able'"):
            flow.prompt_task(backend="plain")(lambda: "words")()


async def test_the_choice_is_made_once_for_all_calls_of_a_task() -> None:
    first, second = Counting(name="first"), Counting(name="second")
    async with WorkflowEngine.create([first, second]) as flow:
        task = flow.function_task(len)
        for _ in range(100):
            task("four")
        assert (first.asked, second.asked) == (1, 0)


async def test_a_class_as_a_service_is_for_a_backend_that_has_instances(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ASYNCFLOW_DISABLE_PLUGINS", "concurrent, dask, radical_pilot")
    async with WorkflowEngine.create([plain()]) as flow:
        with pytest.raises(UnsupportedOptionError, match="no services of functions") as caught:
            flow.service(dict)()
    assert "'concurrent'" in str(caught.value)
    assert "'radical_pilot'" not in str(caught.value)
