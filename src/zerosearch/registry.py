"""Parts by their name: those that come with the package, and your own as `package.module:Name`.

find("f1", REWARDS, "reward.name")               # the built-in reward
find("mine.rewards:brief", REWARDS, "reward.name")    # the function `brief` of mine/rewards.py
"""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from zerosearch.errors import ConfigError, first_line, nearest

T = TypeVar("T")


def find(name: str, known: Mapping[str, T], setting: str) -> T:
    """`known[name]`, or the object that `package.module:Name` names.

    Raises `ConfigError`, naming `setting`, for an unknown name and for what cannot be imported.
    """
    if name in known:
        return known[name]
    try:
        check_name(name, known)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from None
    return load(name, setting)  # type: ignore[no-any-return]


def check_name(name: str, known: Iterable[str]) -> str:
    """`name`, if it is known or has the form `package.module:Name`; nothing is imported. Raises `ValueError`."""
    known = list(known)
    if name in known or is_path(name):
        return name
    own = "no package.module:Name of your own"
    raise ValueError(f"{name!r} is none of {', '.join(known)}, and {own}{nearest(name, known)}")


def is_path(name: str) -> bool:
    """Whether `name` has the form `package.module:Name`."""
    module, separator, attribute = name.partition(":")
    return bool(separator) and attribute.isidentifier() and all(part.isidentifier() for part in module.split("."))


def load(path: str, setting: str) -> Any:
    """The object that `package.module:Name` names; modules in the current folder are found too.

    Raises `ConfigError`, naming `setting`, for a module that is missing or fails, and for a name that is not in it.
    """
    module_name, _, name = path.partition(":")
    said = f"{setting}: {path}"
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            looked = "looked for in the current folder, on PYTHONPATH and among the installed packages"
            raise ConfigError(f"{said}: there is no module {error.name} ({looked})") from None
        raise ConfigError(f"{said}: {module_name} needs the module {error.name}, which is not installed") from None
    except Exception as error:  # whatever a user's module raises while it is imported
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise ConfigError(f"{said}: {module_name} cannot be imported ({reason})") from None
    if not hasattr(module, name):
        public = [known for known in vars(module) if not known.startswith("_")]
        raise ConfigError(f"{said}: {module_name} has no {name}{nearest(name, public)}")
    return getattr(module, name)


def check_call(function: Callable[..., Any], said: str, *args: Any, **kwargs: Any) -> None:
    """Whether `function` takes these arguments; it is not called. Raises `ConfigError` that shows its signature."""
    if not callable(function):
        raise ConfigError(f"{said}: is {type(function).__name__}, not a function or a class")
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # some that are written in C have none
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise ConfigError(f"{said}: {error}; it is {name}{signature}") from None
