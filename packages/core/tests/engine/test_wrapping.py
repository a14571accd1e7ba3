"""A command line in another shell, and a command in a container: what the backend gets."""

from __future__ import annotations

import asyncio
import os
import shlex
from pathlib import Path
from typing import Any

import pytest
from radical.asyncflow import (
    Command,
    ConfigurationError,
    Container,
    ExecutableError,
    Resources,
    WorkflowEngine,
)
from radical.asyncflow.backend import ExecutableResult
from radical.asyncflow.testing import ScriptedBackend

from .resuming import Program
from .waiting import until


def line() -> str:
    return "date | wc"


def words() -> list[str]:
    return ["date", "-u"]


def sent(backend: ScriptedBackend) -> Command:
    command = backend.submitted[-1].command
    assert isinstance(command, Command)
    return command


def assigned(command: Command) -> dict[str, str]:
    """What the script for a container is told."""
    head = command.args[2].partition("\nfail()")[0]
    return dict(word.split("=", 1) for word in shlex.split(head))  # type: ignore[misc]


async def test_a_command_line_goes_to_the_shell_that_is_asked_for(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    await flow.executable_task(line, shell="bash -euo pipefail")()
    args = sent(backend).args
    assert args[:2] == ("/bin/sh", "-c")
    assert args[4:] == ("bash", "-euo", "pipefail", "-c", "date | wc")
    await flow.executable_task(lambda: "-x y", shell="bash")()
    assert sent(backend).args[-1] == " -x y"


async def test_a_list_needs_no_shell(flow: WorkflowEngine, backend: ScriptedBackend) -> None:
    await flow.executable_task(words, shell="bash")()
    assert sent(backend).args == ("date", "-u")


@pytest.mark.parametrize(
    ("shell", "message"),
    [
        (True, "shell names a shell, such as 'bash'"),
        (5, "shell must be a shell such as 'bash', not 5"),
        ("", "shell must be a shell such as 'bash'"),
        ("bash '", "cannot be read: No closing quotation"),
        ("bash -c", "has -c, which is added before the command line"),
    ],
)
async def test_a_shell_that_cannot_be_one_is_refused(
    flow: WorkflowEngine, shell: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        flow.executable_task(line, shell=shell)


async def test_shells_and_containers_are_for_commands(flow: WorkflowEngine) -> None:
    with pytest.raises(ConfigurationError) as caught:
        flow.function_task(shell="bash", container="image.sif")
    assert "shell is for executable tasks, not for a function" in str(caught.value)
    assert "container is for executable tasks, not for a function" in str(caught.value)


async def test_a_container_gets_the_command_line_and_what_it_needs(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    container = {"image": "image.sif", "binds": ["/data"], "options": ["--no-home"]}
    task = flow.executable_task(lambda: Command("date | wc", env={"A": "1", "B": None}))
    await task.options(container=container)()
    command = sent(backend)
    assert command.args[:2] == ("/bin/sh", "-c")
    assert command.args[4:] == ("/bin/sh", "-c", "date | wc")
    assert assigned(command) == {
        "image": str(Path.cwd() / "image.sif"),
        "form": "sif",
        "is_path": "1",
        "runtimes": "apptainer\nsingularity",
        "missing": "Apptainer or Singularity",
        "folder": "",
        "binds": "/data",
        "options": "--no-home",
        "gpus": "",
        "devices": "/dev",
        "names": "A",
    }
    await task.options(container="image.sif", shell="bash")()
    assert sent(backend).args[4:] == ("bash", "-c", "date | wc")
    await flow.executable_task(words, container="image.sif")()
    assert sent(backend).args[4:] == ("date", "-u")


async def test_a_task_that_asks_for_gpus_has_them_in_its_container() -> None:
    backend = ScriptedBackend(kinds=("executable",), resources=("gpus",))  # type: ignore[arg-type]
    async with WorkflowEngine.create(backend) as flow:
        task = flow.executable_task(words, container=Container("./image", runtime="ch-run"))
        await task()
        assert assigned(sent(backend))["gpus"] == ""
        await task.options(resources=Resources(gpus=1))()
        assert assigned(sent(backend))["gpus"] == "1"
        await task.options(container=Container("./image", "ch-run", gpus=True))()
        assert assigned(sent(backend))["gpus"] == "1"


async def test_an_error_shows_the_command_of_the_user(
    flow: WorkflowEngine, backend: ScriptedBackend
) -> None:
    given: Any
    for given in ({"container": "image.sif"}, {"shell": "bash"}):
        backend.hold()
        future = flow.executable_task(line, **given)()
        await until(backend.waiting)
        backend.finish("line", ExecutableResult(3, "", "no"))
        with pytest.raises(ExecutableError) as caught:
            await future
        assert caught.value.command == "date | wc"


@pytest.mark.parametrize(
    ("image", "form", "runtimes"),
    [
        ("image.sif", "sif", ("apptainer", "singularity")),
        (Path("image"), "folder", ("ch-run", "apptainer", "singularity")),
        ("~/image", "folder", ("ch-run", "apptainer", "singularity")),
        ("/image.sqfs", "squashfs", ("ch-run", "apptainer", "singularity")),
        ("docker://a/b:1", "docker", ("apptainer", "singularity", "podman", "docker")),
        ("oras://a/b:1", "url", ("apptainer", "singularity")),
        ("a/b:1", "name", ("podman", "docker", "apptainer", "singularity")),
    ],
)
def test_the_form_of_an_image_decides_what_can_run_it(
    image: Any, form: str, runtimes: tuple[str, ...]
) -> None:
    container = Container(image)
    assert (container.form, container.runtimes) == (form, runtimes)


@pytest.mark.parametrize(
    ("container", "message"),
    [
        (5, "the image must be a path, a name or a URL, not 5"),
        ("", "the image must be a path"),
        ("a\nb", "cannot hold a NUL or a line break"),
        ({"img": "a"}, "unknown key 'img'"),
        ({"runtime": "podman"}, "the image is missing"),
        ({"image": "a", "runtime": "pod"}, "unknown runtime 'pod'; did you mean 'podman'"),
        ({"image": "a", "runtime": 5}, "runtime must be a name, not 5"),
        ({"image": "a.sif", "runtime": "podman"}, "podman cannot run the image 'a.sif'; apptainer"),
        ({"image": "a", "binds": "/data"}, "binds must be a list of strings"),
        ({"image": "a", "binds": [":/data"]}, "binds has no source in ':/data'"),
        ({"image": "a", "options": [1]}, "options must be a list of strings"),
        ({"image": "a", "gpus": 1}, "gpus must be True, False or None, not 1"),
    ],
)
async def test_a_container_that_cannot_be_one_is_refused(
    flow: WorkflowEngine, container: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        flow.executable_task(line, container=container)


async def test_the_container_of_the_profile_is_that_of_its_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[ScriptedBackend] = []

    def create(name: str, config: Any) -> ScriptedBackend:
        made.append(ScriptedBackend(kinds=("function", "executable")))  # type: ignore[arg-type]
        return made[-1]

    path = tmp_path / "asyncflow.toml"
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(path))
    monkeypatch.setattr("radical.asyncflow._discovery.registry.registry.create", create)
    path.write_text('backend = "scripted"\ncontainer = {image = "a:1", runtime = "podman"}\n')
    async with WorkflowEngine.create() as flow:
        await flow.executable_task(words)()
        assert assigned(sent(made[0]))["image"] == "a:1"
        await flow.executable_task(words, container="b:1")()
        assert assigned(sent(made[0]))["image"] == "b:1"
        await flow.executable_task(words, container=False)()
        assert sent(made[0]).args == ("date", "-u")
        assert await flow.function_task(os.path.basename)("a/b") == "b"
    path.write_text('[profiles.a]\nbackend = "scripted"\ncontainer = {runtime = "podman"}\n')
    with pytest.raises(ConfigurationError, match=r"profiles\.a: container: the image is missing"):
        await WorkflowEngine.create(profile="a")


async def test_after_a_loss_the_container_is_that_of_the_next_backend(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: dict[str, ScriptedBackend] = {}

    def create(name: str, config: Any) -> ScriptedBackend:
        made[name] = ScriptedBackend(name=name, kinds=("executable",))  # type: ignore[arg-type]
        return made[name]

    path = tmp_path / "asyncflow.toml"
    monkeypatch.setenv("ASYNCFLOW_CONFIG", str(path))
    monkeypatch.setattr("radical.asyncflow._discovery.registry.registry.create", create)
    path.write_text(
        "[profiles.a]\nbackends = ["
        '{backend = "one", container = "a:1"}, {backend = "two", container = "b:1"}, '
        '{backend = "three"}]\n'
    )
    async with WorkflowEngine.create(profile="a", failover=True) as flow:
        one, two, three = made["one"], made["two"], made["three"]
        task = flow.executable_task(words, retries=1)
        futures = [task(), task.options(container="c:1")(), task.options(container=False)()]
        one.hold()
        await until(lambda: len(one.waiting()) == 3)
        two.hold()
        one.lose()
        await until(lambda: len(two.waiting()) == 3)
        begun, later = futures[0], task()
        two.start_task(begun)
        await until(lambda: len(two.submitted) == 4)
        two.lose()
        await asyncio.gather(*futures, later)
    images = {
        backend.name: [
            assigned(request.command)["image"] if len(request.command.args) > 2 else ""
            for request in backend.submitted
        ]
        for backend in (one, two, three)
    }
    assert images["one"] == ["a:1", "c:1", ""]
    assert sorted(images["two"]) == ["", "b:1", "b:1", "c:1"]
    assert sorted(images["three"]) == ["", "", "", "c:1"]


async def test_another_container_or_shell_runs_again(tmp_path: Path) -> None:
    image = tmp_path / "image.sif"
    image.write_bytes(b"one")
    program = Program(tmp_path)

    def main(**options: Any) -> Any:
        return lambda flow: flow.executable_task(line, **options)()

    first = main(container=str(image))
    assert await program.run(first) == ["line"]
    assert await program.run(first) == []
    assert await program.run(main(container=Container(str(image), runtime="apptainer"))) == []
    assert await program.run(main(container=Container(str(image), binds=("/data",)))) == ["line"]
    assert await program.run(main()) == ["line"]
    assert await program.run(main(shell="bash")) == ["line"]
    assert await program.run(main(shell="bash")) == []
    image.write_bytes(b"another")
    assert await program.run(first) == ["line"]
    assert program.why("line") == f"the image {image} of its container has changed"
