"""One command from a fresh clone: ``python3 dev.py demo``, ``python3 dev.py tests``.

Makes ``.venv`` beside this file with nox in it, once, and has nox run the session that
was named; what follows the name goes to the session, and no name lists them all.  It
needs Python 3.11 and nothing else, whatever the current folder is.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
NOX = "nox>=2024.10.9"


def main(arguments: list[str]) -> int:
    """Returns the exit code of nox."""
    if sys.version_info < (3, 11):
        return rerun_with_newer_python(arguments)
    try:
        if not works():
            make_environment()
    except (OSError, subprocess.CalledProcessError) as error:
        say(f"cannot set up {ENVIRONMENT}: {error}")
        say("what pip or venv printed above says why; to begin anew, delete that folder")
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
    """Whether the environment is there, with a nox that runs."""
    if not PYTHON.exists():
        return False
    check = [str(PYTHON), "-c", "import nox"]
    return subprocess.call(check, stderr=subprocess.DEVNULL) == 0


def make_environment() -> None:
    """A virtual environment with nox in it; one that is there already keeps what it has."""
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
        found = shutil.which(f"python3.{minor}")
        if found:
            return subprocess.call([found, str(Path(__file__).resolve()), *arguments])
    version = ".".join(map(str, sys.version_info[:3]))
    say(f"this needs Python 3.11 or newer; {sys.executable} is {version}")
    return 1


def say(text: str) -> None:
    print("dev.py: " + text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)  # another checkout's modules have no business here
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
