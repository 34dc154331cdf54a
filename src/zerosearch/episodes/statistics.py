"""Intervals and tests for scores of questions. The question is the unit: its tries are averaged first, never resampled.

Arrays: Q questions of one benchmark, D draws. A *stratum* is one benchmark's array of Q values. Everything random takes
a seed; the same values and seed give the same numbers.

How well the intervals cover and how often the test cries wolf: `scripts/interval_coverage.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import comb, exp, lgamma, log, log1p, pi, sqrt, tan
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

LEVEL = 0.95
DRAWS = 10_000
EXACT_UP_TO = 14
"""So many differing questions, 2^14 patterns of signs, are enumerated; more are drawn from."""
EXACT_BELOW = 10
"""Up to so many right or wrong answers the interval of a share is the exact one."""
_CHUNK = 4_000_000
_TIE = 1e-9


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95 % confidence interval."""

    value: float
    low: float
    high: float

    @property
    def apart(self) -> bool:
        """Whether 0 is outside: of a difference, that it has a sign."""
        return self.low > 0 or self.high < 0

    @property
    def spread(self) -> bool:
        """False where the values were all alike: the ends are then one number, and say nothing of other questions."""
        return self.high - self.low > _TIE

    def within(self, form: Callable[[float], str]) -> str:
        """The ends in brackets, each in its `form`; `no spread` where there is none, as no width reads as certainty."""
        return f"[{form(self.low)}, {form(self.high)}]" if self.spread else "no spread"


def question_means(tries: Iterable[Sequence[float]]) -> Values:
    """Mean over the tries at each question (mean@k): one value a question, (Q,)."""
    return np.array([sum(scores) / len(scores) for scores in tries], dtype=np.float64)


def pass_at_k(correct: int, samples: int, k: int) -> float:
    """The chance that one of `k` tries is right, estimated without bias from `correct` right ones among `samples`.

    1 - C(n - c, k) / C(n, k), Chen et al. 2021 (arXiv 2107.03374), equation 1. Raises `ValueError` unless
    0 <= correct <= samples and 1 <= k <= samples.
    """
    if not (0 <= correct <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} of {correct} right among {samples}")
    return 1.0 - comb(samples - correct, k) / comb(samples, k)


def average(
    strata: Sequence[Values], *, macro: bool = True, seed: int = 0, draws: int = DRAWS, differences: bool = False
) -> Interval:
    """Mean over benchmarks of the mean over questions or, where not `macro`, over all questions.

    Percentile bootstrap (Efron and Tibshirani 1993, chapter 13), each stratum resampled within itself. One stratum of
    scores that are 0 or 1 gets the interval of a share (`share_interval`). Several that are all 0 or all 1 get it too,
    for Kish's effective number of questions: resampling would claim certainty. Where only some are all 0 or all 1, the
    intervals of the strata are combined (MOVER, Zou and Donner 2008, doi:10.1002/sim.3095).
    With `differences` the values are not scores in [0, 1], and equal ones get an interval of no width. Raises
    `ValueError` for no values.
    """
    if not strata or not all(len(values) for values in strata):
        raise ValueError("no questions to average")
    sizes = [1 if macro else len(values) for values in strata]
    weights = [size / sum(sizes) for size in sizes]
    value = float(sum(weight * values.mean() for weight, values in zip(weights, strata, strict=True)))
    certain = (
        [] if differences else [values for values in strata if values[0] in (0, 1) and (values == values[0]).all()]
    )
    if len(strata) == 1 and not differences and np.isin(strata[0], (0.0, 1.0)).all():
        low, high = share_interval(int(strata[0].sum()), len(strata[0]))
    elif len(certain) == len(strata) and len({values[0] for values in certain}) == 1:
        kish = 1 / sum(weight**2 / len(values) for weight, values in zip(weights, strata, strict=True))
        value, effective = float(certain[0][0]), int(kish + _TIE)
        low, high = share_interval(round(value * effective), effective)
    elif certain:
        parts = [average([values], seed=seed, draws=draws) for values in strata]
        below = np.hypot.reduce([weight * (p.value - p.low) for weight, p in zip(weights, parts, strict=True)])
        above = np.hypot.reduce([weight * (p.high - p.value) for weight, p in zip(weights, parts, strict=True)])
        low, high = max(0.0, value - float(below)), min(1.0, value + float(above))
    else:
        random = np.random.default_rng(seed)
        means = np.zeros(draws)
        for weight, values in zip(weights, strata, strict=True):
            means += weight * bootstrap_means(values, seed=random, draws=draws)
        low, high = map(float, np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]))
    return Interval(value, min(low, value), max(high, value))


