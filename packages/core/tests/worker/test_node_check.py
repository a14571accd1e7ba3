"""A node that connects back to this machine; here this machine plays the node."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from radical.asyncflow.errors import DeathReason
from radical.asyncflow.testing import LeakGuard
from radical.asyncflow.worker import (
    JOB_ID_VARIABLES,
    Knock,
    NodeCheck,
    NodeSign,
    ask_batch_system,
    explain_slurm_job,
    job_state,
    knock,
    machine_addresses,
    slurm_facts,
)


@pytest.fixture
def check(tmp_path: Path) -> Iterator[NodeCheck]:
    with LeakGuard(), NodeCheck(tmp_path) as check:
        yield check


@pytest.fixture
def server() -> Iterator[int]:
    """Listen at a port of 127.0.0.1, and say nothing to whoever connects."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        yield listening.getsockname()[1]


def run(line: str, **environment: str) -> None:
    """Run *line* as the shell of a job does."""
    command = ["/bin/sh", "-e", "-c", line]
    subprocess.run(command, env={"PATH": "/usr/bin:/bin", **environment}, check=True, timeout=60)


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listening:
        return int(listening.getsockname()[1])


def test_a_node_reaches_every_address_of_this_machine(check: NodeCheck) -> None:
    check.aim()
    assert (check.sign(), check.outcome()) == (None, None)
    run(check.line, SLURMD_NODENAME="n1", PBS_JOBID="12.head")
    assert check.sign() == NodeSign("n1", "12.head")
    assert check.outcome() == [Knock(*each, "") for each in machine_addresses().items()]


def test_a_node_tries_the_port_that_is_used_too(check: NodeCheck, server: int) -> None:
    closed = free_port()
    check.aim(("127.0.0.1", server), ("localhost", closed))
    run(check.line)
    first, second, *_ = check.outcome() or ()
    assert first == Knock("127.0.0.1", "", "")
    assert second == Knock("localhost", "", f"port {closed}: connection refused")


def test_a_node_waits_until_it_is_told_what_to_try(check: NodeCheck) -> None:
    with subprocess.Popen(["/bin/sh", "-c", check.line]) as node:
        while check.sign() is None:
            assert node.poll() is None
        assert check.outcome() is None
        check.aim()
        assert node.wait(60) == 0
    assert check.outcome() is not None


def test_another_machine_with_the_same_address_is_not_taken_for_this_one(
    check: NodeCheck, server: int, tmp_path: Path
) -> None:
    (address, *_) = machine_addresses()
    check.aim()
    order = json.loads((tmp_path / "targets.json").read_text())
    (_, port, greeting), *_ = order["targets"]
    assert knock([(address, port, greeting)], 10) == [""]
    other = "x" * len(greeting)
    assert knock([(address, port, other)], 10) == ["something else than this program answers there"]
    assert knock([("127.0.0.1", server, other)], 0.2) == ["no answer within 0.2 s"]


def test_a_node_without_this_python_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with NodeCheck(tmp_path) as check:
        run(check.line)
        sign = check.sign()
        assert sign is not None
        assert sign.node == socket.gethostname()
        assert "/nowhere/python" in sign.problem
        assert "not found" in sign.problem
        with pytest.raises(RuntimeError, match="/nowhere/python"):
            check.outcome()


def test_a_path_with_blanks_and_quotes_is_run_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    with NodeCheck(folder) as check:
        check.aim()
        run(check.line)
        assert check.outcome() is not None


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose programs are found before all others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def add(folder: Path, name: str, answer: str, code: int = 0) -> None:
    program = folder / name
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{answer}\nEND\nexit {code}\n")
    program.chmod(0o755)


def test_slurm_tells_the_state_of_a_job(programs: Path) -> None:
    add(
        programs,
        "scontrol",
        "JobId=7 JobName=a b JobState=FAILED Reason=NonZeroExitCode ExitCode=3:0 NodeList=n[1-2] "
        "StdErr=/home/me/7.err",
    )
    assert slurm_facts("7")["StdErr"] == "/home/me/7.err"
    assert job_state("7", "slurm") == "FAILED (NonZeroExitCode) on n[1-2], exit code 3:0"
    add(programs, "scontrol", "JobId=7 JobState=PENDING Reason=None NodeList=(null) ExitCode=0:0")
    assert job_state("7", "slurm") == "PENDING"


