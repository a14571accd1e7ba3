"""Checks: the plugin says of its backend what is so."""

from __future__ import annotations

import inspect

import pytest

from ..._discovery.registry import registry
from ...config import check_model
from ...errors import ConfigurationError
from .suite import Suite


class Plugin(Suite):
    """These are about the installed plugin; `make_backend` may make its class otherwise."""

    @property
    def _name(self) -> str:
        if self.backend_name is None:
            pytest.skip("backend_name is not set: no plugin to compare with the backend")
        return self.backend_name

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

    async def test_the_factory_takes_every_setting(self) -> None:
        spec = registry.get_backend_spec(self._name)
        factory = registry.load_factory(self._name)
        fields = check_model(spec.config_model).model_fields if spec.config_model else {}
        try:
            inspect.signature(factory).bind(name=self._name, **dict.fromkeys(fields))
        except TypeError as error:
            keys = ", ".join(["name", *fields])
            pytest.fail(f"the factory of {self._name!r} is called with {keys}: {error}")
