"""The batch job of a pilot, as far as the files in the pilot's sandbox tell of it."""

from __future__ import annotations

import json
import re
import socket
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from radical.asyncflow.worker import JOB_ID_VARIABLES

__all__ = ["PilotJob", "describe_silence", "read_job"]

_NODE = re.compile(r"^bootstrap_0 running on host: (\S+?)\.?$", re.MULTILINE)
_HEAD_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class PilotJob:
    """The known facts about the job of a pilot; a text is "" where nothing tells it.

    Attributes:
        id: the batch system's name for it.
        node: the node that the agent runs on.
        address: where the agent has to reach RADICAL-Pilot on the program's machine.
        has_agent: whether the bootstrapper has started the agent.
    """

    id: str = ""
    node: str = ""
    address: str = ""
    has_agent: bool = False


def read_job(sandbox: str) -> PilotJob:
    """Return what the files in *sandbox* tell of the pilot's job."""
    folder = Path(sandbox)
    environment = dict(
        line.split("=", 1)
        for line in _head(folder / "env/bs0_orig.env").splitlines()
        if "=" in line
    )
    node = environment.get("SLURMD_NODENAME", "")
    if not node and (found := _NODE.search(_head(folder / "bootstrap_0.out"))):
        node = found[1]
    address = ""
    with suppress(OSError, ValueError, AttributeError):
        address = str(json.loads((folder / "agent_0.cfg").read_bytes()).get("proxy_url") or "")
    return PilotJob(
        id=next(filter(None, map(environment.get, JOB_ID_VARIABLES)), "") or "",
        node=node,
        address=address,
        has_agent=(folder / "agent_0.out").exists(),
    )


def describe_silence(job: PilotJob, sandbox: str, limit_s: float) -> str:
    """Say that the agent of *job* did not answer within *limit_s*, and what to check."""
    who = f"the pilot's job {job.id}".rstrip()
    where = f" on node {job.node!r}" if job.node else ""
    if not job.has_agent:
        return (
            f"{who} runs{where}, but has not started RADICAL-Pilot's agent within {limit_s:g} s. "
            f"What it did is in {Path(sandbox, 'bootstrap_0.out')}; if it only needs longer, raise "
            "agent_timeout"
        )
    host = re.sub(r"^\w+://|:\d+/?$", "", job.address)
    interfaces = ", ".join(name for _, name in socket.if_nameindex() if name != "lo")
    return (
        f"{who} runs{where}, but its agent did not answer within agent_timeout={limit_s:g} s. The "
        f"node has to reach this machine at {job.address}, and at other ports of {host}. Check "
        "that no firewall between the nodes and this machine refuses that, and that the nodes "
        f"know this address. If they know another one, set RADICAL_DEFAULT_IFACE in the "
        f"environment of the program to the interface that has it (there are: {interfaces}). "
        "`asyncflow doctor radical_pilot --from-node` tries each of them from a node. If the agent "
        "only needs longer, raise agent_timeout"
    )


def _head(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            return stream.read(_HEAD_BYTES).decode(errors="replace")
    except OSError:
        return ""
