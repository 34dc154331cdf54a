"""Serper: what it is asked, and what a search costs."""

from __future__ import annotations

import pytest
from engines.conftest import Reply
from engines.services import KEY, NEPAL, Service, answer, failure, search

from zerosearch.episodes.search import SearchRequest
from zerosearch.models.retry import Retry


@pytest.mark.parametrize(("top_k", "number", "cost"), [(3, 10, 0.001), (10, 10, 0.001), (20, 20, 0.002)])
def test_the_request_is_the_documented_one_and_long_pages_cost_double(
    service: Service, top_k: int, number: int, cost: float
) -> None:
    engine = service.open("serper", answer("serper", [NEPAL]), price_usd=0.001)
    page = search(engine, SearchRequest("capital of Nepal", top_k))
    assert service.requests == [{"q": "capital of Nepal", "num": number}]
    assert service.endpoint.headers[0]["x-api-key"] == KEY
    assert "authorization" not in service.endpoint.headers[0]
    assert page.usage.usd == cost


def test_an_answer_without_organic_results_is_an_empty_page(service: Service) -> None:
    assert search(service.open("serper", b'{"searchParameters": {"q": "x"}, "relatedSearches": []}')).documents == ()


@pytest.mark.parametrize("status", [200, 400, 429])
def test_no_credits_left_is_not_tried_again(service: Service, status: int) -> None:
    spent = Reply(status, b'{"message": "Not enough credits", "statusCode": 400}')
    error = failure(service.open("serper", spent, retry=Retry(attempts=5)))
    assert (error.kind, error.attempts, len(service.requests)) == ("refused", 1, 1)
    assert "Not enough credits" in str(error)
