"""Checks: what the plugin says of its backend is true."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from ..._discovery.registry import registry
from ...backend import ExecutionBackend
from ...config import check_model
from ...errors import ConfigurationError
from .needs import needs
from .suite import Suite


class Plugin(Suite):
    """These are about the installed plugin; `make_backend` may use other settings."""

    @property
    def _name(self) -> str:
        assert self.backend_name is not None
        return self.backend_name

    @needs("plugin")
    async def test_the_plugin_declares_what_its_backend_can_do(self) -> None:
        spec = registry.get_backend_spec(self._name)
        try:
            backend = registry.create(self._name)
        except ConfigurationError:
            # There are settings without a default.
            backend = await self.new_backend()
        else:
            assert backend.name == self._name
        await backend.shutdown()
        assert spec.capabilities == backend.capabilities

    @needs("plugin")
    async def test_the_factory_takes_the_settings_and_a_name(self) -> None:
        spec = registry.get_backend_spec(self._name)
        factory: Any = registry.load_factory(self._name)
        default = inspect.getattr_static(ExecutionBackend, "from_settings")
        if inspect.getattr_static(factory, "from_settings", default) is not default:
            factory = factory.from_settings
        settings = [] if spec.config_model is None else [check_model(spec.config_model)]
        try:
            inspect.signature(factory).bind(*settings, name=self._name)
        except TypeError as error:
            words = " and ".join([*(model.__name__ for model in settings), "name="])
            pytest.fail(f"the factory of {self._name!r} is called with {words}: {error}")
