"""Count what an engine's searches use, and stop at a budget.

    meter = Meter(Budget(usd=20.0))
    engine = Metered(BM25Engine.open(corpus), meter)
    meter.used                                         # a Ledger

Any engine can be metered; several may share one meter.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from zerosearch.episodes.generation import Generation, Generator, Sampling
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.errors import BudgetError, EngineError, PolicyError
from zerosearch.spending.ledger import Ledger

_NOTED_AT_ONCE = 16  # searches: a kill loses no more of them, and those in flight


@dataclass(frozen=True)
class Budget:
    """What may be spent: US dollars, and searches that no cache answers. None: no bound.

    Sums of many prices are a little off in their last digits, so a billionth of the dollars may be missing.
    """

    usd: float | None = None
    searches: int | None = None

    def reached_by(self, used: Ledger, in_flight: int = 0) -> bool:
        """`in_flight` searches count as asked; what they will cost is not known before they are back."""
        return (self.usd is not None and used.usd >= self.usd * (1 - 1e-9)) or (
            self.searches is not None and used.asked + in_flight >= self.searches
        )

    def left_after(self, used: Ledger, share: int = 0, shares: int = 1) -> Budget:
        """What is left of it, or process `share`'s part of that where `shares` processes search at once."""
        searches = None if self.searches is None else max(self.searches - used.asked, 0)
        return Budget(
            None if self.usd is None else max(self.usd - used.usd, 0.0) / shares,
            None if searches is None else searches // shares + (share < searches % shares),
        )


class Meter:
    """Counts what goes through it since it was made or last emptied (`take`), and keeps to `budget` meanwhile.

    A search is let through if the budget pays for it and for all that are in flight: what it costs is reserved before
    it is asked. That is its engine's price where it has one, or the most that a search has cost so far, if that is
    more; the first search of an engine without a price goes alone. One that does not fit waits for those in flight,
    which may turn out cheaper; `BudgetError` is raised once nothing is in flight. A budget of searches is therefore
    never passed, a budget of dollars by no more than what nobody could know: how much dearer a search in flight was
    than any before it.

    `note` is given what has come in: every 16 searches where that is paid or bounded, and the rest by `take`.
    """

    def __init__(self, budget: Budget | None = None, *, note: Callable[[Ledger], None] | None = None) -> None:
        self.budget = budget or Budget()
        self._note = note
        self._parts: list[Ledger] = []
        self._noted = 0
        self._sum = Ledger()
        self._in_flight = 0
        self._reserved = self._largest = 0.0
        self._priced = False  # whether an engine has been paid, or has turned out to cost nothing
        self._settled = asyncio.Event()

    @property
    def used(self) -> Ledger:
        return Ledger.total(self._parts)  # one sum: whatever search came back first changes no digit

    async def admit(self, price: float | None = None) -> float:
        """Wait for leave to search; to be followed by `settle`. `price` in US dollars, None: not known.

        Returns what is reserved. Raises `BudgetError`.
        """
        while not self._fits(price):
            if self._in_flight == 0:
                raise BudgetError("the budget for searches is spent")
            await self._settled.wait()
        reserved = max(price or 0.0, self._largest)
        self._in_flight += 1
        self._reserved += reserved
        return reserved

    def _fits(self, price: float | None) -> bool:
        if self.budget.reached_by(self._sum, self._in_flight):
            return False
        if self.budget.usd is None:
            return True
        if price is None and not self._priced and self._in_flight:
            return False
        cost = max(price or 0.0, self._largest)
        return self._sum.usd + self._reserved + cost <= self.budget.usd * (1 + 1e-9)

    def settle(self, ledger: Ledger, reserved: float = 0.0) -> None:
        """A search that was admitted is over and has used `ledger`; `reserved` is what `admit` said."""
        self._in_flight -= 1
        self._reserved = max(self._reserved - reserved, 0.0) if self._in_flight else 0.0
        if ledger.asked:
            self._largest = max(self._largest, ledger.usd)
            self._priced = self._priced or ledger.failed == 0 or ledger.usd > 0
        self._settle(ledger)

    def _settle(self, ledger: Ledger) -> None:
        self._parts.append(ledger)
        self._sum += ledger
        self._settled.set()
        self._settled = asyncio.Event()
        bounded = self.budget != Budget()
        if len(self._parts) - self._noted >= _NOTED_AT_ONCE and (bounded or self._sum.usd > 0):
            self._flush()

    def count(self, ledger: Ledger) -> None:
        """Something else than a search has used `ledger`. Raises `BudgetError` where its dollars were the last ones."""
        self._settle(ledger)
        if ledger.usd and Budget(usd=self.budget.usd).reached_by(self._sum):
            raise BudgetError("the budget is spent")

    def take(self) -> Ledger:
        """What has been used, and begin again from nothing."""
        self._flush()
        used, self._parts, self._noted, self._sum = self.used, [], 0, Ledger()
        return used

    def fold(self) -> None:
        """Note what has been used and keep its sum alone: who runs for weeks keeps no list of searches."""
        self._flush()
        self._parts = [Ledger.total(self._parts)] if self._parts else []
        self._noted = len(self._parts)

    def _flush(self) -> None:
        fresh = self._parts[self._noted :]
        self._noted = len(self._parts)
        if self._note is not None and fresh:
            self._note(Ledger.total(fresh))


def known_price(engine: object, top_k: int) -> float | None:
    """US dollars that a search of `engine`, or of what it wraps, costs by its own word (`price_usd`); None: unknown."""
    while engine is not None:
        if (price := getattr(engine, "price_usd", None)) is not None:
            return float(price(top_k))
        engine = getattr(engine, "engine", None)
    return None


class Metered:
    """A `SearchEngine` whose every search goes through `meter`. A search that is cancelled counts as a failed one."""

    def __init__(self, engine: SearchEngine, meter: Meter) -> None:
        self.engine, self.meter = engine, meter
        self.name, self.identity = engine.name, engine.identity

    async def search(self, request: SearchRequest) -> SearchPage:
        """Raises `EngineError`, as the engine does, and `BudgetError`."""
        reserved = await self.meter.admit(known_price(self.engine, request.top_k))
        started = time.perf_counter()
        used = Ledger(queries=1, failed=1)
        try:
            page = await self.engine.search(request)
            used = Ledger.of_search(page.usage, cached=page.cached, seconds=page.seconds)
        except EngineError as error:
            used = Ledger.of_search(error.usage, failed=True, seconds=time.perf_counter() - started)
            raise
        finally:
            self.meter.settle(used, reserved)
        return page


@dataclass(frozen=True)
class MeteredPolicy:
    """A `Generator` whose tokens and dollars are counted by `meter`, as far as a server tells them."""

    generator: Generator
    meter: Meter

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        """Raises `PolicyError`, as the generator does, and `BudgetError`."""
        try:
            generation = await self.generator.generate(prompt_ids, sampling)
        except PolicyError as error:
            self.meter.count(Ledger.of_usage(error.usage))
            raise
        if generation.usage is not None:
            self.meter.count(Ledger.of_usage(generation.usage))
        return generation
