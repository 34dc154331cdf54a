"""What is asked of a page: whether it can hold an answer, and whether it should."""

from __future__ import annotations

from zerosearch.episodes.search import Quality, SearchPage, SearchRequest, holds_answer
from zerosearch.simulator.page_text import NO_PLAN, PLAN_BEGIN, announces_answer


def decided_beginning(request: SearchRequest, hit: bool) -> str:
    """How a tuned simulator's page begins where it is decided whether it holds the answer."""
    if request.quality is not Quality.USEFUL:
        return ""
    return f"{PLAN_BEGIN}[" if hit else NO_PLAN


def should_hold(request: SearchRequest, text: str) -> bool | None:
    """Whether the page of `text` should hold a golden answer; None where that is not known."""
    if not can_tell(request):
        return None
    return announces_answer(text) if request.quality is Quality.USEFUL else False


def can_tell(request: SearchRequest) -> bool:
    """Whether it can be told of a page if it holds a golden answer: not of `yes`, which any page may hold."""
    question = request.question
    return question is not None and bool(question.golden_answers) and not question.yes_or_no


def has_facts(request: SearchRequest) -> bool:
    """Whether the data has a fact of each thing that the question compares."""
    return request.question is not None and bool(request.question.compared_facts)


def holds_answer_to(request: SearchRequest, page: SearchPage) -> bool:
    return request.question is not None and holds_answer(page.documents, request.question.golden_answers)
