# ruff: noqa: ASYNC110, ASYNC230, ASYNC240 - a test may block its own loop to look at a file
from __future__ import annotations

import asyncio
import contextlib
import importlib
import math
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polling import until
from radical.asyncflow._files.declared import FileSet, InputFile, OutputFile
from radical.asyncflow._files.delivery import replace_paths
from radical.asyncflow._files.staging import deliver_outputs, stage
from radical.asyncflow.errors import ConfigurationError, FileError

AWKWARD = ["with space", "größe-数据", "it's", 'say "hi"', "-rf", "$HOME;x", "a\nb", "🚀.csv"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "task.000017"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_text("1,2\n")
    return path


@pytest.fixture
def memory() -> Iterator[Any]:
    system = importlib.import_module("fsspec").filesystem("memory")
    yield system
    system.store.clear()
    system.pseudo_dirs[:] = [""]


PIPES = """
import fsspec

class Pipes(fsspec.AbstractFileSystem):
    protocol = "pipe"

    def open(self, path, mode="rb", **options):
        return open(path, mode, buffering=0)

fsspec.register_implementation("pipe", Pipes, clobber=True)
"""
"""A file system whose files are named pipes, which hang as those of a lost server do."""


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Path]:
    """A source that hangs; at the end whoever still waits for it is let go."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    exec(PIPES, {})
    yield path
    for thread in threading.enumerate():
        if thread.name == "asyncflow-files":
            with contextlib.suppress(OSError):  # nobody reads any more
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            thread.join(10)
            assert not thread.is_alive()


async def staged(folder: Path, *files: InputFile | OutputFile, **options: Any) -> list[str]:
    """Stage *files* and give what the task's body would get, in their order."""
    found = FileSet(
        [item for item in files if isinstance(item, InputFile)],
        [item for item in files if isinstance(item, OutputFile)],
    )
    folder_of: Callable[[Any], Path | None] = options.get("folder_of", lambda _: None)
    paths = await stage(found, folder, lambda future: future.result(), folder_of)
    return [paths[id(item)] for item in files]


def done(value: object) -> asyncio.Future[Any]:
    future = asyncio.get_running_loop().create_future()
    future.set_result(value)
    return future


def in_pipe(path: Path, timeout: float | None = None) -> InputFile:
    return InputFile(f"pipe://{path}", timeout=timeout)


def below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ------------------------------------------------------------------------ names


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "a/..", "../..", "a\0b", None, b"x", "/a/*/b", "../*/b"]
)
def test_an_output_name_that_is_that_of_no_file_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"output's name must be|only the last part"):
        OutputFile(name)


@pytest.mark.parametrize("name", ["../x", "/x", "", ".", "a\0b", 3])
def test_an_input_name_that_leaves_the_folder_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name"):
        InputFile("data.csv", name)


@given(st.text())
def test_a_name_that_is_accepted_stays_in_the_folder(name: str) -> None:
    with contextlib.suppress(ConfigurationError):
        inside = os.path.normpath(f"/folder/{OutputFile(name).inside}")
        assert inside.startswith("/folder/")


@pytest.mark.parametrize("source", [None, 3, b"data.csv", "", "a\0b", object()])
def test_a_source_that_is_no_path_is_refused(source: Any) -> None:
    with pytest.raises(ConfigurationError, match="source must be a path"):
        InputFile(source)


@pytest.mark.parametrize("timeout", [0, -1, math.nan, "3", True])
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="timeout must be seconds"):
        InputFile("data.csv", timeout=timeout)


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("a/data.csv", "data.csv"),
        (Path("a/folder/"), "folder"),
        ("file:///a/two%20words.txt", "two words.txt"),
        ("https://host/a/data.csv?token=secret#part", "data.csv"),
        ("memory://a/b%20c", "b c"),
        ("simplecache::memory://a/data.csv", "data.csv"),
        ("zip://inner.csv::memory://all.zip", "inner.csv"),
    ],
)
def test_the_name_of_an_input_comes_from_its_source(source: str, name: str) -> None:
    assert InputFile(source).name == name


