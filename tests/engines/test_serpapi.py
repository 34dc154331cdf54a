"""SerpAPI: what it is asked, and the cases of its documentation of errors."""

from __future__ import annotations

from typing import Any

import pytest
from engines.services import KEY, NEPAL, ONCE, PERU, answer, failure, open_service, search

from zerosearch.engines.web import HttpEngine
from zerosearch.episodes.search import Document, SearchRequest
from zerosearch.models.retry import Retry

NOTHING = "Google hasn't returned any results for this query."


@pytest.fixture
def engine(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> HttpEngine:
    return open_service("serpapi", endpoint.url, monkeypatch, retry=ONCE)


@pytest.mark.parametrize(("top_k", "number"), [(3, "10"), (20, "20")])
def test_the_request_is_the_documented_one(
    engine: HttpEngine, endpoint: Any, reply: Any, top_k: int, number: str
) -> None:
    endpoint.script = [reply(body=answer("serpapi", [NEPAL]))]
    search(engine, SearchRequest("capital of Nepal", top_k))
    assert endpoint.requests == [{"engine": "google", "q": "capital of Nepal", "num": number, "api_key": KEY}]
    assert "authorization" not in endpoint.headers[0]


@pytest.mark.parametrize("status", ["Success", "Error", None])
def test_nothing_found_is_an_empty_page_and_no_error(
    engine: HttpEngine, endpoint: Any, reply: Any, status: str | None
) -> None:
    metadata = {} if status is None else {"search_metadata": {"status": status}}
    body = answer("serpapi", [], error=NOTHING, **metadata)
    endpoint.script = [reply(body=body.replace(b'"organic_results": [], ', b""))]
    assert search(engine).documents == ()


def test_a_failure_on_their_side_is_an_error_and_no_empty_page(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "We couldn't get valid results for this search. Please try again later."
    endpoint.script = [reply(body=answer("serpapi", [], error=said, search_metadata={"status": "Error"}))]
    error = failure(open_service("serpapi", endpoint.url, monkeypatch, retry=Retry(attempts=2)))
    assert (error.kind, error.attempts) == ("http", 2)
    assert said in str(error)


@pytest.mark.parametrize("status", ["Processing", "Queued"])
def test_a_search_that_is_not_done_is_no_empty_page(engine: HttpEngine, endpoint: Any, reply: Any, status: str) -> None:
    endpoint.script = [reply(body=answer("serpapi", [], search_metadata={"status": status}))]
    assert f"the search is {status}" in str(failure(engine))


def test_results_with_a_remark_are_results(engine: HttpEngine, endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(body=answer("serpapi", [NEPAL], error="something", search_metadata={"status": "Error"}))]
    assert search(engine).documents == (Document(*NEPAL),)


@pytest.mark.parametrize("status", [200, 429])
def test_no_searches_left_is_not_tried_again_though_it_comes_as_429(
    endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    endpoint.script = [reply(status, b'{"error": "Your account has run out of searches."}')]
    error = failure(open_service("serpapi", endpoint.url, monkeypatch, retry=Retry(attempts=5)))
    assert (error.kind, error.attempts, len(endpoint.requests)) == ("refused", 1, 1)
    assert "run out of searches" in str(error)


@pytest.mark.parametrize(
    ("box", "document"),
    [
        ({"type": "organic_result", "title": "Nepal", "snippet": "It is <b>Kathmandu</b>.", "link": "u"},
         Document("Nepal", "It is Kathmandu.", "u")),
        ({"type": "knowledge_graph", "title": "Nepal / Capital", "answer": "Kathmandu"},
         Document("Nepal / Capital", "Kathmandu")),
        ({"type": "calculator_result", "result": "4"}, Document("", "4")),
    ],
)  # fmt: skip
def test_googles_own_answer_is_the_first_document(
    engine: HttpEngine, endpoint: Any, reply: Any, box: dict[str, Any], document: Document
) -> None:
    endpoint.script = [reply(body=answer("serpapi", [PERU, NEPAL], answer_box=box))]
    assert search(engine, SearchRequest("x", 2)).documents == (document, Document(*PERU))


def test_a_box_that_says_nothing_changes_nothing(engine: HttpEngine, endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(body=answer("serpapi", [NEPAL], answer_box={"type": "images", "images": ["https://x"]}))]
    assert search(engine).documents == (Document(*NEPAL),)
