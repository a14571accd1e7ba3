from __future__ import annotations

import logging
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from radical.asyncflow.model import Command
from radical.asyncflow.worker import Execution, Output, guard

Make = Callable[..., Execution]


def program(code: str, *, limit: int | None = None) -> str:
    """Run *code* in an interpreter of its own; its standard output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=limit and (lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))),  # type: ignore[arg-type]
    )
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


# How it ends


def test_the_exit_code_and_both_streams_are_the_result(make: Make) -> None:
    assert make("echo out; echo err >&2; exit 3").run() == (3, "out\n", "err\n")


def test_an_end_by_signal_is_a_negative_exit_code(make: Make) -> None:
    assert make("kill -KILL $$").run().exit_code == -signal.SIGKILL


def test_a_missing_program_is_exit_code_127(make: Make) -> None:
    result = make(["no-such-program"]).run()
    assert result == (127, "", "no-such-program: No such file or directory\n")


@pytest.mark.parametrize("shell", [False, True])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"#!/bin/sh\r\necho hi\r\n", r"its lines end as on Windows.* '/bin/sh\\r'"),
        (b"#! /opt/gone/python -u\nprint(1)\n", r"not its interpreter '/opt/gone/python'"),
    ],
)
def test_a_script_without_its_interpreter_blames_the_interpreter(
    make: Make, tmp_path: Path, text: bytes, said: str, shell: bool
) -> None:
    script = tmp_path / "script"
    script.write_bytes(text)
    script.chmod(0o755)
    command = Command("./script" if shell else ("./script",), cwd=str(tmp_path))
    code, out, err = make(command).run()
    assert (code, out) == (127, "")
    assert re.search(said, err), err
    code, _, err = make(Command(("script",), env={"PATH": str(tmp_path)})).run()
    assert code == 127
    assert re.search(said, err), err


def test_a_file_that_is_no_program_is_exit_code_126(make: Make) -> None:
    assert make(["/etc/passwd"]).run() == (126, "", "/etc/passwd: Permission denied\n")


def test_a_missing_working_directory_is_named(make: Make) -> None:
    with pytest.raises(FileNotFoundError, match=r"working directory of 'it': '/no/such'"):
        make(Command(("ls",), cwd="/no/such")).run()


def test_too_long_arguments_are_an_error_that_says_what_to_do(make: Make) -> None:
    with pytest.raises(OSError, match="stdin or in a file"):
        make(["/bin/echo", "x" * 10_000_000]).run()


def test_a_daemon_that_holds_the_output_is_not_waited_for(
    make: Make, alive: Callable[[int], bool]
) -> None:
    result = make("sleep 1000 & echo $!").run()
    assert alive(int(result.stdout))
    os.kill(int(result.stdout), signal.SIGKILL)


def test_what_a_daemon_says_soon_after_is_still_read(make: Make) -> None:
    assert make("(sleep 0.2; echo late) & echo soon").run().stdout == "soon\nlate\n"


@pytest.mark.timeout(120)
def test_a_daemon_that_never_stops_talking_is_not_waited_for(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("radical.asyncflow.worker._command._OUTPUT_LIMIT_S", 0.3)
    result = make("yes & exit 5", memory_limit=1000).run()
    assert result.exit_code == 5


@pytest.mark.timeout(120)
@pytest.mark.parametrize("line", ["sleep 0.1; echo x", "exec >&- 2>&-; sleep 0.1"])
def test_the_end_is_seen_on_systems_without_process_descriptors(
    line: str, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open")
    assert make(f"{line}; exit 4").run().exit_code == 4


# What goes in


def test_text_for_stdin_is_sent_as_utf8(make: Make) -> None:
    assert make(Command("cat", stdin="grüße")).run().stdout == "grüße"


def test_without_stdin_the_input_is_empty(make: Make) -> None:
    assert make("cat").run() == (0, "", "")


def test_a_megabyte_passes_through_without_a_deadlock(make: Make) -> None:
    data = b"x" * 1_000_000
    result = make(Command("tee /dev/stderr", stdin=data)).run()
    assert len(result.stdout) == len(result.stderr) == len(data)


def test_a_command_that_does_not_read_its_input_is_no_failure(make: Make) -> None:
    assert make(Command("exit 0", stdin=b"x" * 1_000_000)).run().exit_code == 0


def test_the_environment_of_the_command_wins(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A", "worker")
    monkeypatch.setenv("D", "worker")
    command = Command("echo $A $B $C ${D-unset}", env={"B": "command", "D": None})
    result = make(command, env={"A": "backend", "B": "backend", "C": "backend"}).run()
    assert result.stdout == "backend command backend unset\n"


def test_gpus_are_what_the_command_sees(make: Make) -> None:
    assert make("echo $CUDA_VISIBLE_DEVICES", gpus=(0, 2)).run().stdout == "0,2\n"


def test_the_command_leads_a_process_group_of_its_own(make: Make) -> None:
    pid, group = make("ps -o pid=,pgid= -p $$").run().stdout.split()
    assert pid == group


# What comes out


def test_output_that_is_not_utf8_is_decoded_with_replacement(make: Make) -> None:
    assert make(r"printf 'a\377b'").run().stdout == "a\ufffdb"


def test_longer_output_is_spilled_whole_and_its_head_returned(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "radical.asyncflow.worker"):
        stdout = make("seq 1000", memory_limit=10).run().stdout
    assert isinstance(stdout, Output)
    assert stdout == "1\n2\n3\n4\n5\n"
    assert (stdout.size, stdout.truncated) == (3893, True)
    assert stdout.path is not None
    assert stdout.path.read_text() == "".join(f"{i}\n" for i in range(1, 1001))
    assert "task 'it' wrote 3893 bytes to stdout" in caplog.text


def test_a_character_that_the_limit_cuts_in_two_is_left_out(make: Make) -> None:
    assert make("echo ééééé", memory_limit=3).run().stdout == "é"


def test_an_output_that_was_spilled_can_be_pickled(tmp_path: Path) -> None:
    output = Output("x", tmp_path / "file", 7, True)
    copy = pickle.loads(pickle.dumps(output))
    assert (copy, copy.path, copy.size, copy.truncated) == ("x", tmp_path / "file", 7, True)


def test_capture_stdio_gives_the_paths_of_files(make: Make) -> None:
    result = make("echo out; echo err >&2", name="a/b c", capture_stdio=True).run()
    assert Path(result.stdout).read_text() == "out\n"
    assert Path(result.stderr).read_text() == "err\n"
    assert Path(result.stdout).name.startswith("a_b_c.")
    assert result.stdout.endswith(".stdout")


def test_a_missing_program_is_told_in_the_captured_file(make: Make) -> None:
    result = make(["no-such-program"], capture_stdio=True).run()
    assert result.exit_code == 127
    assert "No such file" in Path(result.stderr).read_text()


@pytest.mark.parametrize("source", ["/dev/zero", "/dev/urandom"])
def test_100_mb_of_output_grow_memory_by_less_than_64_mb(source: str, tmp_path: Path) -> None:
    grown = program(
        f"""
        import pathlib, resource
        from radical.asyncflow.model import Command
        from radical.asyncflow.worker import Execution

        def run(megabytes):
            command = Command("head -c %dM {source}" % megabytes)
            return Execution(command, work_dir=lambda: pathlib.Path({str(tmp_path)!r})).run()

        run(0)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = run(100)
        assert result.stdout.size == 100 * 1024 * 1024
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    )
    assert int(grown) < 64 * 1024  # KiB


