"""A supervised training text, as `learning/sft.py` takes it and everything that makes such texts gives it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Example:
    """One training text; `key` (a question's id) decides the validation split.

    `mask` is 0 on tokens that are given and 1 on those to learn; a token of mask n counts n times in the loss.
    """

    ids: list[int]
    mask: list[int]
    key: str = ""
