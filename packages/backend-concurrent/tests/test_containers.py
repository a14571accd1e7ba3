"""Commands in containers, and in other shells: with Charliecloud, and stand-ins of the others."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from charliecloud import make_image, why_not
from radical.asyncflow import (
    Command,
    Container,
    ExecutableError,
    InputFile,
    OutputFile,
    Resources,
    WorkflowEngine,
)
from rank_functions import gone, read

TOOLS = ("env", "id", "od", "readlink", "sed", "tr", "uname")

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that Charliecloud can run."""
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    root = make_image(tmp_path_factory.mktemp("container") / "image")
    (root / "inside").write_text("the image")
    return root


@pytest.fixture
async def flow() -> AsyncIterator[WorkflowEngine]:
    settings = {"max_workers": 2, "grace": 2.0}
    async with WorkflowEngine.create(backend="concurrent", config=settings) as engine:
        yield engine


def runtime(folder: Path, name: str) -> str:
    """The path of a stand-in for a runtime, which writes down its arguments and runs nothing."""
    path = folder / name
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o755)
    return str(path)


async def said(flow: WorkflowEngine, container: Container, **options: Any) -> list[str]:
    """What the stand-in of *container* was given."""
    env = {"GREETING": "hello all", "CUDA_VISIBLE_DEVICES": "1", "OTHER": None}
    task = flow.executable_task(
        lambda: Command(("run", "a b", "$c"), env=env), container=container, **options
    )
    output = await task()
    return output.splitlines()


# ------------------------------------------------------------------- Charliecloud


async def test_a_command_runs_in_the_image_and_in_its_folder(
    flow: WorkflowEngine, image: Path, tmp_path: Path
) -> None:
    @flow.executable_task(container=image)
    def look() -> Command:
        line = 'cat /inside; echo " $PWD $GREETING"; cat'
        return Command(line, env={"GREETING": "it's me"}, cwd=str(tmp_path), stdin="given")

    assert await look() == f"the image {tmp_path} it's me\ngiven"


async def test_lists_and_their_exit_codes_pass_unchanged(flow: WorkflowEngine, image: Path) -> None:
    words = ["a  b", "$HOME", "'", '"', "*", "\\n", ""]
    line = 'for word; do echo "<$word>"; done; exit 3'
    task = flow.executable_task(lambda: ["sh", "-c", line, "sh", *words], container=image)
    with pytest.raises(ExecutableError) as caught:
        await task()
    assert caught.value.exit_code == 3
    assert caught.value.stdout == "".join(f"<{word}>\n" for word in words)


