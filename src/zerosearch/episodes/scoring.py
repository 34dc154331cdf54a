"""Scores of an answer against golden answers, and the reward made from them.

Normalisation is that of the SQuAD evaluation (Rajpurkar et al., 2016): lower case, no punctuation, no articles, single
spaces. For ASCII text it is SQuAD's to the letter. Beyond ASCII it does what the scorers for other languages do:

- Punctuation of every script is taken off, as in MLQA's scorer (arXiv 1910.07475): “ ” ’ « » – — 。 、 「 」 · and the
  rest of Unicode's category P, with the minus sign and the letters that stand for an apostrophe.
- Scripts without spaces between words, and Hangul, are cut into characters, as in the scorers of CMRC 2018 (arXiv
  1810.07366), MLQA and KorQuAD: 加德满都 is four tokens. F1 and cover-EM count these, EM compares them.
- Full-width letters and digits are plain ones (１２３ is 123), a letter is one however it is coded (é as one character
  or two), and characters that nobody sees (soft hyphen, zero-width space) are taken off.

Accents count, as with all of these scorers: Reykjavik is not Reykjavík.

Where an answer and a golden one both normalise to nothing, they match if they are the same text (vitamin "A").
"""

from __future__ import annotations

import re
import string
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

SCORES = ("f1", "em", "cover_em")
"""The scores that can be a reward."""

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_APOSTROPHES_AND_MINUS = "\u00b4\u02bb\u02bc\u2212"
_UNSEEN = "\u00ad\u200b\u2060\ufeff"
_WIDTHS = re.compile("[\uff01-\uffee]+")  # full-width and half-width forms
_SINGLE = re.compile(
    # Thai to Myanmar and Khmer; Hangul; kana, Bopomofo; Han and its extensions. A vowel or tone mark stays with its
    # character.
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1100-\u11ff\u3005-\u3007\u3040-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]"
    "[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ece\u102b-\u103e\u17b4-\u17d3\u3099\u309a]*)"
)
_YES_OR_NO = ("yes", "no", "noanswer")


def normalize(text: str) -> str:
    """SQuAD's normalisation, and beyond ASCII what the head of this module says; tokens stand between single spaces."""
    if text.isascii():
        return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())
    text = _WIDTHS.sub(lambda run: unicodedata.normalize("NFKC", run[0]), unicodedata.normalize("NFC", text))
    plain = _ARTICLES.sub(" ", text.lower().translate(_all_punctuation()))
    return " ".join(_SINGLE.sub(r" \1 ", plain).split())


@cache
def _all_punctuation() -> dict[int, None]:
    """What is taken off: ASCII punctuation, Unicode's category P, and what is not seen."""
    marks = dict.fromkeys(c for c in range(sys.maxunicode + 1) if unicodedata.category(chr(c)).startswith("P"))
    return marks | dict.fromkeys(map(ord, string.punctuation + _APOSTROPHES_AND_MINUS + _UNSEEN))


def each_answer(golden_answers: str | Iterable[str]) -> tuple[str, ...]:
    """The golden answers one by one: a single text is one answer, not its letters."""
    return (golden_answers,) if isinstance(golden_answers, str) else tuple(golden_answers)


def exact_match(prediction: str | None, golden_answers: str | Sequence[str]) -> float:
    """EM: 1.0 if the normalised prediction equals a normalised golden answer, else 0.0."""
    if prediction is None:
        return 0.0
    golden_answers = each_answer(golden_answers)
    predicted = normalize(prediction)
    if not predicted:
        return float(any(_same_text(prediction, gold) for gold in golden_answers))
    return float(any(predicted == normalize(gold) for gold in golden_answers))


def _same_text(one: str, other: str) -> bool:
    """Of texts that normalise to nothing: the same but for case and white space, and not empty."""
    return bool(one.strip()) and " ".join(one.casefold().split()) == " ".join(other.casefold().split())


def cover_exact_match(prediction: str | None, golden_answers: str | Sequence[str]) -> float:
    """Cover-EM: 1.0 if a golden answer's tokens stand in the prediction, in order and side by side."""
    if prediction is None:
        return 0.0
    return float(contains_answer(prediction, golden_answers) or exact_match(prediction, golden_answers) > 0)


def contains_answer(text: str, golden_answers: str | Sequence[str]) -> bool:
    """Whether a golden answer stands in `text` as whole normalised tokens ("Niger" is not in "Nigeria")."""
    padded = f" {normalize(text)} "
    return any(f" {gold} " in padded for gold in map(normalize, each_answer(golden_answers)) if gold)


def token_f1(prediction: str | None, golden_answers: str | Sequence[str]) -> float:
    """Token F1 (SQuAD), the best over the golden answers.

    Where either side is yes, no or noanswer, it is 1 for the same word and 0 otherwise, as in HotpotQA's own scorer
    (arXiv 1809.09600, hotpot_evaluate_v1.py): "yes no" earns nothing.
    """
    if prediction is None:
        return 0.0
    predicted = normalize(prediction)
    if not predicted:
        return exact_match(prediction, golden_answers)
    return max((_f1(predicted, normalize(gold)) for gold in each_answer(golden_answers)), default=0.0)


def _f1(predicted: str, gold: str) -> float:
    if predicted in _YES_OR_NO or gold in _YES_OR_NO:
        return float(predicted == gold)
    one, other = predicted.split(), gold.split()
    shared = sum((Counter(one) & Counter(other)).values())
    if shared == 0:
        return 0.0
    precision, recall = shared / len(one), shared / len(other)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class Scores:
    """All scores of one answer, each in [0, 1]; `format` is 1.0 if every turn was well formed and the last answered."""

    em: float
    f1: float
    cover_em: float
    format: float


def score_answer(prediction: str | None, golden_answers: str | Sequence[str], *, well_formed: bool = True) -> Scores:
    """Score `prediction` against the golden answers, or the one (None: no answer was given; EM, F1, cover-EM are 0)."""
    return Scores(
        em=exact_match(prediction, golden_answers),
        f1=token_f1(prediction, golden_answers),
        cover_em=cover_exact_match(prediction, golden_answers),
        format=float(well_formed),
    )


def with_format(reward: float, scores: Scores, format_reward: float) -> float:
    """`reward` or, where it is 0, the `format_reward` of a well-formed episode.

    `format_reward` 0 is the paper's setting (ZeroSearch, section 3.4); .1 is that of ReSearch (arXiv 2503.19470).
    """
    return reward or format_reward * scores.format
