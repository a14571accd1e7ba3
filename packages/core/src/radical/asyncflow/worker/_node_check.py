"""The program's end of a `NodeCheck`: a listener, and the line that a node has to run."""

from __future__ import annotations

import json
import secrets
import shlex
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from .._public import public
from . import _knock
from ._knock import Target

__all__ = ["Knock", "NodeCheck", "NodeSign", "knock", "machine_addresses"]

knock = public("radical.asyncflow.worker")(_knock.knock)

_KNOCK_LIMIT_S = 5.0  # for a connection to one address
_GET_ADDRESS = 0x8915  # of ioctl, on Linux
_FAILED = "failed"
_OUTPUT = "output"


@public("radical.asyncflow.worker")
class NodeSign(NamedTuple):
    """The first sign of a node that runs the line of a `NodeCheck`.

    Attributes:
        job: the batch system's name for the job; "" outside of one.
        problem: why the node could not do more than say its name; "" if it could.
    """

    node: str
    job: str = ""
    problem: str = ""


@public("radical.asyncflow.worker")
class Knock(NamedTuple):
    """The outcome of a node's attempt to connect to this machine.

    Attributes:
        address: the IP address, or the name, of this machine.
        interface: the network interface that has it; "" if none of this machine's has.
        problem: why it could not be reached; "" if it could.
    """

    address: str
    interface: str
    problem: str


@public("radical.asyncflow.worker")
class NodeCheck:
    """A check of the way from a node back to this machine.

    While it is open, this machine listens at one port of all its IPv4 addresses.  Whoever
    connects is sent a random text and nothing else, by which a node knows this program.

    Attributes:
        line: a line for a shell on the node, which never fails.
    """

    def __init__(self, folder: Path) -> None:
        """Listen, and write what the node will run.

        Args:
            folder: an empty folder that the node sees under the same name.
        """
        self._folder = folder
        self._greeting = secrets.token_hex(16)
        self._addresses = machine_addresses()
        self._hosts: tuple[str, ...] = ()
        self._tried: list[tuple[str, Target]] = []
        self._is_closed = False
        script = folder / "knock.sh"
        script.write_text(_script(folder))
        self.line = f"/bin/sh {shlex.quote(str(script))}"
        self._socket = socket.create_server(("0.0.0.0", 0))
        self._thread = threading.Thread(
            target=self._answer, name="asyncflow-node-check", daemon=True
        )
        self._thread.start()

    def aim(self, *used: tuple[str, int]) -> None:
        """Have the node try this machine's addresses, and the hosts and ports that are *used*.

        A host is tried at the port that is used there, and, if it is this machine's, at that of
        the listener, too.
        """
        port = self._socket.getsockname()[1]
        hosts = dict.fromkeys([*(host for host, _ in used), *self._addresses])
        self._hosts = tuple(hosts)
        self._tried = [(host, (host, port, self._greeting)) for host in hosts if self._is_own(host)]
        self._tried += [(host, (host, there, "")) for host, there in used]
        order = {"targets": [target for _, target in self._tried], "limit_s": _KNOCK_LIMIT_S}
        _knock.write(str(self._folder), _knock.TARGETS, order)

    def sign(self) -> NodeSign | None:
        """Return which node runs the line; None before it does."""
        told = self._read(_knock.NODE)
        if told is not None:
            return NodeSign(told["node"], told["job"])
        with suppress(OSError):
            node = (self._folder / _FAILED).read_text().strip()
            return NodeSign(node, problem=self._complaint())
        return None

    def outcome(self) -> list[Knock] | None:
        """Return what became of each host that was tried; None before the node has said so.

        Raises:
            RuntimeError: the node could not try; the text says why.
        """
        told = self._read(_knock.OUTCOME)
        if told is None:
            if (self._folder / _FAILED).exists():
                raise RuntimeError(self._complaint())
            return None
        problems = dict.fromkeys(self._hosts, "")
        for (host, (_, port, greeting)), problem in zip(self._tried, told, strict=True):
            text = problem if greeting or not problem else f"port {port}: {problem}"
            problems[host] = problems[host] or text
        return [Knock(host, self._addresses.get(host, ""), text) for host, text in problems.items()]

    def close(self) -> None:
        """Stop listening."""
        if self._is_closed:
            return
        self._is_closed = True
        with suppress(OSError):  # it wakes the thread, which then sees the end
            port = self._socket.getsockname()[1]
            socket.create_connection(("127.0.0.1", port), _KNOCK_LIMIT_S).close()
        self._thread.join(_KNOCK_LIMIT_S)
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _is_own(self, host: str) -> bool:
        """Tell whether *host* is a name or an address of this machine."""
        if host in self._addresses:
            return True
        with suppress(OSError):
            return any(
                str(info[4][0]) in self._addresses
                for info in socket.getaddrinfo(host, None, socket.AF_INET)
            )
        return False

    def _answer(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:  # whoever connected has gone again
                continue
            with connection, suppress(OSError):
                if self._is_closed:
                    return
                connection.sendall(self._greeting.encode())

    def _read(self, name: str) -> Any:
        with suppress(FileNotFoundError):
            return json.loads((self._folder / name).read_text())
        return None

    def _complaint(self) -> str:
        """Return why the node could not run the script to its end."""
        with suppress(OSError):
            lines = (self._folder / _OUTPUT).read_text(errors="replace").split("\n")
            if told := [line.strip() for line in lines if line.strip()]:
                return told[-1]
        return "nothing tells why"


@public("radical.asyncflow.worker")
def machine_addresses() -> dict[str, str]:
    """Return the IPv4 addresses of this machine that others may know, with their interfaces."""
    found: dict[str, str] = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with suppress(OSError, ImportError):  # it has no address, or this is not Linux
                from fcntl import ioctl

                request = struct.pack("256s", name.encode()[:15])
                answer = ioctl(any_socket.fileno(), _GET_ADDRESS, request)
                found.setdefault(socket.inet_ntoa(answer[20:24]), name)
    if not found:
        with suppress(OSError):
            found[socket.gethostbyname(socket.gethostname())] = ""
    return {address: name for address, name in found.items() if not address.startswith("127.")}


def _script(folder: Path) -> str:
    """Return what the node's shell runs; it must not fail, or it would end the job."""
    words: Sequence[str] = (sys.executable, "-I", "-S", _knock.__file__, str(folder))
    output, failed = (shlex.quote(str(folder / name)) for name in (_OUTPUT, _FAILED))
    return f"{shlex.join(words)} > {output} 2>&1 || uname -n > {failed}\nexit 0\n"
