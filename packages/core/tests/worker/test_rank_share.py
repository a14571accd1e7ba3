"""Ranks on a node that the launcher is not on, and what a launcher is told of the nodes."""

from __future__ import annotations

import marshal
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from polling import wait_until
from radical.asyncflow.errors import ConfigurationError, DeathReason, UnsupportedOptionError
from radical.asyncflow.worker import (
    MpiLauncher,
    RankNode,
    RankShare,
    SpreadCommand,
    _rank_start,
    _rank_watch,
)
from radical.asyncflow.worker._found_gpus import gpu_variable
from radical.asyncflow.worker._mpi_launcher import RankHosts
from radical.asyncflow.worker._rank_end import RankEnd
from radical.asyncflow.worker._rank_nodes import write_node, write_nodes

HOST = "elsewhere"


class Share:
    """A share that runs in a thread, with the folder of its ranks."""

    def __init__(self, folder: Path, secret: str = "secret") -> None:
        self.folder = folder / "ranks"
        ports: queue.SimpleQueue[str] = queue.SimpleQueue()
        command = SpreadCommand(
            "true",
            env={"HELLO": "you"},
            cwd=str(folder),
            folder=str(self.folder),
            secret=secret,
            first=4,
            ranks=6,
        )
        self.share = RankShare(
            command, ranks=2, name="wide", work_dir=lambda: folder, grace=1.0, ready=ports.put
        )
        self.thread = threading.Thread(target=self.share.run)
        self.thread.start()
        self.port = int(ports.get(timeout=30).partition(":")[2])
        self.use("secret")

    def use(self, secret: str) -> None:
        """Let programs on the node of the launcher use *secret*."""
        node = RankNode(HOST, HOST, 2, ("127.0.0.1",), self.port)
        self.hosts = write_nodes(self.folder, secret, [RankNode("here", "n1", 4), node])

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start what a launcher starts in the place of ssh."""
        return subprocess.Popen(
            [str(self.hosts.start), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> None:
        self.share.cancel()
        self.thread.join(30)
        assert not self.thread.is_alive()


@pytest.fixture
def share(tmp_path: Path) -> Iterator[Share]:
    made = Share(tmp_path)
    yield made
    made.end()


def sleeping(pid: int) -> bool:
    try:
        return b"sleep" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False


def test_a_line_runs_in_the_folder_and_the_environment_of_the_command(
    share: Share, tmp_path: Path
) -> None:
    started = share.start("-x", HOST, 'echo "$HELLO" $(pwd);', "echo bad >&2; exit 7")
    assert started.communicate(timeout=30) == (f"you {tmp_path}\n", "bad\n")
    assert started.returncode == 7


def test_who_does_not_know_the_secret_starts_nothing(share: Share, tmp_path: Path) -> None:
    share.use("another")
    started = share.start(HOST, f"touch {tmp_path}/made")
    _, said = started.communicate(timeout=30)
    assert started.returncode == 255
    assert f"cannot start ranks on {HOST}" in said
    assert not (tmp_path / "made").exists()


def test_a_node_that_nobody_named_is_refused(share: Share) -> None:
    started = share.start("somewhere", "true")
    assert "was not told to" in started.communicate(timeout=30)[1]
    assert started.returncode == 255


def pid_in(path: Path) -> int:
    wait_until(lambda: path.exists() and path.read_text().endswith("\n"))
    return int(path.read_text())


@pytest.mark.parametrize("end", ["the launcher", "the share"])
def test_what_left_the_group_ends_too(share: Share, tmp_path: Path, end: str) -> None:
    line = f"setsid sleep 3600 & echo $! > {tmp_path}/pid; wait"
    started = share.start(HOST, line)
    pid = pid_in(tmp_path / "pid")
    wait_until(lambda: sleeping(pid))
    if end == "the launcher":
        started.kill()
        started.wait()
        wait_until(lambda: not sleeping(pid))
    else:
        share.end()
        assert not sleeping(pid)
        started.wait(30)
    started.communicate()


def test_processes_that_the_launcher_starts_in_its_own_way_end_with_the_share(
    share: Share, tmp_path: Path
) -> None:
    (path,) = share.folder.glob("*.node")
    marks, first, variables, port = marshal.loads(path.read_bytes())
    assert (first, variables, port) == (4, [{}, {}], share.port)
    with subprocess.Popen(["sleep", "3600"], env={**os.environ, **marks}) as process:
        wait_until(lambda: sleeping(process.pid))
        share.end()
        assert process.wait(30) == -signal.SIGTERM


def test_a_share_that_was_cancelled_before_starts_nothing(tmp_path: Path) -> None:
    told: list[str] = []
    command = SpreadCommand("true", folder=str(tmp_path / "ranks"), secret="s", ranks=2)
    share = RankShare(
        command, ranks=1, name="wide", work_dir=lambda: tmp_path, grace=1.0, ready=told.append
    )
    share.cancel()
    assert share.run().exit_code == -signal.SIGTERM


class Ranks:
    """Ranks as a launcher starts them on this node, which may have two, with a GPU each."""

    def __init__(self, folder: Path, host: str = "") -> None:
        self.folder = folder / "ranks"
        self.marks = {"ASYNCFLOW_EXECUTION": "of this node"}
        write_node(self.folder, self.marks, 4, [("7",), ("9",)], 2)
        here = host or os.uname().nodename
        line = f"cat /proc/$$/environ | tr '\\0' '\\n'; echo GPUS=${gpu_variable()}; exit $CODE"
        words = tuple(map(os.fsencode, ("/bin/sh", "-c", line)))
        plan = (words, ("PMI_RANK",), [], "mpiexec", ("elsewhere", here))
        (self.folder / "plan").write_bytes(marshal.dumps(plan))

    def run(self, rank: int, code: int = 0) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-I", "-S", _rank_watch.__file__, str(self.folder)],
            env={"PMI_RANK": str(rank), "CODE": str(code), "ASYNCFLOW_EXECUTION": "of another"},
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self, rank: int) -> list[str]:
        return (self.folder / f"{rank}.stdout").read_text().splitlines()


def test_a_rank_has_the_gpus_and_the_marks_of_its_node(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    for rank, gpu in ((5, "9"), (4, "7")):
        assert ranks.run(rank).returncode == 0
        assert {"ASYNCFLOW_EXECUTION=of this node", f"GPUS={gpu}"} <= set(ranks.told(rank))


def test_ranks_in_another_order_get_what_is_left(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    assert ranks.run(1).returncode == 0
    assert ranks.run(4).returncode == 0
    assert "GPUS=7" in ranks.told(1)
    assert "GPUS=9" in ranks.told(4)
    third = ranks.run(5)
    assert third.returncode == 125
    assert "more than 2 ranks were started on node" in third.stderr


def test_a_rank_on_a_node_that_was_not_meant_is_refused(tmp_path: Path) -> None:
    refused = Ranks(tmp_path, host="nowhere").run(4)
    assert refused.returncode == 125
    assert "none of elsewhere, nowhere" in refused.stderr


def test_a_rank_that_fails_ends_so_that_launchers_end_the_others(tmp_path: Path) -> None:
    ranks = Ranks(tmp_path)
    assert ranks.run(4, code=3).returncode == -signal.SIGTERM
    end = RankEnd.parse((ranks.folder / "4.end").read_bytes())
    assert end is not None
    assert end.code == 3


def test_the_share_of_a_node_tells_why_a_rank_has_died(share: Share) -> None:
    question = f"{os.getpid()} {-signal.SIGSEGV} 0"
    script = _rank_start.__file__
    asked = subprocess.run(
        [sys.executable, "-I", "-S", script, share.folder, "--end", str(share.port), question],
        capture_output=True,
        check=True,
    )
    end = RankEnd.parse(b"1 2 -11 4 5 6 7 8 " + asked.stdout)
    assert end is not None
    assert end.death.reason is DeathReason.CRASH
    assert end.death.evidence.startswith("it crashed by itself")


SPREAD = RankHosts((("a", 4), ("b", 2)), ("n1", "n2"), Path("/run/start"))


@pytest.fixture
def launcher(tmp_path: Path) -> Callable[..., MpiLauncher]:
    def make(version: str, options: str = "") -> MpiLauncher:
        program = tmp_path / "launch"
        program.write_text(f"#!/bin/sh\necho '{version}'\n")
        program.chmod(0o755)
        return MpiLauncher(f"{program} {options}")

    return make


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("HYDRA build details:", "-bootstrap rsh -bootstrap-exec /run/start -hosts a:4,b:2 -n 6"),
        ("Intel(R) MPI Library", "-bootstrap rsh -bootstrap-exec /run/start -hosts a:4,b:2 -n 6"),
        ("mpirun (Open MPI) 4.1.6", "--mca plm_rsh_agent /run/start"),
        ("mpiexec (OpenRTE) 4.1.4", "--mca plm_rsh_agent /run/start"),
        ("mpirun (Open MPI) 5.0.11", "--prtemca plm_ssh_agent /run/start"),
        ("mpirun (Open MPI) 10.0.0", "--prtemca plm_ssh_agent /run/start"),
        ("slurm 23.02.1", "-N 2 -n 6 -c 3 --distribution=arbitrary"),
    ],
)
def test_known_launchers_are_told_the_nodes(
    launcher: Callable[..., MpiLauncher], version: str, words: str
) -> None:
    made = launcher(version, "--own")
    told = " ".join(made.command(6, 3, SPREAD))
    assert words in told
    assert told.startswith(f"{made.words[0]} --own ")
    if "Open MPI" in version:
        assert "--host a:4,b:2 --map-by slot:OVERSUBSCRIBE" in told
    assert "/run/start" not in " ".join(made.command(6, 3))


def test_another_launcher_has_to_be_described(launcher: Callable[..., MpiLauncher]) -> None:
    with pytest.raises(UnsupportedOptionError, match=r"say it in mpi_launcher.*\{hosts\}"):
        launcher("mine 1.0").command(6, 3, SPREAD)
    made = launcher("mine 1.0", "-n {ranks} -H {hosts} -w {nodes}")
    assert made.command(6, 3, SPREAD)[1:] == ("-n", "6", "-H", "a:4,b:2", "-w", "n1,n2")
    (_, _, ranks, _, hosts, _, names) = made.command(2)
    assert (ranks, hosts) == ("2", f"{os.uname().nodename}:2")
    assert names == MpiLauncher.node_name()


def test_a_description_without_nodes_is_for_one_node() -> None:
    assert MpiLauncher.spread_problem(None) == ""
    assert MpiLauncher.spread_problem("mpirun -q") == ""
    assert MpiLauncher.spread_problem("mpirun -n {ranks} -w {nodes}") == ""
    assert "add {hosts}" in MpiLauncher.spread_problem("mpirun -n {ranks}")
    with pytest.raises(ConfigurationError, match="does not say where"):
        MpiLauncher.read("mpirun -w {nodes}")


def test_the_launcher_reads_the_node_of_each_rank(share: Share) -> None:
    assert (share.folder / "hosts").read_text() == "n1\n" * 4 + f"{HOST}\n" * 2
    assert share.hosts.hosts == (("here", 4), (HOST, 2))
    assert (share.folder / "nodes").stat().st_mode & 0o77 == 0
    assert sys.executable in share.hosts.start.read_text()
