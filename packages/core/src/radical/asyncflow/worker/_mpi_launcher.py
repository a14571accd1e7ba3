"""The launcher that starts the ranks of an MPI program: where it is, and what it is told.

Launchers differ in their options.  Those that are known are told to keep all ranks on this
machine, to start as many as they are asked for, and to bind none of them to a core: each of
two launchers that bind would take the same cores.  Or they are told on which nodes to start how
many, and to start what they need there by a program of ours, in the place of ssh.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from .._public import public
from ..errors import ConfigurationError, UnsupportedOptionError
from ._rank_start import OF_LAUNCHER

__all__ = ["HOST_FILE_VARIABLE", "RANK_VARIABLES", "MpiLauncher", "RankHosts", "own_environment"]

RANK_VARIABLES = ("PMIX_RANK", "PMI_RANK", "OMPI_COMM_WORLD_RANK", "PALS_RANKID", "SLURM_PROCID")
"""Environment variables of which a launcher sets at least one, to the number of the rank."""

HOST_FILE_VARIABLE = "SLURM_HOSTFILE"
"""The variable by which ``srun`` is told which node each rank is on."""

_INHERITED = re.compile(
    r"PMI_|PMIX_(?!MCA_)|PALS_|OMPI_(?!MCA_|ALLOW_)|MPI_LOCAL|HYDI_|HYDRA_|SLURM_(PROCID|LOCALID)$"
)
"""Variables that an outer launcher, which started this program, set for it alone."""

_NAMES = ("mpiexec", "mpirun")
_PLACES = re.compile(r"\{(\w*)\}")
_HOST_PLACES = frozenset({"hosts", "nodes"})
_KNOWN_PLACES = _HOST_PLACES | {"ranks", "cores"}
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
_OPENMPI_SPREAD = (
    *("--leave-session-attached", "--host", "{hosts}", "--map-by", "slot:OVERSUBSCRIBE"),
    *("--bind-to", "none", "-n", "{ranks}"),
)
_SPREAD_OPTIONS = {
    "hydra": (
        *("-bootstrap", "rsh", "-bootstrap-exec", "{start}"),
        *("-hosts", "{hosts}", "-n", "{ranks}"),
    ),
    # Before version 5, what a batch system tells of a node goes before the number of ranks there.
    "openmpi": (
        *("--mca", "orte_top_session_dir", "{folder}", "--mca", "plm", "rsh"),
        *("--mca", "ras", "^slurm,tm,lsf,alps,gridengine"),
        *("--mca", "plm_rsh_agent", "{start}", "--mca", "plm_rsh_no_tree_spawn", "1"),
        *_OPENMPI_SPREAD,
    ),
    "openmpi5": (
        *("--prtemca", "plm", "ssh", "--prtemca", "plm_ssh_agent", "{start}"),
        *("--prtemca", "plm_ssh_no_tree_spawn", "1", *_OPENMPI_SPREAD),
    ),
    # It reads the nodes in HOST_FILE_VARIABLE.
    "slurm": (
        *("-N", "{count}", "-n", "{ranks}", "-c", "{cores}", "--distribution=arbitrary"),
        *("--overlap", "--cpu-bind=none", "--kill-on-bad-exit=1"),
    ),
}


class RankHosts(NamedTuple):
    """The nodes on which to start ranks.

    Attributes:
        hosts: their host names, each with the number of its ranks.
        names: their names in the batch system.
        start: a program that starts a command on one of them, as ssh does.
    """

    hosts: tuple[tuple[str, int], ...]
    names: tuple[str, ...]
    start: Path


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
                command with ``{ranks}`` and, if it should know them, ``{cores}`` of a rank,
                and ``{hosts}`` or ``{nodes}``.

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
                f"mpi_launcher {setting!r} has {names}; it may have {{ranks}}, {{cores}}, "
                "{hosts} and {nodes}"
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

    @staticmethod
    def node_name() -> str:
        """Return the name of this machine in the batch system."""
        return os.environ.get("SLURMD_NODENAME") or socket.gethostname()

    @staticmethod
    def spread_problem(setting: str | None) -> str:
        """Return why *setting* cannot start ranks on several nodes; "" if it says nothing."""
        places = set(_PLACES.findall(setting or ""))
        if not places or places & _HOST_PLACES:
            return ""
        return (
            f"mpi_launcher {setting!r} does not say where the names of the nodes go: add "
            "{hosts}, for a:4,b:4, or {nodes}, for a,b"
        )

    def command(
        self, ranks: int, cores: int = 1, spread: RankHosts | None = None
    ) -> tuple[str, ...]:
        """Return the words before the program of which *ranks* are to be started.

        Args:
            spread: on which nodes; None for this machine.

        Raises:
            UnsupportedOptionError: the launcher is not known to start ranks on several nodes.
        """
        here = socket.gethostname()
        hosts = ((here, ranks),) if spread is None else spread.hosts
        values = {
            "ranks": ranks,
            "cores": cores,
            "count": len(hosts),
            "hosts": ",".join(f"{host}:{count}" for host, count in hosts),
            "nodes": ",".join((self.node_name(),) if spread is None else spread.names),
            "start": None if spread is None else spread.start,
            "folder": Path(tempfile.gettempdir(), f"ompi.{os.urandom(8).hex()}{OF_LAUNCHER}"),
        }
        words = self.words
        if not self._is_template:
            words += self._options(_OPTIONS if spread is None else _SPREAD_OPTIONS)
        return tuple(_PLACES.sub(lambda place: str(values[place[1]]), word) for word in words)

    def _options(self, options: Mapping[str, tuple[str, ...]]) -> tuple[str, ...]:
        family = self._family
        if family == "openmpi5" and options is _OPTIONS:
            family = "openmpi"
        if family not in options:
            raise UnsupportedOptionError(
                f"{self.words[0]} is no launcher of MPICH, Intel MPI, Open MPI or Slurm, so nobody "
                "knows how it starts ranks on several nodes: say it in mpi_launcher, with {ranks}, "
                "and with {hosts}, for a:4,b:4, or {nodes}, for a,b"
            )
        return options[family]

    @property
    def reads_host_file(self) -> bool:
        """True if it is told by a file in HOST_FILE_VARIABLE which node each rank is on."""
        return Path(self.words[0]).name == "srun"

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
            ("OpenRTE", "openmpi"),
            *((f"(Open MPI) {version}.", "openmpi") for version in range(1, 5)),
            ("Open MPI", "openmpi5"),
            ("PRTE", "openmpi5"),
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