@pytest.mark.parametrize("name", ["sample::3.txt", "std::map.log", "12:30:00.log", "a::b", "x:"])
@pytest.mark.parametrize("kind", [str, Path])
async def test_a_name_with_colons_is_that_of_a_local_file(
    tmp_path: Path, folder: Path, name: str, kind: Callable[[str], Any]
) -> None:
    (tmp_path / name).write_text("content")
    with contextlib.chdir(tmp_path):
        declared = InputFile(kind(name))
    assert declared.name == name
    assert Path((await staged(folder, declared))[0]).read_text() == "content"


@pytest.mark.parametrize("kind", ["memory://a/b", "zip::memory://a/b"])
def test_a_path_is_never_a_url(tmp_path: Path, kind: str) -> None:
    with contextlib.chdir(tmp_path):
        assert InputFile(Path(kind)).source == str(tmp_path / Path(kind))


def test_a_url_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="is no valid URL: Invalid IPv6 URL"):
        InputFile("http://[host/data.csv")


def test_a_source_without_a_name_asks_for_one() -> None:
    with pytest.raises(ConfigurationError, match="no file name can be derived"):
        InputFile("/")


def test_a_file_url_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="another machine"):
        InputFile("file://host/data.csv")


def test_a_relative_source_is_that_of_the_folder_it_was_declared_in(
    data: Path,
) -> None:
    with contextlib.chdir(data.parent):
        declared = InputFile("data.csv")
    assert declared.source == str(data)


def test_a_url_without_fsspec_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match=r"radical\.asyncflow\[files\]"):
        InputFile("s3://bucket/key")


def test_passwords_and_queries_do_not_show() -> None:
    shown = repr(InputFile("https://me:secret@host/data.csv?token=secret"))
    assert "secret" not in shown
    assert "host/data.csv" in shown


