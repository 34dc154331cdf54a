"""What is asked of a page: whether it can hold an answer, whether it should, and in which documents.

A page of documents of two kinds is asked for as two whole pages where a simulator knows only those, and put together
again here.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import replace

from zerosearch.episodes.search import Document, DocumentKind, Noise, Quality, SearchPage, SearchRequest, holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.simulator.page_text import NO_PLAN, PLAN_BEGIN, announces_answer


def decided_beginning(request: SearchRequest, hit: bool) -> str:
    """How a tuned simulator's page begins where it is decided whether it holds the answer."""
    if request.quality is not Quality.USEFUL:
        return ""
    return f"{PLAN_BEGIN}[" if hit else NO_PLAN


def should_hold(request: SearchRequest, text: str) -> bool | None:
    """Whether the page of `text` should hold a golden answer; None where that is not known."""
    kinds = set(request.asked)
    if not can_tell(request):
        return None
    if Quality.USEFUL not in kinds:
        return False
    return announces_answer(text) if len(kinds) == 1 else None


def can_tell(request: SearchRequest) -> bool:
    """Whether it can be told of a page if it holds a golden answer: not of `yes`, which any page may hold."""
    question = request.question
    return question is not None and bool(question.golden_answers) and not question.yes_or_no


def has_facts(request: SearchRequest) -> bool:
    """Whether the data has a fact of each thing that the question compares."""
    return request.question is not None and bool(request.question.compared_facts)


def holds_answer_to(request: SearchRequest, page: SearchPage) -> bool:
    return request.question is not None and holds_answer(page.documents, request.question.golden_answers)


def whole_pages(request: SearchRequest) -> list[SearchRequest]:
    """The pages that a simulator which knows only whole ones is asked for: a useful and a noisy one for a mixed page.

    Both are of `top_k` documents, as it has never been asked for fewer, and have seeds of their own.
    """
    if set(request.asked) != {Quality.USEFUL, Noise.PLAIN}:
        return [request]
    return [
        replace(request, quality=quality, kinds=(), seed=derive_seed("page", quality, request.seed))
        for quality in Quality
    ]


def ranked_documents(
    order: Sequence[DocumentKind], pages: Sequence[tuple[Sequence[DocumentKind], SearchPage]]
) -> tuple[tuple[Document, ...], tuple[DocumentKind, ...]]:
    """The page in `order`, from what was written and what that was asked for: always the first of a kind that is left.

    A document that was not written is left out, its rank with it.
    """
    left: dict[DocumentKind, deque[Document]] = defaultdict(deque)
    for asked, page in pages:
        for kind, document in zip(asked, page.documents, strict=False):
            left[kind].append(document)
    ranked = [(left[kind].popleft(), kind) for kind in order if left[kind]]
    return tuple(document for document, _ in ranked), tuple(kind for _, kind in ranked)
