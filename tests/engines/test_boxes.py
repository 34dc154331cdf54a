"""What a service answers by itself comes first, whatever its form; and a page survives the rows that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engines.services import NEPAL, ONCE, PERU, answer, failure, open_service, search

from zerosearch.engines.results import MAX_BOX_CHARS, boxes, text_of
from zerosearch.episodes.search import Document

SERPER_GRAPH = {
    "title": "Nepal", "type": "Country in South Asia", "website": "https://n", "imageUrl": "https://i",
    "description": "Nepal is landlocked.", "descriptionSource": "Wikipedia", "descriptionLink": "https://w",
    "attributes": {"Capital": "Kathmandu", "Population": 30_000_000},
}  # fmt: skip
SERPAPI_GRAPH = {
    "title": "Nepal", "kgmid": "/m/016zwt", "description": "Nepal is landlocked.", "capital": "Kathmandu",
    "source": {"name": "Wikipedia", "link": "https://w"}, "capital_links": [{"text": "Kathmandu", "link": "u"}],
    "people_also_search_for": [{"name": "India"}], "header_images": [{"image": "data:x"}],
}  # fmt: skip
INFOBOX = {
    "infobox": "Nepal", "id": "https://w", "content": "A country.", "engine": "wikidata",
    "urls": [{"title": "Wikipedia", "url": "u"}], "attributes": [{"label": "Capital", "value": "Kathmandu"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("box", "title", "text"),
    [
        ({"title": "T", "answer": "Kathmandu", "snippet": "Nepal is old."}, "T", "Kathmandu. Nepal is old."),
        ({"answer": "Kathmandu", "snippet": "Kathmandu is the capital."}, "", "Kathmandu is the capital."),
        ({"answer": 30_000_000}, "", "30000000"),
        ({"result": 4.0, "type": "calculator_result"}, "", "4"),
        ({"answer": float("nan"), "snippet": "Said."}, "", "Said."),
        ({"type": "organic_result", "snippet_highlighted_words": ["Kathmandu", "Nepal"]}, "", "Kathmandu; Nepal"),
        ({"snippet": "It is Lima.", "snippet_highlighted_words": ["Lima"]}, "", "It is Lima."),
        ({"title": "Cities", "list": ["Kathmandu", "Pokhara"]}, "Cities", "Kathmandu; Pokhara"),
        ({"table": [["City", "People"], ["Kathmandu", 1400000]]}, "", "City, People; Kathmandu, 1400000"),
        (
            {"type": "population_result", "place": "Nepal", "population": "30 million", "year": 2021,
             "other": [{"place": "India", "population": "1.4 billion"}]},
            "Nepal", "population: 30 million. year: 2021",
        ),
        (
            {"type": "weather_result", "temperature": "84", "unit": "Fahrenheit", "location": "Austin",
             "forecast": [{"day": "Tuesday"}], "thumbnail": "https://x"},
            "", "temperature: 84. unit: Fahrenheit. location: Austin",
        ),
        ({"type": "dictionary_results", "definitions": ["a fruit", "a tree"]}, "", "a fruit; a tree"),
        (SERPER_GRAPH, "Nepal",
         "Country in South Asia. Nepal is landlocked. Capital: Kathmandu, Population: 30000000"),
        (SERPAPI_GRAPH, "Nepal", "Nepal is landlocked. capital: Kathmandu"),
        (INFOBOX, "Nepal", "A country. Capital: Kathmandu"),
        ("Kathmandu", "", "Kathmandu"),
        (42, "", "42"),
    ],
)  # fmt: skip
def test_a_box_says_its_answer_first_and_then_what_else_it_holds(box: Any, title: str, text: str) -> None:
    (document,) = boxes(box)
    assert (document.title, document.text) == (title, text)
    assert [d.text for d in boxes([box, None, {"answer": "more"}])] == [text, "more"]


def test_a_box_is_a_glance() -> None:
    (document,) = boxes({"list": ["word " * 50] * 100})
    assert len(document.text) <= MAX_BOX_CHARS


@pytest.mark.parametrize(
    ("kind", "more", "first"),
    [
        ("serper", {"answerBox": {"answer": "Kathmandu"}, "knowledgeGraph": SERPER_GRAPH}, ["Kathmandu", "Country in"]),
        ("serper", {"answerBox": ["Kathmandu", {"snippet": "It is."}]}, ["Kathmandu", "It is."]),
        ("serpapi", {"answer_box": {"answer": 7}, "knowledge_graph": SERPAPI_GRAPH}, ["7", "Nepal is"]),
        ("searxng", {"answers": ["Kathmandu", {"answer": "Lima", "url": None}], "infoboxes": [INFOBOX]},
         ["Kathmandu", "Lima", "A country."]),
    ],
)  # fmt: skip
def test_what_the_service_answers_by_itself_comes_before_its_results(
    kind: str, more: dict[str, Any], first: list[str], endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for results in ([PERU], []):  # a box alone is a page too: it was paid for
        endpoint.script = [reply(body=answer(kind, results, **more))]
        page = search(open_service(kind, endpoint.url, monkeypatch, retry=ONCE))
        found = [document.text for document in page.documents]
        assert len(found) == len(first) + len(results)
        assert all(text.startswith(begin) for text, begin in zip(found, first, strict=False)), found


@pytest.mark.parametrize("kind", ["serper", "serpapi", "searxng", "remote"])
def test_one_bad_row_never_loses_the_page(
    kind: str, endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.loads(answer(kind, [NEPAL, PERU]))
    rows = {"serper": "organic", "serpapi": "organic_results", "searxng": "results"}
    held = body[rows[kind]] if kind in rows else body["result"][0]
    first = held[0].get("document", held[0])
    numbered = {**first, "title": 2024, "contents": "2024\nA page whose title is a number."}
    held[1:1] = [None, 3, [], {}, {**first, "snippet": {}, "content": [], "contents": {}}, numbered]
    endpoint.script = [reply(body=json.dumps(body).encode())]
    page = search(open_service(kind, endpoint.url, monkeypatch, retry=ONCE))
    assert [document.title for document in page.documents] == ["Nepal", "2024", "Peru"]
    held[:] = [None, 3]
    endpoint.script = [reply(body=json.dumps(body).encode())]
    assert failure(open_service(kind, endpoint.url, monkeypatch, retry=ONCE)).kind == "malformed"


@pytest.mark.parametrize(
    "row", [{"document": {"id": "7", "content": "Nepal\nKathmandu."}}, {"content": "Nepal\nKathmandu."}]
)
def test_a_retriever_may_say_content_and_else_is_told_what_it_said(
    row: Any, endpoint: Any, reply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint.script = [reply(body=json.dumps({"result": [[row]]}).encode())]
    page = search(open_service("remote", endpoint.url, monkeypatch, retry=ONCE))
    assert [(d.title, d.text) for d in page.documents] == [("Nepal", "Kathmandu.")]
    endpoint.script = [reply(body=b'{"result": [[{"id": 1, "body": "Nepal"}]]}')]
    said = str(failure(open_service("remote", endpoint.url, monkeypatch, retry=ONCE)))
    assert "a document has no text, contents, content, passage, but id, body" in said


@pytest.mark.parametrize("value", [None, True, float("inf"), float("nan"), [], {}])
def test_what_is_no_text_is_empty(value: Any) -> None:
    assert text_of(value) == ""
    assert list(boxes({"x": value})) == [Document("", "")]
