"""Serper: what it is asked, and what a search costs."""

from __future__ import annotations

from typing import Any

import pytest
from engines.services import KEY, NEPAL, PERU, answer, failure, open_service, search

from zerosearch.engines.web import HttpEngine
from zerosearch.episodes.search import Document, SearchRequest
from zerosearch.models.retry import Retry


@pytest.fixture
def engine(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> HttpEngine:
    return open_service("serper", endpoint.url, monkeypatch, price_usd=0.001, retry=Retry(attempts=5))


@pytest.mark.parametrize(("top_k", "number", "cost"), [(3, 10, 0.001), (10, 10, 0.001), (20, 20, 0.002)])
def test_the_request_is_the_documented_one_and_long_pages_cost_double(
    engine: HttpEngine, endpoint: Any, reply: Any, top_k: int, number: int, cost: float
) -> None:
    endpoint.script = [reply(body=answer("serper", [NEPAL]))]
    page = search(engine, SearchRequest("capital of Nepal", top_k))
    assert endpoint.requests == [{"q": "capital of Nepal", "num": number}]
    assert endpoint.headers[0]["x-api-key"] == KEY
    assert "authorization" not in endpoint.headers[0]
    assert page.usage.usd == cost


def test_an_answer_without_organic_results_is_an_empty_page(engine: HttpEngine, endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(body=b'{"searchParameters": {"q": "x"}, "relatedSearches": []}')]
    assert search(engine).documents == ()


@pytest.mark.parametrize("status", [200, 400, 429])
def test_no_credits_left_is_not_tried_again(engine: HttpEngine, endpoint: Any, reply: Any, status: int) -> None:
    endpoint.script = [reply(status, b'{"message": "Not enough credits", "statusCode": 400}')]
    error = failure(engine)
    assert (error.kind, error.attempts, len(endpoint.requests)) == ("refused", 1, 1)
    assert "Not enough credits" in str(error)


def test_googles_own_answer_is_the_first_document(engine: HttpEngine, endpoint: Any, reply: Any) -> None:
    box = {"title": "Capital of Nepal", "answer": "Kathmandu"}
    endpoint.script = [reply(body=answer("serper", [PERU], answerBox=box))]
    assert search(engine).documents == (Document("Capital of Nepal", "Kathmandu"), Document(*PERU))
