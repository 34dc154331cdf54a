"""Prices, the paper's table from its inputs, and ledgers that add up."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.errors import DataError
from zerosearch.spending.ledger import PRICES, Ledger, Prices, dollars
from zerosearch.spending.report import engine_lines, paper_lines
from zerosearch.usage import Usage

count = st.integers(0, 10**9)
amount = st.floats(0, 1e9)
a_ledger = st.builds(Ledger, count, count, count, count, count, amount, amount, amount)


def trajectory(*searches: SearchRecord) -> Trajectory:
    return Trajectory(Question("q", "?", ("a",)), (), (), (), 0, (), searches, None, Scores(0, 0, 0, 0), 0.0, "answer")


def test_the_papers_amounts_follow_their_inputs() -> None:
    dear = replace(PRICES, gpu_hour=2.95, serpapi_search=0.02)
    serpapi, serper, small, middle, large = paper_lines(32_000, dear)
    assert serpapi.usd == pytest.approx(640)
    assert serper.usd == pytest.approx(32)
    assert [line.usd for line in (small, middle, large)] == pytest.approx(
        [17.7, 35.4, 70.8]
    )  # half as long, twice as dear
    assert {line.searches for line in paper_lines(7)} == {7}
    assert all(line.usd == 0 for line in engine_lines(0))


def test_prices_are_per_search_per_hour_and_per_million_tokens() -> None:
    prices = Prices(0.01, 0.001, 2.0, 3.0, 5.0)
    assert [line.usd for line in engine_lines(300, prices)] == pytest.approx([3.0, 0.3])
    assert prices.gpu(1.5, 4) == pytest.approx(12.0)
    assert prices.tokens(1_000_000, 200_000) == pytest.approx(3.0 + 1.0)


@pytest.mark.parametrize(
    ("usd", "places", "text"),
    [
        (586.6666, 2, "$586.67"), (586.6666, 1, "$586.70"), (17.700000000000003, 2, "$17.70"), (0, 2, "$0.00"),
        (2.675, 2, "$2.68"), (0.005, 2, "$0.01"), (0.0042, 2, "$0.0042"), (0.000123, 2, "$0.00012"),
        (1e-9, 2, "$0.0000000010"), (1234567.891, 2, "$1,234,567.89"), (0.04, 1, "$0.040"), (9.999, 2, "$10.00"),
    ],
)  # fmt: skip
def test_dollars_are_rounded_half_up_and_never_to_nothing(usd: float, places: int, text: str) -> None:
    assert dollars(usd, places=places) == text


def test_a_ledger_counts_what_searches_used_failed_ones_too() -> None:
    good = SearchRecord((), "e", query="a", seconds=1.5, usage=Usage(prompt_tokens=100, completion_tokens=30, usd=0.25))
    failed = replace(good, error="empty", seconds=0.5, attempts=3)
    cached = SearchRecord((), "e", query="b", cached=True, seconds=0.125)
    ledger = Ledger.of([trajectory(good, failed), trajectory(), trajectory(cached)])
    assert ledger == Ledger(3, 1, 1, 200, 60, 2.125, 0.0, 0.5)
    assert ledger.asked == 2
    assert Ledger.of([]) == Ledger()


@given(st.lists(a_ledger, max_size=8), st.integers(0, 8), st.randoms())
def test_a_total_is_the_sum_of_its_parts_in_whatever_order(ledgers: list[Ledger], cut: int, random: Any) -> None:
    whole = Ledger.total(ledgers)
    assert Ledger.total(random.sample(ledgers, len(ledgers))) == whole
    assert whole + Ledger() == whole
    parts = Ledger.total(ledgers[:cut]) + Ledger.total(ledgers[cut:])
    for name, value in whole.as_dict().items():
        assert value == pytest.approx(sum(getattr(ledger, name) for ledger in ledgers)), name
        assert getattr(parts, name) == (value if isinstance(value, int) else pytest.approx(value)), name


@given(a_ledger)
def test_json_gives_a_ledger_back(ledger: Ledger) -> None:
    assert Ledger.from_dict(json.loads(json.dumps(ledger.as_dict()))) == ledger


@pytest.mark.parametrize(
    "row",
    [[], None, {"queries": -1}, {"queries": 1.5}, {"queries": True}, {"usd": "1"}, {"usd": float("nan")}, {"x": 1}],
)
def test_what_is_no_ledger_is_named(row: Any) -> None:
    with pytest.raises(DataError, match=r"cost\.json: "):
        Ledger.from_dict(row, "cost.json")


def test_a_field_that_is_left_out_is_0() -> None:
    assert Ledger.from_dict({"queries": 3, "usd": 1}) == Ledger(queries=3, usd=1.0)
