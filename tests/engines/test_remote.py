"""`/retrieve`: the variants of Search-R1's protocol that servers speak."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engines.services import NEPAL, ONCE, answer, failure, open_service, search

from zerosearch.engines.web import HttpEngine
from zerosearch.episodes.search import Document, SearchRequest

CONTENTS = '"Nepal"\nKathmandu is the\ncapital.'
READ = Document("Nepal", "Kathmandu is the capital.", "7")


@pytest.fixture
def engine(endpoint: Any, monkeypatch: pytest.MonkeyPatch) -> HttpEngine:
    return open_service("remote", endpoint.url, monkeypatch, retry=ONCE)


def test_the_request_is_that_of_search_r1(engine: HttpEngine, endpoint: Any, reply: Any) -> None:
    endpoint.script = [reply(body=answer("remote", [NEPAL]))]
    search(engine, SearchRequest("capital of Nepal", 3))
    assert endpoint.requests == [{"queries": ["capital of Nepal"], "topk": 3, "return_scores": True}]


@pytest.mark.parametrize(("path", "asked"), [("", "/retrieve"), ("/", "/retrieve"), ("/a/b", "/a/b")])
def test_an_address_without_a_path_means_retrieve(
    path: str, asked: str, endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.script = [reply(body=answer("remote", [NEPAL]))]
    search(open_service("remote", endpoint.url.removesuffix("/v1") + path, monkeypatch))
    assert endpoint.paths == [asked]


@pytest.mark.parametrize(
    ("row", "document"),
    [
        ({"document": {"id": "7", "contents": CONTENTS}, "score": 0.9}, READ),
        ({"id": "7", "contents": CONTENTS}, READ),
        ({"id": 7, "contents": CONTENTS}, READ),
        ({"document": {"id": "7", "title": "Nepal", "text": "Kathmandu is the\ncapital."}}, READ),
        ({"id": "7", "title": "Nepal", "text": "Kathmandu is the capital.", "contents": CONTENTS}, READ),
        ({"id": "7", "title": "Nepal", "contents": "Kathmandu is the\ncapital."}, READ),
        ({"id": "7", "title": "Nepal", "contents": CONTENTS}, READ),
        ({"id": "7", "title": None, "text": "Kathmandu."}, Document("", "Kathmandu.", "7")),
        ({"contents": "Nepal\nKathmandu."}, Document("Nepal", "Kathmandu.")),
        ({"contents": "Kathmandu."}, Document("", "Kathmandu.")),
        ({"contents": " Kathmandu. \n"}, Document("", "Kathmandu.")),
        ({"contents": '"To be or not"'}, Document("", '"To be or not"')),
        ({"contents": '"\nKathmandu.', "id": None}, Document('"', "Kathmandu.")),
        ({"contents": "\n Nepal\n1 < 2 <b>x</b>"}, Document("Nepal", "1 < 2 <b>x</b>")),
        ({"document": CONTENTS, "score": 1}, Document("Nepal", "Kathmandu is the capital.")),
        (CONTENTS, Document("Nepal", "Kathmandu is the capital.")),
    ],
    ids=str,
)
def test_a_document_is_read_in_every_form_in_use(
    row: Any, document: Document, engine: HttpEngine, endpoint: Any, reply: Any
) -> None:
    endpoint.script = [reply(body=json.dumps({"result": [[row]]}).encode())]
    assert search(engine).documents == (document,)


@pytest.mark.parametrize(("result", "count"), [([[]], 0), ([], 0), ([{"document": {"passage": "Lima."}}], 1)])
def test_the_outer_list_may_be_left_out_for_one_query(
    result: Any, count: int, engine: HttpEngine, endpoint: Any, reply: Any
) -> None:
    endpoint.script = [reply(body=json.dumps({"result": result}).encode())]
    assert search(engine).documents == (Document("", "Lima."),) * count


@pytest.mark.parametrize("name", ["error", "detail", "message"])
def test_an_error_with_status_200_is_told(engine: HttpEngine, endpoint: Any, reply: Any, name: str) -> None:
    endpoint.script = [reply(body=json.dumps({name: "the index is not loaded"}).encode())]
    error = failure(engine)
    assert error.kind == "http"
    assert "the index is not loaded" in str(error)


@pytest.mark.parametrize(
    "result", [[[], []], [{}], "text", None, [[{"score": 1.0}]], [[{"document": {"id": "7"}}]], [[3]]]
)
def test_pages_that_are_not_the_one_for_the_query_are_malformed(
    result: Any, engine: HttpEngine, endpoint: Any, reply: Any
) -> None:
    endpoint.script = [reply(body=json.dumps({"result": result}).encode())]
    assert failure(engine).kind == "malformed"
