"""The settings of the backend, and those that a task or a prompt may change."""

from __future__ import annotations

from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = ["InferenceConfig", "PromptOptions", "RequestSettings", "is_private", "origin_of"]


def _base_url(url: str) -> str:
    """Check the address of a server, and return it without a slash at the end."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an address such as 'http://localhost:8000/v1'")
    if "@" in parts.netloc:
        raise ValueError("must have no user or password; the key comes from the environment")
    if parts.query or parts.fragment:
        raise ValueError("must end with a path such as '/v1', without '?' and '#'")
    parts.port  # noqa: B018 - it raises ValueError for one that is no number
    return url.rstrip("/")


def origin_of(url: str) -> tuple[str, str | None, int | None]:
    """Return the scheme, host and port of *url*."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def is_private(url: str) -> bool:
    """Tell whether nobody on the way to *url* can read what is sent: it is TLS, or this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" or host in ("localhost", "::1") or host.startswith("127.")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
_Name = Annotated[str, Field(min_length=1)]


class RequestSettings(BaseModel):
    """The settings that a request carries: those of the backend, of a task or of one prompt.

    What is None is not sent, so the server's own default holds.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    model: _Name | None = Field(
        default=None,
        description="The name of the model; by default `$OPENAI_MODEL`, or the only one that the "
        "server has.",
    )
    temperature: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="How random the answer is; 0 for the likeliest words.",
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Choose among the likeliest words with this sum of chances."
    )
    max_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="The most tokens that an answer may have."
    )
    seed: int | None = Field(default=None, description="The seed, so that answers repeat.")
    stop: list[str] | None = Field(
        default=None, description="Texts at which the model stops; they are not in the answer."
    )
    stream: bool = Field(
        default=False, description="Whether observers get the answer while it is made."
    )
    extra: dict[str, Any] = Field(
        default_factory=dict,
        description="More fields of the request's JSON, as the server knows them; `None` leaves "
        "one out.",
    )

    def given(self) -> dict[str, Any]:
        """Return the settings that were given and say something, for another level to add to."""
        return {
            key: value
            for key in sorted(self.model_fields_set & set(RequestSettings.model_fields))
            if (value := getattr(self, key)) is not None
        }


class PromptOptions(RequestSettings):
    """The settings that the ``options`` of a `Prompt` may change."""

    base_url: BaseUrl | None = Field(
        default=None,
        description="The server for this prompt; the key is sent only to that of the backend.",
    )


class InferenceConfig(RequestSettings):
    """The settings for ``create_backend("inference", config=...)``."""

    base_url: BaseUrl | None = Field(
        default=None,
        description="The address of the server, with its path, such as "
        "`'http://localhost:8000/v1'`; by default `$OPENAI_BASE_URL`.",
    )
    api_key_env: _Name | None = Field(
        default="OPENAI_API_KEY",
        description="The environment variable that has the key; `None` to send no key.",
    )
    allow_plain_key: bool = Field(
        default=False,
        description="Whether the key may go to another machine without TLS.",
    )
    max_workers: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=16, description="Requests at once."
    )
    requests_per_minute: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="The most requests in any 60 seconds; `None` for no limit."
    )
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="The most tokens, of prompts and answers, in any 60 seconds; needs "
        "`max_tokens`.",
    )
    max_retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=4,
        description="How often a request is sent again after 429, 5xx or a broken connection.",
    )
    max_retry_wait: Annotated[float, Field(ge=0)] = Field(
        default=120.0,
        description="A server that asks for a longer wait makes the prompt fail.",
        json_schema_extra={"unit": "seconds"},
    )
    timeout: Annotated[float, Field(gt=0)] = Field(
        default=600.0,
        description="How long the server may be silent.",
        json_schema_extra={"unit": "seconds"},
    )
    connect_timeout: Annotated[float, Field(gt=0)] = Field(
        default=10.0,
        description="The time in which a connection must be there.",
        json_schema_extra={"unit": "seconds"},
    )

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if self.tokens_per_minute is not None:
            if self.max_tokens is None:
                raise ValueError(
                    "tokens_per_minute needs max_tokens: without it nobody knows how long an "
                    "answer may get"
                )
            if self.max_tokens > self.tokens_per_minute:
                raise ValueError("max_tokens is above tokens_per_minute: no prompt could be sent")
        return self
