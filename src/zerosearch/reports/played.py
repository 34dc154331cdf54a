"""One try at a question, ready to be shown: an episode of training or a prediction of an evaluation."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from zerosearch.episodes.predictions import Prediction
from zerosearch.episodes.questions import Question
from zerosearch.episodes.reasons import comparison, elsewhere
from zerosearch.episodes.scoring import SCORES, Scores
from zerosearch.episodes.search import holds_answer
from zerosearch.episodes.streaming import PieceKind, TagStream
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.episodes.transcript import turn_fault

_ENTRY = re.compile(r"^(model|search): ", re.MULTILINE)
_NO_ANSWER = {
    "refused_search": "it wanted to search once more than it may",
    "context": "the episode outgrew protocol.max_context_tokens",
    "engine_error": "the search failed",
    "model_error": "the model could not be asked",
    "cut_off": "the reply was used up by its thoughts",
}


@dataclass(frozen=True)
class Turn:
    """What the policy wrote in one go, and the search that it led to, if it did. `start` and `end` are its places
    among the ids of a trajectory; None where there are no ids."""

    text: str
    search: SearchRecord | None = None
    start: int | None = None
    end: int | None = None


@dataclass(frozen=True)
class Played:
    """`step` counts from 0; None for an evaluation, whose `reward` is F1. `trajectory` is None for a prediction.

    `where` says in words which run's step or which benchmark's method it belongs to. `policy_tokens` is None where
    nobody counted them.
    """

    where: str
    question: Question
    turns: tuple[Turn, ...]
    searches: tuple[SearchRecord, ...]
    answer: str | None
    scores: Scores
    reward: float
    stop_reason: str
    error: str | None
    rollout: int
    step: int | None = None
    group: int = 0
    policy_tokens: int | None = None
    seconds: float = 0.0
    trajectory: Trajectory | None = None

    @classmethod
    def of_training(cls, t: Trajectory, where: str = "") -> Played:
        searches = iter(t.searches)
        turns = [Turn(r.text, next(searches, None) if r.action == "search" else None, r.start, r.end) for r in t.turns]
        return cls(
            where or f"step {t.step + 1}",
            t.question,
            tuple(turns),
            t.searches,
            t.answer,
            t.scores,
            t.reward,
            t.stop_reason,
            next((search.error for search in t.searches if search.error is not None), None),
            t.rollout,
            t.step,
            t.group,
            t.policy_tokens,
            t.seconds,
            t,
        )

    @classmethod
    def of_evaluation(cls, row: Prediction, where: str = "", group: int = 0) -> Played:
        return cls(
            where or f"{row.benchmark}, {row.method}",
            Question(row.id, row.question, row.golden_answers),
            tuple(_turns(row.text, row.searches)),
            row.searches,
            row.answer,
            Scores(em=row.em, cover_em=row.cover_em, f1=row.f1, format=float(row.answer is not None)),
            row.f1,
            row.stop_reason,
            row.error,
            row.sample,
            group=group,
            policy_tokens=row.usage.completion_tokens or None,
            seconds=row.seconds,
        )

    @property
    def qualities(self) -> tuple[str, ...]:
        """What its pages were asked for, in order, each once; empty with a real engine."""
        return tuple(dict.fromkeys(str(s.quality) for s in self.searches if s.quality is not None))


def _turns(text: str, searches: Sequence[SearchRecord]) -> Iterator[Turn]:
    """The turns of a transcript of an evaluation, each with the search that followed it.

    Prompted methods log `model: ...` and `search: QUERY`; an episode's turns stand one after the other. Searches that
    are not found in the text come at the end.
    """
    left = list(searches)
    if _ENTRY.match(text):
        marks = list(_ENTRY.finditer(text))
        ends = [mark.start() for mark in marks[1:]] + [len(text)]
        for mark, end in zip(marks, ends, strict=True):
            body = text[mark.end() : end].strip()
            if mark[1] == "search" and left and body == left[0].query.strip():
                yield Turn("", left.pop(0))
            else:
                yield Turn(body if mark[1] == "model" else mark[0] + body)
    else:
        for part in re.split(r"(?<=</search>)\s*", text.strip()):
            query = part.rpartition("<search>")[2].removesuffix("</search>").strip()
            followed = part.endswith("</search>") and left and query == left[0].query.strip()
            yield Turn(part, left.pop(0) if followed else None)
    for search in left:
        yield Turn("", search)


def blocks(text: str) -> list[tuple[PieceKind, str]]:
    """A turn cut where its tags stand: what is thought, searched for, answered; `text` outside of all tags.

    >>> blocks("<think>Hm.</think> <search> Nepal </search>")
    [('think', 'Hm.'), ('search', ' Nepal ')]
    """
    stream = TagStream()
    joined: list[tuple[PieceKind, str]] = []
    for piece in (*stream.feed(text), *stream.finish()):
        if piece.kind == "text" and not piece.text.strip():
            continue
        joined.append((piece.kind, piece.text))
    return joined


def as_found(search: SearchRecord, golden_answers: Sequence[str]) -> list[int]:
    """The ranks (from 1) of the documents that hold a golden answer."""
    return [n for n, document in enumerate(search.documents, start=1) if holds_answer([document], golden_answers)]


def told_page(search: SearchRecord, question: Question) -> str:
    """One line on a page: what it was asked for, and whether it holds the answer."""
    if search.error is not None:
        return f"the search failed ({search.error})"
    if search.missed:
        return "the recordings have no page for this query"
    asked, places = str(search.quality or ""), as_found(search, question.golden_answers)
    where = ", ".join(f"[{place}]" for place in places)
    found = f"holds a golden answer in {where}" if places else "holds no golden answer"
    if not question.evident_answers:
        found = "whether it holds the answer cannot be said (yes, no, or a bare number)"
    return f"asked for as {asked}; {found}" if asked else found


def why(one: Played, score: str = "f1") -> str:
    """In one line, why it scores what it scores. `score` is the name of the reward, or of one's own function."""
    name: Literal["f1", "em", "cover_em"] | str = score if score in SCORES else "f1"
    pages = [search.documents for search in one.searches]
    golden, texts = one.question.golden_answers, [turn.text for turn in one.turns]
    if one.answer is not None:
        said = comparison(one.answer, golden, name, one.scores)
        return said + (elsewhere(pages, (), golden) if not getattr(one.scores, name) else "")
    if one.stop_reason in _NO_ANSWER:
        reason = _NO_ANSWER[one.stop_reason]
    else:
        reason = (turn_fault(texts[-1]) if texts and one.trajectory is not None else None) or "the last turn holds none"
    return f"no answer: {reason}{elsewhere(pages, texts, golden)}"