def test_slurm_tells_why_nothing_of_a_job_runs_any_more(programs: Path) -> None:
    end = "RunTime=00:01:00 TimeLimit=00:10:00 ExitCode=0:15 NodeList=n1"
    add(programs, "scontrol", f"JobId=7 JobState=CANCELLED Reason=None {end}")
    assert explain_slurm_job("7") == (
        DeathReason.JOB_CANCELLED,
        "Slurm says of job 7: CANCELLED; it ran for 00:01:00 of 00:10:00 on n1, exit code 0:15",
    )
    add(programs, "scontrol", f"JobId=7 JobState=NODE_FAIL Reason=NodeDown {end}")
    death = explain_slurm_job("7")
    assert death is not None
    assert (death.reason, "NODE_FAIL, NodeDown" in death.evidence) == (DeathReason.NODE, True)


def test_a_slurm_job_in_the_queue_again_has_lost_its_node(programs: Path) -> None:
    add(programs, "scontrol", "JobId=7 JobState=PENDING Reason=None Restarts=1 NodeList=(null)")
    death = explain_slurm_job("7")
    assert death is not None
    assert (death.reason, "Restarts=1" in death.evidence) == (DeathReason.NODE, True)
    add(programs, "scontrol", "JobId=7 JobState=PENDING Reason=Resources Restarts=0")
    assert explain_slurm_job("7") is None


def test_a_slurm_job_that_runs_is_explained_by_a_lost_node_alone(programs: Path) -> None:
    add(programs, "scontrol", "JobId=7 JobState=RUNNING Reason=None Restarts=0 NodeList=n[1-2]")
    add(programs, "sinfo", "n1 allocated\nn2 allocated*")
    assert explain_slurm_job("7") == (
        DeathReason.NODE,
        "Slurm says of job 7: n2 is allocated* (* is no answer)",
    )
    add(programs, "sinfo", "n1 allocated\nn2 mixed")
    assert explain_slurm_job("7") is None


def test_other_batch_systems_are_quoted(programs: Path) -> None:
    add(programs, "qstat", "Job id   Name  S\n-------  ----  -\n7.head   dask  Q")
    add(programs, "bjobs", "7  me  PEND  normal")
    assert job_state("7.head", "pbs") == "7.head dask Q"
    assert job_state("7", "lsf") == "7 me PEND normal"
    assert job_state("7", "unknown") == ""


def test_grid_engine_tells_why_a_job_waits(programs: Path) -> None:
    rows = "job-ID prior name user state\n----\n 17 0.5 a me r\n 7 0.5 b me {}"
    facts = "job_number:  7\n{}"
    program = programs / "qstat"

    def answer(state: str, more: str) -> str:
        program.write_text(
            f"#!/bin/sh\nif [ $# = 0 ]; then cat <<'END'\n{rows.format(state)}\nEND\n"
            f"else cat <<'END'\n{facts.format(more)}\nEND\nfi\n"
        )
        program.chmod(0o755)
        return job_state("7", "grid_engine")

    assert answer("r", "usage 1:  cpu=1") == "r"
    assert answer("qw", "scheduling info:   queue q@n1 is disabled\n      all are full") == (
        "qw: queue q@n1 is disabled; all are full"
    )
    many = "scheduling info:   no 1\n" + "\n".join(f"     no {n}" for n in range(2, 9))
    assert answer("qw", many) == "qw: no 1; no 2; no 3; and 5 more"
    assert answer("Eqw", "error reason    1:      cannot open a file") == (
        "Eqw: cannot open a file"
    )
    assert job_state("8", "grid_engine") == ""


def test_a_batch_system_that_does_not_know_a_job_is_silent(programs: Path) -> None:
    add(programs, "scontrol", "slurm_load_jobs error: Invalid job id specified", code=1)
    assert (job_state("7", "slurm"), slurm_facts("7")) == ("", {})
    assert ask_batch_system("no-such-program") == ""


def test_the_first_variable_that_is_set_names_the_job(check: NodeCheck, tmp_path: Path) -> None:
    check.aim()
    run(check.line, **dict.fromkeys(JOB_ID_VARIABLES[1:3], "7"))
    assert json.loads((tmp_path / "node.json").read_text())["job"] == "7"
