"""A supervised training text, as `learning/sft.py` takes it and everything that makes such texts gives it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One training text. `mask` is 1 on the tokens to learn; `key` (a question's id) decides the validation split."""

    ids: list[int]
    mask: list[int]
    key: str = ""
