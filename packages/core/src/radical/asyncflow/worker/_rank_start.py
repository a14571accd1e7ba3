"""Stand in the place of ssh: have a `RankShare` on another node run a line of a shell.

Run as a script, with nothing but the standard library, with the folder of the ranks, the name of
the node and the line as its arguments.  With ``--end`` in the place of the node's name it asks the
share on this node why a process has ended.
"""

from __future__ import annotations

import hmac
import marshal
import os
import socket
import struct
import sys

NONCE_BYTES = 32
HEAD = struct.Struct("<BI")
STDOUT, STDERR, EXIT, START, END = 1, 2, 3, 4, 5
"""The kinds of messages, which are output, an exit code, a line to start, and a question why a
process has ended."""

OF_LAUNCHER = ".of-launcher"
"""The end of the name of a folder of the launcher, which other nodes may see, so that each needs
another one."""

_TRY_S = 20.0
_FAILED = 255  # as of ssh


def main() -> None:
    folder, *words = sys.argv[1:]
    with open(os.path.join(folder, "nodes"), "rb") as file:  # noqa: PTH118, PTH123
        secret, places = marshal.load(file)
    if words[0] == "--end":
        sys.stdout.write(ask(secret, ("127.0.0.1",), int(words[1]), words[2]))
        return
    while words[0].startswith("-"):  # options of ssh
        words.pop(0)
    host = words[0]
    line = " ".join(words[1:]).replace(OF_LAUNCHER, f".{host}")
    if host not in places:
        if host == socket.gethostname():
            os.execv("/bin/sh", ("sh", "-c", line))
        sys.stderr.write(f"the launcher wants to start ranks on {host}, and was not told to\n")
        sys.exit(_FAILED)
    addresses, port = places[host]
    try:
        sys.exit(_start(secret, (*addresses, host), port, line))
    except OSError as error:
        sys.stderr.write(f"node {socket.gethostname()} cannot start ranks on {host}: {error}\n")
        sys.exit(_FAILED)


def _start(secret: str, hosts: tuple[str, ...], port: int, line: str) -> int:
    """Have a node run *line*, and pass on what it writes; return its exit code."""
    with _connect(hosts, port) as connection:
        send(connection, secret, START, line.encode("utf-8", "surrogateescape"))
        while True:
            kind, content = receive(connection)
            if kind == EXIT:
                return int(content)
            os.write(kind, content)


def ask(secret: str, hosts: tuple[str, ...], port: int, question: str) -> str:
    """Return the answer of a share."""
    with _connect(hosts, port) as connection:
        send(connection, secret, END, question.encode())
        return receive(connection)[1].decode()


def _connect(hosts: tuple[str, ...], port: int) -> socket.socket:
    problems = []
    for host in hosts:
        try:
            connection = socket.create_connection((host, port), _TRY_S)
        except OSError as error:
            problems.append(f"{host}:{port}: {error}")
            continue
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        connection.settimeout(None)
        return connection
    raise OSError("; ".join(problems))


def send(connection: socket.socket, secret: str, kind: int, content: bytes) -> None:
    """Send an order, as an answer to what the share sends first."""
    nonce = exactly(connection, NONCE_BYTES)
    message = HEAD.pack(kind, len(content)) + content
    connection.sendall(proof(secret, nonce, message) + message)


def proof(secret: str, nonce: bytes, message: bytes) -> bytes:
    """Return what only somebody who knows the *secret* can send with *message*."""
    return hmac.digest(secret.encode(), nonce + message, "sha256")


def receive(connection: socket.socket) -> tuple[int, bytes]:
    """Return the kind and the content of a message."""
    kind, length = HEAD.unpack(exactly(connection, HEAD.size))
    return kind, exactly(connection, length)


def exactly(connection: socket.socket, count: int) -> bytes:
    """Return the next *count* bytes.

    Raises:
        ConnectionError: the other side has ended.
    """
    parts = []
    while count:
        part = connection.recv(min(count, 1 << 16))
        if not part:
            raise ConnectionError("it has ended the connection")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)


if __name__ == "__main__":
    main()
