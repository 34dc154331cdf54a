"""Explain the score of an answer in words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from zerosearch.episodes.protocol import TAGS
from zerosearch.episodes.scoring import Scores, contains_answer, normalize
from zerosearch.episodes.search import Document

ANY_TAG = re.compile(r"</?(?:" + "|".join(TAGS) + r")>")
"""Any tag of the protocol, as it is written."""
_VERDICTS = {
    "em": ("not the same", "not the same"),
    "cover_em": ("no golden answer is contained", "the answer contains a golden one"),
    "f1": ("no word is shared", "some words are shared"),
}


def comparison(answer: str, golden_answers: Sequence[str], name: str, scores: Scores) -> str:
    """An answer against the golden ones, as the score `name` (`f1`, `em`, `cover_em`) compares them."""
    golds = [gold for gold in map(normalize, golden_answers) if gold]
    given = normalize(answer)
    if not given or not golds:
        if scores.em:
            return f"the answer is right: the same text, of which normalisation leaves nothing ({short(answer)})"
        gone = f"the answer {short(answer)}" if not given else "every golden answer"
        return f"{gone} is empty once articles and punctuation are gone: only the very same text would match"
    verdict = "the answer is right" if scores.em else _VERDICTS[name][getattr(scores, name) > 0]
    more = f" / {len(golds) - 3} more" if len(golds) > 3 else ""
    return f"{verdict}: {given!r} against {' / '.join(map(repr, golds[:3]))}{more} (normalised)"


def elsewhere(pages: Iterable[Iterable[Document]], turns: Iterable[str], golden_answers: Sequence[str]) -> str:
    """Where a golden answer stands without counting, as the end of a sentence; empty where it stands nowhere."""
    for number, page in enumerate(pages, start=1):
        if contains_answer("\n".join(document.text for document in page), golden_answers):
            return f"; a golden answer stands on page {number}, but only the policy's own <answer> counts"
    for number, turn in enumerate(turns, start=1):
        if contains_answer(ANY_TAG.sub(" ", turn), golden_answers):
            return f"; a golden answer stands in turn {number}, but outside of <answer>"
    return ""


def short(text: str, length: int = 60) -> str:
    """`text` on one line, quoted, at most `length` characters of it."""
    line = " ".join(text.split())
    return repr(line if len(line) <= length else line[: length - 3] + "...")
