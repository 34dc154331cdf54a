"""The meter: every search is counted, and a budget lets none begin once it is reached."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.errors import BudgetError, EngineError
from zerosearch.spending.ledger import Ledger
from zerosearch.spending.meter import Budget, Meter, Metered
from zerosearch.usage import Usage

PATIENCE = 30.0  # seconds until a test that hangs is failed; never waited for in a run that passes


class Priced:
    """An engine: the n-th search costs the n-th of `prices`, or the last, and has `outcome(n)`. `told` is the price
    that it names itself. Everybody waits at `gate`, where there is one."""

    name = identity = "priced"

    def __init__(
        self, *prices: float, outcome: Callable[[int], str] = lambda n: "page", told: float | None = None
    ) -> None:
        self.prices, self.outcome = prices or (0.1,), outcome
        self.asked = self.most_at_once = self.running = 0
        self.gate: asyncio.Event | None = None
        if told is not None:
            self.price_usd = lambda top_k: told

    async def search(self, request: SearchRequest) -> SearchPage:
        self.asked += 1
        outcome, price = self.outcome(self.asked), self.prices[min(self.asked, len(self.prices)) - 1]
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await (self.gate.wait() if self.gate else asyncio.sleep(0))
        finally:
            self.running -= 1
        if outcome == "error":
            raise EngineError("empty", "nothing", usage=Usage(prompt_tokens=9, usd=price))
        cached = outcome == "cached"
        usage = Usage(completion_tokens=4, usd=0.0 if cached else price)
        return SearchPage((), self.name, cached=cached, seconds=0.125, usage=usage)


async def crowd(engine: SearchEngine, size: int) -> list[Any]:
    """`size` searchers at once; what each got."""
    searches = [engine.search(SearchRequest(f"q{n}", 1)) for n in range(size)]
    return await asyncio.wait_for(asyncio.gather(*searches, return_exceptions=True), PATIENCE)


def run(priced: Priced, meter: Meter, size: int) -> list[str]:
    return [type(result).__name__ for result in asyncio.run(crowd(Metered(priced, meter), size))]


def test_pages_and_failures_are_counted_and_passed_on() -> None:
    meter, priced = Meter(), Priced(0.25, outcome=lambda n: ("page", "error", "cached")[n % 3])
    assert Metered(priced, meter).name == "priced"
    results = run(priced, meter, 9)
    assert sorted(set(results)) == ["EngineError", "SearchPage"]
    used = meter.take()
    assert (used.queries, used.failed, used.cached, used.usd) == (9, 3, 3, 6 * 0.25)
    assert (used.prompt_tokens, used.completion_tokens) == (27, 24)
    assert 6 * 0.125 < used.engine_seconds < 6 * 0.125 + PATIENCE  # the failed ones are timed here
    assert meter.used == meter.take() == Ledger()


def test_a_budget_of_searches_is_never_passed_however_many_ask_at_once() -> None:
    priced = Priced()
    results = run(priced, Meter(Budget(searches=7)), 40)
    assert priced.asked == 7
    assert (results.count("SearchPage"), results.count("BudgetError")) == (7, 33)


def test_pages_from_a_cache_are_free() -> None:
    priced = Priced(outcome=lambda n: "cached" if n % 2 else "page")
    results = run(priced, Meter(Budget(searches=5)), 30)
    assert priced.asked == results.count("SearchPage") == 10  # five that were paid for, and the free ones before them


def test_who_is_refused_hears_it_only_after_those_in_flight_are_counted() -> None:
    async def main() -> None:
        priced, meter = Priced(1.0), Meter(Budget(searches=3))
        priced.gate = asyncio.Event()
        engine = Metered(priced, meter)
        waiting = [asyncio.create_task(engine.search(SearchRequest(f"q{n}", 1))) for n in range(5)]
        while priced.running < 3:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        priced.gate.set()
        await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE)
        assert [isinstance(task.exception(), BudgetError) for task in waiting] == [False] * 3 + [True] * 2
        assert meter.used.usd == 3.0

    asyncio.run(main())


def test_a_search_that_is_cancelled_is_counted_and_blocks_nobody() -> None:
    async def main() -> None:
        priced, meter = Priced(), Meter(Budget(searches=2))
        priced.gate = asyncio.Event()
        engine = Metered(priced, meter)
        lost = asyncio.create_task(engine.search(SearchRequest("q", 1)))
        while not priced.running:
            await asyncio.sleep(0)
        lost.cancel()
        await asyncio.gather(lost, return_exceptions=True)
        assert (meter.used.queries, meter.used.failed) == (1, 1)
        priced.gate.set()
        results = await crowd(engine, 3)
        assert [type(r).__name__ for r in results].count("BudgetError") == 2

    asyncio.run(main())


def test_what_is_paid_is_noted_in_time_and_nothing_is_noted_twice() -> None:
    notes: list[Ledger] = []
    meter = Meter(note=notes.append)
    run(Priced(0.5), meter, 40)
    assert [note.queries for note in notes] == [16, 16]
    used = meter.take()
    assert [note.queries for note in notes] == [16, 16, 8]
    assert Ledger.total(notes) == used
    meter.take()
    assert len(notes) == 3


def test_what_is_free_and_unbounded_is_noted_once() -> None:
    notes: list[Ledger] = []
    meter = Meter(note=notes.append)
    run(Priced(0.0), meter, 40)
    assert notes == []
    meter.take()
    assert [note.queries for note in notes] == [40]


@given(
    st.integers(1, 40), st.integers(0, 60), st.lists(st.sampled_from(["page", "error", "cached"]), min_size=1),
    st.booleans(),
)  # fmt: skip
def test_whatever_happens_no_more_is_asked_than_may_be(
    bound: int, size: int, outcomes: list[str], of_money: bool
) -> None:
    priced = Priced(1.0, outcome=lambda n: outcomes[n % len(outcomes)])
    meter = Meter(Budget(usd=float(bound)) if of_money else Budget(searches=bound))
    results = run(priced, meter, size)
    assert len(results) == size
    used = meter.used
    assert used.queries == priced.asked
    if of_money:
        assert used.usd <= bound - 1 + max(priced.most_at_once, 1)
    else:
        assert used.asked <= bound
    if "BudgetError" in results:
        assert meter.budget.reached_by(used)
    else:
        assert priced.asked == size


@given(st.integers(0, 50), st.integers(1, 50), st.integers(1, 8))
def test_the_shares_of_the_processes_are_what_is_left(used: int, bound: int, shares: int) -> None:
    spent = Ledger(used, usd=used / 4)
    parts = [Budget(bound / 4, bound).left_after(spent, n, shares) for n in range(shares)]
    assert sum(part.searches or 0 for part in parts) == max(bound - used, 0)
    assert sum(part.usd or 0 for part in parts) == pytest.approx(max(bound - used, 0) / 4)
    assert Budget().left_after(spent, 0, shares) == Budget()


def test_a_sum_that_is_off_in_its_last_digit_still_reaches_the_budget() -> None:
    assert Budget(usd=0.8).reached_by(Ledger(usd=0.1 + 0.1 + 0.1 + 0.1 + 0.1 + 0.1 + 0.1 + 0.1))
    assert not Budget(usd=0.8).reached_by(Ledger(usd=0.7999))


def test_what_is_no_search_counts_and_its_dollars_can_be_the_last_ones() -> None:
    notes: list[Ledger] = []
    meter = Meter(Budget(usd=0.3, searches=0), note=notes.append)
    meter.count(Ledger(prompt_tokens=5))  # free: whatever budget is reached, it may go on
    meter.count(Ledger(usd=0.2))
    with pytest.raises(BudgetError, match="the budget is spent"):
        meter.count(Ledger(usd=0.1))
    assert meter.take() == Ledger(prompt_tokens=5, usd=pytest.approx(0.3))
    assert Ledger.total(notes).prompt_tokens == 5


@pytest.mark.parametrize(
    ("prices", "told", "budget", "asked"),
    [
        ([0.001], 0.001, 0.01, 10),  # Serper's price, and a budget for ten
        ([0.001], None, 0.01, 10),  # nobody says what it costs: the first search does
        ([0.3], None, 1.0, 3),  # a fourth would not fit
        ([0.1, 0.4, 0.1], None, 1.0, None),  # one is dearer than all before it
        ([2.0], 2.0, 1.0, 0),
    ],
)
def test_a_budget_of_dollars_admits_only_what_fits_however_many_ask_at_once(
    prices: list[float], told: float | None, budget: float, asked: int | None
) -> None:
    engine, meter = Priced(*prices, told=told), Meter(Budget(usd=budget))
    outcomes = run(engine, meter, 512)
    assert set(outcomes) <= {"SearchPage", "BudgetError"}
    assert outcomes.count("SearchPage") == engine.asked < 512
    if asked is not None:
        assert engine.asked == asked
    assert meter.used.usd <= budget + (max(prices) - min(prices)) + 1e-9


def test_a_cached_page_gives_back_what_was_reserved_for_it() -> None:
    engine = Priced(0.25, told=0.25, outcome=lambda n: "cached" if n % 2 else "page")
    meter = Meter(Budget(usd=1.0))
    run(engine, meter, 50)
    assert (meter.used.asked, meter.used.usd) == (4, 1.0)
