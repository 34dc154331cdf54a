"""The configurations that ship with the package, by name: `demo`, `preset:search-r1`."""

from __future__ import annotations

import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from zerosearch.config import plain_name
from zerosearch.errors import ConfigError, nearest
from zerosearch.files.jsonl import atomic_write

_PRESET = "preset:"


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

    Raises `ConfigError` where `name` is unknown or `to` is there already.
    """
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