# How it is cancelled


def cancel_when_up(execution: Execution, ready: Path) -> threading.Thread:
    """Cancel as soon as the command has made a file."""

    def cancel() -> None:
        for _ in range(3000):
            if ready.exists():
                break
            threading.Event().wait(0.01)
        execution.cancel()

    thread = threading.Thread(target=cancel)
    thread.start()
    return thread


def tree(tmp_path: Path) -> list[int]:
    return [int(line) for line in (tmp_path / "pids").read_text().split()]


@pytest.mark.parametrize(
    ("line", "signal_number"),
    [
        ("sleep 1000 & echo $! > pids; touch ready; sleep 1000", signal.SIGTERM),
        ("(sleep 1000 & echo $! > pids); touch ready; exec sleep 1000", signal.SIGTERM),
        ("trap '' TERM; sleep 1000 & echo $! > pids; touch ready; sleep 1000", signal.SIGKILL),
        ("trap '' TERM; exec >&- 2>&-; echo $$ > pids; touch ready; sleep 1000", signal.SIGKILL),
        (
            "setsid sh -c 'echo $$ > pids; touch ready; exec sleep 1000' & exec sleep 1000",
            signal.SIGTERM,
        ),
        (
            "setsid sh -c 'trap \"\" TERM; echo $$ > pids; touch ready; sleep 1000' & sleep 1000",
            signal.SIGTERM,
        ),
    ],
    ids=["child", "orphan", "stubborn", "silent", "own session", "stubborn own session"],
)
def test_cancel_ends_the_whole_tree_before_run_returns(
    line: str,
    signal_number: int,
    make: Make,
    tmp_path: Path,
    alive: Callable[[int], bool],
) -> None:
    execution = make(Command(line, cwd=str(tmp_path)), grace=0.3)
    thread = cancel_when_up(execution, tmp_path / "ready")
    result = execution.run()
    thread.join()
    assert execution.cancelled
    assert result.exit_code == -signal_number
    assert not any(alive(pid) for pid in tree(tmp_path))


