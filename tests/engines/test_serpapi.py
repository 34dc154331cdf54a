"""SerpAPI: what it is asked, and the cases of its documentation of errors."""

from __future__ import annotations

import pytest
from engines.conftest import Reply
from engines.services import KEY, NEPAL, ONCE, Service, answer, failure, search

from zerosearch.episodes.search import Document, SearchRequest
from zerosearch.models.retry import Retry

NOTHING = "Google hasn't returned any results for this query."


@pytest.mark.parametrize(("top_k", "number"), [(3, "10"), (20, "20")])
def test_the_request_is_the_documented_one(service: Service, top_k: int, number: str) -> None:
    search(service.open("serpapi", answer("serpapi", [NEPAL])), SearchRequest("capital of Nepal", top_k))
    assert service.requests == [{"engine": "google", "q": "capital of Nepal", "num": number, "api_key": KEY}]
    assert "authorization" not in service.endpoint.headers[0]


@pytest.mark.parametrize("status", ["Success", "Error", None])
def test_nothing_found_is_an_empty_page_and_no_error(service: Service, status: str | None) -> None:
    metadata = {} if status is None else {"search_metadata": {"status": status}}
    body = answer("serpapi", [], error=NOTHING, **metadata).replace(b'"organic_results": [], ', b"")
    assert search(service.open("serpapi", body, retry=ONCE)).documents == ()


def test_a_failure_on_their_side_is_an_error_and_no_empty_page(service: Service) -> None:
    said = "We couldn't get valid results for this search. Please try again later."
    failed = answer("serpapi", [], error=said, search_metadata={"status": "Error"})
    error = failure(service.open("serpapi", failed, retry=Retry(attempts=2)))
    assert (error.kind, error.attempts) == ("http", 2)
    assert said in str(error)


@pytest.mark.parametrize("status", ["Processing", "Queued"])
def test_a_search_that_is_not_done_is_no_empty_page(service: Service, status: str) -> None:
    waits = answer("serpapi", [], search_metadata={"status": status})
    assert f"the search is {status}" in str(failure(service.open("serpapi", waits, retry=ONCE)))


def test_results_with_a_remark_are_results(service: Service) -> None:
    remarked = answer("serpapi", [NEPAL], error="something", search_metadata={"status": "Error"})
    assert search(service.open("serpapi", remarked)).documents == (Document(*NEPAL),)


@pytest.mark.parametrize("status", [200, 429])
def test_no_searches_left_is_not_tried_again_though_it_comes_as_429(service: Service, status: int) -> None:
    spent = Reply(status, b'{"error": "Your account has run out of searches."}')
    error = failure(service.open("serpapi", spent, retry=Retry(attempts=5)))
    assert (error.kind, error.attempts, len(service.requests)) == ("refused", 1, 1)
    assert "run out of searches" in str(error)


def test_googles_own_answer_is_one_of_the_documents_asked_for(service: Service) -> None:
    box = {"type": "organic_result", "title": "Nepal", "snippet": "It is <b>Kathmandu</b>.", "link": "u"}
    engine = service.open("serpapi", answer("serpapi", [NEPAL, NEPAL], answer_box=box))
    assert search(engine, SearchRequest("x", 1)).documents == (Document("Nepal", "It is Kathmandu.", "u"),)


def test_a_box_that_says_nothing_changes_nothing(service: Service) -> None:
    silent = answer("serpapi", [NEPAL], answer_box={"type": "images", "images": ["https://x"]})
    assert search(service.open("serpapi", silent)).documents == (Document(*NEPAL),)