def paired_p_value(
    strata: Sequence[Values], weights: Sequence[float] | None = None, *, seed: int = 0, draws: int = DRAWS
) -> float:
    """Two-sided p value of the sign-flip permutation test that two runs do equally well.

    `strata` hold the differences A - B of the same questions. The statistic is the sum over strata of weight times
    mean; `weights` None takes the plain mean over all questions. Under the hypothesis A and B could change places on
    any question, so each difference is as likely with the other sign. Where at most `EXACT_UP_TO` questions differ, all
    patterns are counted (exact); otherwise `draws` are drawn and p = (1 + as extreme) / (1 + draws), which is never 0
    and keeps the level (Phipson and Smyth 2010).
    """
    total = sum(len(values) for values in strata)
    shares = weights if weights is not None else [len(values) / total for values in strata]
    terms = np.concatenate([values * (share / len(values)) for values, share in zip(strata, shares, strict=True)])
    terms = terms[terms != 0]
    if not len(terms):
        return 1.0
    extreme = abs(terms.sum()) * (1 - _TIE)
    if len(terms) <= EXACT_UP_TO:
        patterns = np.arange(2 ** len(terms))[:, None] >> np.arange(len(terms)) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ terms) >= extreme))
    random = np.random.default_rng(seed)
    hits, left = 0, draws
    while left:
        rows = min(left, max(1, _CHUNK // len(terms)))
        signs = 1 - 2 * random.integers(0, 2, size=(rows, len(terms)), dtype=np.int8)
        hits += int(np.count_nonzero(np.abs(signs @ terms) >= extreme))
        left -= rows
    return (1 + hits) / (1 + draws)


def between_runs(a: Sequence[float], b: Sequence[float]) -> Interval:
    """The mean score of the runs `a` minus that of the runs `b`: the run is the unit, and not the question.

    Welch's interval (1947): two sides of their own variances, Student's t. A side of one run has none, and is taken as
    it is. Raises `ValueError` where neither side is several runs.
    """
    if max(len(a), len(b)) < 2:
        raise ValueError("one run a side says nothing of other runs")
    value = float(np.mean(a) - np.mean(b))
    parts = [(float(np.var(runs, ddof=1)) / len(runs), len(runs) - 1) for runs in (a, b) if len(runs) > 1]
    error = sum(part for part, _ in parts)
    if error < _TIE**2:
        return Interval(value, value, value)
    away = _t_quantile(error**2 / sum(part**2 / degrees for part, degrees in parts)) * sqrt(error)
    return Interval(value, value - away, value + away)


def _t_quantile(degrees: float) -> float:
    """How far from 0 Student's t of so many degrees of freedom stays with probability `LEVEL`.

    With t = sqrt(degrees) tan(angle) its density is a power of the angle's cosine, which is summed up numerically.
    """
    angles = np.linspace(0, pi / 2, 200_001)
    density = np.cos(angles) ** (degrees - 1)
    below = np.cumsum(density[1:] + density[:-1])
    return sqrt(degrees) * tan(float(np.interp(LEVEL * below[-1], below, angles[1:])))


def bootstrap_means(values: Values, *, seed: int | np.random.Generator = 0, draws: int = DRAWS) -> Values:
    """Means of `draws` resamples of `values` with replacement, (D,)."""
    random = np.random.default_rng(seed)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) * 16 <= len(values):  # few different values: draw how often each is drawn, which is much faster
        drawn = random.multinomial(len(values), counts / len(values), size=draws)
        return np.asarray(drawn @ distinct / len(values), dtype=np.float64)
    rows = max(1, _CHUNK // len(values))
    sizes = [min(rows, draws - start) for start in range(0, draws, rows)]
    return np.concatenate([values[random.integers(len(values), size=(n, len(values)))].mean(axis=1) for n in sizes])


def share_interval(right: int, count: int) -> tuple[float, float]:
    """Interval for the share of `right` ones among `count` trials: Wilson's or, where at most `EXACT_BELOW` are right
    or wrong, the exact one of Clopper and Pearson (1934), as there Wilson's holds less than it says."""
    few = min(right, count - right)
    if few > EXACT_BELOW:
        return wilson(right / count, count)
    tail = (1 - LEVEL) / 2
    low = 0.0 if few == 0 else _bisect(lambda p: 1 - _binomial_cdf(few - 1, count, p) - tail)
    high = _bisect(lambda p: tail - _binomial_cdf(few, count, p))
    return (low, high) if right <= count - right else (1 - high, 1 - low)


def _binomial_cdf(right: int, count: int, share: float) -> float:
    """P(at most `right` of `count`), for few `right` ones."""
    logs = [
        lgamma(count + 1) - lgamma(k + 1) - lgamma(count - k + 1) + k * log(share) + (count - k) * log1p(-share)
        for k in range(right + 1)
    ]
    return sum(map(exp, logs))


def _bisect(rising: Callable[[float], float]) -> float:
    """Where a function that rises on (0, 1) is 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2


def wilson(share: float, count: float) -> tuple[float, float]:
    """Wilson's score interval (1927) for a share of `count` trials."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    spread = z * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    middle, scale = share + z * z / (2 * count), 1 + z * z / count
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)
