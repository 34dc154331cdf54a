"""Intervals that cover, a test that does not cry wolf, and estimators against their definitions."""

from __future__ import annotations

from itertools import combinations, product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import interval_coverage as coverage
from zerosearch.episodes.statistics import (
    EXACT_UP_TO,
    _t_quantile,
    average,
    between_runs,
    bootstrap_means,
    paired_p_value,
    pass_at_k,
    question_means,
    share_interval,
    wilson,
)

scores = st.lists(st.sampled_from([0.0, 0.25, 0.5, 2 / 3, 1.0]), min_size=1, max_size=40).map(np.array)


# What is promised: 93 to 97 %, at most 6 %.


@pytest.mark.parametrize("count", [100, 200, 500])
@pytest.mark.parametrize("share", [0.05, 0.1, 0.3, 0.5])
def test_intervals_of_em_cover(share: float, count: int) -> None:
    assert 0.93 <= coverage.exact_match_coverage(share, count) <= (0.97 if share * count > 10 else 0.99)


@pytest.mark.parametrize("count", [30, 125, 200])
def test_intervals_of_em_cover_where_few_are_right(count: int) -> None:
    """Every share below .1, not those alone at which it happens to."""
    intervals = [share_interval(right, count) for right in range(count + 1)]
    for share in np.linspace(0.0005, 0.1, 200):
        weights = [comb(count, k) * share**k * (1 - share) ** (count - k) for k in range(count + 1)]
        held = sum(w for w, (low, high) in zip(weights, intervals, strict=True) if low <= share <= high)
        assert held >= 0.93, share


def test_exact_intervals_against_published_values() -> None:
    # Newcombe 1998, table I, method 5
    for right, count, low, high in ((0, 20, 0.0, 0.1684), (1, 29, 0.0009, 0.1776)):
        assert share_interval(right, count) == pytest.approx((low, high), abs=5e-5)
        assert share_interval(count - right, count) == pytest.approx((1 - high, 1 - low), abs=5e-5)


def test_equal_runs_are_seldom_called_different() -> None:
    pair = coverage.PAIRS["EM .3, nine in ten the same"]
    assert 0.02 <= coverage.false_positives(pair, 200, simulations=1000) <= 0.06


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, 200, 500])
@pytest.mark.parametrize("name", coverage.CELLS)
def test_intervals_of_f1_and_of_several_tries_cover(name: str, count: int) -> None:
    draw, truth = coverage.CELLS[name]
    assert 0.93 <= coverage.cell_coverage(draw, truth, count, simulations=4000) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, 500])
@pytest.mark.parametrize("name", coverage.PAIRS)
def test_paired_intervals_cover_and_the_test_keeps_its_level(name: str, count: int) -> None:
    pair = coverage.PAIRS[name]
    assert 0.93 <= coverage.difference_coverage(pair, count, simulations=4000) <= 0.97
    assert coverage.false_positives(pair, count, simulations=4000) <= 0.06


@pytest.mark.slow
def test_intervals_of_averages_cover() -> None:
    macro, micro = coverage.average_coverage(simulations=2000)
    assert 0.93 <= macro <= 0.97
    assert 0.93 <= micro <= 0.97


# Intervals.


@given(scores)
def test_an_interval_holds_its_estimate_and_stays_in_range(values: np.ndarray) -> None:
    found = average([values])
    assert found.value == pytest.approx(values.mean())
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found == average([values])  # seeded


def test_all_wrong_is_not_certainty() -> None:
    found = average([np.zeros(125)])
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 125))  # Clopper and Pearson
    assert average([np.ones(125)]).low == pytest.approx(1 - found.high)


def test_averages_of_nothing_but_wrong_answers_are_no_certainty_either() -> None:
    strata = [np.zeros(100), np.zeros(25)]
    assert average(strata, macro=False).high == pytest.approx(average([np.zeros(125)]).high)
    macro = average(strata)  # (1/4 / 100 + 1/4 / 25) is one in 80
    assert (macro.low, macro.value) == (0, 0)
    assert macro.high == pytest.approx(average([np.zeros(80)]).high)
    assert average([np.ones(50), np.ones(50)]).low == pytest.approx(average([np.ones(100)]).low)
    assert average(strata, differences=True).high == 0


