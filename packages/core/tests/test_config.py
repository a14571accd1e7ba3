"""Settings against a model: every problem in one message, and no secret in it."""

from __future__ import annotations

import sys
import traceback
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator
from radical.asyncflow.config import check_model, merge, schema, validate
from radical.asyncflow.errors import ConfigurationError


class Security(BaseModel):
    ca_file: str
    password: int


class Pool(BaseModel):
    max_workers: int = Field(default=4, gt=0)
    executor_type: Literal["thread", "process"] = "thread"
    executor: Any = None
    token: int | None = None
    address: int | None = None
    security: Security | None = None

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Pool:
        if self.executor is not None and self.executor_type == "process":
            raise ValueError("executor and executor_type exclude each other")
        return self


class Tokens(BaseModel):
    max_tokens: int = Field(default=1, gt=0)
    tokens_per_minute: int = Field(default=1, gt=0)


class Needy(BaseModel):
    address: int | None = None
    token: int | None = None

    @model_validator(mode="after")
    def _one(self) -> Needy:
        if self.address is None and self.token is None:
            raise ValueError("address or token is needed")
        return self


class Site(BaseModel):
    resource: str
    nodes: int = Field(default=1, validation_alias=AliasChoices("nodes", "hosts"))


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    x: int = 0


class Picky(BaseModel):
    password: str = ""

    @model_validator(mode="after")
    def _leak(self) -> Picky:
        raise ValueError(f"cannot log in with {self.password}")


def problem(model: str | type | None, config: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        validate(model, config, backend="pool")
    return str(caught.value)


def test_the_settings_are_converted_and_tell_what_was_set():
    settings = validate(Pool, {"max_workers": "8"}, backend="pool")
    assert settings == Pool(max_workers=8)
    assert settings.model_fields_set == {"max_workers"}


def test_no_settings_are_the_defaults_or_none_without_a_model():
    assert validate(Pool, None, backend="pool") == Pool()
    assert validate(None, {}, backend="pool") is None


def test_a_mapping_and_keywords_are_validated_together():
    settings = validate(Pool, {"max_workers": 8}, {"executor_type": "process"}, backend="pool")
    assert settings == Pool(max_workers=8, executor_type="process")
    with pytest.raises(ConfigurationError, match="'max_workers' given twice"):
        validate(Pool, {"max_workers": 8}, {"max_workers": 8}, backend="pool")


def test_validated_settings_are_not_validated_again():
    settings = Pool.model_construct(max_workers=-1)
    assert validate(Pool, settings, backend="pool") is settings
    with pytest.raises(ConfigurationError, match="'token' given beside settings"):
        validate(Pool, settings, {"token": 3}, backend="pool")


def test_a_model_may_be_named_by_a_reference(tmp_path, monkeypatch):
    (tmp_path / "module_of_a_model.py").write_text(
        "from pydantic import BaseModel\nclass Model(BaseModel):\n    size: int = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = validate("module_of_a_model:Model", {"size": "2"}, backend="pool")
    monkeypatch.delitem(sys.modules, "module_of_a_model")
    assert settings.size == 2


def test_all_problems_stand_in_one_message():
    text = problem(
        Pool, {"max_worker": 2, "max_workers": "many", "executor_type": "process", "executor": 1}
    )
    assert "unknown key 'max_worker'; did you mean 'max_workers'?" in text
    assert text.startswith("config of backend 'pool':\n  unknown key")
    assert "'max_workers': must be a valid integer" in text
    assert "not 'many'" in text
    assert "executor and executor_type exclude each other" in text


def test_a_number_that_is_secret_is_not_shown():
    assert problem(Pool, {"token": 47.11}).endswith(", not ***")


def test_the_number_of_tokens_of_a_model_is_no_secret():
    assert problem(Tokens, {"max_tokens": 0}).endswith("greater than 0, not 0")
    assert problem(Tokens, {"tokens_per_minute": 0}).endswith("greater than 0, not 0")


def test_what_a_wrong_field_may_have_caused_is_not_reported():
    assert "address or token is needed" in problem(Needy, {})
    assert "address or token is needed" not in problem(Needy, {"address": "wrong"})


def test_a_single_problem_is_a_single_line():
    assert problem(Pool, {"max_workers": 0}) == (
        "config of backend 'pool': 'max_workers': must be greater than 0, not 0"
    )


def test_an_unknown_key_is_answered_with_the_known_ones():
    assert problem(Site, {"resource": "x", "zzz": 1}) == (
        "config of backend 'pool': unknown key 'zzz' (known: resource, nodes, hosts)"
    )


def test_a_missing_key_is_named():
    assert problem(Site, {}) == "config of backend 'pool': missing key 'resource'"


def test_an_alias_is_a_known_key():
    assert validate(Site, {"resource": "x", "hosts": 2}, backend="pool").nodes == 2


def test_a_model_may_allow_further_keys():
    assert validate(Open, {"x": 1, "y": 2}, backend="pool").model_dump() == {"x": 1, "y": 2}


def test_a_backend_without_a_model_takes_no_settings():
    assert "unknown key 'a': it takes no settings" in problem(None, {"a": 1})


@pytest.mark.parametrize(
    "config",
    [
        {"token": "hunter2!"},
        {"token": {"no key that tells": "hunter2!"}},
        {"security": {"ca_file": "x", "password": "hunter2!"}},
        {"security": {"ca_file": 1, "password": "hunter2!"}, "max_worker": 3},
        {"address": "tls://me:hunter2!@host:8786"},
        {"max_workers": {"password": "hunter2!"}},
        {"max_workers": ["hunter2!"]},
    ],
)
def test_a_secret_is_never_shown(config):
    with pytest.raises(ConfigurationError) as caught:
        validate(Pool, config, backend="pool")
    assert "hunter2!" not in "".join(traceback.format_exception(caught.value))


def test_a_secret_in_the_text_of_a_validator_is_never_shown():
    text = problem(Picky, {"password": "hunter2!"})
    assert text.endswith("cannot log in with ***")


@pytest.mark.parametrize("config", [[("a", 1)], "max_workers=4", 3, ..., {..., 1}])
def test_a_config_that_is_no_mapping_is_refused(config):
    assert "must be a mapping" in problem(Pool, config)


def test_the_ellipsis_of_an_example_sets_nothing():
    assert merge({...}, {"b": 2}, backend="pool") == {"b": 2}


def test_a_key_given_twice_is_refused():
    with pytest.raises(ConfigurationError, match="'a' given twice"):
        merge({"a": 1}, {"a": 2}, backend="pool")


def test_merging_changes_neither():
    config = {"a": 1}
    assert merge(config, {"b": 2}, backend="pool") == {"a": 1, "b": 2}
    assert config == {"a": 1}


def test_a_model_must_be_a_pydantic_model():
    with pytest.raises(TypeError, match="not a pydantic model"):
        check_model("builtins:dict")


def test_a_field_that_only_python_can_fill_does_not_spoil_the_schema():
    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: traceback.TracebackException | None = None
        size: int = 1

    assert schema(Odd)["properties"]["size"]["type"] == "integer"


@given(config=st.dictionaries(st.text() | st.integers(), st.none() | st.text() | st.integers()))
def test_whatever_is_wrong_is_our_own_error(config):
    try:
        settings = validate(Pool, config, backend="pool")
    except ConfigurationError:
        settings = Pool()
    assert settings.model_fields_set <= Pool.model_fields.keys()
