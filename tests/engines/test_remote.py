"""`/retrieve`: the variants of Search-R1's protocol that servers speak."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engines.services import NEPAL, ONCE, Service, answer, failure, search

from zerosearch.episodes.search import Document, SearchRequest

CONTENTS = '"Nepal"\nKathmandu is the\ncapital.'
READ = Document("Nepal", "Kathmandu is the capital.", "7")


def test_the_request_is_that_of_search_r1(service: Service) -> None:
    search(service.open("remote", answer("remote", [NEPAL])), SearchRequest("capital of Nepal", 3))
    assert service.requests == [{"queries": ["capital of Nepal"], "topk": 3, "return_scores": True}]


@pytest.mark.parametrize(("path", "asked"), [("", "/retrieve"), ("/", "/retrieve"), ("/a/b", "/a/b")])
def test_an_address_without_a_path_means_retrieve(path: str, asked: str, service: Service) -> None:
    url = service.endpoint.url.removesuffix("/v1") + path
    search(service.open("remote", answer("remote", [NEPAL]), url=url))
    assert service.endpoint.paths == [asked]


def result(value: Any) -> bytes:
    return json.dumps({"result": value}).encode()


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
        ({"document": {"id": "7", "content": "Nepal\nKathmandu."}}, Document("Nepal", "Kathmandu.", "7")),
        ({"content": "Nepal\nKathmandu."}, Document("Nepal", "Kathmandu.")),
    ],
    ids=str,
)
def test_a_document_is_read_in_every_form_in_use(row: Any, document: Document, service: Service) -> None:
    assert search(service.open("remote", result([[row]]))).documents == (document,)


@pytest.mark.parametrize(("pages", "count"), [([[]], 0), ([], 0), ([{"document": {"passage": "Lima."}}], 1)])
def test_the_outer_list_may_be_left_out_for_one_query(pages: Any, count: int, service: Service) -> None:
    assert search(service.open("remote", result(pages))).documents == (Document("", "Lima."),) * count


@pytest.mark.parametrize("name", ["error", "detail", "message"])
def test_an_error_with_status_200_is_told(service: Service, name: str) -> None:
    error = failure(service.open("remote", json.dumps({name: "the index is not loaded"}).encode(), retry=ONCE))
    assert error.kind == "http"
    assert "the index is not loaded" in str(error)


@pytest.mark.parametrize(
    ("pages", "said"),
    [
        ([[], []], "result is not one list"),
        ([{}], "a document has no"),
        ("text", "result is not one list"),
        (None, "result is not one list"),
        ([[{"score": 1.0}]], "but score"),
        ([[{"document": {"id": "7"}}]], "but id"),
        ([[{"id": 1, "body": "Nepal"}]], "a document has no text, contents, content, passage, but id, body"),
        ([[3]], "a document is int"),
    ],
)
def test_pages_that_are_not_the_one_for_the_query_are_malformed(pages: Any, said: str, service: Service) -> None:
    error = failure(service.open("remote", result(pages), retry=ONCE))
    assert error.kind == "malformed"
    assert said in str(error)
