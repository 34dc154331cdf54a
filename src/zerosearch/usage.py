"""What a call to a model or search engine used: tokens and dollars.

Usage(prompt_tokens=900, completion_tokens=120) + Usage(usd=0.001)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Usage:
    """Tokens read and written by a model, and what was charged in US dollars. Usages are added; None adds nothing."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0

    def __add__(self, other: Usage | None) -> Usage:
        if other is None:
            return self
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.usd + other.usd,
        )

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Usage:
        """What `asdict` gave, read back from JSON. Raises `TypeError` for anything else."""
        usage = cls(**row)
        if not (type(usage.prompt_tokens) is type(usage.completion_tokens) is int and type(usage.usd) in (int, float)):
            raise TypeError("a usage that is no number")
        return usage


NOTHING = Usage()


@dataclass(frozen=True)
class TokenPrices:
    """What a server charges, in US dollars per million tokens."""

    prompt: float = 0.0
    completion: float = 0.0

    def usage(self, prompt_tokens: int, completion_tokens: int) -> Usage:
        usd = (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6
        return Usage(prompt_tokens, completion_tokens, usd)


UNPRICED = TokenPrices()
