"""Version, errors and plugins: what all commands share."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .conftest import Install, Invoke, Run

PLUGINS = "radical.asyncflow.plugins"
COMMAND = """
    import click
    from radical.asyncflow import hookimpl

    @hookimpl
    def asyncflow_cli(group):
        @group.command()
        def greet():
            "Say hello."
            click.echo("hello from a plugin")
"""


def test_version_is_that_of_the_core(invoke: Invoke) -> None:
    from radical.asyncflow import __version__

    assert invoke("--version").output == f"asyncflow {__version__}\n"


def test_python_dash_m_is_the_same_command(run: Run) -> None:
    assert run("--version").stdout.startswith("asyncflow ")


def test_version_imports_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from radical.asyncflow.cli import main\n"
        "try: main(['--version'])\n"
        "except SystemExit: pass\n"
        "heavy = {'rich', 'pydantic', 'asyncio', 'pluggy', 'radical.asyncflow.engine'}\n"
        "print(sorted(heavy & {*sys.modules}))\n"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["backends", "list", "--nonsense"], "--nonsense"),
        (["run"], "Missing argument 'SCRIPT'"),
        (["run", "no-such-file.py"], "'no-such-file.py' does not exist"),
        (["backends", "show", "concurent"], "Closest known names: concurrent"),
        (["doctor", "nopo"], "Closest known names: noop"),
        (["doctor", "noop", "--set", "nonsense"], "not of the form key=value"),
        (["doctor", "noop", "--set", "a=1"], "it takes no settings"),
        (["doctor", "--set", "a=1"], "needs a backend"),
        (["doctor", "--config", "no-such-file.toml"], "'no-such-file.toml' does not exist"),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    invoke: Invoke, args: list[str], text: str
) -> None:
    result = invoke(*args)
    assert result.exit_code == 2
    assert text in result.stderr
    assert "Traceback" not in result.output


def test_debug_shows_the_traceback(invoke: Invoke) -> None:
    result = invoke("doctor", "nopo", "--debug")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


def test_plugin_adds_a_command(invoke: Invoke, install: Install) -> None:
    install(PLUGINS, "greeter", COMMAND)
    assert invoke("greet").stdout == "hello from a plugin\n"


def test_help_lists_the_commands_of_plugins(invoke: Invoke, install: Install) -> None:
    install(PLUGINS, "greeter", COMMAND)
    assert "Say hello." in invoke("--help").stdout


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise OSError('no disk')", "no disk"),
        (COMMAND + "        raise KeyError('half-way')\n", "half-way"),
    ],
    ids=["at import", "in its hook"],
)
def test_broken_plugin_is_named_and_adds_nothing(
    invoke: Invoke, install: Install, code: str, reason: str
) -> None:
    install(PLUGINS, "broken", code)
    result = invoke("--help")
    assert result.exit_code == 0
    assert reason in result.stderr
    assert "Traceback" not in result.stderr
    assert "greet" not in result.stdout


def test_plugin_cannot_take_a_command_of_ours(invoke: Invoke, install: Install) -> None:
    install(PLUGINS, "thief", COMMAND.replace("def greet", "def doctor"))
    result = invoke("--help")
    assert "the command 'doctor' of plugin thief" in result.stderr
    assert "Say hello." not in result.stdout


def test_error_of_a_plugin_command_is_one_message(invoke: Invoke, install: Install) -> None:
    install(PLUGINS, "greeter", COMMAND.replace('click.echo("hello from a plugin")', "1 / 0"))
    result = invoke("greet")
    assert result.exit_code == 2
    assert "Error: ZeroDivisionError: division by zero" in result.stderr
    assert "Traceback" not in result.stderr