def test_a_benchmark_without_a_right_answer_is_no_certainty_beside_others() -> None:
    opposite = [np.zeros(1), np.ones(1)]
    for macro in (True, False):
        found = average(opposite, macro=macro)
        assert found.value == 0.5
        assert found.low < 0.05
        assert found.high > 0.95
    none, half = np.zeros(20), np.array([0.0, 1.0] * 500)  # of 0 of 20: [0, 16.8 %], half of it in the macro average
    found = average([none, half], draws=1000)
    assert found.high - found.value > 0.084
    assert 0.01 < found.value - found.low < 0.03  # it cannot be lower than 0


def test_no_difference_is_no_share() -> None:
    found = average([np.zeros(125)], differences=True)
    assert (found.low, found.value, found.high) == (0, 0, 0)
    signed = average([np.repeat([1.0, -1.0], [30, 60])], differences=True)
    assert signed.value == pytest.approx(-1 / 3)
    assert -1 < signed.low < signed.value < signed.high < 0


def test_an_interval_of_no_width_is_told_in_words() -> None:
    """[+0.0, +0.0] reads as certainty."""
    for alike in (np.zeros(125), np.full(125, 0.1), np.full(4, 1 / 3)):
        assert average([alike], differences=True).within("{:+.1f}".format) == "no spread"
    assert average([np.zeros(125)]).within("{:.3f}".format) == "[0.000, 0.029]"


def test_wilson_against_a_published_value() -> None:
    low, high = wilson(81 / 263, 263)  # Newcombe 1998, table I: .2553 to .3662
    assert (low, high) == (pytest.approx(0.2553, abs=5e-5), pytest.approx(0.3662, abs=5e-5))


def test_the_spread_of_resampled_means_is_that_of_theory() -> None:
    random = np.random.default_rng(1)
    for values in (random.random(400), random.integers(0, 5, 400) / 4):  # many different values, and few
        means = bootstrap_means(values, seed=2)
        assert len(means) == 10_000
        assert means.mean() == pytest.approx(values.mean(), abs=8e-4)
        assert means.std() == pytest.approx(values.std() / 20, rel=0.04)


def test_macro_gives_every_benchmark_one_voice_and_micro_every_question() -> None:
    small, large = np.repeat([1.0, 0.0], [8, 2]), np.repeat([1.0, 0.0], [200, 800])
    assert average([small, large]).value == pytest.approx(0.5)
    assert average([small, large], macro=False).value == pytest.approx(208 / 1010)
    macro, micro = average([small, large]), average([small, large], macro=False)
    assert macro.high - macro.low > 4 * (micro.high - micro.low)  # ten questions carry half of the macro average
    assert average([large]) == average([large])


def test_strata_are_resampled_within_themselves() -> None:
    zeros, ones = np.zeros(50), np.ones(50)  # pooled, the mean of 100 would range from .4 to .6
    found = average([zeros, ones], macro=False)
    assert (found.value, found.low > 0.46, found.high < 0.54) == (0.5, True, True)


def test_nothing_has_no_average() -> None:
    for strata in ([], [np.array([])], [np.ones(3), np.array([])]):
        with pytest.raises(ValueError, match="no questions"):
            average(strata)


def test_tries_are_averaged_before_questions_are_drawn() -> None:
    tries = [[1.0, 1.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0]] * 30
    assert question_means(tries).tolist() == [1.0, 0.0] * 30
    by_question = average([question_means(tries)])
    by_row = average([np.array(tries).ravel()])  # 240 rows look like twice the certainty, which they are not
    assert by_question.high - by_question.low > 1.8 * (by_row.high - by_row.low)


# The paired test.


