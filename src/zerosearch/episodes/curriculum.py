"""The curriculum: the noise probability at each training step, and the draw for each query.

ZeroSearch, equation 4:  p_i = p_s + (b^(i/m) - 1) / (b - 1) * (p_e - p_s),  with b = 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zerosearch.episodes.search import Quality
from zerosearch.episodes.seeds import derive_seed

CurriculumKind = Literal["exponential", "linear", "fixed", "adaptive"]


@dataclass(frozen=True)
class Curriculum:
    """Noise probability as a function of training progress.

    `exponential` is the paper's; `linear` is its limit b = 1; `fixed` stays at `start`. `adaptive` (not of the paper)
    goes by the policy's success: `rate` towards `end` after each step whose mean reward is at least `target`, `rate`
    back towards `start` after any other.
    """

    kind: CurriculumKind = "exponential"
    start: float = 0.0
    end: float = 0.5
    base: float = 4.0
    target: float = 0.5
    rate: float = 0.02

    @property
    def follows_length(self) -> bool:
        """Whether the noise of a step depends on how many steps the run has."""
        return self.kind in ("exponential", "linear") and self.start != self.end

    def noise(self, step: int, total_steps: int, rewards: Sequence[float] = ()) -> float:
        """p_i for training step `step` (0-based) of `total_steps` (m): `start` at step 0, `end` at step m.

        `rewards`, the mean reward of each step before, are what `adaptive` goes by.
        """
        if self.kind == "adaptive":
            return self._adapted(rewards)
        progress = min(max(step / total_steps, 0.0), 1.0) if total_steps > 0 else 0.0
        return self.start + self._shape(progress) * (self.end - self.start)

    def _adapted(self, rewards: Sequence[float]) -> float:
        climbed, whole = 0, abs(self.end - self.start)
        for reward in rewards:  # in whole steps of `rate`, so that up and down again is where it was
            climbed = max(0, climbed + (1 if reward >= self.target else -1))
            if climbed * self.rate > whole:
                climbed = math.ceil(whole / self.rate)
        return self.start + math.copysign(min(climbed * self.rate, whole), self.end - self.start)

    def _shape(self, progress: float) -> float:
        if self.kind == "fixed":
            return 0.0
        growth = math.log(self.base)
        if self.kind == "linear" or growth == 0.0:
            return progress
        return math.expm1(progress * growth) / math.expm1(growth)  # (b^x - 1) / (b - 1), exact near b = 1 too


def draw_quality(noise: float | None, seed: int) -> Quality:
    """NOISY with probability `noise`, decided by `seed` alone. None is that of a real engine, which has no noise."""
    chance = min(derive_seed("quality", seed) / 2**63, 1 - 2**-53)  # the division may round up to 1
    return Quality.NOISY if chance < (noise or 0.0) else Quality.USEFUL
