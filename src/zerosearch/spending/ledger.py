"""What searching costs: list prices, and the ledger of what a run has used.

    ledger = Ledger.of(trajectories)
    ledger.asked * PRICES.serpapi_search               # what Google would have cost, in US dollars
    PRICES.gpu(ledger.simulator_seconds / 3600)        # what the simulator's time is worth

Pure values: no I/O, no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_HALF_UP, Decimal
from math import fsum
from typing import Any

from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import DataError
from zerosearch.usage import NOTHING, Usage


@dataclass(frozen=True)
class Prices:
    """List prices in US dollars, before tax. Prices change: pass your own where it matters."""

    # Google by SerpAPI, plan "Big Data", $275 a month for 30,000; serpapi.com, as reported in May 2026. It is the
    # paper's price too ($586.70 for 64,000). Smaller plans cost more: $75 for 5,000 is $.015 a search.
    serpapi_search: float = 275 / 30_000
    # Google by Serper, package "Starter", $50 for 50,000; serper.dev, as reported on 2026-08-13. Larger ones cost less.
    serper_search: float = 50 / 50_000
    gpu_hour: float = 1.475  # one A100; the rate of the paper's cost table, arXiv 2505.04588, May 2025
    million_prompt_tokens: float = 0.15  # a small hosted model, GPT-4o mini; OpenAI's price list, June 2026
    million_completion_tokens: float = 0.60  # the same

    def gpu(self, hours: float, gpus: int = 1) -> float:
        return gpus * hours * self.gpu_hour

    def tokens(self, prompt: int, completion: int) -> float:
        return (prompt * self.million_prompt_tokens + completion * self.million_completion_tokens) / 1e6


PRICES = Prices()


@dataclass(frozen=True)
class Ledger:
    """What searches have used up. A value: ledgers are added.

    `queries` are all searches, among them the `failed` and the `cached` (from a cache, or asked before in their step).
    Tokens are the simulator's, those of attempts that came to nothing included, and those of a policy behind a URL.
    `engine_seconds` is the time that searches took, added up although many ran at once; `simulator_seconds` is
    wall-clock time of a local simulator's decoding. `usd` is what engines charged, and a policy behind a URL.
    """

    queries: int = 0
    failed: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    engine_seconds: float = 0.0
    simulator_seconds: float = 0.0
    usd: float = 0.0

    @classmethod
    def of(cls, trajectories: Iterable[Trajectory]) -> Ledger:
        """The searches of `trajectories`. What a local simulator decoded stands in no trajectory: add it."""
        return cls.total(
            cls.of_search(search.usage, failed=search.error is not None, cached=search.cached, seconds=search.seconds)
            for trajectory in trajectories
            for search in trajectory.searches
        )

    @classmethod
    def of_search(
        cls, usage: Usage | None, *, failed: bool = False, cached: bool = False, seconds: float = 0.0
    ) -> Ledger:
        return cls(1, int(failed), int(cached), engine_seconds=seconds, **asdict(usage or NOTHING))

    @classmethod
    def of_usage(cls, usage: Usage | None) -> Ledger:
        """What something else than a search has used."""
        return cls(**asdict(usage or NOTHING))

    @classmethod
    def total(cls, parts: Iterable[Ledger]) -> Ledger:
        """The sum of `parts`; floats are added without rounding in between, so their order does not matter."""
        rows = list(parts)
        sums: dict[str, Any] = {}
        for field in fields(cls):
            values = [getattr(row, field.name) for row in rows]
            sums[field.name] = fsum(values) if isinstance(field.default, float) else sum(values)
        return cls(**sums)

    def __add__(self, other: Ledger) -> Ledger:
        return Ledger.total((self, other))

    @property
    def asked(self) -> int:
        """Searches that no cache answered: what an engine would have been paid for."""
        return self.queries - self.cached

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, row: Any, where: str = "ledger") -> Ledger:
        """The ledger of `as_dict`; fields that are left out are 0. Raises `DataError`."""
        known = {field.name: field.default for field in fields(cls)}
        if not isinstance(row, dict) or not row.keys() <= known.keys():
            raise DataError(f"{where}: not a ledger")
        for name, value in row.items():
            kinds = (int, float) if isinstance(known[name], float) else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value < 1 << 63:
                raise DataError(f"{where}: {name} is {value!r}, which is no amount")
        return cls(**row)


def counted(number: int, what: str, many: str = "") -> str:
    """`1 query`, `64,000 queries`; without `many` its plural ends in s."""
    return f"{number:,} {what if number == 1 else many or what + 's'}"


def dollars(usd: float, *, places: int = 2) -> str:
    """`$586.67`; an amount that would read `$0.00` is given with its first two digits: `$0.00042`.

    Halves are rounded up. `places` 1 rounds to ten cents and still shows two places, as `$586.70`.
    """
    exact = Decimal(repr(usd))
    step = Decimal(1).scaleb(-places)
    rounded = exact.quantize(step, ROUND_HALF_UP)
    if exact and not rounded:
        rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), ROUND_HALF_UP)
        return f"${rounded:f}"
    return f"${rounded:,.2f}"
