"""The price of a second search in the rewards of the simulated arms."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from simulator.rows import NEPAL, episode, search

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "beat-rag"))
import thrifty


def test_a_second_search_has_its_price() -> None:
    once, twice = (episode(NEPAL, "Kathmandu", *[search("q", "x")] * n) for n in (1, 2))
    prices = {thrifty.reward: 0.05, thrifty.tenth: 0.1, thrifty.fifth: 0.2}
    for reward, price in prices.items():
        assert (reward(once), reward(twice)) == (1.0, pytest.approx(1.0 - price))


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


def test_an_answer_that_holds_more_than_the_golden_one_earns_less_than_its_f1() -> None:
    shown = search("r", "Kathmandu is the capital of Nepal.")
    exact, longer = (episode(NEPAL, answer, shown) for answer in ("Kathmandu", "Kathmandu city"))
    assert (thrifty.concise(exact), thrifty.unneeded(longer)) == (1.0, pytest.approx(2 / 3))
    assert thrifty.concise(longer) == pytest.approx(1 / 3)
    assert thrifty.concise(episode(NEPAL, "Kathmandu", shown, shown)) == pytest.approx(0.8)
