"""A private Slurm, whose only node is this machine."""

from __future__ import annotations

import getpass
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from .support import HANG_S

__all__ = ["CORES", "Slurm", "missing_programs", "serve_slurm"]

CORES = 4
_DAEMONS = ("munged", "slurmctld", "slurmd")
_CLIENTS = ("sbatch", "scancel", "sinfo", "squeue", "srun")
_CONFIGURATION = """
ClusterName=cellar
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs={cores} State=UNKNOWN
PartitionName=debug Nodes={host} Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""


def missing_programs() -> list[str]:
    """Return the programs of Slurm that are not installed."""
    return [name for name in (*_DAEMONS, *_CLIENTS) if _which(name) is None]


class Slurm:
    """A Slurm that runs.

    Attributes:
        environment: what its programs need to find it.
    """

    def __init__(self, configuration: Path) -> None:
        self.environment = {"SLURM_CONF": str(configuration)}

    def fill(self) -> str:
        """Submit a job that takes the whole node until it is cancelled; return its id."""
        return self._call("sbatch", "--parsable", "-n", str(CORES), "--wrap", "sleep 3600").strip()

    def cancel(self, job: str) -> None:
        self._call("scancel", job)

    def jobs(self, *states: str) -> set[str]:
        """Return the ids of the jobs that are in one of *states*, such as ``"PD"``."""
        return set(self._call("squeue", "-h", "-o", "%i", "-t", ",".join(states)).split())

    def up(self) -> bool:
        return "idle" in self._call("sinfo", "-h", "-o", "%T")

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=HANG_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def serve_slurm(folder: Path) -> Iterator[Slurm]:
    """Start the daemons, which keep all their files in *folder*, and end them."""
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    for part in ("state", "spool"):
        (folder / part).mkdir()
    with ExitStack() as sockets:
        open_ = [sockets.enter_context(closing(socket.socket())) for _ in range(2)]
        for each in open_:
            each.bind(("127.0.0.1", 0))
        ports = [each.getsockname()[1] for each in open_]
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    configuration.write_text(
        _CONFIGURATION.format(
            host=host, ports=ports, user=getpass.getuser(), folder=folder, cores=CORES
        )
    )
    slurm = Slurm(configuration)
    munge_files = [
        f"--{what}={folder}/munge.{suffix}"
        for what, suffix in (
            ("key-file", "key"),
            ("socket", "socket"),
            ("pid-file", "pid"),
            ("log-file", "log"),
            ("seed-file", "seed"),
        )
    ]
    with ExitStack() as stack:
        stack.enter_context(_daemon(folder, slurm, ["munged", "-F", "--force", *munge_files]))
        _wait((folder / "munge.socket").exists, folder)
        stack.enter_context(_daemon(folder, slurm, ["slurmctld", "-D", "-i"]))
        stack.enter_context(_daemon(folder, slurm, ["slurmd", "-D"]))
        _wait(slurm.up, folder)
        yield slurm


@contextmanager
def _daemon(folder: Path, slurm: Slurm, words: Sequence[str]) -> Iterator[None]:
    program = _which(words[0])
    assert program is not None
    with (folder / "daemons.log").open("ab") as log:
        process = subprocess.Popen(
            [program, *words[1:]],
            env={**os.environ, **slurm.environment},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(HANG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait(condition: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + HANG_S
    while not condition():
        assert time.monotonic() < deadline, (folder / "daemons.log").read_text()
        time.sleep(0.05)


def _which(name: str) -> str | None:
    # Daemons are not on the PATH of a user.
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
