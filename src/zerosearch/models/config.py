"""What all parts of a configuration are made of, and how a server is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, JsonValue, model_validator
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from zerosearch.cleaning import check_address, check_variable
from zerosearch.registry import check_name
from zerosearch.usage import UNPRICED, TokenPrices

UNSET = "none"
"""TOML has no null: `key = "none"` unsets an optional setting."""
FREE: dict[str, JsonValue] = {"binds": False}
"""`Field(..., json_schema_extra=FREE)`: the setting, or the table, may change when a run is resumed."""


def _address(text: str) -> str:
    check_address(text, "http://localhost:8000/v1")
    return text


def _variable(name: str) -> str:
    check_variable(name)
    return name


Address = Annotated[str, AfterValidator(_address)]
"""The address of a server. One that holds a password, or is none, is refused as it is read, and not shown."""
Variable = Annotated[str, AfterValidator(_variable)]
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

    def used(self) -> Iterator[str]:
        """The names of the settings that are looked at."""
        yield from type(self).model_fields


_SECRET = re.compile(r"(?:api[_-]?key|authorization|password|secret|access[_-]?token)", re.IGNORECASE)


class RequestConfig(Section):
    """How a server's requests differ from what every OpenAI-compatible one takes."""

    drop: list[str] = []
    """Fields that are not sent, such as `seed`. What a server refuses by name is left out without this, and said."""
    rename: dict[str, str] = {}
    """Fields that have another name there: `{max_tokens = "max_completion_tokens"}`."""
    extra: dict[str, Any] = {}
    """Further fields: `{chat_template_kwargs = {enable_thinking = false}}` turns Qwen3's thoughts off."""

    @model_validator(mode="after")
    def _no_secret(self) -> RequestConfig:
        if any(_SECRET.fullmatch(name) for name in self.extra):
            raise ValueError("extra must hold no key or password: api_key_env names the variable that holds one")
        return self


@dataclass(frozen=True)
class ModelRef:
    """A model to chat with: local weights (embedded, a folder, a hub id), or `name` of the server at `base_url`.

    `timeout_seconds` is the longest silence of a server that is waited out; it gets `max_connections` requests
    at once. `prices` are what it charges.
    """

    name: str
    adapter: str | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    request: RequestConfig | None = None
    timeout_seconds: float = 600.0
    max_connections: int = 256
    prices: TokenPrices = UNPRICED

    def __str__(self) -> str:
        return self.name if self.adapter is None else f"{self.name}+{self.adapter}"
