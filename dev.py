"""Run a nox session from a fresh clone: ``python3 dev.py demo``, ``python3 dev.py tests``.

The first time, this creates ``.venv`` beside this file and installs nox in it.  Then nox runs
the session that was named; further arguments go to the session, and without a name nox lists
all sessions.  This needs Python 3.11 and nothing else, and works from any folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
NOX = "nox>=2024.10.9"


def main(arguments: list[str]) -> int:
    """Run nox with *arguments*, and return its exit code."""
    if sys.version_info < (3, 11):
        return rerun_with_newer_python(arguments)
    try:
        if not works():
            make_environment()
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"cannot set up {ENVIRONMENT}: {error}")
        say("the output of pip or venv above says why; delete that folder to start again")
        return 1
    command = [str(PYTHON), "-m", "nox", "--noxfile", str(ROOT / "noxfile.py")]
    if arguments and not arguments[0].startswith("-"):
        command += ["--session", arguments[0]]
        if arguments[1:]:
            command += ["--", *arguments[1:]]
    else:
        command += arguments or ["--list"]
    return subprocess.call(command)


def works() -> bool:
    """Tell whether the environment exists and has a nox that runs."""
    if not PYTHON.exists():
        return False
    check = [str(PYTHON), "-c", "import nox"]
    return subprocess.call(check, stderr=subprocess.DEVNULL) == 0


def make_environment() -> None:
    """Create a virtual environment with nox; one that exists keeps what it has."""
    say(f"installing {NOX} into {ENVIRONMENT}")
    own_pip = importlib.util.find_spec("ensurepip") is not None
    if not PYTHON.exists():
        venv.create(str(ENVIRONMENT), clear=True, with_pip=own_pip)
    pip = [str(PYTHON), "-m", "pip"]
    if not own_pip:  # Debian without python3-venv: the system's pip serves other environments too
        pip = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    subprocess.check_call([*pip, "install", "--quiet", "--disable-pip-version-check", NOX])


def rerun_with_newer_python(arguments: list[str]) -> int:
    for minor in (14, 13, 12, 11):
        python = shutil.which(f"python3.{minor}")
        if python:
            return subprocess.call([python, str(Path(__file__).resolve()), *arguments])
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"this needs Python 3.11 or newer; {sys.executable} is {version}")
    return 1


def say(text: str) -> None:
    print("dev.py: " + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # it could name the modules of another checkout
    # If whoever calls this ignores it, each session that fails would come out as a success.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
