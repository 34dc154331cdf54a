"""The noise probability over training, and the draw for each query (rule 13 of the design)."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.curriculum import Curriculum, CurriculumKind, draw_quality
from zerosearch.episodes.search import Quality
from zerosearch.episodes.seeds import derive_seed

probability = st.floats(0.0, 1.0)


@pytest.mark.parametrize(
    ("start", "end", "base", "step", "p"),
    [
        (0.0, 0.75, 4.0, 0, 0.0),
        (0.0, 0.75, 4.0, 100, 0.25),  # (4^.5 - 1) / 3 = 1/3 of the way
        (0.0, 0.75, 4.0, 50, 0.75 * (math.sqrt(2) - 1) / 3),
        (0.0, 0.75, 4.0, 200, 0.75),
        (0.25, 0.5, 4.0, 100, 0.25 + 0.25 / 3),
        (0.8, 0.2, 4.0, 100, 0.6),  # from noisy to clean
        (0.0, 1.0, 9.0, 100, 0.25),
        (0.0, 1.0, 0.25, 100, 2 / 3),  # a base below 1 hurries at first
        (0.0, 0.5, 1.0, 50, 0.125),  # b = 1 is linear
        (0.0, 0.5, 1.0 + 1e-13, 50, 0.125),  # and there is no gap beside it
        (0.0, 0.5, 1.0 - 1e-15, 150, 0.375),
        (0.0, 0.5, 1e300, 199, 0.5 * 1e300 ** (-1 / 200)),
    ],
)
def test_exponential_follows_equation_4(start: float, end: float, base: float, step: int, p: float) -> None:
    assert Curriculum("exponential", start, end, base).noise(step, 200) == pytest.approx(p, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("step", "p"), [(0, 0.1), (50, 0.2), (200, 0.5), (300, 0.5)])
def test_linear_goes_straight_and_fixed_stays_at_start(step: int, p: float) -> None:
    assert Curriculum("linear", 0.1, 0.5).noise(step, 200) == pytest.approx(p)
    assert Curriculum("fixed", 0.3, 0.9).noise(step, 200) == 0.3


@given(
    st.sampled_from(["exponential", "linear"]),
    probability,
    probability,
    st.floats(1e-3, 1e3),
    st.integers(1, 300),
)
def test_noise_goes_from_start_to_end_and_never_back(
    kind: CurriculumKind, start: float, end: float, base: float, total: int
) -> None:
    curriculum = Curriculum(kind, start, end, base)
    values = [curriculum.noise(step, total) for step in range(total + 1)]
    assert values[0] == start
    assert values[-1] == pytest.approx(end)
    way = 1 if end >= start else -1
    assert all((after - before) * way >= -1e-12 for before, after in pairwise(values))
    assert curriculum.noise(total + 5, total) == values[-1]
    assert curriculum.noise(0, 0) == start


def test_seeds_are_the_same_in_every_process_and_release() -> None:
    assert derive_seed("quality", 7) == 3299945916706529359
    assert derive_seed(1, "question-1", 0, "page", 2) == 6447022788553571215


def test_seeds_differ_where_any_part_differs() -> None:
    parts: list[tuple[int | str, ...]] = [
        (0, "q", 1, "page", 0),
        (1, "q", 1, "page", 0),
        (0, "q", 1, "turn", 0),
        (0, "q", 1, "page", 1),
    ]
    parts += [(0, "q", 11, "page", 0), (0, "q1", 1, "page", 0), (0, "", "q", 1, "page", 0), (0, "q", 0, "page", 1)]
    seeds = [derive_seed(*p) for p in parts]
    assert len(set(seeds)) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_adaptive_noise_rises_with_success_falls_without_and_stays_within_its_ends() -> None:
    curriculum = Curriculum("adaptive", 0.1, 0.3, target=0.5, rate=0.05)
    rewards = [0.5, 0.9, 0.2, 0.6, 0.6, 0.6, 0.6, 0.6, 0.1, 0.1]
    seen = [curriculum.noise(step, 10, rewards[:step]) for step in range(11)]
    assert seen == pytest.approx([0.1, 0.15, 0.2, 0.15, 0.2, 0.25, 0.3, 0.3, 0.3, 0.25, 0.2])


@given(st.lists(probability, max_size=60), probability, probability, st.floats(0.01, 1.0))
def test_adaptive_noise_lies_between_its_ends_whatever_happens(
    rewards: list[float], start: float, end: float, rate: float
) -> None:
    noise = Curriculum("adaptive", start, end, rate=rate).noise(len(rewards), 100, rewards)
    assert min(start, end) - 1e-12 <= noise <= max(start, end) + 1e-12


@pytest.mark.parametrize("successes", [4, 5, 80])
def test_adaptive_noise_comes_back_at_once_when_success_ends(successes: int) -> None:
    """Time spent at the upper end is not saved up."""
    curriculum = Curriculum("adaptive", 0.0, 0.2, target=0.5, rate=0.05)
    assert curriculum.noise(0, 1, [1.0] * successes + [0.0]) == pytest.approx(0.15)


def test_adaptive_noise_may_fall_from_noisy_to_clean() -> None:
    assert Curriculum("adaptive", 0.8, 0.2, rate=0.1).noise(2, 9, [1.0, 1.0]) == pytest.approx(0.6)


a_seed = st.integers(0, 2**63 - 1)


@given(a_seed)
def test_without_noise_pages_are_useful_and_with_nothing_else_noisy(seed: int) -> None:
    assert {draw_quality(0.0, seed), draw_quality(None, seed)} == {Quality.USEFUL}
    assert draw_quality(1.0, seed) is Quality.NOISY


def test_the_largest_number_that_can_be_drawn_is_below_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "zerosearch.episodes.curriculum.derive_seed", lambda *parts: 2**63 - 1
    )  # / 2**63 is 1.0 as a float
    assert draw_quality(1.0, 0) is Quality.NOISY


@given(probability, probability, a_seed)
def test_more_noise_keeps_the_noisy_pages_of_less(p: float, q: float, seed: int) -> None:
    less, more = (draw_quality(chance, seed) for chance in sorted((p, q)))
    assert (less, more) != (Quality.NOISY, Quality.USEFUL)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_pages_are_noisy_as_often_as_asked(p: float) -> None:
    n = 4000
    drawn = [draw_quality(p, derive_seed(5, i)) for i in range(n)]
    assert abs(drawn.count(Quality.NOISY) / n - p) < 4 * math.sqrt(p * (1 - p) / n)
