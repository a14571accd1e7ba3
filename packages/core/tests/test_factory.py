"""Making backends by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, model_validator
from radical.asyncflow import factory, registry
from radical.asyncflow.backend import Capabilities, ExecutionBackend, TaskKind
from radical.asyncflow.errors import (
    BackendBrokenError,
    BackendNotFoundError,
    BackendStartError,
    ConfigurationError,
)

CAPABILITIES = Capabilities(kinds={TaskKind.FUNCTION})


class Settings(BaseModel):
    size: int = 1
    colour: str = "red"


class Recording(ExecutionBackend):
    capabilities = CAPABILITIES

    def __init__(self, settings: Settings | None = None, *, name: str) -> None:
        self.name = name
        self.settings = settings

    def submit(self, batch):
        raise NotImplementedError

    def cancel(self, task_ids):
        raise NotImplementedError


@pytest.fixture
def mine() -> Iterator[str]:
    registry.register_backend("mine", Recording, config_model=Settings)
    yield "mine"
    registry.unregister_backend("mine")


@pytest.fixture
def odd() -> Iterator[Any]:
    names: list[str] = []

    def register(make: Any, **more: Any) -> str:
        names.append(f"odd{len(names)}")
        registry.register_backend(names[-1], make, capabilities=CAPABILITIES, **more)
        return names[-1]

    yield register
    for name in names:
        registry.unregister_backend(name)


async def test_a_backend_gets_the_validated_settings_and_its_name(mine):
    backend = await factory.create_backend(mine, config={"size": "3"})
    assert (backend.name, backend.settings) == ("mine", Settings(size=3))


async def test_a_callable_gets_the_same_as_a_class(odd):
    def make(settings, name):
        return Recording(settings, name=name)

    backend = await factory.create_backend(odd(make, config_model=Settings), {"size": 3})
    assert (backend.name, backend.settings) == ("odd0", Settings(size=3))


async def test_without_a_model_only_the_name_is_given(odd):
    backend = await factory.create_backend(odd(Recording))
    assert (backend.name, backend.settings) == ("odd0", None)


async def test_a_class_may_say_how_it_is_made_from_settings(odd):
    class Own(Recording):
        @classmethod
        def from_settings(cls, settings, *, name):
            return cls(settings.size, name=name.upper())

    backend = await factory.create_backend(odd(Own, config_model=Settings), size=7)
    assert (backend.name, backend.settings) == ("ODD0", 7)


async def test_settings_are_validated_once(odd):
    class Counting(Settings):
        @model_validator(mode="after")
        def _count(self) -> Counting:
            validated.append(self)
            return self

    validated: list[Settings] = []
    backend = await factory.create_backend(odd(Recording, config_model=Counting))
    assert validated == [backend.settings]


async def test_a_constructor_that_takes_other_arguments_is_told_what_it_is_called_with(odd):
    name = odd(lambda size, name: Recording(size, nom=name), config_model=Settings)
    with pytest.raises(BackendStartError, match=r"called with the Settings and name=\)"):
        await factory.create_backend(name)


async def test_settings_may_be_keywords(mine):
    backend = await factory.create_backend(mine, {"size": 3}, colour="blue")
    assert backend.settings == Settings(size=3, colour="blue")


async def test_an_instance_may_have_a_name_of_its_own(mine):
    by_config = await factory.create_backend(mine, {"name": "gpu-pool"})
    by_keyword = await factory.create_backend(mine, name="cpu-pool")
    assert (by_config.name, by_keyword.name) == ("gpu-pool", "cpu-pool")


def test_there_is_a_synchronous_way(mine):
    assert factory.create_backend_sync(mine, {"size": 2}).settings == Settings(size=2)


async def test_a_key_given_twice_is_refused(mine):
    with pytest.raises(ConfigurationError, match="'size' given twice"):
        await factory.create_backend(mine, {"size": 3}, size=4)


async def test_wrong_settings_are_refused_together(mine):
    with pytest.raises(ConfigurationError) as caught:
        await factory.create_backend(mine, {"size": "big", "color": "blue"})
    assert "'size'" in str(caught.value)
    assert "did you mean 'colour'?" in str(caught.value)


@pytest.mark.parametrize("name", ["", 3, None])
async def test_the_name_of_an_instance_must_be_a_text(mine, name):
    with pytest.raises(ConfigurationError, match="'name' must be a string"):
        await factory.create_backend(mine, {"name": name})


async def test_the_config_is_not_changed(mine):
    config = {"name": "x", "size": 3}
    await factory.create_backend(mine, config)
    assert config == {"name": "x", "size": 3}


async def test_a_missing_backend_is_refused():
    with pytest.raises(BackendNotFoundError, match="Backend 'nobody' is not available"):
        await factory.create_backend("nobody")


async def test_what_is_no_backend_is_refused(odd):
    name = odd(lambda name: {"name": name})
    with pytest.raises(BackendBrokenError, match="must return an ExecutionBackend, not dict"):
        await factory.create_backend(name)


async def test_a_constructor_that_raises_is_named_with_its_cause(odd):
    def explode(name):
        raise OSError("no socket")

    with pytest.raises(BackendStartError, match="could not be made: OSError: no socket") as caught:
        await factory.create_backend(odd(explode))
    assert isinstance(caught.value.__cause__, OSError)


async def test_a_validator_with_a_bug_is_named_with_its_cause(odd):
    class Buggy(BaseModel):
        @model_validator(mode="after")
        def _bug(self) -> Buggy:
            return 1 + "one"

    name = odd(Recording, config_model=Buggy)
    with pytest.raises(BackendStartError, match="could not be made: TypeError"):
        await factory.create_backend(name)


async def test_an_error_of_ours_from_a_constructor_stays_as_it_is(odd):
    def refuse(name):
        raise ConfigurationError("not on a Tuesday")

    with pytest.raises(ConfigurationError, match="not on a Tuesday"):
        await factory.create_backend(odd(refuse))


async def test_a_class_that_cannot_be_imported_makes_the_backend_broken(odd):
    name = odd("no_such_heavy_module:Backend")
    with pytest.raises(BackendBrokenError, match="no_such_heavy_module"):
        await factory.create_backend(name)
    assert factory.list_available_backends()[name]["status"] == "broken"


async def test_a_config_model_that_is_none_makes_the_backend_broken(odd):
    name = odd(Recording, config_model=dict)
    with pytest.raises(BackendBrokenError, match="not a pydantic model"):
        await factory.create_backend(name)
