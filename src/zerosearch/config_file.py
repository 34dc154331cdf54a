"""Settings in and out: a TOML file or a configuration that ships, changed by `--set section.key=value`."""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from datetime import date, time
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import filterfalse
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from zerosearch.cleaning import clean
from zerosearch.config import TrainConfig, plain_name
from zerosearch.errors import ConfigError, nearest
from zerosearch.files.formats import encoding_of
from zerosearch.files.jsonl import atomic_write
from zerosearch.models.config import UNSET, Section

_PRESET = "preset:"
_NOT_SHOWN = ("base_url", "url", "api_key_env")  # of these not even a wrong value is shown: it may be a secret
_LISTED = 5  # wrong settings that are named at once


def load_config(
    path: str | Path | None = None, overrides: str | Sequence[str] = (), *, base: Mapping[str, Any] | None = None
) -> TrainConfig:
    """Read a TOML file, or a configuration that ships (`demo`), and apply `section.key=value` overrides, or one.

    An override's value is TOML, or a bare word; for a setting that is text it is taken as it stands (`name=1e5`).
    Without a file, `base` is what the overrides change; the defaults where it is none.

    Raises `ConfigError`: no such file, not TOML, no setting in it, an unknown key (with the nearest known one), a value
    out of range, settings that contradict. It says whether the file or `--set` is to blame.
    """
    values = _read(path) if path is not None else deepcopy(dict(base or {}))
    each = [overrides] if isinstance(overrides, str) else overrides
    changed = [_apply(values, override) for override in each]
    return config_from_dict(values, str(path) if path is not None else "the settings", changed)


def as_overrides(values: Mapping[str, Any]) -> list[str]:
    """`{"model.name": "x"}`, as options of a command give settings, in the form of `--set`. None is left out."""
    return [f"{key}={json.dumps(value)}" for key, value in values.items() if value is not None]


def config_from_dict(values: dict[str, Any], where: str, changed: Sequence[str] = ()) -> TrainConfig:
    """Raises `ConfigError` with a line for each wrong setting, at most five, after `where` or, for one of `changed`,
    after `--set`."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        lines = [f"{_blamed(place, where, changed)}: {text}" for place, text in _problems(error)]
        more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
        raise ConfigError("\n".join([*lines[:_LISTED], *more])) from None


def _blamed(place: str, where: str, changed: Sequence[str]) -> str:
    if any(place == key or place.startswith(f"{key}.") for key in changed):
        return "--set"
    return f"{where} with --set" if any(not place or key.startswith(f"{place}.") for key in changed) else where


def _read(path: str | Path) -> dict[str, Any]:
    try:
        data = find(path).read_bytes()
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such configuration file") from None
    except IsADirectoryError:
        run = f"; its settings are {path}/config.toml, its policy is what ask --run {path} and evaluate --methods "
        run = f"{run}NAME={path} take" if (Path(path) / "config.toml").is_file() else ""
        exported = "; it is an export, and its README.md has the command that asks it"
        exported = exported if (Path(path) / "zerosearch.toml").is_file() else ""
        raise ConfigError(f"{path}: is a folder, not a configuration{run or exported}") from None
    except (OSError, ValueError) as error:  # ValueError: a name that holds a zero byte
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    encoding = encoding_of(data[:4])
    if not encoding.startswith("utf-8"):
        raise ConfigError(f"{path}: is not valid TOML (it is {encoding.upper()} text): save it as UTF-8")
    try:
        values = tomllib.loads(data.decode(encoding))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}: is not valid TOML (line {line} is not UTF-8 text)") from None
    except RecursionError:
        raise ConfigError(f"{path}: is not valid TOML (nested too deeply)") from None
    except ValueError as error:  # also a number of thousands of digits
        windows = any(said in str(error) for said in ("Unescaped", "Invalid hex value"))
        hint = "; write paths with / or in single quotes" if windows else ""
        hint = hint or ("; text stands in quotes" if "Invalid value" in str(error) else "")
        raise ConfigError(f"{path}: is not valid TOML ({error}){hint}") from None
    if not values:
        raise ConfigError(f'{path}: holds no settings; for the defaults write at least name = "run"')
    return values


def config_toml(config: TrainConfig) -> str:
    """The configuration as TOML, defaults included; `load_config` gives the same one back."""
    return "\n".join(_table("", config)) + "\n"


def _table(name: str, section: Section) -> list[str]:
    plain, tables, used = [], [], set(section.used())
    for key, field in type(section).own_first().items():
        value = getattr(section, key)
        if key not in used and value == field.get_default(call_default_factory=True):
            continue
        if isinstance(value, Section):
            tables += ["", *_table(f"{name}.{key}" if name else key, value)]
        elif value is not None:
            plain.append(f"{key} = {_toml(value)}")
        elif field.get_default(call_default_factory=True) is not None:
            plain.append(f"{key} = {_toml(UNSET)}")
    return [*([f"[{name}]"] if name else []), *plain, *tables]


def _apply(values: dict[str, Any], override: str) -> str:
    """Change `values`; the setting's name."""
    key, separator, text = override.partition("=")
    path = key.strip().split(".")
    if not separator or not all(path):
        raise ConfigError(f"--set {override}: write section.key=value")
    try:
        value = tomllib.loads(f"x = {text.strip()}")["x"]
    except (ValueError, RecursionError):
        value = text.strip()
    if not isinstance(value, str) and _KNOWN.get(key.strip()) in (str, str | None):
        value = text.strip()
    table = values
    for part in path[:-1]:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key.strip()}: {part} is a value, not a section")
    table[path[-1]] = value
    return ".".join(path)


