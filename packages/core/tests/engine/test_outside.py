"""What a result depends on outside of the program decides whether it is reused."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import socket
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import fsspec
import pytest
from asyncflow_backend_concurrent import ConcurrentExecutionBackend
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from radical.asyncflow import (
    Command,
    ConfigurationError,
    Env,
    FileError,
    InputFile,
    OutputFile,
    WorkflowEngine,
)
from radical.asyncflow._resume import outside
from radical.asyncflow._resume.outside import noted
from radical.asyncflow._resume.words import named_by
from radical.asyncflow.journal import read
from radical.asyncflow.report import Reuse

from .resuming import Main, Program


@pytest.fixture
def program(tmp_path: Path) -> Program:
    return Program(tmp_path / "kept")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which is empty."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def threads() -> ConcurrentExecutionBackend:
    return ConcurrentExecutionBackend(max_workers=2)


def script(path: str, line: str) -> None:
    Path(path).write_text(f"#!/bin/sh\n{line}\n")
    Path(path).chmod(0o755)


def put(path: str, text: str) -> None:
    Path(path).parent.mkdir(exist_ok=True)
    Path(path).write_text(text)


def text_of(path: str) -> str:
    return Path(path).read_text()


def remove(path: str) -> None:
    (Path(path).rmdir if Path(path).is_dir() else Path(path).unlink)()


def commanding(command: Any, **options: Any) -> Main:
    """A main that runs *command*, and gives what it says to a second task."""

    async def main(flow: WorkflowEngine) -> Any:
        said = flow.executable_task(lambda: command, name="command", **options)()
        return await flow.function_task(str.upper, name="after")(said)

    return main


async def twice(
    program: Program, main: Main, change: Callable[[], object], expected: list[str]
) -> str | None:
    """Run *main*, see that all is reused, *change* something, and see what runs again."""
    await program.run(main, threads())
    assert await program.run(main, threads()) == []
    change()
    assert await program.run(main, threads()) == expected
    why = program.why(expected[0]) if expected else None
    assert await program.run(main, threads()) == []
    return why


# -------------------------------------------------------------------- commands


@pytest.mark.parametrize(
    "command",
    [
        "./decay.sh",
        "./decay.sh 2>/dev/null",
        "cd . && ./decay.sh",
        "sh -c './decay.sh 1; true'",
        'echo "$(./decay.sh)"',
        "P=./decay.sh; $P",
        ["./decay.sh", "1"],
        ["sh", "-c", "./decay.sh && true"],
        ["sh", "decay.sh"],
        ["env", "X=1", "./decay.sh"],
    ],
    ids=str,
)
async def test_a_command_runs_again_when_its_program_was_edited(
    program: Program, here: Path, command: Any
) -> None:
    script("decay.sh", "echo one")
    why = await twice(
        program,
        commanding(command),
        lambda: script("decay.sh", "echo two"),
        ["command", "after"],
    )
    assert program.result == "TWO\n"
    assert why is not None
    assert "decay.sh, which its command names, has changed" in why


@pytest.mark.parametrize(
    "command",
    [
        "cat table.csv",
        "cat < table.csv",
        "cat *.csv",
        "cat $NAME.csv",
        "for name in table; do cat $name.csv; done",
        "bash -c 'cat {table,none}.csv 2>/dev/null; true'",
        Command("cat $FILE", env={"FILE": "table.csv"}),
        Command("sh -c 'cat $FILE'", env={"FILE": "table.csv"}),
        "cd data; cat inner.csv",
        "cat 'table.csv'  # it's here",
        "FILE=table.csv sh -c 'cat $FILE'",
        ["sh", "-c", 'cat "${1#--table=}"', "x", "--table=table.csv"],
        ["cat", "data/inner.csv"],
        Command("cat inner.csv", cwd="data"),
        Command(("cat", "inner.csv"), cwd="data"),
        ["grep", "-r", "-h", "", "data"],
    ],
    ids=str,
)
async def test_a_command_runs_again_when_a_file_that_it_names_changed(
    program: Program, here: Path, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAME", "table")

    def write(text: str) -> None:
        put("table.csv", text)
        put("data/inner.csv", text)

    write("old")
    await twice(program, commanding(command), lambda: write("new"), ["command", "after"])
    assert program.result.strip() == "NEW"


async def test_a_file_with_another_time_and_the_same_content_counts_as_the_same(
    program: Program, here: Path
) -> None:
    script("decay.sh", "echo one")
    await twice(program, commanding("./decay.sh"), lambda: os.utime("decay.sh", (1, 1)), [])


async def test_a_change_that_keeps_size_and_time_is_seen(program: Program, here: Path) -> None:
    def write(text: str) -> None:
        put("table.csv", text)
        os.utime("table.csv", (1_000_000_000, 1_000_000_000))

    write("old")
    await twice(program, commanding("cat table.csv"), lambda: write("new"), ["command", "after"])
    assert program.result == "NEW"


async def test_a_file_that_appears_is_seen(program: Program, here: Path) -> None:
    command = "if test -e own.toml; then cat own.toml; else echo none; fi"
    why = await twice(
        program,
        commanding(command),
        lambda: put("own.toml", "mine"),
        ["command", "after"],
    )
    assert why == "own.toml, which its command names, was not there before"
    assert program.result == "MINE"


async def test_a_program_on_path_counts_by_its_place_size_and_time(
    program: Program, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("bin/other", "")
    monkeypatch.setenv("PATH", f"{here}/bin:{os.environ['PATH']}")
    script("bin/solver", "echo one")
    why = await twice(
        program,
        commanding(["solver", "3"]),
        lambda: script("bin/solver", "echo fourth"),
        ["command", "after"],
    )
    assert why == "the program solver, which its command names, has changed"
    assert program.result == "FOURTH\n"


@pytest.mark.parametrize(
    "command",
    [
        "PATH=bin:$PATH; solver",
        "PATH=bin:$PATH sh -c solver",
        Command("solver", env={"PATH": f"bin:{os.environ['PATH']}"}),
        Command(("solver",), env={"PATH": f"bin:{os.environ['PATH']}"}),
    ],
    ids=str,
)
async def test_a_command_may_find_its_programs_elsewhere(
    program: Program, here: Path, command: Any
) -> None:
    put("bin/other", "")
    script("bin/solver", "echo one")
    change = partial(script, "bin/solver", "echo fourth")
    await twice(program, commanding(command), change, ["command", "after"])
    assert program.result == "FOURTH\n"


async def test_a_variable_that_is_extended_does_not_count_by_all_its_folders(
    program: Program, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put("own/one", "1")
    put("shared/one", "1")
    monkeypatch.setenv("PYTHONPATH", f"{here}/shared")
    main = commanding("PYTHONPATH=own:$PYTHONPATH; echo 1")
    await twice(program, main, lambda: put("shared/two", "2"), [])
    await twice(program, main, lambda: put("own/two", "2"), ["command", "after"])


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("echo one > out.txt", "gone"),
        ("echo one > out.txt", "changed"),
        (["cp", "in.txt", "out.txt"], "gone"),
        (["cp", "in.txt", "out.txt"], "changed"),
    ],
    ids=str,
)
async def test_a_file_that_a_command_wrote_is_there_after_a_resume(
    program: Program, here: Path, command: Any, what: str
) -> None:
    put("in.txt", "one\n")

    def change() -> None:
        if what == "gone":
            remove("out.txt")
        else:
            put("out.txt", "edited")

    main = commanding(command)
    await program.run(main, threads())
    assert await program.run(main, threads()) == []
    change()
    assert (await program.run(main, threads()))[0] == "command"
    assert what in str(program.why("command"))
    assert text_of("out.txt") == "one\n"


async def test_a_file_that_commands_append_to_counts_as_far_as_each_got(
    program: Program, here: Path
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        say = flow.executable_task(lambda x: f"echo {x} >> log.txt", name="say")
        for number in range(3):
            await say(number)

    await twice(program, main, lambda: put("log.txt", "0\n9\n2\n"), ["say", "say"])


async def test_a_result_is_not_kept_if_what_the_command_names_changed_meanwhile(
    program: Program, here: Path
) -> None:
    put("table.csv", "old")
    main = commanding('cat table.csv; echo new > "$(echo table.csv)"')
    assert await program.run(main, threads()) == ["command", "after"]
    assert program.why("command") == (
        "its result is not kept, because table.csv, which its command names, changed while it ran"
    )
    assert await program.run(main, threads()) == ["command", "after"]
    assert program.result == "NEW\n"


async def test_a_named_pipe_is_not_opened_and_its_command_not_reused(
    program: Program, here: Path
) -> None:
    os.mkfifo("pipe")
    main = commanding("test -p pipe && echo yes")
    assert await program.run(main, threads()) == ["command", "after"]
    assert await program.run(main, threads()) == ["command"]
    assert "no file with a content of its own" in str(program.why("command"))


async def test_the_words_of_a_command_that_are_no_files_are_not_in_the_journal(
    program: Program, here: Path
) -> None:
    await program.run(commanding(["true", "--token=hush/hush", "quiet/word", "silent"]), threads())
    text = program.path.read_text()
    assert "hush/hush" not in text
    assert '"quiet/word' not in text


# ----------------------------------------------------------------------- uses


def using(read_it: Callable[[], str], uses: Any, kind: str = "function_task") -> Main:
    async def main(flow: WorkflowEngine) -> Any:
        task = getattr(flow, kind)(read_it, name="using", uses=uses)
        return await flow.function_task(str.upper, name="after")(task())

    return main


def table() -> str:
    path = Path("data/table.csv")
    return path.read_text() if path.exists() else "none"


def number_of_threads() -> str:
    return os.environ.get("OMP_NUM_THREADS", "none")


@pytest.mark.parametrize("uses", [["data/table.csv"], [Path("data")], ["data/table.csv", "data"]])
async def test_what_a_task_uses_counts_by_content(program: Program, here: Path, uses: Any) -> None:
    main = using(table, uses)
    await program.run(main, threads())
    assert program.result == "NONE"

    def write(text: str) -> None:
        put("data/table.csv", text)

    why = await twice(program, main, lambda: write("old"), ["using", "after"])
    assert str(why).endswith(", which it uses, was not there before")
    assert program.result == "OLD"
    why = await twice(program, main, lambda: write("new"), ["using", "after"])
    assert str(why).endswith(", which it uses, has changed")
    assert program.result == "NEW"
    remove("data/table.csv")
    remove("data")
    assert await program.run(main, threads()) == ["using"]  # the other was done in the first run
    assert str(program.why("using")).endswith(", which it uses, is gone")
    assert program.result == "NONE"


async def test_a_variable_that_a_task_uses_counts(
    program: Program, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    why = await twice(
        program,
        using(number_of_threads, [Env("OMP_NUM_THREADS")]),
        lambda: monkeypatch.setenv("OMP_NUM_THREADS", "4"),
        ["using", "after"],
    )
    assert why == "the variable OMP_NUM_THREADS, which it uses, was not there before"
    assert program.result == "4"


async def test_a_value_that_a_task_uses_counts(program: Program) -> None:
    settings = {"steps": 3}
    main = using(number_of_threads, [settings])
    why = await twice(program, main, lambda: settings.update(steps=4), ["using", "after"])
    assert why == "value 1 of what it uses has changed"


async def test_another_list_of_what_a_task_uses_counts(program: Program, here: Path) -> None:
    await program.run(using(table, ["a.csv"]), threads())
    assert (await program.run(using(table, ["b.csv"]), threads()))[0] == "using"
    assert program.why("using") == "what it declares with uses= has changed"


async def test_a_command_uses_what_it_declares(program: Program, here: Path) -> None:
    put("hidden.cfg", "old")
    script("run.sh", "cat hidden.cfg")
    main = using(lambda: "./run.sh", ["hidden.cfg"], "executable_task")
    await twice(program, main, lambda: put("hidden.cfg", "new"), ["using", "after"])
    assert program.result == "NEW"


async def test_equal_calls_of_one_run_share_a_result_only_while_what_they_use_is_the_same(
    program: Program, here: Path
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        task = flow.function_task(table, uses=["data/table.csv"], cache="always")
        seen = []
        for text in ("one", "one", "two"):
            put("data/table.csv", text)
            seen.append(await task())
        return seen

    assert await program.run(main, threads()) == ["table"] * 2
    assert program.result == ["one", "one", "two"]


async def test_what_a_task_uses_may_not_change_while_it_runs(program: Program, here: Path) -> None:
    def count() -> str:
        path = Path("count.txt")
        number = int(path.read_text()) + 1 if path.exists() else 1
        path.write_text(str(number))
        return str(number)

    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(count, uses=["count.txt"])()

    await program.run(main, threads())
    assert program.why("count") == (
        "its result is not kept, because count.txt, which it uses, changed while it ran"
    )
    assert await program.run(main, threads()) == ["count"]
    assert program.result == "2"


@pytest.mark.parametrize(
    ("uses", "message"),
    [
        ("table.csv", r"write uses=\[thing\]"),
        ([""], "a path that cannot be one"),
        (["a\0b"], "a path that cannot be one"),
    ],
)
async def test_a_wrong_declaration_is_refused_at_once(uses: Any, message: str) -> None:
    async with WorkflowEngine.create("concurrent", {"max_workers": 1}) as flow:
        with pytest.raises(ConfigurationError, match=message):
            flow.function_task(uses=uses)
        with pytest.raises(ConfigurationError, match="a block is not reused"):
            flow.block(uses=["table.csv"])


@pytest.mark.parametrize("name", ["", "A=B", "A\0B", 3])
def test_a_wrong_name_of_a_variable_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="name of an environment variable"):
        Env(name)


# ---------------------------------------------------------------- paths as results


@dataclass
class Plots:
    paths: list[Path]


def plot() -> Path:
    put("plot.png", "drawn")
    return Path("plot.png")


def plots() -> Any:
    return {"plots": ["none", (1, Plots([plot()]))]}


@pytest.mark.parametrize("body", [plot, plots])
@pytest.mark.parametrize("what", ["gone", "changed"])
async def test_a_result_with_a_path_is_reused_only_if_the_file_is_what_it_was(
    program: Program, here: Path, body: Any, what: str
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(body, name="draw")()

    def change() -> None:
        if what == "gone":
            remove("plot.png")
        else:
            put("plot.png", "other")

    why = await twice(program, main, change, ["draw"])
    assert str(why).startswith("its output file plot.png ")
    assert what in str(why)
    assert text_of("plot.png") == "drawn"


async def test_what_is_made_from_a_rewritten_file_runs_again(program: Program, here: Path) -> None:
    seed = here / "seed"

    def draw() -> Path:
        Path("plot.png").write_text(seed.read_text())
        return Path("plot.png")

    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(Path.read_text, name="look")(
            flow.function_task(draw, name="draw")()
        )

    def change() -> None:
        seed.write_text("two")
        remove("plot.png")

    seed.write_text("one")
    await twice(program, main, change, ["draw", "look"])
    assert program.result == "two"


async def test_what_is_made_from_a_rewritten_output_runs_again(
    program: Program, here: Path
) -> None:
    seed = here / "seed"

    def draw(path: str) -> str:
        Path(path).write_text(seed.read_text())
        return "drawn"

    def look(drawn: str) -> str:
        return (here / "plot.png").read_text()

    async def main(flow: WorkflowEngine) -> Any:
        drawn = flow.function_task(draw)(OutputFile("plot.png"))
        return await flow.function_task(look)(drawn)

    seed.write_text("one")
    await program.run(main, threads())
    seed.write_text("two")
    (here / "plot.png").unlink()
    assert await program.run(main, threads()) == ["draw", "look"]
    assert program.result == "two"


# --------------------------------------------------------------------------- URLs


class Tagged(MemoryFileSystem):
    """Files in memory with an ETag for each, as a server gives it; it notes which are read."""

    protocol = "tagged"
    store: ClassVar[dict[str, Any]] = {}
    pseudo_dirs: ClassVar[list[str]] = [""]
    reads: ClassVar[list[str]] = []
    weak: ClassVar[bool] = False

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return super()._strip_protocol(path.removeprefix("tagged://"))

    def info(self, path: str, **options: Any) -> Any:
        tag = hashlib.md5(self.store[self._strip_protocol(path)].getvalue()).hexdigest()
        return {**super().info(path, **options), "ETag": 'W/"same"' if self.weak else f'"{tag}"'}

    def _open(self, path: str, *args: Any, **options: Any) -> Any:
        self.reads.append(path)
        return super()._open(path, *args, **options)


def pack(text: str) -> None:
    """Write an archive in the current folder that holds *text*."""
    with zipfile.ZipFile("all.zip", "w") as archive:
        archive.writestr("inner.csv", text)


def serve(protocol: str, text: str) -> None:
    fsspec.filesystem(protocol).pipe("/data.csv", text.encode())


def serve_folder(text: str) -> None:
    fsspec.filesystem("memory").pipe({"/set/a.csv": b"first ", "/set/b.csv": text.encode()})


def content(path: str) -> str:
    where = Path(path)
    return where.read_text() if where.is_file() else "".join(map(text_of, sorted(where.iterdir())))


@pytest.fixture
def tagged() -> Iterator[type[Tagged]]:
    fsspec.register_implementation("tagged", Tagged, clobber=True)
    Tagged.reads.clear()
    yield Tagged
    Tagged.store.clear()
    Tagged.weak = False
    fsspec.filesystem("memory").store.clear()
    fsspec.filesystem("memory").pseudo_dirs[:] = [""]


@pytest.mark.parametrize(
    ("url", "change"),
    [
        ("memory://data.csv", partial(serve, "memory")),
        ("memory://set", serve_folder),
        ("tagged://data.csv", partial(serve, "tagged")),
        ("zip://inner.csv::all.zip", pack),
    ],
    ids=["file", "folder", "tagged", "archive"],
)
@pytest.mark.parametrize("weak", [False, True])
async def test_an_input_behind_a_url_counts_by_content(
    program: Program,
    here: Path,
    url: str,
    change: Callable[[str], None],
    weak: bool,
    tagged: type[Tagged],
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(content)(InputFile(url, "copy"))

    tagged.weak = weak
    change("old")
    await twice(program, main, lambda: change("old"), [])
    await twice(program, main, lambda: change("new"), ["content"])
    assert program.result.endswith("new")


@pytest.mark.parametrize(
    ("where", "change"),
    [
        ("data.csv", lambda text: put("data.csv", text)),
        ("memory://data.csv", partial(serve, "memory")),
    ],
    ids=["file", "url"],
)
async def test_an_input_that_another_task_names_counts_by_content(
    program: Program, here: Path, where: str, change: Callable[[str], None], tagged: type[Tagged]
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        named = flow.function_task(str, name="name")(where)
        return await flow.function_task(content)(InputFile(named))

    change("old")
    why = await twice(program, main, lambda: change("new"), ["content"])
    assert why == "input 1, whose path is the result of a task, has changed"
    assert program.result == "new"


async def test_an_input_that_was_cleared_away_lets_a_result_stand(
    program: Program, here: Path
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        named = flow.function_task(str, name="name")("data.csv")
        return await flow.function_task(content)(InputFile(named))

    put("data.csv", "old")
    await program.run(main, threads())
    remove("data.csv")
    assert await program.run(main, threads()) == []
    assert program.result == "old"


async def test_a_checksum_of_the_server_spares_reading_an_input(
    program: Program, tagged: type[Tagged]
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(content)(InputFile("tagged://data.csv"))

    serve("tagged", "old")
    assert await program.run(main, threads()) == ["content"]
    tagged.reads.clear()
    assert await program.run(main, threads()) == []
    assert tagged.reads == []


async def test_a_url_that_cannot_be_read_is_no_reason_to_reuse(
    program: Program, tagged: type[Tagged]
) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        future = flow.function_task(content)(InputFile("memory://data.csv"))
        return (await asyncio.gather(future, return_exceptions=True))[0]

    serve("memory", "old")
    await program.run(main, threads())
    assert program.result == "old"
    fsspec.filesystem("memory").store.clear()
    await program.run(main, threads())
    assert isinstance(program.result, FileError)
    assert "memory://data.csv' cannot be read" in str(program.why("content"))


# ----------------------------------------------------------------------- the journal


@pytest.mark.parametrize("kind", ["fifo", "socket"])
async def test_a_folder_with_a_pipe_or_socket_in_it_is_no_reason_to_hang(
    program: Program, here: Path, kind: str
) -> None:
    put("data/table.csv", "old")
    if kind == "fifo":
        os.mkfifo("data/pipe")
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind("data/pipe")
    main = using(table, ["data"])
    await program.run(main, threads())
    assert program.why("using") == (
        "its result is not kept, because data, which it uses, has pipe in it, which is no file"
    )
    assert await program.run(main, threads()) == ["using"]


async def test_a_folder_with_too_much_in_it_is_never_compared(
    program: Program, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow._resume.outside.MAX_FOLDER_FILES", 2)
    for name in "abc":
        put(f"data/{name}", name)
    await program.run(using(table, ["data"]), threads())
    assert "too much in it to be compared" in str(program.why("using"))


async def test_plain_results_have_no_facts_in_the_journal(program: Program) -> None:
    async def main(flow: WorkflowEngine) -> Any:
        return await flow.function_task(number_of_threads)()

    await program.run(main, threads())
    assert b"facts" not in program.path.read_bytes()


async def test_a_journal_with_facts_is_read_as_before(program: Program, here: Path) -> None:
    script("decay.sh", "echo one")
    await program.run(commanding("./decay.sh"), threads())
    (run,) = read(program.path)
    assert [task.state for task in run.tasks.values()] == ["DONE", "DONE"]


async def test_explain_names_the_file_that_changed(program: Program, here: Path) -> None:
    script("decay.sh", "echo one")
    await program.run(commanding("./decay.sh"), threads())
    script("decay.sh", "echo two")
    await program.run(commanding("./decay.sh"), threads())
    runs = read(program.path)
    reason = str(Reuse(runs, runs[-1]).explain(runs[-1].tasks[1]))
    assert "./decay.sh, which its command names, has changed" in reason


@given(
    line=st.lists(
        st.sampled_from([*"'\"`$(){}[]*?;|&<>~#=:,@-./ \n\\", "cd ", "a", "$a", "PATH=", "\ud800"])
        | st.characters(exclude_characters="\0"),
        min_size=1,
    ).map("".join),
    shell=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_command_can_be_searched_for_what_it_names(line: str, shell: bool) -> None:
    command = Command(f"x{line}" if shell else (f"x{line}", line), env={"A": line})
    facts = noted(named_by(command, Path("folder")))
    assert all(set(fact.name) & {"\0"} == set() and fact.state for fact in facts)
    json.dumps(facts).encode("ascii")


def test_the_beginning_of_a_log_counts_though_others_append_to_it_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log.txt"
    log.write_text("one\n")
    before = outside.state_of("begin", str(log))
    really_open = open

    def open_late(path: Any, mode: str) -> Any:
        with really_open(path, "a") as more:
            more.write("two\n")
        return really_open(path, mode)

    monkeypatch.setattr(outside, "open", open_late, raising=False)
    assert outside.state_of("begin", str(log)) == before
    assert outside.state_of("file", str(log)).startswith(outside.UNKNOWN)
