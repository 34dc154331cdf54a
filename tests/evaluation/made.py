"""Files of predictions made by hand, for the tests of what reads them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from zerosearch.episodes.predictions import (
    Header,
    Outcome,
    Prediction,
    PredictionFile,
    append_prediction,
    read_predictions,
    start_predictions,
)
from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.episodes.search import Document
from zerosearch.episodes.trajectory import SearchRecord
from zerosearch.usage import Usage


def questions(count: int, prefix: str = "q") -> list[Question]:
    return [Question(f"{prefix}{i:03d}", f"What is {prefix} {i}?", (f"gold {i}", f"au {i}")) for i in range(count)]


def predict(question: Question, answer: str | None, *queries: str, held: bool = False, **changes: Any) -> Prediction:
    """A prediction with a page a query, which holds the golden answer or not."""
    page = (Document("", question.golden_answers[0] if held else "nothing"),)
    searches = tuple(SearchRecord(page, "bm25:x", query=query, usage=Usage(usd=0.01)) for query in queries)
    return replace(Prediction.scored(question, Outcome(answer, searches), "nq", "rag"), **changes)


def made(
    folder: Path,
    right: Sequence[int | None],
    *,
    benchmark: str = "nq",
    method: str = "rag",
    asked: Sequence[Question] | None = None,
    searches: int = 1,
    **header: Any,
) -> PredictionFile:
    """`folder/BENCHMARK/METHOD.jsonl`: 1 a right answer, 0 a wrong one, None no row; tries side by side."""
    samples = header.get("samples", 1)
    of = list(asked) if asked is not None else questions(len(right) // samples)
    values = {"model": "tiny", "engine": "bm25:x", "top_k": 5} | header
    head = Header(benchmark, method, questions_digest=questions_digest(of), count=len(of), **values)
    path = folder / benchmark / f"{method}.jsonl"
    start_predictions(path, head)
    for number, hit in enumerate(right):
        if hit is not None:
            question = of[number // samples]
            answer = question.golden_answers[0] if hit else f"the wrong {question.golden_answers[0]}"
            queries = [f"{method} asks {n} of {question.id}" for n in range(searches)]
            append_prediction(
                path,
                predict(question, answer, *queries, benchmark=benchmark, method=method, sample=number % samples),
            )
    return read_predictions(path)
