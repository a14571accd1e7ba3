"""A private Slurm, whose node is this machine, or whose nodes have networks of their own."""

from __future__ import annotations

import getpass
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

__all__ = [
    "CORES",
    "Node",
    "Slurm",
    "cut_off_node",
    "cut_off_node_if_allowed",
    "demand_slurm",
    "separate_nodes",
    "serve_slurm",
    "three_nodes",
]

CORES = 4

_HANG_S = 300.0
_JOBS_END_S = 20.0
_DAEMONS = ("munged", "slurmctld", "slurmd")
_CLIENTS = ("sbatch", "scancel", "sinfo", "squeue", "srun")
_CONFIGURATION = """
ClusterName=cellar
SlurmctldHost={host}({controller})
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SelectType=select/cons_tres
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0,sched_interval=1
SlurmdTimeout={node_timeout_s}
{nodes}
PartitionName=debug Nodes={names} Default=YES MaxTime=60 State=UP OverSubscribe=NO
"""
_NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr={address} CPUs={cores} RealMemory=1000 "
    "State=UNKNOWN"
)
_BEGIN_NODE = (
    "hostname {host}; for file in hosts resolv.conf; do mount --bind {folder}/$file /etc/$file; "
    'done; exec "$0" "$@"'
)
_NO_LIMITS = """
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectTypeParameters=CR_Core
"""
_MEMORY_LIMITS = """
ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
SelectTypeParameters=CR_Core_Memory
"""
_CGROUPS = """
CgroupMountpoint=/sys/fs/cgroup
CgroupPlugin=cgroup/v1
ConstrainRAMSpace=yes
"""


def demand_slurm() -> None:
    """Skip the tests where Slurm is not installed, except in CI, which must have it."""
    missing = [name for name in (*_DAEMONS, *_CLIENTS) if _which(name) is None]
    if missing:
        text = f"no {', '.join(missing)}: install the packages slurm-wlm and munge"
        if os.environ.get("CI"):
            pytest.fail(text)
        pytest.skip(text)


