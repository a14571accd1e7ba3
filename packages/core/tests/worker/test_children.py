"""Commands in programs that do not learn how their own children end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from radical.asyncflow.model import Command
from radical.asyncflow.worker import Execution, _child

Make = Callable[..., Execution]


@pytest.fixture
def ignored() -> Iterator[None]:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGCHLD, before)


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget afterwards that an exit code was lost."""
    monkeypatch.setattr(_child, "_distrusted", False)


@pytest.mark.usefixtures("ignored")
@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_an_exit_code_arrives_though_sigchld_is_ignored(make: Make, code: int) -> None:
    assert make(f"echo out; echo err >&2; exit {code}").run() == (code, "out\n", "err\n")


@pytest.mark.usefixtures("ignored")
def test_a_signal_and_a_missing_program_are_told_apart_though_sigchld_is_ignored(
    make: Make,
) -> None:
    assert make("kill -KILL $$").run().exit_code == -signal.SIGKILL
    assert make("exit 137").run().exit_code == 137
    missing = make(["no-such-program"]).run()
    assert missing == (127, "", "no-such-program: No such file or directory\n")
    assert make(["/etc/passwd"]).run().exit_code == 126
    with pytest.raises(FileNotFoundError, match="working directory of 'it': '/no/such'"):
        make(Command(("ls",), cwd="/no/such")).run()


@pytest.mark.usefixtures("ignored")
def test_input_environment_and_folder_arrive_though_sigchld_is_ignored(
    make: Make, tmp_path: Any
) -> None:
    command = Command(
        ("/bin/sh", "-c", 'pwd; echo "$A"; wc -c'),
        env={"A": 'it\'s "that"\n'},
        cwd=str(tmp_path),
        stdin=b"\xff" * 1_000_000,
    )
    assert make(command).run() == (0, f'{tmp_path}\nit\'s "that"\n\n1000000\n', "")


@pytest.mark.usefixtures("ignored")
def test_a_cancel_ends_the_whole_group_though_sigchld_is_ignored(
    make: Make,
    in_thread: Callable[..., list[Any]],
    eventually: Callable[..., None],
    alive: Callable[[int], bool],
    tmp_path: Any,
) -> None:
    execution = make(f"sleep 600 & echo $! > {tmp_path}/pid; wait")
    result = in_thread(execution.run)
    eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    execution.cancel()
    eventually(lambda: result)
    assert result[0].exit_code != 0
    assert not alive(int((tmp_path / "pid").read_text()))


@pytest.mark.usefixtures("ignored")
def test_a_command_does_not_inherit_that_sigchld_is_ignored(make: Make) -> None:
    code = "import signal; print(signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL)"
    assert make([sys.executable, "-c", code]).run().stdout == "True\n"


@pytest.mark.usefixtures("trusting")
def test_an_exit_code_that_something_else_took_is_a_failure(make: Make) -> None:
    execution = make("exit 3")
    taken = threading.Event()

    def start(*args: Any, **options: Any) -> _child.Child:
        child = real(*args, **options)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        os.waitpid(-1, 0)
        taken.set()
        return child

    real = _child.start
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("radical.asyncflow.worker._spawning.start", start)
        with pytest.raises(ChildProcessError, match="the exit code of the command is lost"):
            execution.run()
    assert taken.is_set()
    # And from then on somebody else waits for commands.
    assert make("exit 3").run().exit_code == 3
    assert make("true").run().exit_code == 0


@pytest.mark.usefixtures("ignored")
def test_an_exit_code_that_the_killed_helper_would_have_told_is_a_failure(
    make: Make, in_thread: Callable[..., list[Any]], eventually: Callable[..., None], tmp_path: Any
) -> None:
    def run() -> object:
        try:
            return make(f"echo > {tmp_path}/begun; sleep 1").run()
        except ChildProcessError as error:
            return error

    result = in_thread(run)
    eventually((tmp_path / "begun").exists)
    (helper,) = [
        child for child in psutil.Process().children() if "_launching.py" in str(child.cmdline())
    ]
    helper.kill()
    eventually(lambda: result)
    assert isinstance(result[0], ChildProcessError)
    assert make("exit 3").run().exit_code == 3  # another helper


_FORKING = """
    import os, threading
    from radical.asyncflow.model import Command
    from radical.asyncflow.worker import Execution, guard

    guard().acquire()
    go = os.pipe()
    command = Command("cat | wc -c", stdin=b"x" * 1_000_000)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(Execution(command, work_dir=os.getcwd).run())
    )
    real = os.write
    forked = []
    def write(descriptor, data):
        if len(data) > 10_000 and not forked:  # it is being fed
            child = os.fork()
            if not child:
                os.read(go[0], 1)  # until the command has ended
                os._exit(0)
            forked.append(child)
        return real(descriptor, data)
    os.write = write
    thread.start()
    thread.join()
    print(results[0].stdout.strip(), len(forked))
    real(go[1], b".")
    os.waitpid(forked[0], 0)
    guard().release()
"""


def test_a_fork_of_the_program_does_not_hold_the_input_of_a_command_open() -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_FORKING)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.returncode) == ("1000000 1\n", 0), done.stderr
