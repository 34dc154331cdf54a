"""How texts are compared while the questions are made: SQuAD's normalisation to the letter, and never another one.

`zerosearch.episodes.scoring` knows punctuation beyond ASCII and scripts without spaces too. The generated questions do
not follow it: a release that scores better must not make other questions.
"""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalize(text: str) -> str:
    """Lower case, no ASCII punctuation, no a/an/the, single spaces."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def contains_answer(text: str, answers: Sequence[str]) -> bool:
    """Whether an answer stands in `text` as whole normalised tokens."""
    padded = f" {normalize(text)} "
    return any(f" {answer} " in padded for answer in map(normalize, answers) if answer)