def _settings(section: type[BaseModel], name: str = "") -> Iterator[tuple[str, Any]]:
    """Every setting with its type, sections too."""
    for key, field in section.model_fields.items():
        yield f"{name}{key}", field.annotation
        for inner in (field.annotation, *get_args(field.annotation)):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from _settings(inner, f"{name}{key}.")


_KNOWN = dict(_settings(TrainConfig))
_CALLED_ELSEWHERE = {"extra_body": "request.extra", "max_new_tokens": "protocol.max_turn_tokens"}
"""What OpenAI's client and transformers call some settings."""
_GONE = {
    "curriculum": ("noise_kinds", "pages", "stages"),
    "engine.recorded": ("on_miss",),
    "fidelity": ("encoder", "reader"),
    "label": ("right",),
}
"""Settings of older versions, by their section. The configurations in run folders name them."""


def is_gone(place: str) -> bool:
    """Whether a setting, such as `curriculum.pages`, was one of an older version and is none any more."""
    section, _, last = place.removeprefix("evaluation.").rpartition(".")
    return last in _GONE.get(section, ())


def _nearest(place: str) -> str:
    """The known setting that `place` may mean: one of that name in another section, or one spelled much like it."""
    section, _, last = place.rpartition(".")
    ours = _CALLED_ELSEWHERE.get(last, "." + last)
    there = [known for known in _KNOWN if known.endswith(ours) or known == last]
    there = [known for known in there if known.startswith(f"{section}.")] or there
    near = there or difflib.get_close_matches(place, _KNOWN, n=1, cutoff=0.75)
    if not near:
        beside = {known.rpartition(".")[2]: known for known in _KNOWN}
        near = [beside[name] for name in difflib.get_close_matches(last, beside, n=1, cutoff=0.75)]
    return f"; did you mean {' or '.join(near[:3])}?" if near else ""


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Each wrong setting with what to say of it. Where it may have several types, what its nearest type says."""
    found: dict[str, ErrorDetails] = {}
    for detail in error.errors():
        place = _place_of(detail)
        while detail["type"] != "extra_forbidden" and place not in _KNOWN and place:
            place = place.rpartition(".")[0]
        if place not in found or len(found[place]["loc"]) < len(detail["loc"]):
            found[place] = detail
    if gone := list(filter(is_gone, found)):
        yield gone[0], f"only older versions had {', '.join(gone)}: leave {'it' if len(gone) == 1 else 'them'} out"
    for setting in filterfalse(is_gone, found):
        yield setting, _problem(setting, found[setting])


def _place_of(detail: ErrorDetails) -> str:
    """Without the types among which pydantic chose, such as `list[str]`."""
    return ".".join(str(part) for part in detail["loc"] if detail["type"] == "extra_forbidden" or "[" not in str(part))


def _problem(setting: str, detail: ErrorDetails) -> str:
    place = _place_of(detail)
    if detail["type"] == "extra_forbidden":
        return f"unknown setting {_short(place)}{_nearest(place[:200])}"
    message = detail["msg"].removeprefix("Value error, ")
    text = f"{place}: {message}" if place else message
    if detail["type"] != "value_error" and setting.rpartition(".")[2] not in _NOT_SHOWN:
        found = detail["input"]
        text += f" (found {found if isinstance(found, (date, time)) else _short(repr(found))})"
    return f"{text}; put it in quotes" if detail["type"] == "string_type" else text


def _short(text: str) -> str:
    text = clean(text)
    return text if len(text) <= 200 else f"{text[:197]}..."


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


def names() -> tuple[str, ...]:
    """All names, presets last."""
    folder = files("zerosearch").joinpath("configs")
    return tuple(
        f"{prefix}{name}"
        for prefix, place in (("", folder), (_PRESET, folder.joinpath("presets")))
        for name in sorted(file.name.removesuffix(".toml") for file in place.iterdir() if file.is_file())
    )


def summary(name: str) -> str:
    """The first sentence of the configuration's own comment."""
    lines = [line[2:] for line in _place(name).read_text(encoding="utf-8").split("\nname =")[0].splitlines()]
    return re.split(r"(?<=[a-z)])[.:;]\s", " ".join(lines), maxsplit=1)[0]


def find(name: str | Path) -> Path | Traversable:
    """The file of that name, or else the configuration of that name that ships.

    Raises `ConfigError`, listing the known names.
    """
    path, text = Path(name), str(name)
    if text in names() and not path.is_file():
        return _place(text)
    if path.suffix or len(path.parts) > 1 or path.exists():
        return path
    ships = f"no configuration that ships ({', '.join(names())})"
    raise ConfigError(f"{text}: no such file, and {ships}{nearest(text, names())}")


def copy(name: str, to: Path) -> None:
    """Write the configuration `name` to the new file `to`, which names its runs too.

    Raises `ConfigError` where `name` is unknown, `to` is there already, or would hide a configuration that ships.
    """
    if str(to) in names():
        mine = f"{str(to).removeprefix(_PRESET)}.toml"
        raise ConfigError(f"{to}: ships with the package; for your copy of it: zerosearch init {mine} --from {to}")
    if name not in names():
        find(Path(name).name)
        raise ConfigError(f"{name}: is a file of yours; --from takes one of {', '.join(names())}")
    if to.exists():
        raise ConfigError(f"{to}: is there already; name another file")
    if not plain_name(to.stem):
        raise ConfigError(f"{to}: its runs would be called {to.stem!r}, which is no plain folder name")
    text = _place(name).read_text(encoding="utf-8")
    atomic_write(to, re.sub(r"(?m)^name = .*$", f'name = "{to.stem}"', text, count=1).encode())


def _place(name: str) -> Traversable:
    folder = files("zerosearch").joinpath("configs")
    if name.startswith(_PRESET):
        folder, name = folder.joinpath("presets"), name.removeprefix(_PRESET)
    return folder.joinpath(f"{name}.toml")
