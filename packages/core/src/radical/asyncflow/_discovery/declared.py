"""Turn what a plugin declares, or a program registers, into a `BackendSpec`, and check it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .._reference import load_reference
from ..backend import API_VERSION, BackendSpec, Capabilities, ExecutionBackend
from ..errors import ConfigurationError
from .metadata import CORE, Declaration, upgrade_hint

__all__ = [
    "ContractError",
    "Registration",
    "as_plain_dict",
    "check_declared",
    "check_factory",
    "make_backend",
]


class ContractError(Exception):
    """The error that a plugin was written for a contract that this core does not support.

    Attributes:
        hint: the action that would help.
    """

    def __init__(self, text: str, hint: str) -> None:
        self.hint = hint
        super().__init__(text)


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A backend that this program registered."""

    name: str
    factory: str | Callable[..., ExecutionBackend]
    summary: str
    config_model: str | type | None
    capabilities: Capabilities | None

    def spec(self) -> BackendSpec:
        """Return the spec that a plugin would declare; this may import the class."""
        capabilities = self.capabilities
        if capabilities is None:
            factory = self.factory
            cls = load_reference(factory) if isinstance(factory, str) else factory
            capabilities = getattr(cls, "capabilities", None)
            if not isinstance(capabilities, Capabilities):
                raise TypeError(
                    f"{self.factory!r} has no capabilities; pass capabilities= to register it"
                )
        return BackendSpec(
            name=self.name,
            summary=self.summary,
            factory=self.factory,
            config_model=self.config_model,
            capabilities=capabilities,
        )


def check_factory(name: str, factory: Any) -> None:
    """Raise ConfigurationError unless *factory* may make backends."""
    if isinstance(factory, str):
        if not all(part.strip() for part in factory.partition(":")):
            raise ConfigurationError(
                f"backend {name!r}: {factory!r} is not of the form 'module:Class'"
            )
    elif isinstance(factory, type) and not issubclass(factory, ExecutionBackend):
        raise ConfigurationError(
            f"backend {name!r}: {factory.__qualname__} is not derived from ExecutionBackend"
        )
    elif not callable(factory):
        raise ConfigurationError(
            f"backend {name!r}: the factory must be a class, a callable or 'module:Class', "
            f"not {factory!r}"
        )


def make_backend(factory: Any, settings: Any, name: str) -> Any:
    """Call *factory* as `BackendSpec` says, with validated *settings* or None."""
    if isinstance(factory, type) and issubclass(factory, ExecutionBackend):
        return factory.from_settings(settings, name=name)
    return factory(name=name) if settings is None else factory(settings, name=name)


def check_declared(spec: Any, declaration: Declaration) -> BackendSpec:
    """Check *spec*, which the plugin of *declaration* returned, and return it.

    Raises:
        ContractError: the plugin was written for another version of the contract.
        TypeError, ValueError: *spec* is not what a plugin must return.
    """
    if not isinstance(spec, BackendSpec):
        raise TypeError(
            f"{declaration.value} has no @hookimpl asyncflow_backend() that returns a "
            f"BackendSpec (got {spec!r})"
        )
    _check_api(spec.api_version, declaration)
    if spec.name != declaration.name:
        raise ValueError(f"its spec is named {spec.name!r}, its entry point {declaration.name!r}")
    if not isinstance(spec.capabilities, Capabilities):
        raise TypeError(f"its capabilities must be Capabilities, not {spec.capabilities!r}")
    return spec


def _check_api(version: Any, declaration: Declaration) -> None:
    match version:
        case (int(major), int(minor)):
            pass
        case _:
            raise TypeError(f"its api_version must be two whole numbers, not {version!r}")
    ours = ".".join(map(str, API_VERSION))
    text = f"{declaration.label} was written for version {major}.{minor} of the backend contract"
    if (major, minor) > API_VERSION:
        raise ContractError(
            f"{text}; this core supports {ours} and is too old for it",
            upgrade_hint(CORE),
        )
    if major < API_VERSION[0]:
        raise ContractError(
            f"{text}; this core supports {ours} and is too new for it",
            upgrade_hint(declaration.distribution),
        )


def as_plain_dict(capabilities: Capabilities) -> dict[str, Any]:
    """Return *capabilities* in values that JSON knows; sets become sorted lists."""
    values = {name: getattr(capabilities, name) for name in Capabilities.__dataclass_fields__}
    return {
        name: value if isinstance(value, bool) else sorted(map(str, value))
        for name, value in values.items()
    }
