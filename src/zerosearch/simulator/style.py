"""How documents read: could a classifier tell simulated from real ones, do they repeat themselves or the question?

No model is needed: word counts do, and what they can tell apart is apart.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer, normalize
from zerosearch.episodes.search import Document, holds_answer

_COMMON_WORDS = "of in to is was and for on with which what who when where how that by as at from it give tell"
_COMMON = frozenset(normalize(_COMMON_WORDS).split())
_FOLDS = 5
SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")


def words(document: Document) -> list[str]:
    """The normalised words of title and text."""
    return normalize(f"{document.title} {document.text}").split()


def auc(scores: Sequence[float], positive: Sequence[bool]) -> float | None:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties half. None without both."""
    values, labels = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    count, others = int(labels.sum()), int((~labels).sum())
    if not count or not others:
        return None
    _, inverse, sizes = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[inverse]  # of ties: the mean of theirs, from 1
    return float((ranks[labels].sum() - count * (count + 1) / 2) / (count * others))


def style_auc(real: Sequence[Sequence[Document]], simulated: Sequence[Sequence[Document]]) -> float | None:
    """How well word counts tell simulated documents from real ones: .5 not at all, 1 always.

    `real[i]` and `simulated[i]` are the pages for one query, always in one fold: a classifier (multinomial naive Bayes,
    add-one) is trained on other queries' pages and scored on these, so facts do not give a page away, only wording can.
    None where there are too few pages.
    """
    if len(real) < _FOLDS:
        return None
    scores: list[float] = []
    labels: list[bool] = []
    pages = [
        (i % _FOLDS, [words(d) for d in r], [words(d) for d in s])
        for i, (r, s) in enumerate(zip(real, simulated, strict=True))
    ]
    for fold in range(_FOLDS):
        counts = [Counter[str](), Counter[str]()]
        for of, *sides in pages:
            if of != fold:
                for count, side in zip(counts, sides, strict=True):
                    count.update(word for document in side for word in document)
        if not all(counts):
            return None
        vocabulary = len(counts[0].keys() | counts[1].keys()) + 1
        totals = [sum(count.values()) + vocabulary for count in counts]
        for of, *sides in pages:
            if of == fold:
                for simulated_side, side in enumerate(sides):
                    for document in side:
                        scores.append(_evidence(document, counts, totals))
                        labels.append(bool(simulated_side))
    return auc(scores, labels)


def _evidence(document: Sequence[str], counts: Sequence[Counter[str]], totals: Sequence[int]) -> float:
    """Mean log odds a word that the document is simulated."""
    odds = [np.log((counts[1][w] + 1) / totals[1]) - np.log((counts[0][w] + 1) / totals[0]) for w in document]
    return float(np.mean(odds)) if odds else 0.0


def plainness(question: Question, page: Sequence[Document]) -> float | None:
    """How plainly a page tells the answer: the largest share of the question's words, without common ones, that a
    sentence with a golden answer has. None where no sentence has one.

    >>> emma = Question("1", "Who wrote the novel Emma?", ("Jane Austen",))
    >>> plainness(emma, [Document("Emma", "Emma is a novel. Jane Austen wrote the novel Emma in 1815.")])
    1.0
    """
    asked = set(normalize(question.text).split()) - _COMMON
    sentences = [sentence for document in page for sentence in SENTENCE_END.split(document.text)]
    telling = [set(normalize(s).split()) for s in sentences if contains_answer(s, question.golden_answers)]
    return max(len(asked & said) / len(asked) for said in telling) if asked and telling else None


def documents_with_answer(question: Question, page: Sequence[Document]) -> float:
    """How many documents of a page have a golden answer."""
    return float(sum(holds_answer([document], question.golden_answers) for document in page))


def overlap(page: Sequence[Document]) -> float | None:
    """Mean Jaccard overlap of the words of each two documents of a page: 1, all say the same. None below two."""
    sets = [set(words(d)) for d in page]
    pairs = [len(a & b) / len(a | b) for a, b in combinations(sets, 2) if a | b]
    return float(np.mean(pairs)) if pairs else None


def copies(document: Document, question: str) -> bool:
    """Whether the document repeats the question: holds at least 60 % of its content words."""
    content = set(normalize(question).split()) - _COMMON
    return bool(content) and len(content & set(words(document))) >= 0.6 * len(content)


def mean(values: Sequence[float | None]) -> float | None:
    """The mean of what is there; None of nothing."""
    found: npt.NDArray[np.float64] = np.array([v for v in values if v is not None], dtype=float)
    return float(found.mean()) if found.size else None
