"""The reading of a site's settings, or of its configuration of Parsl."""

from __future__ import annotations

import importlib
import inspect
import runpy
from pathlib import Path
from typing import Any

from radical.asyncflow.errors import ConfigurationError

from ..config import ParslConfig, PbsConfig, SlurmConfig
from .order import Ports, SiteOrder, Workers
from .systems import SYSTEMS

__all__ = ["read_site"]

_DEFAULT_WALLTIME = "01:00:00"
_EXECUTOR = "HighThroughputExecutor"


def read_site(config: ParslConfig | SlurmConfig | PbsConfig, backend: str) -> SiteOrder:
    """Return the site that *config* describes.

    Raises:
        ConfigurationError: the configuration of Parsl is not there, or is none for this backend.
    """
    if isinstance(config, ParslConfig) and config.config is not None:
        return _given_site(config, backend)
    system = SYSTEMS[config.system]
    words: dict[str, Any] = {"worker_init": config.worker_init}
    if "walltime" in system.words:
        words["walltime"] = config.walltime or _DEFAULT_WALLTIME
    for name, value in config.words().items():
        words[system.words[name]] = value
    words |= config.provider_options
    return SiteOrder(
        system=config.system,
        words=words,
        launcher=config.launcher or _launcher(system.launcher, config.nodes_per_block),
        workers=Workers(
            config.max_workers_per_node,
            config.cores_per_worker,
            config.memory_per_worker or 0,
            config.gpus_per_worker or 0,
        ),
        nodes_per_block=config.nodes_per_block,
        init_blocks=config.init_blocks,
        min_blocks=config.min_blocks,
        max_blocks=config.max_blocks,
        address=config.address,
        encrypted=config.encrypted,
    )


def _launcher(usual: str, nodes: int) -> str:
    """Return what starts the workers of a block with so many *nodes*."""
    return usual if nodes > 1 or usual == "srun" else "single_node"


def _given_site(config: ParslConfig, backend: str) -> SiteOrder:
    executor = _executor(_load(config.config, backend), backend)
    provider = executor.provider
    most = executor.max_workers_per_node
    # Parsl has numbers as texts, too.
    gpus = [int(gpu) if gpu.isdecimal() else gpu for gpu in executor.available_accelerators]
    if gpus:
        most = min(most, len(gpus))  # a worker for each, as Parsl has it
    memory = executor.mem_per_worker
    return SiteOrder(
        system=_system_of(provider),
        words={},
        launcher="",
        workers=Workers(
            None if most == float("inf") else int(most),
            max(1, round(executor.cores_per_worker)),
            int(memory * 2**30) if memory else 0,
            0,
            gpus or None,
        ),
        nodes_per_block=provider.nodes_per_block,
        init_blocks=provider.init_blocks,
        min_blocks=provider.min_blocks,
        max_blocks=provider.max_blocks,
        address=executor.address,
        encrypted=executor.encrypted,
        ports=_ports(executor),
        given=provider,
    )


def _ports(executor: Any) -> Ports:
    least, limit = executor.worker_port_range
    return Ports(least, limit, executor.worker_port)


def _load(config: Any, backend: str) -> Any:
    """Return the object that the setting ``config`` names."""
    if not isinstance(config, str | Path):
        return config
    text = str(config)
    try:
        if Path(text).is_file():
            names = runpy.run_path(text)
            found = [value for value in names.values() if type(value).__name__ == "Config"]
            if len(found) != 1:
                raise ConfigurationError(
                    f"backend {backend!r}: {text} holds {len(found)} objects of parsl.Config, "
                    "and should hold one"
                )
            return found[0]
        module, _, name = text.partition(":")
        found_object = getattr(importlib.import_module(module), name)
    except ConfigurationError:
        raise
    except Exception as error:
        raise ConfigurationError(
            f"backend {backend!r}: config={text!r} cannot be loaded: "
            f"{type(error).__name__}: {error}"
        ) from error
    return found_object() if inspect.isfunction(found_object) else found_object


def _executor(config: Any, backend: str) -> Any:
    """Return the one executor of a `parsl.Config` that this backend can use."""
    executors = getattr(config, "executors", None)
    if executors is None:
        raise ConfigurationError(
            f"backend {backend!r}: config must be a parsl.Config, a file that holds one or "
            f"'module:name', not {type(config).__name__}"
        )
    usable = [one for one in executors if type(one).__name__ == _EXECUTOR]
    if len(usable) != 1:
        names = ", ".join(f"{one.label} ({type(one).__name__})" for one in executors)
        raise ConfigurationError(
            f"backend {backend!r}: this backend takes a configuration with one {_EXECUTOR}; yours "
            f"has: {names}"
        )
    return usable[0]


def _system_of(provider: Any) -> str:
    kind = type(provider).__name__
    return next((name for name, system in SYSTEMS.items() if system.provider == kind), "")
