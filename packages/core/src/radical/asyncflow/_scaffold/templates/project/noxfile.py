"""The checks of this project: `nox` runs all of them, `nox -s tests` runs one."""

from __future__ import annotations

import nox

nox.options.reuse_venv = "yes"
nox.options.sessions = ["lint", "types", "tests", "wheel"]


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, and change nothing."""
    session.install("ruff")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of the sources and the tests."""
    session.install("-e", ".[test]", "mypy")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests; options of pytest go behind `--`, such as `nox -s tests -- -k cancel`."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build what a release uploads into dist/, and check how PyPI will show it."""
    session.install("build", "twine")
    session.run("python", "-m", "build", "--outdir", "dist")
    session.run("twine", "check", "--strict", "dist/*")
