"""What searching costs: list prices, the paper's comparison, and the ledger of what a run has used.

    ledger = Ledger.of(trajectories)
    PRICES.serpapi(ledger.asked)                       # what Google would have cost, in US dollars
    PRICES.gpu(ledger.simulator_seconds / 3600)        # what the simulator's time is worth

Pure values: no I/O, no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from decimal import ROUND_HALF_UP, Decimal
from math import fsum
from typing import Any

from zerosearch.episodes.search import SearchPage
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.errors import DataError, EngineError
from zerosearch.usage import Usage

SECONDS_PER_HOUR = 3600.0


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

    def serpapi(self, searches: int) -> float:
        return searches * self.serpapi_search

    def serper(self, searches: int) -> float:
        return searches * self.serper_search

    def gpu(self, hours: float, gpus: int = 1) -> float:
        return gpus * hours * self.gpu_hour

    def tokens(self, prompt_tokens: int, completion_tokens: int) -> float:
        return (
            prompt_tokens * self.million_prompt_tokens + completion_tokens * self.million_completion_tokens
        ) / 1_000_000


PRICES = Prices()


@dataclass(frozen=True)
class CostLine:
    """One way to have searched: `searches` of them, on `gpus` for `hours` (None where that is no GPU's work)."""

    engine: str
    searches: int
    usd: float
    basis: str
    gpus: int | None = None
    hours: float | None = None


PAPER_SEARCHES = 64_000  # "about": the searches of one training run (arXiv 2505.04588, the table of costs)
PAPER_HOURS = 12.0  # that the simulators' GPUs were rented for that run
PAPER_SIMULATORS = (("3B", 1), ("7B", 2), ("14B", 4))  # size and A100s


def paper_lines(searches: int = PAPER_SEARCHES, prices: Prices = PRICES) -> list[CostLine]:
    """The paper's comparison from its inputs; for another number of `searches` the hours go along in proportion."""
    hours = PAPER_HOURS * searches / PAPER_SEARCHES
    return [
        *engine_lines(searches, prices),
        *(
            CostLine(
                f"simulator {size} (paper)", searches, prices.gpu(hours, gpus),
                f"{gpus} x {hours:,.4g} h x ${prices.gpu_hour:g}", gpus, hours,
            )
            for size, gpus in PAPER_SIMULATORS
        ),
    ]  # fmt: skip


def engine_lines(searches: int, prices: Prices = PRICES) -> list[CostLine]:
    """What Google would charge for `searches`, by the two providers that research code uses."""
    return [
        CostLine(
            "Google by SerpAPI", searches, prices.serpapi(searches),
            f"{searches:,} x ${prices.serpapi_search * 1000:.3f} per 1,000",
        ),
        CostLine(
            "Google by Serper", searches, prices.serper(searches),
            f"{searches:,} x ${prices.serper_search * 1000:.3f} per 1,000",
        ),
    ]  # fmt: skip


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
        return cls.total(cls.of_search(search) for trajectory in trajectories for search in trajectory.searches)

    @classmethod
    def of_usage(cls, usage: Usage | None) -> Ledger:
        """What something else than a search has used."""
        return cls() if usage is None else cls(**asdict(usage))

    @classmethod
    def of_search(cls, search: SearchRecord) -> Ledger:
        counts = (1, int(search.error is not None), int(search.cached))
        return cls(*counts, engine_seconds=search.seconds, **asdict(search.usage))

    @classmethod
    def of_page(cls, page: SearchPage) -> Ledger:
        return cls(1, 0, int(page.cached), engine_seconds=page.seconds, **asdict(page.usage))

    @classmethod
    def of_error(cls, error: EngineError, seconds: float = 0.0) -> Ledger:
        return cls(1, 1, engine_seconds=seconds, **asdict(Usage() + error.usage))

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
