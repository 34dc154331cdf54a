"""What all search engines behind a URL do alike, each against a server that speaks its own format."""

from __future__ import annotations

import pytest
from engines.conftest import Reply
from engines.services import ENGINES, KEY, NEPAL, ONCE, PERU, Service, answer, failure, search

from zerosearch.engines.web import KEY_VARIABLES, MAX_QUERY_CHARS, PRICES_USD
from zerosearch.episodes.search import Document, SearchRequest
from zerosearch.models.retry import Retry
from zerosearch.usage import Usage

KINDS = sorted(ENGINES)
every_kind = pytest.mark.parametrize("kind", KINDS)
with_a_key = pytest.mark.parametrize("kind", sorted(KEY_VARIABLES))


@every_kind
def test_results_become_documents_in_their_order(kind: str, service: Service) -> None:
    page = search(service.open(kind, answer(kind, [NEPAL, PERU])))
    assert page.documents == (Document(*NEPAL), Document(*PERU))
    assert page.engine == f"{kind}:{service.endpoint.url.split('/')[2]}"
    assert (page.quality, page.cached, page.parsed, page.attempts) == (None, False, True, 1)
    assert page.usage.usd == PRICES_USD[kind]
    assert page.seconds > 0


@every_kind
def test_a_page_has_the_documents_asked_for_and_none_without_text_or_twice(kind: str, service: Service) -> None:
    results = [("No text", "", "u1"), ("Dots", " ... ", "u2"), NEPAL, NEPAL, PERU, ("Chad", "N'Djamena.", "u3")]
    page = search(service.open(kind, answer(kind, results)), SearchRequest("x", 2))
    assert page.documents == (Document(*NEPAL), Document(*PERU))


@every_kind
def test_nothing_found_is_an_empty_page_and_paid_for(kind: str, service: Service) -> None:
    page = search(service.open(kind, answer(kind, []), price_usd=0.25))
    assert (page.documents, page.usage.usd, len(service.requests)) == ((), 0.25, 1)


@every_kind
@pytest.mark.parametrize(("query", "top_k"), [("", 5), (" \n", 5), ("?!", 5), ("Nepal", 0)])
def test_a_query_that_cannot_find_anything_costs_nothing(kind: str, query: str, top_k: int, service: Service) -> None:
    page = search(service.open(kind), SearchRequest(query, top_k))
    assert (page.documents, page.usage.usd, service.requests) == ((), 0.0, [])


@every_kind
def test_a_query_is_sent_in_one_line_and_not_without_end(kind: str, service: Service) -> None:
    engine = service.open(kind, answer(kind, []))
    search(engine, SearchRequest("what\n is &q=this? #\ud800 é", 5))
    search(engine, SearchRequest("é" * 70_000, 5))
    sent = [request.get("q") or request["queries"][0] for request in service.requests]
    assert sent == ["what is &q=this? #? é", "é" * MAX_QUERY_CHARS]


@every_kind
@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_a_refusal_is_final_and_costs_nothing(kind: str, status: int, service: Service) -> None:
    error = failure(
        service.open(kind, Reply(status, b'{"error": "because"}', {"Location": "/elsewhere"}), retry=Retry(attempts=5))
    )
    assert (error.kind, error.attempts, len(service.requests)) == ("refused", 1, 1)
    assert f"HTTP {status}: because" in str(error)


@with_a_key
@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_is_blamed_on_its_variable(
    kind: str, status: int, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    service.says(Reply(status, b'{"message": "Unauthorized."}'))
    assert f"is the key in {KEY_VARIABLES[kind]} right?" in str(failure(service.open(kind)))
    assert "is the key in MY_KEY right?" in str(failure(service.open(kind, api_key_env="MY_KEY")))


@every_kind
def test_a_server_that_recovers_gives_a_page_after_the_pause_it_asked_for(kind: str, service: Service) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    answers = Reply(500), Reply(429, b"", {"Retry-After": "4"}), answer(kind, [NEPAL])
    page = search(service.open(kind, *answers, sleep=sleep, price_usd=1.0))
    assert (page.documents, page.attempts, pauses) == ((Document(*NEPAL),), 3, [0.5, 4.0])
    assert page.usage.usd == 1.0  # an error is charged by none of them
    assert service.requests[0] == service.requests[2]


def test_an_answer_that_is_of_no_use_is_paid_for(service: Service) -> None:
    engine = service.open("serper", b'{"organic": 3}', answer("serper", [NEPAL]), price_usd=1.0)
    assert search(engine).usage.usd == 2.0
    service.says(b'{"organic": 7}')
    error = failure(engine)
    assert error.usage == Usage(usd=float(error.attempts))


@every_kind
def test_silence_in_one_attempt_is_followed_by_another(kind: str, service: Service) -> None:
    page = search(service.open(kind, Reply(hold=True), answer(kind, [NEPAL]), timeout_seconds=0.2))
    assert (len(page.documents), page.attempts) == (1, 2)


BROKEN: list[bytes | None] = [
    None,  # cut off
    b"", b"null", b"[]", b"3", b'"text"', b"{}", b"<html>busy</html>", b"\xff\xfe", b"[" * 100_000, b'{"a": 1}',
    b'{"organic_results": 3, "organic": 3, "results": 3, "result": 3}',
    b'{"organic_results": [3], "organic": [3], "results": [3], "result": [3]}',
    b'{"organic_results": {"a": {}}, "organic": {"a": {}}, "results": {"a": {}}, "result": {"a": {}}}',
    b'{"organic_results": [{"snippet": {}}], "organic": [{"snippet": {}}], "results": [{"content": {}}],'
    b' "result": [[{"contents": {}}]]}',
]  # fmt: skip


@every_kind
@pytest.mark.parametrize("body", BROKEN, ids=lambda body: (body or b"")[:20].decode("latin-1"))
def test_what_is_not_the_format_is_malformed_and_not_an_empty_page(
    kind: str, body: bytes | None, service: Service
) -> None:
    assert (
        failure(service.open(kind, answer(kind, [NEPAL])[:-9] if body is None else body, retry=ONCE)).kind
        == "malformed"
    )
