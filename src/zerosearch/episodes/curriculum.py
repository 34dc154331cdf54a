"""The curriculum: the noise probability at each training step, and the draw for each query.

ZeroSearch, equation 4:  p_i = p_s + (b^(i/m) - 1) / (b - 1) * (p_e - p_s),  with b = 4.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from zerosearch.episodes.search import DocumentKind, Noise, Quality
from zerosearch.episodes.seeds import derive_seed

CurriculumKind = Literal["exponential", "linear", "fixed", "adaptive"]
PageKind = Literal["whole", "mixed"]


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


def draw_quality(noise: float, seed: int) -> Quality:
    """NOISY with probability `noise`, decided by `seed` alone."""
    return Quality.NOISY if _chance("quality", seed) < noise else Quality.USEFUL


@dataclass(frozen=True)
class PageDraw:
    """How noise falls on the documents of a page. Whatever is drawn is decided by the seed alone.

    `whole` is the paper's: a page is noisy from its first document to its last, or not at all, and has noise of one
    kind. `mixed` draws for each rank by itself: every document is noisy with the noise probability, and each noisy one
    has a kind of its own. Kinds are drawn evenly from `noise_kinds`; one that stands there twice is drawn twice as
    often. With more noise the same seed gives the same noisy documents, and more.
    """

    pages: PageKind = "whole"
    noise_kinds: tuple[Noise, ...] = (Noise.PLAIN,)

    def draw(self, noise: float, top_k: int, seed: int) -> tuple[DocumentKind, ...]:
        """What each of `top_k` documents is asked for, by rank."""
        if self.pages == "whole":
            noisy = draw_quality(noise, seed) is Quality.NOISY
            kind: DocumentKind = self._kind("page", seed) if noisy else Quality.USEFUL
            return (kind,) * top_k
        return tuple(
            self._kind(rank, seed) if _chance("document", rank, seed) < noise else Quality.USEFUL
            for rank in range(1, top_k + 1)
        )

    def _kind(self, place: str | int, seed: int) -> Noise:
        return self.noise_kinds[int(_chance("noise kind", place, seed) * len(self.noise_kinds))]


def _chance(*parts: str | int) -> float:
    """A number in [0, 1), from the parts alone."""
    return min(derive_seed(*parts) / 2**63, 1 - 2**-53)  # the division may round up to 1
