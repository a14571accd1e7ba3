"""A live page, served from this process until its run is over and everybody has seen its end."""

from __future__ import annotations

import asyncio
import getpass
import os
import secrets
import socket
from collections.abc import Callable
from functools import partial

from ..errors import ConfigurationError
from ..journal import TaskRecord
from ..journal._output import Tail, tails
from ..journal._waits import read_waits
from ._follower import Follower
from ._hub import Hub

__all__ = [
    "address",
    "announcement",
    "hub_of",
    "listen",
    "needs",
    "new_token",
    "serve",
    "serve_journal",
]

HOST = "127.0.0.1"
SHORTEST_TOKEN = 16
TOKEN_VARIABLE = "ASYNCFLOW_PAGE_TOKEN"
"""The variable that has the token of a page that is served again at the same address."""

END_S = 5.0
"""Seconds that viewers have to take in the end of the run."""


def needs() -> None:
    """Check that the libraries of the page are installed.

    Raises:
        ConfigurationError: they are not.
    """
    try:
        import starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise ConfigurationError(
            f"the page needs {error.name}: pip install 'radical.asyncflow[page]'"
        ) from error


def new_token(given: str | None = None) -> str:
    """Return *given*, or a new token.

    Raises:
        ConfigurationError: *given* can be guessed, or is no part of an address.
    """
    if given is None:
        return secrets.token_urlsafe(24)
    if len(given) < SHORTEST_TOKEN or not given.replace("-", "").replace("_", "").isalnum():
        raise ConfigurationError(
            f"the token of a page must have at least {SHORTEST_TOKEN} letters and digits"
        )
    return given


def listen(port: int) -> socket.socket:
    """Return a socket that listens on this machine alone, at *port*, or at a free one for 0.

    Raises:
        ConfigurationError: the port cannot be used.
    """
    if isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 65535:
        raise ConfigurationError(f"port must be a number from 0 to 65535, not {port!r}")
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigurationError(
            f"port {port} cannot be used: {error.strerror}; give another, or 0 for a free one"
        ) from error
    return listener


def address(listener: socket.socket, token: str) -> str:
    """Return the address of the page."""
    return f"http://{HOST}:{listener.getsockname()[1]}/{token}/"


def announcement(listener: socket.socket, token: str) -> str:
    """Return where the page is, also seen from another machine."""
    port = listener.getsockname()[1]
    try:
        user = getpass.getuser()
    except (OSError, KeyError):
        user = "USER"
    host = socket.gethostname()
    return (
        f"Live page: {address(listener, token)}\n"
        f"  from another machine, first: ssh -N -L {port}:{HOST}:{port} {user}@{host}"
    )


def serve_journal(
    path: str, uid: str | None = None, *, port: int = 0, announce: Callable[[str], object] = print
) -> None:
    """Serve the page of a run in the journal *path* until Ctrl-C.

    Args:
        uid: of the run; None for the last one, and then for each that begins later.
        announce: gets the words that say where the page is.

    Raises:
        ConfigurationError: the port cannot be used, or a library is missing.
        JournalError: the journal cannot be read.
    """
    needs()
    token = new_token(os.environ.get(TOKEN_VARIABLE))
    with Follower(path, uid) as follower:
        follower.poll()
        listener = listen(port)
        announce(announcement(listener, token))
        asyncio.run(serve(hub_of(follower), listener, token, stays=True))


def hub_of(follower: Follower) -> Hub:
    """Return the hub of a page of the run that *follower* follows."""
    return Hub(follower, partial(read_waits, follower.path), partial(_tails, follower.path))


def _tails(journal: str, run: str, task: TaskRecord) -> list[Tail]:
    return tails(task, run, journal)


async def serve(
    hub: Hub,
    listener: socket.socket,
    token: str,
    *,
    stays: bool,
    gone: Callable[[], bool] = lambda: False,
) -> None:
    """Serve *hub* on *listener*; signals are none of its business.

    Args:
        stays: whether it goes on after the end of the run, until it is cancelled.
        gone: tells whether nobody wants it any more.
    """
    from ._site import server_of  # with libraries that only the page needs

    server = server_of(hub, token)
    following = asyncio.create_task(hub.follow(stays=stays))
    serving = asyncio.create_task(server.serve([listener]))
    try:
        while not gone():
            done, _ = await asyncio.wait(
                {serving, *([] if following.done() else [following])},
                timeout=0.5,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for task in done:
                task.result()
            if following.done():
                break
            if serving.done():
                return
        if following.done():
            await hub.wait_for_viewers(END_S)
    finally:
        following.cancel()
        hub.close()
        server.should_exit = True
        await asyncio.gather(following, serving, return_exceptions=True)
        listener.close()
