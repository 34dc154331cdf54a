"""Do intervals and paired test do what they say? By simulation: `python scripts/interval_coverage.py`.

Of 95 % intervals, 95 % should hold the true mean; of two equal runs, 5 % should look different at p <= .05. For EM of
one benchmark no chance is involved: the interval depends on the number of right answers only, whose distribution is
known. The other lines come from `simulations` data sets each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import comb

import numpy as np

from zerosearch.episodes.statistics import Values, average, paired_p_value

Draw = Callable[[np.random.Generator, int], Values]
_PARTIAL = np.array([0.2, 0.25, 1 / 3, 0.4, 0.5, 2 / 3, 0.8])
"""F1 of answers that share some words with a golden answer."""
_DRAWS = 2000
"""Of each simulated data set; fewer than in use, as there are thousands of sets."""


def exact_match(share: float) -> Draw:
    """EM of questions that are right with probability `share`."""
    return lambda random, count: (random.random(count) < share).astype(np.float64)


def token_f1(right: float, partial: float) -> Draw:
    """F1: 1 with probability `right`, one of seven values between with probability `partial`, else 0."""

    def draw(random: np.random.Generator, count: int) -> Values:
        kind = random.random(count)
        between = random.choice(_PARTIAL, size=count)
        return np.where(kind < right, 1.0, np.where(kind < right + partial, between, 0.0))

    return draw


def sampled(share: float, samples: int) -> Draw:
    """Mean EM of `samples` tries at questions that differ in difficulty (Beta, as wide as is plausible)."""

    def draw(random: np.random.Generator, count: int) -> Values:
        return random.binomial(samples, random.beta(2 * share, 2 * (1 - share), size=count)) / samples

    return draw


CELLS: dict[str, tuple[Draw, float]] = {
    "F1, .05 right, .05 partly": (token_f1(0.05, 0.05), 0.05 + 0.05 * float(_PARTIAL.mean())),
    "F1, .2 right, .2 partly": (token_f1(0.2, 0.2), 0.2 + 0.2 * float(_PARTIAL.mean())),
    "F1, .4 right, .2 partly": (token_f1(0.4, 0.2), 0.4 + 0.2 * float(_PARTIAL.mean())),
    "EM of 4 tries, .1": (sampled(0.1, 4), 0.1),
    "EM of 4 tries, .3": (sampled(0.3, 4), 0.3),
}
BENCHMARKS = ((0.3, 500), (0.5, 500), (0.35, 499), (0.25, 250), (0.2, 329), (0.08, 100), (0.1, 125))
"""EM and size of seven benchmarks, for the averages."""


def exact_match_coverage(share: float, count: int) -> float:
    """The probability that the interval of `count` questions holds `share`, summed over all numbers right."""
    covered = 0.0
    for right in range(count + 1):
        weight = comb(count, right) * share**right * (1 - share) ** (count - right)
        if weight > 1e-9:
            found = average([np.repeat([1.0, 0.0], [right, count - right])])
            covered += weight * (found.low <= share <= found.high)
    return covered


def cell_coverage(
    draw: Draw, truth: float, count: int, *, simulations: int, seed: int = 0, differences: bool = False
) -> float:
    """The share of simulated data sets of `count` questions whose interval holds `truth`."""
    random = np.random.default_rng(seed)
    covered = 0
    for number in range(simulations):
        found = average([draw(random, count)], seed=number, draws=_DRAWS, differences=differences)
        covered += found.low <= truth <= found.high
    return covered / simulations


def average_coverage(*, simulations: int, seed: int = 0) -> tuple[float, float]:
    """Coverage of the macro and of the micro average over `BENCHMARKS`."""
    random = np.random.default_rng(seed)
    total = sum(count for _, count in BENCHMARKS)
    macro = sum(share for share, _ in BENCHMARKS) / len(BENCHMARKS)
    micro = sum(share * count for share, count in BENCHMARKS) / total
    hits = np.zeros(2)
    for number in range(simulations):
        strata = [exact_match(share)(random, count) for share, count in BENCHMARKS]
        one = average(strata, seed=number, draws=_DRAWS)
        other = average(strata, macro=False, seed=number, draws=_DRAWS)
        hits += [one.low <= macro <= one.high, other.low <= micro <= other.high]
    return float(hits[0]) / simulations, float(hits[1]) / simulations


def pair_of_runs(draw: Draw, agreement: float) -> Draw:
    """Differences of two equally good runs, which give the same answer to a share `agreement` of the questions."""

    def differences(random: np.random.Generator, count: int) -> Values:
        one, other = draw(random, count), draw(random, count)
        return np.where(random.random(count) < agreement, 0.0, one - other)

    return differences


PAIRS: dict[str, Draw] = {
    "EM .1, half of the answers the same": pair_of_runs(exact_match(0.1), 0.5),
    "EM .3, nine in ten the same": pair_of_runs(exact_match(0.3), 0.9),
    "EM .5, none the same": pair_of_runs(exact_match(0.5), 0.0),
    "F1, .2 right, .2 partly": pair_of_runs(token_f1(0.2, 0.2), 0.3),
    "EM of 4 tries, .3": pair_of_runs(sampled(0.3, 4), 0.0),
}


def false_positives(draw: Draw, count: int, *, simulations: int, seed: int = 0) -> float:
    """The share of pairs of equal runs that the test calls different at p <= .05."""
    random = np.random.default_rng(seed)
    found = [paired_p_value([draw(random, count)], seed=number, draws=_DRAWS) for number in range(simulations)]
    return sum(p <= 0.05 for p in found) / simulations


def difference_coverage(draw: Draw, count: int, *, simulations: int, seed: int = 0) -> float:
    """Coverage of the interval of the difference of two equal runs."""
    return cell_coverage(draw, 0.0, count, simulations=simulations, seed=seed, differences=True)


def main(sizes: Sequence[int] = (100, 200, 500), simulations: int = 4000) -> None:
    """Print the tables of docs/evaluation.md."""
    heads = " | ".join(f"n = {size}" for size in sizes)
    print(f"| 95 % interval of | {heads} |\n|{'---|' * (1 + len(sizes))}")
    for share in (0.01, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5):
        _row(f"EM {share:.2g} (computed)", [exact_match_coverage(share, size) for size in sizes])
    for name, (draw, truth) in CELLS.items():
        _row(name, [cell_coverage(draw, truth, size, simulations=simulations) for size in sizes])
    for name, pair in PAIRS.items():
        values = [difference_coverage(pair, size, simulations=simulations) for size in sizes]
        _row(f"difference: {name}", values)
    macro, micro = average_coverage(simulations=simulations)
    print(f"\nOver seven benchmarks of 100 to 500 questions: macro average {macro:.1%}, micro average {micro:.1%}.\n")
    print(f"| two equal runs called different at p <= .05 | {heads} |\n|{'---|' * (1 + len(sizes))}")
    for name, pair in PAIRS.items():
        _row(name, [false_positives(pair, size, simulations=simulations) for size in sizes])


def _row(name: str, shares: Sequence[float]) -> None:
    print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)


if __name__ == "__main__":
    main()