def test_a_leader_that_ends_leaves_its_children_the_grace(make: Make, tmp_path: Path) -> None:
    line = (
        "(trap 'sleep 0.2; echo done > done; exit' TERM; touch ready; while :; do sleep 0.05; done)"
    )
    execution = make(Command(f"{line} & exec sleep 1000", cwd=str(tmp_path)), grace=20)
    thread = cancel_when_up(execution, tmp_path / "ready")
    execution.run()
    thread.join()
    assert (tmp_path / "done").exists()


def test_cancel_before_run_starts_nothing(make: Make, tmp_path: Path) -> None:
    execution = make(Command("touch started", cwd=str(tmp_path)))
    execution.cancel()
    assert execution.run().exit_code == -signal.SIGTERM
    assert execution.cancelled
    assert not (tmp_path / "started").exists()


def test_cancel_after_the_end_does_nothing(make: Make) -> None:
    execution = make("exit 0")
    execution.run()
    execution.cancel()
    assert not execution.cancelled


def test_cancel_at_any_moment_of_the_start_ends_it(
    make: Make, in_thread: Callable[[Callable[[], Any]], list[Any]]
) -> None:
    for delay in range(30):
        execution = make(["sleep", "1000"])
        running = threading.Event()

        def run(execution: Execution = execution, running: threading.Event = running) -> Any:
            running.set()
            return execution.run()

        in_thread(run)  # whose end is asserted after the test
        assert running.wait(30)
        for _ in range(delay * 200):  # a busy wait far finer than a sleep
            pass
        execution.cancel()
        assert execution.cancelled


def test_a_cancelled_command_keeps_what_it_wrote(make: Make, tmp_path: Path) -> None:
    execution = make(Command("echo before; touch ready; sleep 1000", cwd=str(tmp_path)))
    thread = cancel_when_up(execution, tmp_path / "ready")
    assert execution.run().stdout == "before\n"
    thread.join()


# What is left


def test_400_at_once_succeed_with_256_descriptors() -> None:
    out = program(
        """
        import concurrent.futures, pathlib, threading
        from radical.asyncflow.model import Command
        from radical.asyncflow.worker import Execution, guard

        together = threading.Barrier(400)

        def run(i):
            together.wait(50)
            command = Command(("sh", "-c", f"sleep 0.1; echo {i}"))
            return Execution(command, work_dir=pathlib.Path.cwd).run()

        guard().acquire()
        with concurrent.futures.ThreadPoolExecutor(400) as pool:
            results = list(pool.map(run, range(400)))
        guard().release()
        assert results == [(0, f"{i}\\n", "") for i in range(400)], results
        print("all")
        """,
        limit=256,
    )
    assert out == "all\n"


def test_200_runs_leave_no_descriptor_thread_or_child(tmp_path: Path) -> None:
    me = psutil.Process()

    def run() -> None:
        Execution(Command("echo x"), work_dir=lambda: tmp_path).run()

    guard().acquire()
    run()
    before = (me.num_fds(), threading.active_count(), len(me.children(recursive=True)))
    for _ in range(200):
        run()
    after = (me.num_fds(), threading.active_count(), len(me.children(recursive=True)))
    guard().release()
    assert after == before
    assert not list(tmp_path.iterdir())
