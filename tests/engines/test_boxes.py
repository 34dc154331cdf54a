"""What a service answers by itself comes first, whatever its form; and a page survives the rows that are none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from engines.services import NEPAL, ONCE, PERU, Service, answer, failure, search

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
    kind: str, more: dict[str, Any], first: list[str], service: Service
) -> None:
    for results in ([PERU], []):  # a box alone is a page too: it was paid for
        page = search(service.open(kind, answer(kind, results, **more), retry=ONCE))
        found = [document.text for document in page.documents]
        assert len(found) == len(first) + len(results)
        assert all(text.startswith(begin) for text, begin in zip(found, first, strict=False)), found


@pytest.mark.parametrize("kind", ["serper", "serpapi", "searxng", "remote"])
def test_one_bad_row_never_loses_the_page(kind: str, service: Service) -> None:
    body = json.loads(answer(kind, [NEPAL, PERU]))
    rows = {"serper": "organic", "serpapi": "organic_results", "searxng": "results"}
    held = body[rows[kind]] if kind in rows else body["result"][0]
    first = held[0].get("document", held[0])
    numbered = {**first, "title": 2024, "contents": "2024\nA page whose title is a number."}
    held[1:1] = [None, 3, [], {}, {**first, "snippet": {}, "content": [], "contents": {}}, numbered]
    page = search(service.open(kind, json.dumps(body).encode(), retry=ONCE))
    assert [document.title for document in page.documents] == ["Nepal", "2024", "Peru"]
    held[:] = [None, 3]
    assert failure(service.open(kind, json.dumps(body).encode(), retry=ONCE)).kind == "malformed"


@pytest.mark.parametrize("value", [None, True, float("inf"), float("nan"), [], {}])
def test_what_is_no_text_is_empty(value: Any) -> None:
    assert text_of(value) == ""
    assert list(boxes({"x": value})) == [Document("", "")]


@pytest.mark.parametrize("box", [None, True, [], {}, {"answer": None}, {"title": "Nepal"}, [[]], {"link": "u"}])
def test_a_box_that_says_nothing_is_no_document(box: Any) -> None:
    assert all(not document.text for document in boxes(box))