@pytest.mark.parametrize("link", [False, True])
async def test_its_files_go_in_and_come_out(
    flow: WorkflowEngine, image: Path, tmp_path: Path, link: bool
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.txt"
    source.write_text("from outside\n")

    @flow.executable_task(container=image)
    def copy(given: str, made: str) -> str:
        return f"cat {given} /inside > {made}"

    await copy(InputFile(str(source), link=link), OutputFile(str(target)))
    assert target.read_text() == "from outside\nthe image"


async def test_further_folders_are_there_where_they_are_wanted(
    flow: WorkflowEngine, image: Path, tmp_path: Path
) -> None:
    data = tmp_path / "some data"
    data.mkdir()
    (data / "file").write_text("data")
    container = Container(str(image), binds=(str(data), f"{data}:/mnt/0"))
    task = flow.executable_task(
        ["cat", str(data / "file"), "/mnt/0/file"].copy, container=container
    )
    assert await task() == "datadata"


async def test_a_folder_that_the_image_lacks_is_made_in_it(
    flow: WorkflowEngine, image: Path, tmp_path: Path
) -> None:
    container = Container(str(image), binds=(f"{tmp_path}:/scratch/run",))
    task = flow.executable_task(lambda: "cat /scratch/run/file", container=container)
    (tmp_path / "file").write_text("found")
    assert await task() == "found"


async def test_what_the_image_sets_gives_way_to_what_the_task_sets(
    flow: WorkflowEngine, image: Path, tmp_path: Path
) -> None:
    root = tmp_path / "image"
    shutil.copytree(image, root, symlinks=True)
    (root / "ch").mkdir()
    (root / "ch" / "environment").write_text("GREETING=image\nOMP_NUM_THREADS=64\nSIZE=2\nNONE=1\n")
    own = {"GREETING": "it's $HOME: a\n$SIZE", "OMP_NUM_THREADS": "4", "NONE": ""}
    task = flow.executable_task(lambda: Command("env", env=own), container=root)
    given = await task()
    for line in ("GREETING=it's $HOME: a\n$SIZE", "OMP_NUM_THREADS=4", "SIZE=2", "NONE="):
        assert f"{line}\n" in given
    assert "ASYNCFLOW_OWN_" not in given


async def test_a_cancellation_ends_all_that_runs_inside(
    flow: WorkflowEngine, image: Path, tmp_path: Path
) -> None:
    pids = tmp_path / "pids"

    @flow.executable_task(container=image)
    def hold() -> str:
        # The first ignores SIGTERM, and so does its child.
        return f"trap '' TERM; sleep 3600 & echo $$ >> {pids}; echo $! >> {pids}; wait; sleep 3600"

    future = hold()
    inside = await read(pids, 2)
    future.cancel()
    await asyncio.wait([future])
    await gone(inside)


async def test_each_rank_runs_in_a_container(flow: WorkflowEngine, image: Path) -> None:
    task = flow.executable_task(
        lambda: 'echo "${PMI_RANK:-$OMPI_COMM_WORLD_RANK}: $(cat /inside)"',
        container=image,
        resources=Resources(ranks=2),
    )
    assert await task() == "0: the image\n1: the image\n"


async def test_a_missing_program_and_a_missing_image_are_told_apart(
    flow: WorkflowEngine, image: Path
) -> None:
    with pytest.raises(ExecutableError, match="no-such-program"):
        await flow.executable_task(lambda: ["no-such-program"], container=image)()
    with pytest.raises(ExecutableError, match=r"there is no image .*/other on ") as caught:
        await flow.executable_task(lambda: ["true"], container=image.parent / "other")()
    assert caught.value.exit_code == 125


# ---------------------------------------------------------- stand-ins of the others


async def test_apptainer_gets_folders_gpus_and_options(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    here = os.getcwd()  # noqa: PTH109
    image = tmp_path / "image.sif"
    image.touch()
    container = Container(
        str(image),
        runtime(tmp_path, "apptainer"),
        ("/data", "/a b:/c"),
        ("--no-home", "--cleanenv"),
    )
    given = await said(flow, container)
    assert given[:3] == ["exec", "--pwd", here]
    binds = [given[index + 1] for index, word in enumerate(given) if word == "--bind"]
    assert sorted(binds) == sorted([here, "/data", "/a b:/c"])
    assert given[-6:] == ["--no-home", "--cleanenv", str(image), "run", "a b", "$c"]
    by_name = Container("python:3.12", runtime(tmp_path, "singularity"))
    assert (await said(flow, by_name))[-4] == "docker://python:3.12"


@pytest.mark.parametrize("name", ["apptainer", "singularity"])
async def test_the_variables_of_the_task_reach_it_whatever_apptainer_leaves_out(
    flow: WorkflowEngine, tmp_path: Path, name: str
) -> None:
    runtime(tmp_path, name)
    (tmp_path / name).write_text("#!/bin/sh\nenv\n")
    value = 'it\'s "$HOME" `a`'
    task = flow.executable_task(
        lambda: Command("true", env={"GREETING": value, "CUDA_VISIBLE_DEVICES": "1"}),
        container=Container("python:3.12", str(tmp_path / name)),
    )
    given = (await task()).splitlines()
    assert f"{name.upper()}ENV_GREETING={value}" in given
    assert f"{name.upper()}ENV_CUDA_VISIBLE_DEVICES=1" in given
    assert not [line for line in given if line.startswith(f"{name.upper()}ENV_PATH=")]


@pytest.mark.parametrize("name", ["podman", "docker"])
async def test_podman_and_docker_get_folders_and_the_variables_of_the_task(
    flow: WorkflowEngine, tmp_path: Path, name: str
) -> None:
    here = os.getcwd()  # noqa: PTH109
    container = Container(
        "docker://a/b:1", runtime(tmp_path, name), ("/data",), ("--ulimit", "host")
    )
    given = await said(flow, container)
    assert given[:3] == ["run", "--rm", "--interactive"]
    pairs: dict[str, list[str]] = {}
    for flag, value in pairwise(given):
        pairs.setdefault(flag, []).append(value)
    assert sorted(pairs["--volume"]) == sorted([f"{here}:{here}", "/data:/data"])
    assert pairs["--workdir"] == [here]
    assert pairs["--entrypoint"] == [""]
    assert {"GREETING", "CUDA_VISIBLE_DEVICES", "ASYNCFLOW_EXECUTION"} <= set(pairs["--env"])
    assert not {"OTHER", "PATH", "HOME"} & set(pairs["--env"])
    assert given[-6:] == ["--ulimit", "host", "a/b:1", "run", "a b", "$c"]
    if name == "docker":
        assert pairs["--user"] == [f"{os.getuid()}:{os.getgid()}"]


@pytest.mark.parametrize(
    ("files", "name", "wanted"),
    [
        (["nvidiactl"], "apptainer", ["--nv"]),
        (["kfd", "dri"], "singularity", ["--rocm"]),
        (["dri"], "apptainer", []),
        (["nvidiactl", "dri"], "podman", ["--device nvidia.com/gpu=all"]),
        (
            ["kfd", "dri"],
            "podman",
            ["--device {}/dri", "--device {}/kfd", "--group-add keep-groups"],
        ),
        (["dri"], "podman", ["--device {}/dri"]),
        (["nvidiactl"], "docker", ["--gpus all"]),
        (["kfd", "dri"], "docker", ["--device {}/dri", "--device {}/kfd", "--group-add GROUP"]),
        ([], "docker", []),
    ],
)
async def test_a_container_gets_the_gpus_that_its_node_has(
    flow: WorkflowEngine,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: list[str],
    name: str,
    wanted: list[str],
) -> None:
    devices = tmp_path / "devices"
    devices.mkdir()
    for file in files:
        (devices / file).touch()
    monkeypatch.setattr("radical.asyncflow._dispatch.wrapping._DEVICES", str(devices))
    group = str(devices.stat().st_gid)
    program = runtime(tmp_path, name)
    given = await said(flow, Container("a:1", program, gpus=True))
    alone = [word for word in given if word in ("--nv", "--rocm")]
    flags = ("--device", "--gpus", "--group-add")
    pairs = [f"{flag} {value}" for flag, value in pairwise(given) if flag in flags]
    assert alone + pairs == [word.replace("GROUP", group).format(devices) for word in wanted]
    assert not {*flags, "--nv", "--rocm"} & {*await said(flow, Container("a:1", program))}


async def test_a_container_gets_the_variables_by_which_gpus_and_threads_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {
        "CUDA_VISIBLE_DEVICES": "1",
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "ROCR_VISIBLE_DEVICES": "1",
        "HIP_VISIBLE_DEVICES": "0",
        "ZE_AFFINITY_MASK": "1",
        "OMP_NUM_THREADS": "4",
        "OMP_PLACES": "cores",
        "MKL_NUM_THREADS": "4",
    }
    for name in (*own, "NVIDIA_VISIBLE_DEVICES", "SOME_OTHER"):
        monkeypatch.setenv(name, own.get(name, "void"))
    container = Container("a:1", runtime(tmp_path, "podman"))
    async with WorkflowEngine.create("concurrent") as flow:
        task = flow.executable_task(lambda env: Command("true", env=env), container=container)
        given = pairwise((await task({})).splitlines())
        passed = {value for flag, value in given if flag == "--env"}
        assert own.keys() <= passed
        assert not {"NVIDIA_VISIBLE_DEVICES", "SOME_OTHER"} & passed
        assert "--env\nNVIDIA_VISIBLE_DEVICES\n" in await task({"NVIDIA_VISIBLE_DEVICES": "all"})


async def test_the_end_of_a_container_that_another_process_runs_is_asked_for(
    tmp_path: Path,
) -> None:
    began, stopped = tmp_path / "began", tmp_path / "stopped"
    (tmp_path / "podman").write_text(
        "#!/bin/sh\n"
        f'case $1 in stop) echo "$4" > {stopped}.part; mv {stopped}.part {stopped}; exit ;; esac\n'
        f"trap '' TERM\necho 1 > {began}\n"
        f"while ! test -e {stopped}; do sleep 0.02; done\nexit 143\n"
    )
    (tmp_path / "podman").chmod(0o755)
    container = Container("a", str(tmp_path / "podman"))
    patient = {"max_workers": 1, "grace": 20.0}
    async with WorkflowEngine.create(backend="concurrent", config=patient) as flow:
        future = flow.executable_task(lambda: ["true"], container=container)()
        await read(began, 1)
        future.cancel()
        await asyncio.wait([future])
    assert stopped.read_text().startswith("asyncflow-")


async def test_a_runtime_that_is_not_there_is_named_with_what_would_do(
    flow: WorkflowEngine, tmp_path: Path
) -> None:
    for tool in TOOLS:
        (tmp_path / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")

    @flow.executable_task
    def body() -> Command:
        return Command("true", env={"PATH": str(tmp_path)})

    for image, names in (
        ("a:1", "Podman, Docker, Apptainer or Singularity"),
        (str(tmp_path), r"Charliecloud \(ch-run\), Apptainer or Singularity"),
    ):
        message = f"(?s)no container runtime on .* can run {image}: install {names},"
        with pytest.raises(ExecutableError, match=message) as caught:
            await body.options(container=image)()
        assert caught.value.exit_code == 127
    runtime(tmp_path, "docker")
    assert (await body.options(container="a:1")()).startswith("run\n--rm\n")


# ---------------------------------------------------------------------------- shells


@needs_bash
async def test_a_line_runs_in_bash(flow: WorkflowEngine) -> None:
    task = flow.executable_task(lambda: 'words=(a b); echo "${words[1]}" "$0"', shell="bash")
    assert await task() == "b bash\n"


@needs_bash
async def test_a_failure_within_a_pipe_counts_if_the_shell_is_told_so(flow: WorkflowEngine) -> None:
    task = flow.executable_task(lambda: "false | cat")
    assert await task() == ""
    assert await task.options(shell="bash")() == ""
    with pytest.raises(ExecutableError):
        await task.options(shell="bash -o pipefail")()


async def test_a_shell_that_is_not_there_is_named(flow: WorkflowEngine) -> None:
    task = flow.executable_task(lambda: "true", shell="no-such-shell -e")
    with pytest.raises(ExecutableError, match="there is no shell no-such-shell on") as caught:
        await task()
    assert caught.value.exit_code == 127
