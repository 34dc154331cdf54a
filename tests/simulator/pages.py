"""Queries with their three pages, made by hand."""

from __future__ import annotations

from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality, SearchPage
from zerosearch.simulator.fidelity import Compared, FidelityQuery


def found(*texts: str, quality: Quality = Quality.USEFUL) -> SearchPage:
    return SearchPage(tuple(Document("", text) for text in texts), "e", quality)


def compared(question: Question, real: str | None, useful: str | None, noisy: str | None) -> Compared:
    """One document a page; an empty text is an empty page, None a search that failed."""
    pages = [None if text is None else found(*([text] if text else [])) for text in (real, useful, noisy)]
    return Compared(FidelityQuery(f"query about {question.id}", question), *pages)
