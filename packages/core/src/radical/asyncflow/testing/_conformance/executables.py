"""Checks: commands run as written, and end with everything that they started."""

from __future__ import annotations

import asyncio
import shlex
import signal
import uuid
from pathlib import Path

import pytest

from ..._files.declared import InputFile, OutputFile
from ...engine import WorkflowEngine
from ...errors import ExecutableError, TaskTimeoutError
from ...model import Command, Container
from .. import _functions as functions
from .needs import needs, slow
from .suite import Suite
from .waiting import appears, marked, open_gate, until

_RUNTIME = """\
#!/bin/sh
while test "$1" != "{image}"; do shift; done
shift
STAND_IN=yes exec "$@"
"""


class Executables(Suite):
    @needs("executable", "executes")
    async def test_a_command_line_is_read_by_a_shell(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        assert await run("x=4; echo $((x + 38)) | cat") == "42\n"

    @needs("executable", "executes")
    async def test_the_body_may_be_async(self, flow: WorkflowEngine) -> None:
        assert await flow.executable_task(functions.identity_async)("echo here") == "here\n"

    @needs("executable", "executes")
    async def test_a_list_is_run_without_a_shell(self, flow: WorkflowEngine) -> None:
        words = ["$HOME", "a  b", "*", "'", '"', ";", "\\", "é", "-n", "", "new\nline"]
        run = flow.executable_task(functions.identity)
        assert await run(["printf", "%s|", *words]) == "".join(f"{word}|" for word in words)

    @needs("executable", "executes")
    async def test_a_quoted_string_arrives_as_one_argument(self, flow: WorkflowEngine) -> None:
        text = 'it\'s $(touch me) `here`; "quoted" \\ * ~ \n second line'
        run = flow.executable_task(functions.identity)
        assert await run(f"printf %s {shlex.quote(text)}") == text

    @needs("executable", "executes")
    async def test_env_adds_to_the_environment(self, flow: WorkflowEngine) -> None:
        command = Command("echo $FIRST-${PATH:+kept}", env={"FIRST": "a b;$c"})
        assert await flow.executable_task(functions.identity)(command) == "a b;$c-kept\n"

    @needs("executable", "executes")
    async def test_none_in_env_unsets_a_variable(self, flow: WorkflowEngine) -> None:
        command = Command("echo ${HOME-unset}", env={"HOME": None})
        assert await flow.executable_task(functions.identity)(command) == "unset\n"

    @needs("executable", "executes")
    async def test_a_line_runs_in_the_shell_that_is_asked_for(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        with pytest.raises(ExecutableError) as caught:
            await run.options(shell="sh -e")("false; echo no")
        assert (caught.value.exit_code, caught.value.stdout) == (1, "")
        with pytest.raises(ExecutableError, match="there is no shell no-such-shell on"):
            await run.options(shell="no-such-shell")("true")

    @needs("executable", "executes")
    async def test_a_command_runs_in_its_container(self, flow: WorkflowEngine, folder: str) -> None:
        # What is sent is a script, which looks for the image and the runtime where it runs.
        inside = _stand_in(folder)
        run = flow.executable_task(functions.identity)
        line = 'printf "%s:" "$STAND_IN" "a  b" "$TEXT"; cat'
        command = Command(line, env={"TEXT": "it's\n2"}, stdin="given")
        result = await run.options(container=inside, shell="sh -eu")(command)
        assert result == "yes:a  b:it's\n2:given"
        missing = Container(f"{folder}/no.sif", runtime=inside.runtime)
        with pytest.raises(ExecutableError, match="there is no image"):
            await run.options(container=missing)("true")
        with pytest.raises(ExecutableError, match="no container runtime on"):
            await run.options(container=Container("a", f"{folder}/podman"))("true")

    @needs("executable", "executes")
    async def test_cwd_is_where_it_runs(self, flow: WorkflowEngine, folder: str) -> None:
        run = flow.executable_task(functions.identity)
        result = await run(Command(("/bin/pwd", "-P"), cwd=folder))
        assert result == f"{_real(folder)}\n"

    @needs("executable", "executes")
    async def test_without_cwd_it_runs_where_the_program_was_started(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        if flow.backend.shared_dir is not None:
            pytest.skip("the workers do not see the folder of the program")
        run = flow.executable_task(lambda *_: "/bin/pwd -P")
        here = f"{Path.cwd().resolve()}\n"
        assert await run() == here
        source = Path(folder, "source")
        await flow.executable_task(functions.identity)(["touch", str(source)])
        assert await run(InputFile(source)) == here

    @needs("executable", "executes")
    async def test_an_output_is_at_its_place_after_a_success(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        place = Path(folder, "results", "out")
        run = flow.executable_task(lambda out, code: f"echo text > '{out}'; exit {code}")
        with pytest.raises(ExecutableError):
            await run(OutputFile(place), 3)
        copy = flow.executable_task(lambda path: ["cat", path])
        assert await copy(InputFile(run(OutputFile(place), 0), "out")) == "text\n"
        assert await copy(InputFile(place)) == "text\n"

    @needs("executable", "executes")
    @pytest.mark.parametrize("text", ["né\nline", b"n\xc3\xa9\nline"])
    async def test_stdin_is_read(self, flow: WorkflowEngine, text: str | bytes) -> None:
        run = flow.executable_task(functions.identity)
        assert await run(Command(("cat",), stdin=text)) == "né\nline"

    @needs("executable", "executes")
    async def test_stdin_is_empty_unless_given(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        assert await asyncio.wait_for(run(["cat"]), self.patience) == ""

    @needs("executable", "executes")
    async def test_stdin_that_nobody_reads_does_no_harm(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        assert await run(Command(("echo", "done"), stdin="x" * 1_000_000)) == "done\n"

    @needs("executable", "executes")
    async def test_a_non_zero_exit_code_fails_the_task(self, flow: WorkflowEngine) -> None:
        future = flow.executable_task(functions.identity)("echo out; echo err >&2; exit 3")
        with pytest.raises(ExecutableError) as caught:
            await future
        assert caught.value.exit_code == 3
        assert caught.value.stdout == "out\n"
        assert caught.value.stderr == "err\n"
        assert "exit 3" in caught.value.command

    @needs("executable", "executes")
    async def test_a_signal_that_ended_it_is_told(self, flow: WorkflowEngine) -> None:
        with pytest.raises(ExecutableError) as caught:
            await flow.executable_task(functions.identity)("kill -KILL $$")
        assert caught.value.exit_code == -signal.SIGKILL

    @needs("executable", "executes")
    async def test_exit_code_and_streams_can_be_read_afterwards(self, flow: WorkflowEngine) -> None:
        future = flow.executable_task(functions.identity)("echo out; echo err >&2")
        await future
        assert (future.exit_code, future.stdout, future.stderr) == (0, "out\n", "err\n")

    @needs("executable", "executes")
    async def test_a_missing_program_fails_the_task(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        with pytest.raises(Exception, match="no-such-program"):
            await run(["no-such-program-anywhere"])
        assert await run("echo alive") == "alive\n"

    @needs("executable", "executes")
    async def test_a_missing_folder_fails_the_task(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        with pytest.raises(Exception, match="no-such-folder"):
            await run(Command(("true",), cwd="/no-such-folder"))

    @needs("executable", "executes")
    async def test_output_that_is_not_utf_8_is_decoded_with_replacement(
        self, flow: WorkflowEngine
    ) -> None:
        result = await flow.executable_task(functions.identity)(r"printf 'a\377b'")
        assert result == "a\ufffdb"

    @needs("executable", "executes")
    async def test_big_output_arrives_whole(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        result = await run("head -c 5000000 /dev/zero | tr '\\0' x; echo end >&2")
        assert len(result) == 5_000_000
        assert set(result) == {"x"}

    @needs("executable", "executes")
    async def test_big_output_on_both_streams_does_not_block(self, flow: WorkflowEngine) -> None:
        future = flow.executable_task(functions.identity)(
            "head -c 1000000 /dev/zero | tr '\\0' e >&2; head -c 1000000 /dev/zero | tr '\\0' o"
        )
        assert await asyncio.wait_for(future, self.patience) == "o" * 1_000_000

    @needs("executable", "executes")
    async def test_capture_stdio_gives_the_paths_of_files(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(capture_stdio=True)(functions.identity)
        future = run("echo out; echo err >&2")
        assert _read(await future) == "out\n"
        assert (_read(future.stdout), _read(future.stderr)) == ("out\n", "err\n")

    @needs("executable", "executes")
    async def test_a_failed_command_can_be_retried(self, flow: WorkflowEngine, folder: str) -> None:
        run = flow.executable_task(retries=2)(functions.identity)
        future = run(Command("echo x >> tries; test $(wc -l < tries) -eq 2", cwd=folder))
        assert await future == ""
        assert future.attempts == 2

    @needs("executable", "executes")
    async def test_many_commands_at_once_all_succeed(self, flow: WorkflowEngine) -> None:
        run = flow.executable_task(functions.identity)
        count = min(200, self.load)
        results = await asyncio.gather(*(run(["echo", str(at)]) for at in range(count)))
        assert results == [f"{at}\n" for at in range(count)]

    # Process trees.  The shell waits for children that it started in the background.

    @needs("executable", "executes", "kills executables")
    async def test_cancelling_ends_the_whole_process_tree(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        mark = uuid.uuid4().hex
        future = flow.executable_task(functions.identity)(_tree(folder, mark))
        await appears(folder, "began")
        assert len(marked(mark)) >= 3
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        await until(lambda: not marked(mark), f"nothing runs on: {marked(mark)}", self.patience)

    @slow
    @needs("executable", "executes", "kills executables")
    async def test_a_tree_that_ignores_polite_requests_is_ended_all_the_same(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        mark = uuid.uuid4().hex
        future = flow.executable_task(functions.identity)(_tree(folder, mark, "trap '' TERM; "))
        await appears(folder, "began")
        future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(future, self.patience)
        assert marked(mark) == []

    @needs("executable", "executes", "kills executables")
    async def test_a_timeout_ends_the_whole_process_tree(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        mark = uuid.uuid4().hex
        future = flow.executable_task(timeout=0.5)(functions.identity)(_tree(folder, mark))
        with pytest.raises(TaskTimeoutError):
            await asyncio.wait_for(asyncio.shield(future), self.patience)
        await until(lambda: not marked(mark), f"nothing runs on: {marked(mark)}", self.patience)

    @needs("executable", "executes", "kills executables")
    @pytest.mark.usefixtures("guard")
    async def test_shutdown_ends_the_whole_process_tree(self, folder: str) -> None:
        mark = uuid.uuid4().hex
        flow = await self.new_flow()
        future = flow.executable_task(functions.identity)(_tree(folder, mark))
        await appears(folder, "began")
        await asyncio.wait_for(flow.shutdown(), self.patience)
        assert future.done()
        await until(lambda: not marked(mark), f"nothing runs on: {marked(mark)}", self.patience)

    @needs("executable", "executes")
    async def test_a_command_ends_with_its_shell_not_with_its_daemons(
        self, flow: WorkflowEngine, folder: str
    ) -> None:
        gate = "until [ -e gate ]; do sleep 0.02; done; touch ended"
        line = f"({gate}) </dev/null >/dev/null 2>&1 & echo here"
        run = flow.executable_task(functions.identity)
        assert await run(Command(line, cwd=folder)) == "here\n"
        assert not (Path(folder) / "ended").exists()
        open_gate(folder)
        await appears(folder, "ended", self.patience)


def _stand_in(folder: str) -> Container:
    """Return a container whose runtime runs a command outside of any, and says so to it."""
    image, runtime = Path(folder, "an image.sif"), Path(folder, "apptainer")
    image.touch()
    runtime.write_text(_RUNTIME.format(image=image))
    runtime.chmod(0o755)
    return Container(str(image), runtime=str(runtime))


def _real(folder: str) -> Path:
    return Path(folder).resolve()


def _read(path: str | None) -> str:
    assert path is not None
    return Path(path).read_text()


def _tree(folder: str, mark: str, first: str = "") -> Command:
    """Return a shell with two sleeping children, one of them below a shell of its own."""
    inner = shlex.quote(f"{first}sleep 60; sleep 60")
    line = f"{first}sleep 60 & sh -c {inner} & touch began; wait; wait; sleep 60"
    return Command(line, env={functions.MARK: mark}, cwd=folder)
