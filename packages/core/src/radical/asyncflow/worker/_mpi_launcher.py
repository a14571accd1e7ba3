"""The launcher that starts the ranks of an MPI program: where it is, and what it is told.

Launchers differ in their options.  Those that are known are told to keep all ranks on this
machine, to start as many as they are asked for, and to bind none of them to a core: each of
two launchers that bind would take the same cores.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from .._public import public
from ..errors import ConfigurationError, UnsupportedOptionError

__all__ = ["RANK_VARIABLES", "MpiLauncher", "own_environment"]

RANK_VARIABLES = ("PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "PALS_RANKID", "SLURM_PROCID")
"""Environment variables of which a launcher sets at least one, to the number of the rank."""

_INHERITED = re.compile(
    r"PMI_|PMIX_(?!MCA_)|PALS_|OMPI_(?!MCA_|ALLOW_)|MPI_LOCAL|HYDI_|HYDRA_|SLURM_(PROCID|LOCALID)$"
)
"""Variables that an outer launcher, which started this program, set for it alone."""

_NAMES = ("mpiexec", "mpirun")
_PLACES = re.compile(r"\{(\w*)\}")
_KNOWN_PLACES = frozenset({"ranks", "cores"})
_VERSION_LIMIT_S = 30.0
_INSTALL = (
    "install one with its MPI library (pip install mpich, or the package mpich or openmpi of the "
    "system), or name one by the setting mpi_launcher"
)
_OPTIONS = {
    # Hydra, of MPICH and Intel MPI.  In a batch job it would use all nodes of the job.
    "hydra": ("-bootstrap", "fork", "-hosts", "localhost", "-n", "{ranks}"),
    # Before version 5, all launchers of a user keep their files in one folder, which the last one
    # removes while another one may have begun to use it, and each wants an ssh that none needs.
    "openmpi": (
        *("--mca", "orte_top_session_dir", "{folder}", "--mca", "plm", "^rsh"),
        *("--host", "localhost:{ranks}", "--map-by", ":OVERSUBSCRIBE"),
        *("--bind-to", "none", "-n", "{ranks}"),
    ),
    "slurm": (
        *("-N", "1", "-n", "{ranks}", "-c", "{cores}"),
        *("--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1"),
    ),
    "": ("-n", "{ranks}"),
}


@public("radical.asyncflow.worker")
class MpiLauncher:
    """A launcher on this machine, such as ``mpiexec``.

    Attributes:
        words: the program and the options that it always gets.
    """

    def __init__(self, setting: str | None = None) -> None:
        """Find the launcher that *setting* names, or one of those that there are.

        Args:
            setting: a program, by its name or path, with or without options; or a whole
                command with ``{ranks}`` and, if it should know them, ``{cores}`` of a rank.

        Raises:
            ConfigurationError: *setting* cannot be read, or there is no such program.
            UnsupportedOptionError: no launcher is found.
        """
        self._is_template = False
        if setting is None:
            self.words: tuple[str, ...] = (_find(),)
            return
        self.words = self.read(setting)
        self._is_template = bool(_PLACES.search(setting))
        program = _locate(self.words[0])
        if program is None:
            raise ConfigurationError(
                f"mpi_launcher: there is no program {self.words[0]!r}, neither beside "
                f"{sys.executable} nor on PATH"
            )
        self.words = (program, *self.words[1:])

    @staticmethod
    def read(setting: str) -> tuple[str, ...]:
        """Return the words of the setting ``mpi_launcher``.

        Raises:
            ConfigurationError: it cannot be read.
        """
        try:
            words = tuple(shlex.split(setting))
        except ValueError as error:
            raise ConfigurationError(f"mpi_launcher {setting!r} cannot be read: {error}") from None
        if not words:
            raise ConfigurationError("mpi_launcher is empty")
        places = set(_PLACES.findall(setting))
        if unknown := places - _KNOWN_PLACES:
            names = ", ".join(f"{{{name}}}" for name in sorted(unknown))
            raise ConfigurationError(
                f"mpi_launcher {setting!r} has {names}; it may have {{ranks}} and {{cores}}"
            )
        if places and "ranks" not in places:
            raise ConfigurationError(f"mpi_launcher {setting!r} does not say where {{ranks}} goes")
        return words

    @staticmethod
    def check(name: str, *, function: bool, setting: str | None = None) -> None:
        """Raise UnsupportedOptionError if this machine cannot start ranks for the task *name*.

        Args:
            function: whether each rank runs a function, which needs mpi4py.
        """
        wanted = []
        try:
            MpiLauncher(setting)
        except ConfigurationError as error:
            wanted.append(str(error))
        if function and find_spec("mpi4py") is None:
            wanted.append(
                "a function with ranks needs mpi4py: pip install mpi4py, or radical.asyncflow[mpi]"
            )
        if wanted:
            raise UnsupportedOptionError(f"task {name!r}: {'; '.join(wanted)}")

    def command(self, ranks: int, cores: int = 1) -> tuple[str, ...]:
        """Return the words before the program of which *ranks* are to be started."""
        words = self.words if self._is_template else (*self.words, *_OPTIONS[self._family])
        folder = Path(tempfile.gettempdir(), f"ompi.{os.urandom(8).hex()}")
        values = {"ranks": ranks, "cores": cores, "folder": folder}
        return tuple(_PLACES.sub(lambda place: str(values[place[1]]), word) for word in words)

    @cached_property
    def _family(self) -> str:
        """The kind of launcher, as it says itself; "" if that is not known."""
        try:
            said = subprocess.run(
                [self.words[0], "--version"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=own_environment(os.environ),
                timeout=_VERSION_LIMIT_S,
                check=False,
            ).stdout.decode(errors="replace")
        except (OSError, subprocess.TimeoutExpired):
            return ""
        for word, family in (
            ("HYDRA", "hydra"),
            ("Intel(R) MPI", "hydra"),
            ("Open MPI", "openmpi"),
            ("OpenRTE", "openmpi"),
            ("PRTE", "openmpi"),
            ("slurm", "slurm"),
        ):
            if word.lower() in said.lower():
                return family
        return ""


def _find() -> str:
    for name in _NAMES:
        if program := _locate(name):
            return program
    # Outside of a job of its own it would queue one.
    if "SLURM_JOB_ID" in os.environ and (program := _locate("srun")):
        return program
    raise UnsupportedOptionError(
        f"there is no MPI launcher: neither {' nor '.join(_NAMES)} is beside {sys.executable} "
        f"or on PATH; {_INSTALL}"
    )


def _locate(name: str) -> str | None:
    """Return the path of a program; one that was installed with this interpreter comes first."""
    beside = Path(sys.executable or "/").parent
    return (None if "/" in name else shutil.which(name, path=str(beside))) or shutil.which(name)


def own_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return *environment* without what makes this program itself a rank of an outer launcher."""
    return {name: value for name, value in environment.items() if not _INHERITED.match(name)}
