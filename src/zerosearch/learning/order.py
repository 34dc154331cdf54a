"""The order in which training meets the questions: each epoch is its own seeded shuffle of all of them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from zerosearch.episodes.questions import Question
from zerosearch.episodes.seeds import derive_seed


def batch(questions: Sequence[Question], step: int, size: int, seed: int) -> list[Question]:
    """The `size` questions of step `step`. Where there are fewer than `size`, a step has some more than once."""
    count = len(questions)
    chosen = []
    for position in range(step * size, (step + 1) * size):
        epoch, place = divmod(position, count)
        chosen.append(questions[_shuffled(seed, epoch, count)[place]])
    return chosen


@lru_cache(maxsize=2)  # a step meets two epochs at most, or all of a few questions
def _shuffled(seed: int, epoch: int, count: int) -> list[int]:
    order: list[int] = np.random.default_rng(derive_seed(seed, "order", epoch)).permutation(count).tolist()
    return order