def test_files_are_declared_without_importing_fsspec() -> None:
    code = (
        "import sys; from radical.asyncflow._files.declared import InputFile; "
        "InputFile('memory://a'); print('fsspec' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout == "False\n", done.stderr


# ------------------------------------------------------------------ local inputs


async def test_the_task_gets_the_absolute_path_of_a_copy(data: Path, folder: Path) -> None:
    (path,) = await staged(folder, InputFile(data))
    assert path == str(folder / "data.csv")
    assert Path(path).read_text() == "1,2\n"


async def test_changing_the_copy_leaves_the_original(data: Path, folder: Path) -> None:
    (path,) = await staged(folder, InputFile(data))
    with Path(path).open("a") as copy:
        copy.write("more")
    assert data.read_text() == "1,2\n"


async def test_a_linked_input_is_the_original(data: Path, folder: Path) -> None:
    (path,) = await staged(folder, InputFile(data, link=True))
    assert (Path(path).is_symlink(), Path(path).read_text()) == (True, "1,2\n")
    (again,) = await staged(folder, InputFile(data))
    assert not Path(again).is_symlink()


async def test_what_is_also_wanted_as_a_copy_is_copied(data: Path, folder: Path) -> None:
    path, _ = await staged(folder, InputFile(data), InputFile(data, link=True))
    assert (Path(path).is_symlink(), Path(path).read_text()) == (False, "1,2\n")


async def test_a_missing_original_cannot_be_linked(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        await staged(folder, InputFile(tmp_path / "nothing", link=True))


def test_a_url_cannot_be_linked() -> None:
    with pytest.raises(ConfigurationError, match="cannot be linked"):
        InputFile("memory://data.csv", link=True)


async def test_the_copy_of_a_link_is_a_file_of_its_own(data: Path, folder: Path) -> None:
    link = data.with_name("link.csv")
    link.symlink_to(data)
    (path,) = await staged(folder, InputFile(link))
    assert (Path(path).is_symlink(), Path(path).read_text()) == (False, "1,2\n")
    assert not Path(path).samefile(data)


async def test_permissions_and_times_are_kept_but_the_owner_may_write(
    data: Path, folder: Path
) -> None:
    data.chmod(0o555)
    os.utime(data, (1, 1_000_000))
    (path,) = await staged(folder, InputFile(data))
    facts = Path(path).stat()
    assert (stat.S_IMODE(facts.st_mode), facts.st_mtime) == (0o755, 1_000_000)


@pytest.mark.parametrize("name", AWKWARD)
async def test_awkward_names_are_only_names(name: str, tmp_path: Path, folder: Path) -> None:
    (tmp_path / name).write_text("x")
    one, two, out = await staged(
        folder, InputFile(tmp_path / name), InputFile(tmp_path / name, f"2{name}"), OutputFile(name)
    )
    assert (one, out, two) == (*[str(folder / name)] * 2, str(folder / f"2{name}"))
    assert Path(one).read_text() == Path(two).read_text() == "x"


async def test_a_file_url_is_a_local_file(data: Path, folder: Path) -> None:
    spaced = data.rename(data.with_name("two words"))
    (path,) = await staged(folder, InputFile(spaced.as_uri()))
    assert Path(path).name == "two words"


async def test_an_input_can_go_into_a_subfolder(data: Path, folder: Path) -> None:
    (path,) = await staged(folder, InputFile(data, "deep/er/data.csv"))
    assert path == str(folder / "deep/er/data.csv")
    assert below(folder) == ["deep", "deep/er", "deep/er/data.csv"]


async def test_a_large_file_arrives_complete(tmp_path: Path, folder: Path) -> None:
    content = os.urandom(5_000_001)
    (tmp_path / "large").write_bytes(content)
    (path,) = await staged(folder, InputFile(tmp_path / "large"))
    assert Path(path).read_bytes() == content


async def test_a_file_without_a_known_size_arrives_complete(folder: Path) -> None:
    (path,) = await staged(folder, InputFile("/proc/self/status"))
    assert "Name:" in Path(path).read_text()


async def test_a_folder_is_copied_with_all_it_holds(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "set"
    (source / "empty").mkdir(parents=True)
    (source / "sub").mkdir()
    (source / "sub" / "a").write_text("a")
    (source / "link").symlink_to("sub")
    (path,) = await staged(folder, InputFile(source))
    assert below(Path(path)) == ["empty", "link", "link/a", "sub", "sub/a"]
    (Path(path) / "link" / "a").write_text("changed")
    assert (source / "sub" / "a").read_text() == "a"


async def test_a_folder_that_holds_itself_is_an_error(tmp_path: Path, folder: Path) -> None:
    source = tmp_path / "set"
    source.mkdir()
    (source / "again").symlink_to(source)
    with pytest.raises(FileError, match="leads back to itself"):
        await staged(folder, InputFile(source))
    assert below(folder) == []


async def test_a_folder_around_the_tasks_own_is_an_error(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(FileError, match="the task's own folder"):
        await staged(folder, InputFile(tmp_path))
    assert below(folder) == []


async def test_a_pipe_inside_a_folder_is_an_error_that_names_it(
    tmp_path: Path, folder: Path
) -> None:
    (tmp_path / "set").mkdir()
    os.mkfifo(tmp_path / "set" / "pipe")
    with pytest.raises(FileError, match=r"set/pipe' is neither a file nor a folder"):
        await staged(folder, InputFile(tmp_path / "set"))


async def test_a_missing_source_is_named_with_the_closest_there_is(
    data: Path, folder: Path
) -> None:
    with pytest.raises(FileError) as caught:
        await staged(folder, InputFile(data.with_name("dat.csv")))
    assert str(data.with_name("dat.csv")) in str(caught.value)
    assert "did you mean 'data.csv'?" in str(caught.value)
    assert isinstance(caught.value.__cause__, FileNotFoundError)


async def test_one_missing_source_of_many_is_one_plain_error(data: Path, folder: Path) -> None:
    missing = [InputFile(data.with_name(f"gone{number}")) for number in range(3)]
    with pytest.raises(FileError, match="no such file"):
        await staged(folder, InputFile(data), *missing)


async def test_a_second_attempt_gets_fresh_copies(data: Path, tmp_path: Path, folder: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a").write_text("a")
    files = InputFile(data), InputFile(tmp_path / "set")
    first, tree = await staged(folder, *files)
    Path(first).write_text("spoiled")
    (Path(tree) / "b").write_text("spoiled")
    assert await staged(folder, *files) == [first, tree]
    assert Path(first).read_text() == "1,2\n"
    assert below(Path(tree)) == ["a"]


async def test_forty_inputs_at_once_all_arrive(tmp_path: Path, folder: Path) -> None:
    for number in range(40):
        (tmp_path / f"in{number}").write_text(str(number))
    paths = await staged(folder, *(InputFile(tmp_path / f"in{number}") for number in range(40)))
    assert [Path(path).read_text() for path in paths] == [str(number) for number in range(40)]


# -------------------------------------------------------------------- conflicts


def test_two_inputs_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="two inputs of one task have the name 'x'"):
        FileSet([InputFile("/a/x"), InputFile("/b/x")]).check()


def test_an_input_inside_another_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'x/y' lies inside another input"):
        FileSet([InputFile("/a/x"), InputFile("/b/y", "x/y")]).check()


async def test_results_of_one_name_are_refused(tmp_path: Path, folder: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    with pytest.raises(ConfigurationError, match="two inputs"):
        await staged(
            folder,
            InputFile(done(tmp_path / "one" / "x")),
            InputFile(done(tmp_path / "two" / "x")),
        )


async def test_the_same_source_twice_is_one_copy(data: Path, folder: Path) -> None:
    one, two = await staged(folder, InputFile(data), InputFile(data))
    assert one == two
    assert below(folder) == ["data.csv"]


# ------------------------------------------------------------- results of tasks


@pytest.mark.parametrize("kind", [Path, str, "{}\n".format], ids=["path", "str", "printed line"])
async def test_the_result_of_a_task_is_a_source(kind: Any, data: Path, folder: Path) -> None:
    (path,) = await staged(folder, InputFile(done(kind(data))))
    assert path == str(folder / "data.csv")
    assert Path(path).read_text() == "1,2\n"


async def test_an_output_of_another_task_is_found_by_name(folder: Path) -> None:
    other = folder.with_name("task.000016")
    other.mkdir(parents=True)
    (other / "out.txt").write_text("made")
    (path,) = await staged(
        folder, InputFile(done("some stdout"), "out.txt"), folder_of=lambda _: other
    )
    assert path == str(folder / "out.txt")
    assert Path(path).read_text() == "made"


async def test_a_name_can_be_given_to_a_result(data: Path, folder: Path) -> None:
    (path,) = await staged(folder, InputFile(done(data), "mine"))
    assert path == str(folder / "mine")


async def test_a_relative_result_is_looked_for_in_the_folder_of_its_task(folder: Path) -> None:
    other = folder.with_name("task.000016")
    other.mkdir(parents=True)
    (other / "out.txt").write_text("made")
    (path,) = await staged(folder, InputFile(done("out.txt\n")), folder_of=lambda _: other)
    assert Path(path).read_text() == "made"


@pytest.mark.parametrize("value", [None, 17, "", b"x"])
async def test_a_result_that_is_no_path_is_an_error(value: object, folder: Path) -> None:
    with pytest.raises(FileError, match="returned no path or URL of a file"):
        await staged(folder, InputFile(done(value)))


async def test_an_output_that_a_task_did_not_write_is_an_error(folder: Path) -> None:
    with pytest.raises(FileError, match=r"wrote no file 'out.txt'"):
        await staged(
            folder, InputFile(done("stdout"), "out.txt"), folder_of=lambda _: folder.parent
        )


# ------------------------------------------------------------------------- URLs


async def test_a_url_is_read_by_fsspec(memory: Any, folder: Path) -> None:
    memory.pipe("/bucket/two words.csv", b"1,2\n")
    (path,) = await staged(folder, InputFile("memory://bucket/two words.csv"))
    assert path == str(folder / "two words.csv")
    assert Path(path).read_bytes() == b"1,2\n"


async def test_a_folder_is_read_by_fsspec(memory: Any, folder: Path) -> None:
    memory.pipe({"/bucket/set/a": b"a", "/bucket/set/sub/b": b"b"})
    (path,) = await staged(folder, InputFile("memory://bucket/set"))
    assert below(Path(path)) == ["a", "sub", "sub/b"]
    assert (Path(path) / "sub" / "b").read_bytes() == b"b"


async def test_a_missing_url_is_named(memory: Any, folder: Path) -> None:
    with pytest.raises(FileError, match="no such file or folder: 'memory://bucket/gone'"):
        await staged(folder, InputFile("memory://bucket/gone"))
    assert below(folder) == []


async def test_an_unknown_kind_of_url_says_so(folder: Path) -> None:
    with pytest.raises(FileError, match="nosuch"):
        await staged(folder, InputFile("nosuch://host/file"))


async def test_a_result_may_be_a_url(memory: Any, folder: Path) -> None:
    memory.pipe("/bucket/data", b"x")
    (path,) = await staged(folder, InputFile(done("memory://bucket/data")))
    assert Path(path).read_bytes() == b"x"


async def test_names_in_a_remote_folder_cannot_leave_the_copy(
    memory: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/bucket/set/a", b"a")
    names = ["/bucket/set/../../../escaped"]
    monkeypatch.setattr(type(memory), "find", lambda *_: names)
    with pytest.raises(FileError, match="must stay in the task's folder"):
        await staged(folder, InputFile("memory://bucket/set"))
    assert below(folder) == []


# ------------------------------------------------------------ timeout and cancel


async def test_a_source_that_hangs_is_an_error_after_the_timeout(pipe: Path, folder: Path) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(FileError, match=r"'pipe': staging .* took longer than 0.05 s"):
            await staged(folder, in_pipe(pipe, 0.05))
    assert below(folder) == []


@contextlib.asynccontextmanager
async def stalled(pipe: Path) -> AsyncIterator[Awaitable[int]]:
    """Write something into *pipe* once it is read, and then nothing more.

    Gives the descriptor to write more to, once somebody reads.
    """

    def begin() -> int:
        writer = os.open(pipe, os.O_WRONLY)
        os.write(writer, b"x" * 1000)
        return writer

    opened = asyncio.create_task(asyncio.to_thread(begin))
    try:
        yield opened
    finally:
        os.close(await opened)


async def test_a_source_that_stalls_in_the_middle_leaves_no_part(pipe: Path, folder: Path) -> None:
    async with stalled(pipe):
        with pytest.raises(FileError, match="took longer"):
            await staged(folder, in_pipe(pipe, 0.3))
        await until(lambda: not below(folder))


async def test_the_loop_runs_on_while_a_source_hangs(pipe: Path, data: Path, folder: Path) -> None:
    hanging = asyncio.create_task(staged(folder, in_pipe(pipe)))
    (path,) = await staged(folder, InputFile(data))
    assert Path(path).exists()
    assert not hanging.done()
    hanging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await hanging


async def test_cancelling_leaves_nothing_of_a_copy(pipe: Path, folder: Path) -> None:
    async with stalled(pipe):
        staging = asyncio.create_task(staged(folder, in_pipe(pipe)))
        async with asyncio.timeout(30):
            while not folder.exists() or not below(folder):
                await asyncio.sleep(0.01)
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        await until(lambda: not below(folder))


async def test_a_cancelled_copy_ends_with_its_next_block(pipe: Path, folder: Path) -> None:
    async with stalled(pipe) as opened:
        staging = asyncio.create_task(staged(folder, in_pipe(pipe)))
        async with asyncio.timeout(30):
            while not folder.exists() or not below(folder):
                await asyncio.sleep(0.01)
        writer = await opened
        copying = [thread for thread in threading.enumerate() if thread.name == "asyncflow-files"]
        staging.cancel()
        with pytest.raises(asyncio.CancelledError):
            await staging
        with contextlib.suppress(BrokenPipeError):  # it may have ended before
            os.write(writer, b"more")
        await asyncio.to_thread(copying[0].join, 30)
        assert not copying[0].is_alive()
    assert below(folder) == []


async def test_a_hanging_input_is_given_up_when_another_is_missing(
    pipe: Path, tmp_path: Path, folder: Path
) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(FileError, match="no such file"):
            await staged(folder, in_pipe(pipe), InputFile(tmp_path / "gone"))


def test_a_hanging_source_does_not_keep_the_program(pipe: Path, folder: Path) -> None:
    code = f"""
{PIPES}
import asyncio
from pathlib import Path
from radical.asyncflow._files.declared import FileSet, InputFile
from radical.asyncflow._files.delivery import replace_paths
from radical.asyncflow._files.staging import stage
from radical.asyncflow.errors import FileError
async def main():
    files = FileSet([InputFile("pipe://{pipe}", timeout=0.05)])
    try:
        await stage(files, Path({str(folder)!r}), None, None)
    except FileError:
        print("given up")
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.stdout, ended.stderr, ended.returncode) == ("given up\n", "", 0)


# ---------------------------------------------------------------------- outputs


async def test_an_output_is_a_path_whose_folder_exists(folder: Path) -> None:
    (path,) = await staged(folder, OutputFile("deep/out.txt"))
    assert path == str(folder / "deep" / "out.txt")
    assert below(folder) == ["deep"]


async def delivered(folder: Path, *outputs: OutputFile, start: Path) -> list[Any]:
    found = FileSet([], list(outputs))
    return [one.value for one in await deliver_outputs(found, folder, start.joinpath)]


async def test_outputs_are_moved_to_their_places(folder: Path, tmp_path: Path) -> None:
    (folder / "set").mkdir(parents=True)
    (folder / "set" / "a").touch()
    (folder / "out.txt").write_text("text")
    (folder / "other").touch()
    outputs = OutputFile("out.txt"), OutputFile("set")
    places = await delivered(folder, *outputs, start=tmp_path / "start")
    assert places == [tmp_path / "start" / "out.txt", tmp_path / "start" / "set"]
    assert below(tmp_path / "start") == ["out.txt", "set", "set/a"]
    assert below(folder) == ["other"]


async def test_an_output_that_the_task_wrote_at_its_place_is_delivered(
    folder: Path, tmp_path: Path
) -> None:
    start = tmp_path / "start"
    start.mkdir()
    names = ("new", "changed", "folder", "through.txt")
    files = FileSet([], [*map(OutputFile, names)])
    (start / "changed").write_text("before")
    *_, path = (await stage(files, folder, lambda _: None, lambda _: None, start.joinpath)).values()
    (start / "new").write_text("now")
    (start / "changed").write_text("after")
    (start / "folder").mkdir()
    Path(path).write_text("through the path")
    places = [one.value for one in await deliver_outputs(files, folder, start.joinpath)]
    assert places == [start / name for name in names]
    assert (start / "changed").read_text() == "after"
    assert below(folder) == []


async def test_what_was_at_its_place_before_is_no_output(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "old").write_text("of an earlier run")
    files = FileSet([], [OutputFile("old"), OutputFile("*.txt")])
    await stage(files, folder, lambda _: None, lambda _: None, tmp_path.joinpath)
    (tmp_path / "a.txt").touch()  # a pattern is only for what is in the folder of the task
    with pytest.raises(FileError, match=r"declared but not written: 'old', '\*\.txt'; the folder"):
        await deliver_outputs(files, folder, tmp_path.joinpath)


async def test_what_a_failed_attempt_wrote_at_its_place_is_no_output(
    folder: Path, tmp_path: Path
) -> None:
    files = FileSet([], [OutputFile("half")])
    for attempt in (1, 2):
        await stage(files, folder, lambda _: None, lambda _: None, tmp_path.joinpath)
        if attempt == 1:
            (tmp_path / "half").write_text("hal")
    with pytest.raises(FileError, match="declared but not written: 'half'"):
        await deliver_outputs(files, folder, tmp_path.joinpath)


async def test_an_output_elsewhere_has_a_name_of_its_own(folder: Path, tmp_path: Path) -> None:
    outputs = OutputFile(tmp_path / "one" / "x"), OutputFile(tmp_path / "two" / "x")
    for path, text in zip(await staged(folder, *outputs), "12", strict=True):
        Path(path).write_text(text)
    places = await delivered(folder, *outputs, start=tmp_path)
    assert [place.read_text() for place in places] == ["1", "2"]


async def test_an_output_goes_to_another_file_system_whole(folder: Path) -> None:
    shm = Path("/dev/shm")
    if not shm.is_dir() or shm.stat().st_dev == folder.parents[1].stat().st_dev:
        pytest.skip("there is no second file system")
    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory(dir=shm) as start:
        for text in ("first", "second"):
            (folder / "set").mkdir()
            (folder / "set" / text).write_text(text)
            await delivered(folder, OutputFile("set"), start=Path(start))
            assert below(Path(start)) == ["set", f"set/{text}"]
        (folder / "set").mkdir()
        os.mkfifo(folder / "set" / "pipe")
        with pytest.raises(FileError, match="named pipe"):
            await delivered(folder, OutputFile("set"), start=Path(start))
        assert below(Path(start)) == ["set", "set/second"]
    assert below(folder / "former-set") == ["first"]


async def test_a_folder_that_is_replaced_is_kept(folder: Path, tmp_path: Path) -> None:
    (folder / "set").mkdir(parents=True)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "precious").touch()
    await delivered(folder, OutputFile("set"), start=tmp_path)
    assert below(tmp_path / "set") == []
    assert below(folder) == ["former-set", "former-set/precious"]


async def test_all_outputs_are_moved_or_none(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    for name in ("one", "two"):
        (folder / name).touch()
    start = tmp_path / "start"
    (start / "two").mkdir(parents=True)
    with pytest.raises(FileError, match="is a file, but there is a folder already"):
        await delivered(folder, OutputFile("one"), OutputFile("two"), start=start)
    assert (below(folder), below(start)) == (["one", "two"], ["two"])
    (tmp_path / "file").touch()
    with pytest.raises(FileError, match="cannot be put there"):
        await delivered(folder, OutputFile("one"), start=tmp_path / "file")
    assert below(folder) == ["one", "two"]


async def test_what_a_link_leads_to_is_delivered(data: Path, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "out").symlink_to(data)
    (place,) = await delivered(folder, OutputFile("out"), start=data.parent)
    assert (place.is_symlink(), place.read_text(), data.exists()) == (False, "1,2\n", True)
    (folder / "gone").symlink_to(folder / "nothing")
    with pytest.raises(FileError, match="leads to nothing"):
        await delivered(folder, OutputFile("gone"), start=data.parent)


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
async def test_an_output_that_is_no_file_is_refused(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    folder.mkdir(parents=True)
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as server:
        if kind == "pipe":
            os.mkfifo("out")
        elif kind == "socket":
            server.bind("out")
        else:
            Path("out").symlink_to("/dev/zero")
    with pytest.raises(FileError, match=f"is a.* {kind}, and neither a file nor a folder"):
        await delivered(folder, OutputFile("out"), start=tmp_path)


@pytest.mark.parametrize("link", [False, True])
@pytest.mark.parametrize("kind", ["pipe", "device"])
async def test_an_input_that_is_no_file_is_refused(
    folder: Path, tmp_path: Path, kind: str, link: bool
) -> None:
    source = Path("/dev/zero") if kind == "device" else tmp_path / "pipe"
    if kind == "pipe":
        os.mkfifo(source)
    with pytest.raises(FileError, match="is neither a file nor a folder"):
        await staged(folder, InputFile(source, link=link))


async def test_a_pattern_stands_for_all_that_match_but_inputs(
    data: Path, folder: Path, tmp_path: Path
) -> None:
    pattern = OutputFile("*.csv")
    files = FileSet([InputFile(data)], [pattern])
    await stage(files, folder, lambda future: future.result(), lambda _: None)
    for name in ("b.csv", "a.csv", "c.txt"):
        (folder / name).touch()
    (one,) = await deliver_outputs(files, folder, (tmp_path / "start").joinpath)
    assert one.value == [tmp_path / "start" / "a.csv", tmp_path / "start" / "b.csv"]
    (folder / "b.csv").touch()
    await stage(files, folder, lambda future: future.result(), lambda _: None)
    assert below(folder) == ["c.txt", "data.csv"]  # nothing of an earlier attempt


def test_paths_in_a_result_become_the_places() -> None:
    places: dict[str, Any] = {"/in/a": Path("/out/a"), "/in/*": [Path("/out/1"), Path("/out/2")]}
    value = ["/in/a\n", Path("/in/a"), {"all": "/in/*"}, (Path("/in/*"), "/in/b", 3)]
    assert replace_paths(value, places) == [
        "/out/a\n",
        Path("/out/a"),
        {"all": ["/out/1", "/out/2"]},
        ([Path("/out/1"), Path("/out/2")], "/in/b", 3),
    ]


async def test_missing_outputs_are_named_with_what_is_there(folder: Path, tmp_path: Path) -> None:
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "other.txt").touch()
    (folder / "there").touch()
    outputs = [OutputFile("there"), OutputFile("gone"), OutputFile("lost")]
    with pytest.raises(FileError) as caught:
        await delivered(folder, *outputs, start=tmp_path / "start")
    assert "not written: 'gone', 'lost'; " in str(caught.value)
    assert str(caught.value).endswith("holds 'sub/other.txt', 'there'")
    assert not (tmp_path / "start").exists()


async def test_the_list_of_what_is_there_is_bounded(folder: Path, tmp_path: Path) -> None:
    folder.mkdir(parents=True)
    for number in range(200):
        (folder / f"{number}").touch()
    with pytest.raises(FileError, match=r"and more$") as caught:
        await delivered(folder, OutputFile("gone"), start=tmp_path)
    assert len(str(caught.value)) < 1000 + len(str(folder))


async def test_a_missing_folder_holds_nothing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="holds nothing"):
        await delivered(folder, OutputFile("gone"), start=tmp_path)


async def test_an_output_of_an_earlier_attempt_does_not_count(folder: Path, tmp_path: Path) -> None:
    out = OutputFile("out.txt")
    (path,) = await staged(folder, out)
    Path(path).touch()
    await staged(folder, out)
    with pytest.raises(FileError, match=r"'out.txt'"):
        await delivered(folder, out, start=tmp_path)


async def test_an_input_may_be_an_output_too(data: Path, folder: Path) -> None:
    one, two = await staged(folder, InputFile(data), OutputFile("data.csv"))
    assert one == two
    assert Path(two).read_text() == "1,2\n"


async def test_an_output_may_be_the_folder_of_an_input(data: Path, folder: Path) -> None:
    await staged(folder, InputFile(data, "set/data.csv"), OutputFile("set"))
    assert below(folder) == ["set", "set/data.csv"]
