"""Settings in and out: a TOML file, changed by `--set section.key=value` on the command line."""

from __future__ import annotations

import copy
import json
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from zerosearch.config import TrainConfig
from zerosearch.engine_config import UNSET
from zerosearch.errors import ConfigError

_NOT_SHOWN = ("base_url", "url", "api_key_env")  # of these not even a wrong value is shown: it may be a secret


def load_config(
    path: Path | None = None, overrides: Sequence[str] = (), *, base: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Read a TOML file and apply `section.key=value` overrides (values in TOML; bare words are strings).

    Without a file, `base` is what the overrides change; the defaults where it is none.

    Raises `ConfigError`: no such file, not TOML, unknown key, value out of range, settings that contradict.
    """
    values: dict[str, Any] = copy.deepcopy(dict(base or {}))
    if path is not None:
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path}: no such configuration file") from None
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: is not valid TOML ({error})") from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    for override in overrides:
        _apply(values, override)
    return config_from_dict(values, str(path) if path is not None else "the settings")


def config_from_dict(values: dict[str, Any], where: str) -> TrainConfig:
    """Raises `ConfigError` that begins with `where` and names the setting."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"{where}: {_first_problem(error)}") from None


def config_toml(config: TrainConfig) -> str:
    """The configuration as TOML, defaults included; `load_config` gives the same one back."""
    return "\n".join(_table("", config)) + "\n"


def _table(name: str, section: BaseModel) -> list[str]:
    plain, tables = [], []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if isinstance(value, BaseModel):
            tables += ["", *_table(f"{name}.{key}" if name else key, value)]
        elif value is not None:
            plain.append(f"{key} = {_toml(value)}")
        elif field.get_default(call_default_factory=True) is not None:
            plain.append(f"{key} = {_toml(UNSET)}")
    return [*([f"[{name}]"] if name else []), *plain, *tables]


def _apply(values: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise ConfigError(f"--set {override}: write section.key=value")
    try:
        value = tomllib.loads(f"x = {text.strip()}")["x"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    table = values
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key.strip()}: {part} is a value, not a section")
    table[path[-1]] = value


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        text = f"unknown setting {place}"
    else:
        message = first["msg"].removeprefix("Value error, ")
        text = f"{place}: {message}" if place else message
        if first["type"] != "value_error" and str(first["loc"][-1]) not in _NOT_SHOWN:
            text += f" (found {first['input']!r})"
    return text + (f", and {len(problems) - 1} more problem(s)" if len(problems) > 1 else "")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(inner)}' for key, inner in value.items())}}}"
    return repr(value)