@given(st.lists(st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0]), min_size=1, max_size=9))
def test_few_differences_are_enumerated(differences: list[float]) -> None:
    total = abs(sum(differences))
    patterns = list(product([1, -1], repeat=len(differences)))
    extreme = sum(abs(sum(s * d for s, d in zip(p, differences, strict=True))) >= total - 1e-12 for p in patterns)
    assert paired_p_value([np.array(differences)]) == pytest.approx(extreme / len(patterns))


def test_drawn_and_counted_p_values_agree() -> None:
    random = np.random.default_rng(5)
    for _ in range(10):
        differences = random.choice([-1.0, -0.4, 0.3, 1.0], size=EXACT_UP_TO)
        exact = paired_p_value([differences])
        # The same statistic with one more question whose difference is next to nothing is drawn, not counted.
        drawn = paired_p_value([np.append(differences, 1e-13)], weights=[1.0], draws=20_000)
        assert drawn == pytest.approx(exact, abs=0.02)


def test_a_p_value_of_draws_is_never_nothing() -> None:
    assert paired_p_value([np.ones(300)], draws=999) == 1 / 1000
    assert paired_p_value([np.zeros(300)]) == 1.0


def test_signs_of_the_runs_do_not_matter_and_questions_alike_add_nothing() -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [30, 12, 200])
    p = paired_p_value([differences])
    assert 0.002 < p < 0.02  # McNemar's exact p for 30 against 12 is .0079
    assert paired_p_value([-differences]) == p
    assert paired_p_value([differences[:42]]) == p


def test_weights_decide_whose_difference_counts() -> None:
    small, large = np.repeat([1.0, 0.0], [9, 1]), np.repeat([1.0, -1.0], [500, 500])
    assert paired_p_value([small, large]) > 0.5  # drowned among 1,010 questions
    assert paired_p_value([small, large], weights=[0.5, 0.5]) < 0.01


# pass@k.


@pytest.mark.parametrize(("correct", "samples", "k"), [(0, 5, 3), (1, 5, 1), (2, 5, 3), (4, 6, 2), (5, 5, 5)])
def test_pass_at_k_is_the_share_of_subsets_with_a_right_one(correct: int, samples: int, k: int) -> None:
    tries = [True] * correct + [False] * (samples - correct)
    subsets = list(combinations(tries, k))
    assert pass_at_k(correct, samples, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("correct", "samples", "k"), [(1, 5, 6), (1, 5, 0), (6, 5, 1), (-1, 5, 1)])
def test_pass_at_k_of_more_than_there_is_is_refused(correct: int, samples: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(correct, samples, k)


@pytest.mark.parametrize(("degrees", "quantile"), [(1, 12.706), (2, 4.303), (4, 2.776), (10, 2.228), (1e5, 1.960)])
def test_students_t_against_published_quantiles(degrees: float, quantile: float) -> None:
    assert _t_quantile(degrees) == pytest.approx(quantile, abs=6e-4)


def test_between_runs_the_run_is_the_unit() -> None:
    found = between_runs([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])  # -.3 +- 2.776 * sqrt(2 * .01 / 3): four degrees
    assert (found.value, found.low, found.high) == pytest.approx((-0.3, -0.5267, -0.0733), abs=1e-4)
    assert found.apart
    unlike = between_runs([0.5, 0.7], [0.4, 0.4, 0.4])  # .2 +- 12.706 * .1: one degree, as B does not vary
    assert (unlike.low, unlike.high) == pytest.approx((-1.0706, 1.4706), abs=1e-3)
    fixed = between_runs([0.4, 0.41, 0.42], [0.3])  # .11 +- 4.303 * .01 / sqrt(3)
    assert (fixed.low, fixed.high) == pytest.approx((0.0852, 0.1348), abs=1e-4)
    assert not between_runs([0.4, 0.4], [0.3, 0.3]).spread
    with pytest.raises(ValueError, match="one run"):
        between_runs([0.4], [0.3])
