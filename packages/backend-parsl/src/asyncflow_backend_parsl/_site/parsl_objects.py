"""The provider of Parsl that a site is, and what it submits.  This module imports Parsl."""

from __future__ import annotations

import inspect
import logging
import shlex
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import parsl.launchers
import parsl.providers
from parsl.jobs.states import JobState
from radical.asyncflow.config import closest
from radical.asyncflow.errors import ConfigurationError

from .order import SiteOrder
from .systems import LAUNCHERS, SYSTEMS

__all__ = ["correct_states", "make_provider", "node_command", "script_of"]

_NODE = "asyncflow_backend_parsl._node"

# Jobs of Grid Engine that are still there: on their way to a node, suspended, or with an error that
# the user can clear.  Parsl takes them for failed, and would neither ask for them nor end them.
_GRID_ENGINE_STATES: Mapping[str, JobState] = {
    "t": JobState.PENDING,
    **dict.fromkeys(("s", "ts", "eqw", "ehqw", "ehrqw"), JobState.HELD),
}
_COMMAND_S = 30  # for a command of the batch system, if Parsl would not wait longer


def make_provider(site: SiteOrder) -> Any:
    """Return the provider of *site*.

    Raises:
        ConfigurationError: Parsl has no such provider here, or it refuses the parameters.
    """
    if site.given is not None:
        return site.given
    name = SYSTEMS[site.system].provider
    kind = getattr(parsl.providers, name, None)
    if kind is None:
        raise ConfigurationError(f"this version of Parsl has no {name}")
    parameters = inspect.signature(kind.__init__).parameters
    words: dict[str, Any] = {
        **site.words,
        "nodes_per_block": site.nodes_per_block,
        "init_blocks": site.init_blocks,
        "min_blocks": site.min_blocks,
        "max_blocks": site.max_blocks,
    }
    unknown = [f"{word!r}{closest(word, parameters)}" for word in words if word not in parameters]
    if unknown:
        raise ConfigurationError(
            f"Parsl's {name} has no parameter {', '.join(unknown)} "
            f"(it has: {', '.join(list(parameters)[1:])})"
        )
    if "cmd_timeout" in parameters:
        usual = parameters["cmd_timeout"].default
        words.setdefault("cmd_timeout", max(usual, _COMMAND_S))
    if "launcher" in parameters:
        words["launcher"] = getattr(parsl.launchers, LAUNCHERS[site.launcher])()
    try:
        return kind(**words)
    except Exception as error:
        raise ConfigurationError(f"Parsl's {name}: {type(error).__name__}: {error}") from error


def correct_states(provider: Any) -> None:
    """Let *provider* know the states of jobs that have not ended, for all of this process."""
    if type(provider).__name__ == SYSTEMS["grid_engine"].provider:
        table = getattr(sys.modules[type(provider).__module__], "translate_table", {})
        table.update(_GRID_ENGINE_STATES)


def node_command(provider: Any, order: Path, block: str) -> str:
    """Return the command that runs a node.

    Args:
        order: the file with what the node is told.
        block: the name of its block.
    """
    # What is to run before the workers may choose another environment, such as a container's.
    chooses = str(getattr(provider, "worker_init", "")).strip()
    python = "python3" if chooses else sys.executable
    # Without -P it would take modules for its own that lie in the folder where it starts.
    return shlex.join([python, "-P", "-m", _NODE, str(order), block])


@contextmanager
def _silent(provider: Any) -> Iterator[None]:
    """Keep what *provider* logs in this thread to itself, which is that nothing was submitted."""
    log = logging.getLogger(type(provider).__module__)
    own = threading.get_ident()

    def is_of_others(record: logging.LogRecord) -> bool:
        return record.thread != own

    log.addFilter(is_of_others)
    try:
        yield
    finally:
        log.removeFilter(is_of_others)


def script_of(site: SiteOrder) -> tuple[str, str]:
    """Return the batch script of a block of *site*, and the command that would submit it.

    Parsl alone knows how to write it, so its provider submits it to nobody.
    """
    provider = make_provider(site)
    asked: list[str] = []

    def answer(command: str, timeout: float | None = None) -> tuple[int, str, str]:
        del timeout
        asked.append(command)
        return 1, "", "this is a dry run"

    if not hasattr(provider, "execute_wait"):
        return "", ""
    with tempfile.TemporaryDirectory(prefix="asyncflow-plan-") as folder, _silent(provider):
        provider.script_dir = folder
        provider.execute_wait = answer
        try:
            provider.submit(node_command(provider, Path(folder, "node.json"), "1"), 1, "asyncflow")
        except Exception as error:
            if not asked:
                raise ConfigurationError(
                    f"Parsl cannot write a batch script: {type(error).__name__}: {error}"
                ) from error
        scripts = [path for path in Path(folder).iterdir() if path.is_file()]
        texts = [path.read_text(errors="replace") for path in sorted(scripts)]
        return "\n".join(texts).replace(folder, "SCRIPTS"), asked[-1].replace(folder, "SCRIPTS")
