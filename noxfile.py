"""Everything that is done to this project, as nox sessions; ``nox --list`` names them.

``python3 dev.py NAME`` runs a session where nox is not installed.  What follows ``--``
(or the name, with dev.py) is passed on, such as ``nox -s tests -- -k cancel``.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
SOURCES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("packages/*/src"))
DIST = ROOT / "dist"

NOT_LOCAL = ("--ignore=packages/backend-dask", "--ignore=packages/backend-radical")
"""What has a session, and an environment, of its own: without Dask the listing is another."""

AT_ONCE = (
    "--ignore=packages/core/tests/engine/test_native.py",
    "--ignore=packages/core/tests/engine/test_journal.py",
    "-k",
    "not (tells_its_state or told_of_each_state or happened_where or raises_harms_nobody or "
    "result_in_the_inbox)",
)
"""Not so with a journal: a task that was reported done is not yet at once, and no backend orders
tasks by itself."""


@nox.session
def demo(session: nox.Session) -> None:
    """Run a real workflow on this machine: a parameter sweep, with a table at its end."""
    install(session, "demo")
    session.run("python", "examples/05_parameter_sweep.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests of all packages, of the examples, of the documents and of the spec."""
    install(session, "test")
    session.run("pytest", *NOT_LOCAL, *session.posargs)


@nox.session
def dask(session: nox.Session) -> None:
    """Run the tests of the Dask backend, on real clusters of this machine."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt")
    session.run("pytest", "packages/backend-dask", *session.posargs)
    session.run("pytest", "tests/test_documents.py", "-k", "backend-dask")


@nox.session
def radical(session: nox.Session) -> None:
    """Run the tests of the RADICAL-Pilot backend, on real pilots of this machine."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/radical.txt")
    session.run("pytest", "packages/backend-radical", *session.posargs)
    session.run("pytest", "tests/test_documents.py", "-k", "backend-radical")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling; change nothing."""
    session.install("-r", "requirements/lint.txt")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of all sources, and what they promise to users (tests/typing)."""
    install(session, "types")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt")
    session.run("mypy", "--strict", *SOURCES, "dev.py", "examples", "scripts", "benchmarks")
    session.run("pytest", "tests/typing", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/; a warning is an error."""
    install(session, "docs")
    clusters = ("-e", "packages/backend-dask", "-e", "packages/backend-radical")
    session.install("--no-build-isolation", "--no-deps", *clusters)
    session.run("sphinx-build", "-E", "-W", "--keep-going", "-q", "docs", "site")
    session.log("open site/index.html")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the engine and the local backends against their plain references."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt")
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def wheels(session: nox.Session) -> None:
    """Build what a release uploads into dist/, check it, install it and run a workflow."""
    session.install("build", "hatchling")
    shutil.rmtree(DIST, ignore_errors=True)
    for package in sorted(ROOT.glob("packages/*/pyproject.toml")):
        session.run(
            *("python", "-m", "build", "--no-isolation", "--outdir", str(DIST)),
            str(package.parent),
            env={"ASYNCFLOW_RELEASE": "1"},
            silent=True,
        )
    session.run("python", "scripts/check_wheels.py", str(DIST))
    session.install("--force-reinstall", "--no-deps", *map(str, DIST.glob("*.whl")))
    session.install("--find-links", str(DIST), "radical.asyncflow[otel]")
    session.chdir(session.create_tmp())
    session.run("python", str(ROOT / "examples/01_hello.py"))


@nox.session
def conformance(session: nox.Session) -> None:
    """Hold every backend of this repository against the contract, in random order."""
    install(session, "test")
    session.run("pytest", "packages", *NOT_LOCAL, "-k", "conformance", *session.posargs)


@nox.session
def simulation(session: nox.Session) -> None:
    """Run the engine in virtual time with a million seeds; ``-- 20000`` for fewer."""
    install(session, "test")
    seeds, *more = session.posargs or ["1000000"]
    session.run(
        *("pytest", "packages/core/tests/simulation", "--timeout", "0", *more),
        env={"ASYNCFLOW_SIMULATION_SEEDS": seeds},
    )


@nox.session
def campaign(session: nox.Session) -> None:
    """Kill a program 50 times on each backend, and resume it; ``-- 5`` for fewer."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt")
    kills, *more = session.posargs or ["50"]
    session.run(
        *("pytest", "packages/core/tests/campaigns", "--timeout", "0", *more),
        env={"ASYNCFLOW_KILLS": kills},
    )


@nox.session
def journaled(session: nox.Session) -> None:
    """Run the engine's tests once more, each engine with a journal: all must be as without."""
    install(session, "test")
    session.run(
        *("pytest", "packages/core/tests/engine", *AT_ONCE, *session.posargs),
        env={"ASYNCFLOW_TEST_JOURNALS": "1"},
    )


@nox.session
def soak(session: nox.Session) -> None:
    """Run millions of tasks and count what is retained: the tests that take minutes."""
    install(session, "test")
    session.run("pytest", "-m", "soak", *NOT_LOCAL, *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Have Hypothesis try the tests that generate their input many times longer."""
    install(session, "test")
    session.run(
        *("pytest", "packages", *NOT_LOCAL, "-m", "hypothesis", "--timeout", "0", *session.posargs),
        env={"HYPOTHESIS_PROFILE": "long"},
    )


def install(session: nox.Session, requirements: str) -> None:
    """The packages of this repository, editable, and what the session needs beside them."""
    # With the build requirements at hand pip need not make an environment to build each package in.
    session.install("hatchling>=1.27", "editables")
    session.install(
        *("--no-build-isolation", "-r", "requirements/local.txt"),
        *("-r", f"requirements/{requirements}.txt"),
    )
