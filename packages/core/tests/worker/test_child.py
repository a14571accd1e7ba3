"""Starting programs: both ways do the same."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from radical.asyncflow.worker import _child
from radical.asyncflow.worker._child import Child, start

Start = Callable[..., Child]


@pytest.fixture(params=[False, True], ids=["Popen", "posix_spawn"])
def begin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Start:
    monkeypatch.setattr(_child, "_supported", request.param and _child._supported)

    def begin(
        *args: str,
        env: dict[bytes, bytes] | None = None,
        cwd: str | None = None,
        mark: bytes = b"",
    ) -> Child:
        env = dict(os.environb) if env is None else env
        return start(args, env, cwd, feed=False, stdout=None, stderr=None, mark=mark)

    return begin


def result(child: Child) -> tuple[int, bytes, bytes]:
    with open(child.stdout, "rb", closefd=False) as out:
        written = out.read()
    with open(child.stderr, "rb", closefd=False) as err:
        complaints = err.read()
    child.close()
    return child.wait(), written, complaints


def test_this_system_can_spawn() -> None:
    assert _child._supported == (sys.platform == "linux")


def test_arguments_streams_and_exit_code_arrive(begin: Start) -> None:
    child = begin("/bin/sh", "-c", 'printf "%s" "$1"; echo no >&2; exit 3', "sh", "ä b")
    assert result(child) == (3, "ä b".encode(), b"no\n")


def test_a_program_sees_three_descriptors_and_an_empty_input(begin: Start) -> None:
    with Path(os.devnull).open() as file:
        number = os.dup2(file.fileno(), 77)
        try:
            child = begin("/bin/sh", "-c", "cat; [ -e /dev/fd/2 ] && [ ! -e /dev/fd/77 ]")
            assert result(child) == (0, b"", b"")
        finally:
            os.close(number)


def test_a_name_is_looked_up_in_the_path_of_the_program(begin: Start, tmp_path: Path) -> None:
    for folder, answer in (("one", "1"), ("two", "2")):
        (tmp_path / folder).mkdir()
        program = tmp_path / folder / "asyncflow-answer"
        program.write_text(f"#!/bin/sh\necho {answer}\n")
        program.chmod(0o755 if folder == "two" else 0o644)
    path = f"relative:/no/such:{tmp_path}/one:{tmp_path}/two"
    assert result(begin("asyncflow-answer", env={b"PATH": path.encode()})) == (0, b"2\n", b"")


def test_each_program_has_its_environment_and_its_mark(begin: Start) -> None:
    env = {b"LETTER": b"a"}
    for change, mark in [
        ({}, b""),
        ({}, b"MARK=1"),
        ({}, b"MARK=2"),
        ({b"LETTER": b"b"}, b"MARK=3"),
    ]:
        env |= change  # the same mapping each time
        code, written, _ = result(begin("/usr/bin/env", env=env, mark=mark))
        expected = {b"LETTER=" + env[b"LETTER"], *([mark] if mark else [])}
        assert (code, set(written.split())) == (0, expected)


@pytest.mark.parametrize(
    ("name", "code"),
    [("asyncflow-none", errno.ENOENT), ("/no/such", errno.ENOENT), ("/etc/passwd", errno.EACCES)],
)
def test_what_cannot_be_executed_is_named(begin: Start, name: str, code: int) -> None:
    with pytest.raises(OSError, match=name) as caught:
        begin(name)
    assert (caught.value.errno, caught.value.filename) == (code, name)


def test_the_working_directory_is_entered_first(begin: Start, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("#!/bin/sh\npwd\n")
    (tmp_path / "here").chmod(0o755)
    assert result(begin("./here", cwd=str(tmp_path)))[1] == f"{tmp_path}\n".encode()


def test_a_null_byte_is_refused(begin: Start) -> None:
    with pytest.raises(ValueError, match="null byte"):
        begin("echo", "a\0b")


def test_signals_that_python_ignores_are_not_ignored(begin: Start) -> None:
    child = begin("/bin/sh", "-c", "kill -PIPE $$; echo alive")
    assert result(child)[:2] == (-signal.SIGPIPE, b"")


def test_it_leads_a_group_of_its_own(begin: Start) -> None:
    child = begin("/bin/sh", "-c", "ps -o pgid= -p $$ 2>/dev/null || cut -d' ' -f5 /proc/$$/stat")
    assert int(result(child)[1]) == child.pid


def test_a_failed_start_leaves_no_descriptor(begin: Start) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(FileNotFoundError):
            begin("/no/such")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
