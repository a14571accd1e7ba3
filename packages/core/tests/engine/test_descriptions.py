"""What a ``task_description`` asks for: in a decorator, in a signature, in a call."""

# ruff: noqa: B006 - a default that is a dict is how users write it

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from radical.asyncflow import (
    Command,
    ConfigurationError,
    Resources,
    UnsupportedOptionError,
    WorkflowEngine,
)
from radical.asyncflow._task.function import KEPT_AT_MOST
from radical.asyncflow.backend import TaskKind, TaskSpec
from radical.asyncflow.sync import Flow
from radical.asyncflow.testing import ScriptedBackend

MEGABYTE = 2**20


class Open(ScriptedBackend):
    """A backend that takes any other key, too."""

    def __init__(self) -> None:
        kinds = (TaskKind.FUNCTION, TaskKind.EXECUTABLE, TaskKind.PROMPT)
        super().__init__(kinds=kinds, resources=("cores", "gpus", "memory", "ranks"))

    def check(self, spec: TaskSpec) -> None:
        pass


@pytest.fixture
def backend() -> ScriptedBackend:
    return Open()


def identity(value: Any = None) -> Any:
    return value


def mpi(value: Any = None, task_description: Mapping[str, Any] = {"ranks": 2, "q": "a"}) -> Any:
    return value, task_description


def spec_of(backend: ScriptedBackend) -> TaskSpec:
    return backend.submitted[-1].spec


