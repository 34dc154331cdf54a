"""Typed errors. A `ZeroSearchError` is something the user can act on: its text is one clear line, never a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

from zerosearch.cleaning import clean

if TYPE_CHECKING:
    from zerosearch.usage import Usage

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": ("torch", "transformers", "accelerate", "peft", "safetensors", "gguf", "tensorboard"),
    "data": ("pyarrow", "datasets"),
    "vllm": ("vllm",),
    "dense": ("sentence_transformers", "faiss"),
    "serve": ("fastapi", "uvicorn", "starlette", "mcp", "prometheus_client", "websockets"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}
"""The optional packages, by the name that they are imported by."""


def extra_of(package: str) -> str | None:
    """The extra that installs `package`, or None where every installation has it."""
    return next((extra for extra, members in EXTRAS.items() if package in members), None)


def install(extra: str | None) -> str:
    """The command that installs what is missing."""
    return f"pip install 'zerosearch-rl[{extra}]'" if extra else "pip install --force-reinstall zerosearch-rl"


def first_line(error: BaseException) -> str:
    """What another library's error says, in one line without secrets; its type where it says nothing."""
    return next(iter(clean(str(error)).strip().splitlines()), "")[:300] or type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean train?` where `name` is spelled much like one of `known`, else nothing."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {near[0]}?" if near else ""


class ZeroSearchError(Exception):
    """Base of every error that the command line prints as one line before it exits with `exit_code`."""

    exit_code = 2

    def __str__(self) -> str:
        return clean(super().__str__())


class ConfigError(ZeroSearchError):
    """A setting is unknown, out of range, or contradicts another. Several wrong settings have a line each."""


def check_at_least(least: int, **given: float | None) -> None:
    """Raises `ConfigError` naming the first of `given` that is below `least`, or no number. None is not checked."""
    for name, value in given.items():
        if value is not None and not value >= least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}")


class DataError(ZeroSearchError):
    """A data file cannot be used: names the file and, where there is one, the line."""


class ModelError(ZeroSearchError):
    """A model or adapter is not there or does not fit."""


class CheckpointError(ZeroSearchError):
    """A checkpoint is missing, unreadable, or belongs to another configuration."""


class FolderError(ZeroSearchError):
    """A folder or file to write to belongs to another process, or holds what the command did not make."""


class RunError(ZeroSearchError):
    """A run had to stop: what was written so far is kept."""

    exit_code = 3


class BudgetError(RunError):
    """What a run may spend on searches is spent: no further search is begun."""


class PolicyError(RunError):
    """A policy behind a URL gave no text after its retries; `kind` as of `EngineError`, `usage` that of the whole
    episode, None for nothing. Training and collecting stop at it; an evaluation counts it as a wrong answer, up to a
    limit."""

    def __init__(self, kind: str, message: str, *, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.usage = usage


class EngineError(Exception):
    """A search failed after its retries.

    `kind` is one of `deadline`, `http`, `connection`, `empty`, `malformed`, `refused`, `missed` (never recorded).
    Attempts that come to nothing are paid for too: `usage` is that of all `attempts`, as far as it is known. Not a
    `ZeroSearchError`: one failed search ends one episode and is counted; only the error-rate limit ends a run.
    """

    def __init__(self, kind: str, message: str, *, attempts: int = 1, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.attempts = attempts
        self.usage = usage

    def __str__(self) -> str:
        return clean(super().__str__())
