"""A command line in another shell, and a command in a container, on any backend that runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from radical.asyncflow import Command, Container, ExecutableError, WorkflowEngine

__all__ = ["check_wrapped_commands"]

_RUNTIME = """\
#!/bin/sh
# A stand-in for Apptainer: it runs the command outside.
while test "$1" != "{image}"; do shift; done
shift
STAND_IN=yes exec "$@"
"""


async def check_wrapped_commands(flow: WorkflowEngine, folder: Path) -> None:
    """Check that both arrive as they are, and that what is missing is said by who runs them."""
    image, runtime = folder / "an image.sif", folder / "apptainer"
    image.touch()
    runtime.write_text(_RUNTIME.format(image=image))
    runtime.chmod(0o755)
    line = 'printf "%s:" "$STAND_IN" "a  b" "$TEXT"; cat'
    body = flow.executable_task(lambda: Command(line, env={"TEXT": "it's\n2"}, stdin="given"))
    inside = Container(str(image), runtime=str(runtime))
    assert await body.options(shell="sh -eu", container=inside)() == "yes:a  b:it's\n2:given"
    with pytest.raises(ExecutableError) as caught:
        await flow.executable_task(lambda: "false; echo no", shell="sh -e")()
    assert (caught.value.exit_code, caught.value.stdout) == (1, "")
    missing = Container("./no/image.sif", runtime=str(runtime))
    for wanted, what in (
        (body.options(shell="no-such-shell"), "asyncflow: there is no shell no-such-shell on "),
        (body.options(container=missing), "asyncflow: there is no image /"),
        (body.options(container=Container("a", "/no/podman")), "asyncflow: no container runtime"),
    ):
        with pytest.raises(ExecutableError, match=what):
            await wanted()
