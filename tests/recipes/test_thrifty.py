"""The price of a second search in the rewards of the simulated arms."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from simulator.rows import NEPAL, episode, search

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "beat-rag"))
import thrifty


@pytest.mark.parametrize(("step", "price"), [(0, 0.05), (10, 0.05), (20, 0.125), (30, 0.2), (200, 0.2)])
def test_the_price_rises_after_ten_steps(step: int, price: float) -> None:
    once, twice = (replace(episode(NEPAL, "Kathmandu", *[search("q", "x")] * n), step=step) for n in (1, 2))
    assert thrifty.rising(once) == once.scores.f1 == 1.0
    assert thrifty.rising(twice) == pytest.approx(1.0 - price)


def test_a_wrong_answer_earns_nothing_less_than_nothing() -> None:
    wrong = episode(NEPAL, "Lima", search("q", "x"), search("r", "x"))
    assert thrifty.fifth(wrong) == 0.0


def test_only_a_search_after_the_answer_was_shown_has_a_price() -> None:
    missed, shown = search("q", "x"), search("r", "Kathmandu is the capital of Nepal.")
    assert thrifty.unneeded(episode(NEPAL, "Kathmandu", missed, shown)) == 1.0
    assert thrifty.unneeded(episode(NEPAL, "Kathmandu", shown, missed)) == pytest.approx(0.8)
    assert thrifty.unneeded(episode(NEPAL, "Lima", shown, missed)) == 0.0
    choice = replace(NEPAL, text="Which is higher, Kathmandu or Lima?")
    assert thrifty.unneeded(episode(choice, "Kathmandu", shown, missed)) == pytest.approx(0.95)
