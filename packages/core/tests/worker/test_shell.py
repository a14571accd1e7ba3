from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from radical.asyncflow.worker import Execution
from radical.asyncflow.worker._shell import plain_words

_NO_NUL = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
_SETTINGS = settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_PRINTF = ("/usr/bin/printf", "%s\\0")

LINES = [
    "ls /",
    "  ls   /  ",
    "ls\t/",
    "expr 1 + 2",
    "printenv HOME",
    "env X=1 printenv X",
    "X=1 printenv X",
    "X=1",
    "expr length abc",
    "echo a   b",
    "echo $HOME",
    "echo ~",
    "basename ~/x",
    "echo a;echo b",
    "echo 'a b'",
    'echo "a  b"',
    "echo a\\ b",
    "ls /et*",
    "ls /et?",
    "basename [ab]",
    "basename {a,b}",
    "expr a # b",
    "# nothing",
    ":",
    "true",
    "false",
    "test 1 = 2",
    "cd /",
    "pwd",
    "exit 3",
    "if true",
    "! true",
    "printenv X | cat",
    "expr 1 && expr 2",
    "ls / > /dev/null",
    "expr 1\nexpr 2",
    "expr 1\n",
    "expr 5 \\\n + 6",
    "nosuchprogram",
    "nosuchprogram -x",
    "/etc",
    "/etc/passwd",
    "/nonexistent/program x",
    "./missing",
    "-x",
    "+x",
    "basename é",
    "expr a^b",
    "expr 3 % 2",
    "kill -TERM $$",
    "printenv PWD",
    "basename a=b",
    "basename x:~/y",
    "basename %1",
    "%1",
]


@pytest.mark.parametrize("line", LINES)
def test_a_line_means_what_it_means_to_the_shell(
    line: str, make: Callable[..., Execution], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PWD", "/nonsense")
    shell = subprocess.run(
        ["/bin/sh", "-c", f" {line}"], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    result = make(line).run()
    assert result.exit_code == shell.returncode
    assert result.stdout == shell.stdout.decode()
    assert result.stderr == shell.stderr.decode()


def test_a_script_without_a_first_line_is_run_by_the_shell(
    tmp_path: Path, make: Callable[..., Execution]
) -> None:
    script = tmp_path / "script"
    script.write_text("echo from a script\n")
    script.chmod(0o755)
    assert make(str(script)).run().stdout == "from a script\n"


def test_a_plain_line_needs_no_shell() -> None:
    assert plain_words(" ls  -l /tmp ", {}) == ["ls", "-l", "/tmp"]


def test_a_function_that_bash_would_import_is_left_to_the_shell() -> None:
    assert plain_words("module load x", {b"BASH_FUNC_module%%": b"() { :; }"}) is None


@_SETTINGS
@given(arguments=st.lists(_NO_NUL, min_size=1, max_size=4))
def test_every_argument_of_a_list_arrives_equal(
    arguments: list[str], make: Callable[..., Execution]
) -> None:
    result = make([*_PRINTF, *arguments]).run()
    assert result.stdout == "".join(f"{argument}\0" for argument in arguments)


@_SETTINGS
@given(argument=_NO_NUL | st.from_regex(r"[\w@%+:,./=~-]+", fullmatch=True))
def test_a_quoted_string_arrives_as_one_literal_argument(
    argument: str, make: Callable[..., Execution]
) -> None:
    argument = argument.replace("\0", "")
    line = f"/usr/bin/env printf %s,%s {shlex.quote(argument)} end"
    assert make(line).run().stdout == f"{argument},end"


def test_the_working_directory_is_named_by_pwd(
    tmp_path: Path, make: Callable[..., Execution]
) -> None:
    from radical.asyncflow.model import Command

    result = make(Command("printenv PWD", cwd=str(tmp_path))).run()
    assert result.stdout == f"{os.path.realpath(tmp_path)}\n"