class Slurm:
    """A Slurm that runs.

    Attributes:
        environment: what its programs need to find it.
    """

    def __init__(self, configuration: Path, nodes: int = 1) -> None:
        self.environment = {"SLURM_CONF": str(configuration)}
        self._nodes = nodes

    def fill(self) -> str:
        """Submit a job that takes the whole node until it is cancelled; return its id."""
        words = ["--parsable", "-n", str(CORES), "-o", "/dev/null", "--wrap", "sleep 3600"]
        return self._call("sbatch", *words).strip()

    def submit(self, folder: Path, line: str, *, memory_mb: int = 100) -> str:
        """Submit a job of one core that runs *line* in *folder*; return its id."""
        words = ["--parsable", "--no-requeue", "-n", "1", "-t", "10", "-o", "/dev/null"]
        words += [f"--mem={memory_mb}", f"--chdir={folder}", "--wrap", line]
        return self._call("sbatch", *words).strip()

    def cancel(self, *jobs: str) -> None:
        self._call("scancel", *jobs)

    def end_jobs(self) -> None:
        """End all jobs, which would outlive the daemons; give those up that do not end soon."""
        states = ("PD", "R", "S", "CG")
        deadline = time.monotonic() + _JOBS_END_S
        while (jobs := self.jobs(*states)) and time.monotonic() < deadline:
            self.cancel(*jobs)
            time.sleep(0.2)

    def end_walltime(self, job: str) -> None:
        """Let the walltime of *job* be over; the daemon sees that within 30 seconds."""
        self._call("scontrol", "update", f"jobid={job}", "endtime=now+1")

    def fail_node(self) -> None:
        """Let the node be down for a moment."""
        self.set_node("down")

    def set_node(self, state: str, name: str = "") -> None:
        """Have a node, or the only one, enter *state*: ``"drain"``, ``"resume"``."""
        name = name or self._call("sinfo", "-h", "-o", "%n").strip()
        self._call("scontrol", "update", f"nodename={name}", f"state={state}", "reason=test")

    def set_queue(self, state: str) -> None:
        """Have the queue enter *state*: ``"down"`` starts no job until it is ``"up"`` again."""
        self._call("scontrol", "update", "partitionname=debug", f"state={state}")

    def hold(self, job: str) -> None:
        """Let *job*, which waits, not start until it is released."""
        self._call("scontrol", "hold", job)

    def release(self, job: str) -> None:
        self._call("scontrol", "release", job)

    def job_on(self, node: str) -> str:
        """Return the id of the only job that runs on a node."""
        return self._call("squeue", "-h", "-o", "%i", "-w", node).strip()

    def jobs(self, *states: str) -> set[str]:
        """Return the ids of the jobs that are in one of *states*, such as ``"PD"``."""
        return set(self._call("squeue", "-h", "-o", "%i", "-t", ",".join(states)).split())

    def up(self) -> bool:
        """Tell whether all nodes are there and have no job."""
        return self._call("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * self._nodes

    def _call(self, *words: str) -> str:
        done = subprocess.run(
            words,
            env={**os.environ, **self.environment},
            cwd="/",
            capture_output=True,
            text=True,
            timeout=_HANG_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


class Node(NamedTuple):
    """A node of the cluster.

    Attributes:
        name: the name of the node.
        address: the address of the node.
        controller: the address of this machine that the node can reach.
        prefix: the words before the command of the node's daemon.
        host: its host name; "" for that of this machine.
        link: the end of its cable on this machine; "" if it has none.
    """

    name: str
    address: str = "127.0.0.1"
    controller: str = "127.0.0.1"
    prefix: tuple[str, ...] = ()
    host: str = ""
    link: str = ""

    def cut(self) -> None:
        """Pull the cable of the node."""
        _network("link", "set", self.link, "down")

    def mend(self) -> None:
        """Put the cable back."""
        _network("link", "set", self.link, "up")


@contextmanager
def _own_net() -> Iterator[str]:
    """Yield the first three numbers of addresses that no other cluster of this machine has."""
    taken = _network("-o", "address", "show")
    for number in random.sample(range(254), 254):
        net = f"10.77.{number}"
        if f" {net}.254/" in taken:
            continue
        # The kernel knows such a name once for each network, and forgets it with this process.
        with closing(socket.socket(socket.AF_UNIX)) as claim:
            try:
                claim.bind(f"\0asyncflow-{net}")
            except OSError:
                continue
            yield net
            return
    raise RuntimeError("this machine has no network left for a cluster")


@contextmanager
def cut_off_node() -> Iterator[Node]:
    """Make a node that reaches this machine at one address only, which programs do not announce.

    Raises:
        RuntimeError: this process may not make networks; the text says why.
    """
    name = f"asf{secrets.token_hex(4)}"
    with ExitStack() as stack:
        net = stack.enter_context(_own_net())
        _network("netns", "add", name)
        stack.callback(_network, "netns", "delete", name)
        _network("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
        _network("address", "add", f"{net}.254/24", "dev", name)
        _network("link", "set", name, "up")
        _network("-n", name, "address", "add", f"{net}.1/24", "dev", "eth0")
        for link in ("eth0", "lo"):
            _network("-n", name, "link", "set", link, "up")
        # `ip netns exec` would mount another /sys, in which slurmd finds no cgroups.
        prefix = ("nsenter", f"--net=/var/run/netns/{name}")
        yield Node(name, f"{net}.1", f"{net}.254", prefix)


@contextmanager
def separate_nodes(count: int) -> Iterator[list[Node]]:
    """Make nodes with networks and host names of their own, that share the files of this machine.

    They know each other by name, and ask no name server, which they could not reach.

    Raises:
        RuntimeError: this process may not make networks; the text says why.
    """
    name = f"asf{secrets.token_hex(4)}"
    with ExitStack() as stack:
        net = stack.enter_context(_own_net())
        _network("link", "add", name, "type", "bridge")
        stack.callback(_network, "link", "delete", name)
        _network("address", "add", f"{net}.254/24", "dev", name)
        _network("link", "set", name, "up")
        names = [f"{name}n{number}" for number in range(1, count + 1)]
        folder = Path(stack.enter_context(TemporaryDirectory(prefix=name)))
        hosts = "".join(f"{net}.{number} {own}\n" for number, own in enumerate(names, 1))
        (folder / "hosts").write_text(f"127.0.0.1 localhost\n{hosts}")
        (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
        nodes = []
        for number, own in enumerate(names, 1):
            link = f"{name}v{number}"
            _network("netns", "add", own)
            stack.callback(_network, "netns", "delete", own)
            stack.callback(_end_all, own)
            _network("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", own)
            _network("link", "set", link, "master", name, "up")
            _network("-n", own, "address", "add", f"{net}.{number}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _network("-n", own, "link", "set", device, "up")
            # The programs of this machine may announce any of its addresses.
            _network("-n", own, "route", "add", "default", "via", f"{net}.254")
            prefix = (
                *("nsenter", f"--net=/var/run/netns/{own}", "unshare", "--uts", "--mount"),
                *("sh", "-ec", _BEGIN_NODE.format(host=own, folder=folder)),
            )
            address, controller = f"{net}.{number}", f"{net}.254"
            nodes.append(Node(own, address, controller, prefix, own, link))
        yield nodes


def _end_all(namespace: str) -> None:
    """End what still runs in a network namespace, such as the job of a node that was cut off."""
    while pids := _network("netns", "pids", namespace).split():
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)


@pytest.fixture(scope="module", name="node")
def cut_off_node_if_allowed() -> Iterator[Node | None]:
    """Make a node that is cut off; None where that is not allowed, as in most containers."""
    with ExitStack() as stack:
        try:
            node = stack.enter_context(cut_off_node())
        except RuntimeError:
            node = None
        yield node


@pytest.fixture(scope="module", name="nodes")
def three_nodes() -> Iterator[list[Node]]:
    """Make three nodes with networks of their own; skip the tests where that is not allowed."""
    demand_slurm()
    with ExitStack() as stack:
        try:
            nodes = stack.enter_context(separate_nodes(3))
        except RuntimeError as error:
            pytest.skip(str(error))
        yield nodes


def _network(*words: str) -> str:
    try:
        done = subprocess.run(
            ["ip", *words], check=True, capture_output=True, text=True, timeout=_HANG_S
        )
    except FileNotFoundError as error:
        raise RuntimeError("no ip: install the package iproute2") from error
    except subprocess.CalledProcessError as error:
        raise RuntimeError(f"this process may not make networks: {error.stderr}") from error
    return done.stdout


@contextmanager
def serve_slurm(
    folder: Path,
    node: Node | Sequence[Node] | None = None,
    *,
    limits_memory: bool = False,
    node_timeout_s: int = 20,
) -> Iterator[Slurm]:
    """Start the daemons, which keep all their files in *folder*, and end them.

    Args:
        node: the only node, or all of them; None for this machine.
        limits_memory: the kernel kills a job that uses more memory than it asked for.
        node_timeout_s: a node that is silent for so long is down.
    """
    key = folder / "munge.key"
    key.write_bytes(secrets.token_bytes(1024))
    key.chmod(0o400)
    for part in ("state", "spool"):
        (folder / part).mkdir()
    configuration = folder / "slurm.conf"
    host = socket.gethostname().partition(".")[0]
    nodes = [node or Node(host)] if node is None or isinstance(node, Node) else list(node)
    for each in nodes:
        (folder / "spool" / each.name).mkdir()
    if limits_memory:
        (folder / "cgroup.conf").write_text(_CGROUPS)
    configuration.write_text(
        (_MEMORY_LIMITS if limits_memory else _NO_LIMITS)
        + _CONFIGURATION.format(
            host=host,
            ports=_free_ports(2),
            user=getpass.getuser(),
            folder=folder,
            node_timeout_s=node_timeout_s,
            nodes="\n".join(
                _NODE.format(
                    name=each.name, host=each.host or host, address=each.address, cores=CORES
                )
                for each in nodes
            ),
            names=",".join(each.name for each in nodes),
            controller=nodes[0].controller,
        )
    )
    slurm = Slurm(configuration, len(nodes))
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
        for each in nodes:
            stack.enter_context(
                _daemon(folder, slurm, ["slurmd", "-D", "-N", each.name], prefix=each.prefix)
            )
        _wait(slurm.up, folder)
        stack.callback(slurm.end_jobs)
        yield slurm


def _free_ports(count: int) -> list[int]:
    """Return ports that are free, of those that no connection is given by the kernel."""
    ports: list[int] = []
    for port in random.sample(range(20_000, 32_000), 1000):
        with closing(socket.socket()) as own:
            try:
                own.bind(("", port))
            except OSError:
                continue
        ports.append(port)
        if len(ports) == count:
            break
    return ports


@contextmanager
def _daemon(
    folder: Path, slurm: Slurm, words: Sequence[str], *, prefix: Sequence[str] = ()
) -> Iterator[None]:
    program = _which(words[0])
    assert program is not None
    with (folder / "daemons.log").open("ab") as log:
        process = subprocess.Popen(
            [*prefix, program, *words[1:]],
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
            process.wait(_HANG_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def _wait(condition: Callable[[], bool], folder: Path) -> None:
    deadline = time.monotonic() + _HANG_S
    while not condition():
        assert time.monotonic() < deadline, (folder / "daemons.log").read_text()
        time.sleep(0.05)


def _which(name: str) -> str | None:
    # Daemons are not on the PATH of a user.
    return shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin"]))