async def test_a_signature_asks_for_resources(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    assert await flow.function_task(mpi)(1) == (1, {"ranks": 2, "q": "a"})
    assert spec_of(backend).resources == Resources(ranks=2)
    assert spec_of(backend).description == {"q": "a"}


@pytest.mark.parametrize("by_position", [False, True])
async def test_a_call_asks_for_more_and_the_body_sees_it(
    flow: WorkflowEngine, backend: ScriptedBackend, by_position: bool
) -> None:
    task = flow.function_task(mpi)
    more = {"ranks": 3, "cores_per_rank": 4}
    called = task(1, more) if by_position else task(1, task_description=more)
    assert await called == (1, {"ranks": 3, "cores_per_rank": 4, "q": "a"})
    assert spec_of(backend).resources == Resources(cores=4, ranks=3)
    await task(1)
    assert spec_of(backend).resources == Resources(ranks=2)


async def test_a_body_without_the_parameter_does_not_get_it(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    def keywords(**given: Any) -> Any:
        return given

    assert await flow.function_task(identity)(7, task_description={"gpus_per_rank": 2}) == 7
    assert spec_of(backend).resources == Resources(gpus=2)
    task = flow.function_task(keywords)
    assert await task(a=1, task_description={"gpus_per_rank": 2}) == {"a": 1}
    assert spec_of(backend).resources == Resources(gpus=2)
    assert await task(a=2) == {"a": 2}
    assert spec_of(backend).resources == Resources()


async def test_a_call_counts_more_than_a_signature_and_that_more_than_the_decorator(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(task_description={"ranks": 9, "q": "z", "r": 1, "cores_per_rank": 3})(
        mpi
    )
    await task()
    assert spec_of(backend).resources == Resources(cores=3, ranks=2)
    assert spec_of(backend).description == {"q": "a", "r": 1}
    other = task.options(task_description={"ranks": 5, "q": "b"}, retries=1)
    await other()
    assert spec_of(backend).resources == Resources(cores=3, ranks=5)
    assert spec_of(backend).description == {"q": "b", "r": 1}
    await other(task_description={"ranks": 6, "cores_per_rank": None})
    assert spec_of(backend).resources == Resources(ranks=6)
    assert spec_of(backend).description == {"q": "b", "r": 1}
    assert spec_of(backend).retries is not None


@pytest.mark.parametrize(
    ("description", "resources"),
    [
        ({"cpu_processes": 2, "cpu_threads": 3, "gpu_processes": 1}, Resources(3, 1, 0, 2)),
        ({"mem_per_rank": 1.5, "gpus_per_rank": 0.5}, Resources(1, 0.5, 3 * MEGABYTE // 2)),
        ({"mem_per_process": "2GB", "gpus_per_rank": 0.0}, Resources(memory=2 * 10**9)),
        ({"mem_per_rank": 0, "ranks": None}, Resources()),
    ],
)
async def test_every_name_of_a_resource_is_known(
    flow: WorkflowEngine,
    backend: ScriptedBackend,
    description: Mapping[str, Any],
    resources: Resources,
) -> None:
    await flow.function_task(identity)(1, task_description=description)
    assert (spec_of(backend).resources, spec_of(backend).description) == (resources, {})


async def test_a_name_and_a_limit_of_time_are_those_of_the_task(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(task_description={"timeout": 60, "name": "long"})(identity)
    called = task(1)
    await called
    assert (called.name, spec_of(backend).timeout) == ("long", 60)
    again = task(1, task_description={"timeout": 0.0, "name": "longer"})
    await again
    assert (again.name, spec_of(backend).timeout) == ("longer", None)


async def test_equal_descriptions_share_a_spec(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(identity)
    for ranks in (2, 3, 2, True):
        if ranks is True:
            with pytest.raises(ConfigurationError, match="'ranks' must be a whole number"):
                task(1, task_description={"ranks": ranks})
        else:
            await task(1, task_description={"ranks": ranks})
    two, three, again = (request.spec for request in backend.submitted)
    assert two is again
    assert two is not three


async def test_equal_options_share_a_spec(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    two = task.options(resources={"cores": 2}, name="two")
    assert two.spec is task.options(resources={"cores": 2}, name="two").spec
    assert two.spec is not task.options(resources={"cores": 3}, name="two").spec
    assert (
        two.options(name="2").spec
        is task.options(resources={"cores": 2}, name="two").options(name="2").spec
    )
    assert two.options(name="2").spec.resources.cores == 2
    task.options(retries=1)
    with pytest.raises(ConfigurationError, match="retries"):
        task.options(retries=True)


async def test_what_options_leave_behind_is_bounded(flow: WorkflowEngine) -> None:
    task = first = flow.function_task(identity)
    for number in range(1000):
        task = task.options(name=f"step {number}")
        assert task.name == f"step {number}"
    assert first._variants is not None
    assert len(first._variants) <= KEPT_AT_MOST
    assert task._variants is first._variants


async def test_what_was_given_may_be_changed_later(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task, limits = flow.function_task(identity), {"cores": 2}
    env = {"A": "1"}
    command = flow.executable_task(line)
    for given in (limits, {"cores": 2}):
        assert task.options(resources=given).spec.resources.cores == 2
        limits["cores"] = 3
    for environment in (env, {"A": "1"}):
        future = command("echo", task_description={"environment": environment})
        env["A"] = "2"
        await future
        sent = backend.submitted[-1].command
        assert sent is not None
        assert sent.env == {"A": "1"}


async def test_a_value_of_another_library_is_no_obstacle(flow: WorkflowEngine) -> None:
    class Float(float):
        """As those of NumPy, which have the bytes of other numbers."""

    task = flow.function_task(identity)
    assert task.options(timeout=Float(5)).spec.timeout == 5.0


async def test_a_value_that_cannot_be_compared_is_no_obstacle(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    mark = object()
    for _ in range(2):
        await flow.function_task(identity)(1, task_description={"mark": mark, "ranks": 2})
        assert spec_of(backend).description == {"mark": mark}


# --------------------------------------------------------------------- commands


def line(text: str, task_description: Mapping[str, Any] = {"shell": False}) -> str:
    return text


@pytest.mark.parametrize(
    ("description", "command"),
    [
        (None, Command(("echo", "a b"), cwd=None)),
        ({"shell": True}, Command("echo 'a b'")),
        ({"cwd": "/tmp"}, Command(("echo", "a b"), cwd="/tmp")),
        ({"environment": {"A": "1"}}, Command(("echo", "a b"), {"A": "1"})),
        ({"env": {"A": None}}, Command(("echo", "a b"), {"A": None})),
    ],
)
async def test_how_a_command_runs(
    flow: WorkflowEngine,
    backend: ScriptedBackend,
    description: Mapping[str, Any] | None,
    command: Command,
) -> None:
    await flow.executable_task(line)("echo 'a b'", task_description=description)
    found = backend.submitted[-1].command
    assert isinstance(found, Command)
    assert (found.args, found.env) == (command.args, command.env)
    if command.cwd is not None:
        assert found.cwd == command.cwd


@pytest.mark.parametrize(
    ("description", "returned", "why"),
    [
        ({"shell": True}, ["a", "b"], "no shell reads: return a str"),
        ({"shell": False}, "echo 'a", "cannot be split into words.*No closing quotation"),
        ({"cwd": "x"}, Command("a", cwd="y"), "leave one of them out"),
        ({"environment": {"A": "1"}}, Command("a", env={"A": "1"}), "the command sets A, and so"),
    ],
)
async def test_a_command_that_does_not_fit_is_refused(
    flow: WorkflowEngine, description: Mapping[str, Any], returned: Any, why: str
) -> None:
    task = flow.executable_task(task_description=description)(identity)
    with pytest.raises(ConfigurationError, match=why):
        await task(returned)


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("description", "why"),
    [
        (3, "must map names to values, not 3"),
        ({1: 2}, "must map names to values"),
        ({"ranks": 0}, "'ranks' must be a whole number of at least 1, not 0"),
        ({"cores_per_rank": "2"}, "'cores_per_rank' must be a whole number"),
        ({"gpus_per_rank": 1.5}, "'gpus_per_rank' must be a whole number.* not 1.5"),
        ({"mem_per_rank": -1}, "'mem_per_rank' must be megabytes"),
        ({"mem_per_rank": "much"}, "not a size in bytes: 'much'"),
        ({"ranks": 1, "cpu_processes": 2}, "two keys of task_description mean the same, 'ranks'"),
        ({"shell": True}, "'shell' in task_description is for commands, not for a function"),
        ({"environment": {}}, "'environment' in task_description is for commands"),
        ({"name": ""}, "'name' must be a string that is not empty"),
        ({"timeout": -1}, "'timeout' must be seconds"),
        ({"ranks": 0, "timeout": "x"}, "'ranks' must .*; .*'timeout' must"),
    ],
)
async def test_what_is_wrong_is_refused_wherever_it_is_given(
    flow: WorkflowEngine, description: Any, why: str
) -> None:
    def body(value: Any = None, task_description: Any = description) -> Any:
        return value

    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(identity)(1, task_description=description)
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(identity).options(task_description=description)
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(task_description=description)
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(body)


@pytest.mark.parametrize(
    ("description", "why"),
    [
        ({"shell": 1}, "'shell' must be True or False, not 1"),
        ({"environment": "A=1"}, "'environment' must map names to strings"),
        ({"environment": {"A": 1}}, "env must map names to strings"),
        ({"cwd": 3}, "must be strings or paths, not 3"),
    ],
)
async def test_what_is_wrong_for_a_command_is_refused(
    flow: WorkflowEngine, description: Any, why: str
) -> None:
    with pytest.raises(ConfigurationError, match=why):
        flow.executable_task(identity)("true", task_description=description)


@pytest.mark.parametrize(
    ("options", "description", "what"),
    [
        ({"resources": {"ranks": 1}}, {"ranks": 2}, "ranks"),
        ({"resources": Resources(cores=4)}, {"cpu_threads": 2}, "cores_per_rank"),
        ({"resources": lambda attempt: {"cores": attempt}}, {"ranks": 2}, "ranks"),
        ({"name": "a"}, {"name": "b"}, "name"),
        ({"timeout": 3}, {"timeout": 3}, "timeout"),
    ],
)
async def test_what_an_option_gives_too_is_refused(
    flow: WorkflowEngine, options: Any, description: Mapping[str, Any], what: str
) -> None:
    def body(value: Any = None, task_description: Any = description) -> Any:
        return value

    why = f"{what!r} in task_description means the same: leave one of them out"
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(**options)(identity)(1, task_description=description)
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(**options)(body)
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(body).options(**options)
    with pytest.raises(ConfigurationError, match=why):
        flow.function_task(task_description=description, **options)


async def test_a_shell_that_the_option_names_is_no_other_one(flow: WorkflowEngine) -> None:
    task = flow.executable_task(shell="bash")(identity)
    with pytest.raises(ConfigurationError, match="shell= is given, and 'shell' in task_desc"):
        task("true", task_description={"shell": False})


async def test_what_an_option_no_longer_gives_is_free(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    task = flow.function_task(resources={"ranks": 4, "cores": 2})(identity)
    other = task.options(resources={"cores": 3})
    await other(1, task_description={"ranks": 2})
    assert spec_of(backend).resources == Resources(cores=3, ranks=2)


async def test_a_future_in_a_description_is_refused(flow: WorkflowEngine) -> None:
    task = flow.function_task(identity)
    with pytest.raises(ConfigurationError, match=r"a future at 'ranks'.*await it first"):
        task(1, task_description={"ranks": task(2)})
    with pytest.raises(ConfigurationError, match="a future at 'hosts'"):
        task(1, task_description={"hosts": [{"name": task(2)}]})
    with pytest.raises(ConfigurationError, match="must map names to values"):
        task(1, task_description=task({"ranks": 2}))


async def test_a_description_by_name_and_by_position_is_one_too_many(flow: WorkflowEngine) -> None:
    with pytest.raises(TypeError, match="task 'mpi': multiple values for argument"):
        flow.function_task(mpi)(1, {"ranks": 2}, task_description={"ranks": 2})
    with pytest.raises(TypeError, match="task 'mpi': too many positional arguments"):
        flow.function_task(mpi)(1, {"ranks": 2}, 3)
    with pytest.raises(TypeError, match="task 'identity': got an unexpected keyword"):
        flow.function_task(identity)(1, other=2, task_description={"ranks": 2})


async def test_a_block_has_no_resources(flow: WorkflowEngine) -> None:
    async def whole(task_description: Any = {"ranks": 2}) -> None: ...

    async def part() -> str:
        return "done"

    with pytest.raises(ConfigurationError, match="give it to the tasks that the block calls"):
        flow.block(whole)
    with pytest.raises(ConfigurationError, match="'shell' in task_description is for commands"):
        flow.block(task_description={"shell": True})
    with pytest.raises(ConfigurationError, match="takes no resources; give them to the tasks"):
        flow.block(resources={"cores": 2})
    with pytest.raises(ConfigurationError, match="'queue' in task_description would do nothing"):
        flow.block(part)(task_description={"queue": "a"})  # type: ignore[call-overload]
    named = flow.block(part)(task_description={"name": "all", "timeout": 60})
    assert (await named, named.name) == ("done", "all")


async def test_what_a_backend_has_not_is_refused_at_the_call() -> None:
    async with WorkflowEngine.create(ScriptedBackend()) as flow:
        with pytest.raises(UnsupportedOptionError, match="does not honour resources ranks"):
            flow.function_task(mpi)()
        why = r"takes no task_description \(given: 'cpu'\) beside ranks, cores_per_rank"
        with pytest.raises(UnsupportedOptionError, match=why):
            flow.function_task(identity)(1, task_description={"cpu": 4})


async def test_the_call_of_a_service_and_of_its_methods() -> None:
    class Model:
        def __init__(self, task_description: Any = {"cores_per_rank": 2}) -> None:
            self.asked = task_description

        def ask(self, task_description: Any = None) -> Any:
            return self.asked, task_description

        def big(self, task_description: Any = {"ranks": 2}) -> None: ...

    async with WorkflowEngine.create("concurrent", {"max_workers": 3}) as flow:
        service = flow.service(Model)
        first = service()
        assert await first.ask() == ({"cores_per_rank": 2}, None)
        named = first.ask(task_description={"name": "asked"})
        assert await named == ({"cores_per_rank": 2}, {"name": "asked"})
        with pytest.raises(UnsupportedOptionError, match="the resources that its service has"):
            first.ask(task_description={"cores_per_rank": 2})
        with pytest.raises(UnsupportedOptionError, match="the resources that its service has"):
            first.big()
        await first.stop()
        for task in (service, service.options(task_description={"cores_per_rank": 1})):
            with pytest.raises(ConfigurationError, match="99 cores"):
                task(task_description={"cores_per_rank": 99})
        small = service(task_description={"cores_per_rank": 1})
        assert await small.ask() == ({"cores_per_rank": 1}, None)


def test_tasks_of_other_threads() -> None:
    backend = Open()
    with Flow(backend) as flow:
        task = flow.function_task(mpi)
        assert task(1).result() == (1, {"ranks": 2, "q": "a"})
        assert task(1, task_description={"ranks": 3}).result() == (1, {"ranks": 3, "q": "a"})
        assert spec_of(backend).resources == Resources(ranks=3)
        with pytest.raises(ConfigurationError, match="'ranks' must be"):
            task(1, task_description={"ranks": 0})
        with flow.executor() as executor:
            called = executor.submit(mpi, 1, task_description={"ranks": 4})
            assert called.result() == (1, {"ranks": 4, "q": "a"})
            assert spec_of(backend).resources == Resources(ranks=4)

            class Verbatim:
                def __call__(self, **given: Any) -> Any:
                    return given

            called = executor.submit(Verbatim(), task_description={"ranks": 4})
            assert called.result() == {"task_description": {"ranks": 4}}
            assert spec_of(backend).resources == Resources()


async def test_a_description_of_a_command_is_a_part_of_what_a_journal_compares(
    tmp_path: Any,
) -> None:
    async def run(**description: Any) -> str:
        async with WorkflowEngine.create("concurrent", journal=tmp_path / "run") as flow:
            done = await flow.executable_task(line)("echo $A", task_description=description)
        return str(done)

    values = [{"shell": True, "env": {"A": "1"}}, {"shell": True, "env": {"A": "2"}}, {}]
    assert [await run(**value) for value in values] == ["1\n", "2\n", "$A\n"]


def test_the_quick_look_at_a_signature_finds_what_the_long_one_finds() -> None:
    from radical.asyncflow._task.description import default_description

    def positional(task_description: Any = {"ranks": 2}, /) -> None: ...
    def keyword(*, task_description: Any = {"ranks": 2}) -> None: ...
    def without() -> None:
        task_description = {"ranks": 2}
        del task_description

    def rest(*task_description: Any) -> None: ...

    class Object:
        def __call__(self, task_description: Any = {"ranks": 2}) -> None: ...

    found: list[Callable[..., Any]] = [positional, keyword, Object()]
    assert [default_description(each) for each in found] == [{"ranks": 2}] * 3
    others: list[Callable[..., Any]] = [without, rest, print, str]
    assert [default_description(each) for each in others] == [{}] * 4
