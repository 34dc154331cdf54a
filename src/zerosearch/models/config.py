"""What all parts of a configuration are made of, and how a server is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    JsonValue,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from zerosearch.cleaning import check_address, check_variable
from zerosearch.registry import check_name
from zerosearch.usage import UNPRICED, TokenPrices

UNSET = "none"
"""TOML has no null: `key = "none"` unsets an optional setting."""
FREE: dict[str, JsonValue] = {"binds": False}
"""`Field(..., json_schema_extra=FREE)`: the setting, or the table, may change when a run is resumed."""


Address = Annotated[str, AfterValidator(check_address)]
"""The address of a server. One that holds a password, or is none, is refused as it is read, and not shown."""
Variable = Annotated[str, AfterValidator(check_variable)]
"""The name of an environment variable that holds a key. What may be the key itself is refused, and not shown."""


@dataclass(frozen=True)
class Names:
    """`Annotated[str, Names(("f1", "em"))]`: a setting that is one of these names, or a `package.module:Name`."""

    known: tuple[str, ...]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(lambda name: check_name(name, self.known), handler(source))


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _unset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        choices = {key: str(field.annotation) for key, field in cls.model_fields.items()}
        return {
            key: None if value == UNSET and "None" in choices.get(key, "") else value for key, value in values.items()
        }

    @field_validator("*")
    @classmethod
    def _not_empty(cls, value: Any, info: ValidationInfo) -> Any:
        """An empty path would mean the current folder. Only a text whose default is empty may be."""
        if isinstance(value, str) and not value.strip() and cls.model_fields[str(info.field_name)].default != "":
            raise ValueError("must not be empty")
        return value

    @classmethod
    def own_first(cls) -> dict[str, FieldInfo]:
        """All settings by name, a class's own before those that it inherits."""
        names = [*cls.__annotations__, *cls.model_fields]
        return {name: cls.model_fields[name] for name in names if name in cls.model_fields}

    def used(self) -> Iterator[str]:
        """The names of the settings that are looked at."""
        yield from type(self).model_fields


_OF_EACH_REQUEST = ("model", "messages", "prompt", "stream", "n", "stop", "max_tokens")
_SECRET = re.compile(r"(?:api[_-]?key|authorization|password|secret|access[_-]?token)", re.IGNORECASE)


class RequestConfig(Section):
    """Changes to the requests, for servers that differ from OpenAI's API."""

    drop: list[str] = []
    """Fields to leave out, such as `seed`. Fields that the server refuses by name are left out anyway, and a line says
    so."""
    rename: dict[str, str] = {}
    """Fields with another name on this server: `{max_tokens = "max_completion_tokens"}`."""
    extra: dict[str, Any] = {}
    """Additional fields: `{chat_template_kwargs = {enable_thinking = false}}` turns off the thoughts of Qwen3."""

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if any(_SECRET.fullmatch(name) for name in self.extra):
            raise ValueError("extra must hold no key or password: api_key_env names the variable that holds one")
        for name in _OF_EACH_REQUEST:
            if self.extra.get(name) is not None:
                raise ValueError(f"extra must not set {name!r}: it is set for each request")
            if name in self.drop and name not in ("stop", "max_tokens", "stream"):
                raise ValueError(f"drop must not hold {name!r}: nothing could be asked without it")
        return self


@dataclass(frozen=True)
class Server:
    """A server with OpenAI's API, and how it is asked.

    `base_url` usually ends in `/v1`. The key is read from the environment variable named `api_key_env`, and kept out of
    `repr`, logs and error texts. `timeout_seconds` is the longest silence that is waited out. The server gets at most
    `max_connections` requests at once.
    """

    base_url: str
    api_key_env: str | None = None
    request: RequestConfig = field(default_factory=RequestConfig)
    prices: TokenPrices = UNPRICED
    timeout_seconds: float = 600.0
    max_connections: int = 256


class ServerConfig(Section):
    """The settings of a server that may stand in for a local model."""

    served_only: ClassVar[tuple[str, ...]] = (
        "api_key_env", "request", "usd_per_million_prompt_tokens", "usd_per_million_completion_tokens",
    )  # fmt: skip
    """What a local model has no use for."""

    base_url: Address | None = Field(None, json_schema_extra=FREE)
    """An OpenAI-compatible server (http://host:port/v1) to use instead of a local model."""
    api_key_env: Variable | None = Field(None, json_schema_extra=FREE)
    """Name of the environment variable that contains the server's key. The key itself is written to no file."""
    request: RequestConfig = Field(RequestConfig(), json_schema_extra=FREE)
    """Changes to the requests for this server."""
    usd_per_million_prompt_tokens: float = Field(0.0, ge=0, json_schema_extra=FREE)
    """Price of the server, used to count costs and for `engine.budget_usd`."""
    usd_per_million_completion_tokens: float = Field(0.0, ge=0, json_schema_extra=FREE)
    """The same for generated tokens."""

    @model_validator(mode="after")
    def _local_or_served(self) -> Self:
        if self.base_url is None:
            for name in self.served_only:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name} is set, but only a model behind a base_url uses it")
        elif getattr(self, "adapter", None) is not None:
            raise ValueError("adapter cannot be used with base_url: load it in the server")
        return self

    def server(self, *, timeout_seconds: float = 600.0, max_connections: int = 256) -> Server | None:
        """None: the model is a local one."""
        if self.base_url is None:
            return None
        prices = TokenPrices(self.usd_per_million_prompt_tokens, self.usd_per_million_completion_tokens)
        return Server(self.base_url, self.api_key_env, self.request, prices, timeout_seconds, max_connections)


@dataclass(frozen=True)
class ModelRef:
    """A model to chat with: local weights (embedded, a folder, a hub id), or what `server` calls `name`."""

    name: str
    adapter: str | None = None
    server: Server | None = None

    def __str__(self) -> str:
        return self.name if self.adapter is None else f"{self.name}+{self.adapter}"
