"""Scores of an answer against golden answers, and the reward made from them.

Normalisation is that of the SQuAD evaluation (Rajpurkar et al., 2016): lower case, no punctuation, no articles, single
spaces. An empty normalised golden answer matches nothing.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

RewardName = Literal["f1", "em", "cover_em"]

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)


def normalize(text: str) -> str:
    """SQuAD normalisation: lower, strip ASCII punctuation, drop a/an/the, squeeze white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str | None, golden_answers: Sequence[str]) -> float:
    """EM: 1.0 if the normalised prediction equals a normalised golden answer, else 0.0."""
    if prediction is None:
        return 0.0
    predicted = normalize(prediction)
    return float(any(predicted == gold for gold in map(normalize, golden_answers) if gold))


def cover_exact_match(prediction: str | None, golden_answers: Sequence[str]) -> float:
    """Cover-EM: 1.0 if a golden answer's tokens stand in the prediction, in order and side by side."""
    return float(prediction is not None and contains_answer(prediction, golden_answers))


def contains_answer(text: str, golden_answers: Sequence[str]) -> bool:
    """Whether a golden answer stands in `text` as whole normalised tokens ("Niger" is not in "Nigeria")."""
    padded = f" {normalize(text)} "
    return any(f" {gold} " in padded for gold in map(normalize, golden_answers) if gold)


def token_f1(prediction: str | None, golden_answers: Sequence[str]) -> float:
    """Token F1 (SQuAD), the best over the golden answers; 0.0 where either side normalises to nothing."""
    if prediction is None:
        return 0.0
    predicted = normalize(prediction).split()
    return max((_f1(predicted, normalize(gold).split()) for gold in golden_answers), default=0.0)


def _f1(predicted: list[str], gold: list[str]) -> float:
    shared = sum((Counter(predicted) & Counter(gold)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(predicted), shared / len(gold)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class Scores:
    """All scores of one answer, each in [0, 1]; `format` is 1.0 if every turn was well formed and the last answered."""

    em: float
    f1: float
    cover_em: float
    format: float


def score_answer(prediction: str | None, golden_answers: Sequence[str], *, well_formed: bool) -> Scores:
    """Score `prediction` (None: no answer was given, which scores 0 everywhere)."""
    return Scores(
        em=exact_match(prediction, golden_answers),
        f1=token_f1(prediction, golden_answers),
        cover_em=cover_exact_match(prediction, golden_answers),
        format=float(well_formed),
    )


def reward_from_scores(scores: Scores, *, name: RewardName = "f1", format_reward: float = 0.0) -> float:
    """The reward: the score `name`; where that is 0, a well-formed episode still earns `format_reward`.

    `format_reward` 0 is the paper's setting (ZeroSearch, section 3.4); .1 is that of ReSearch (arXiv 2503.19470).
    """
    score = float(getattr(scores, name))
    return score if score > 0 else format_reward * scores.format
