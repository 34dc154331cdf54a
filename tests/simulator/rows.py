"""Trajectories and pages made by hand, for the tests of what reads them."""

from __future__ import annotations

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import score_answer
from zerosearch.episodes.search import Document
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.usage import Usage

NEPAL = Question("n", "What is the capital of Nepal?", ("Kathmandu", "Katmandu"))
PERU = Question("p", "What is the capital of the country with llamas?", ("Lima",))


def documents(*texts: str) -> tuple[Document, ...]:
    return tuple(Document(f"Title {n}", text) for n, text in enumerate(texts))


def search(query: str, *texts: str, error: str | None = None, usd: float = 0.0) -> SearchRecord:
    return SearchRecord(documents(*texts), "bm25:x", query=query, error=error, usage=Usage(usd=usd))


def episode(
    question: Question, answer: str | None, *searches: SearchRecord, rollout: int = 0, stop: str = "answer"
) -> Trajectory:
    scores = score_answer(answer, question.golden_answers, well_formed=True)
    return Trajectory(
        question=question, ids=(1,), mask=(0,), logprobs=(0.0,), prompt_length=1, turns=(), searches=searches,
        answer=answer, scores=scores, reward=scores.f1, stop_reason=stop, rollout=rollout,
    )  # fmt: skip
