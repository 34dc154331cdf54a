"""Any JSON at all from a search service: a page or a typed error, never anything else, and quickly."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from engines.services import ENGINES, KEY

from zerosearch.engines.web import KEY_VARIABLES, HttpOptions
from zerosearch.errors import EngineError

TOP_K = 5
TOPS = {
    "serpapi": ("organic_results", "answer_box", "knowledge_graph", "search_metadata", "error"),
    "serper": ("organic", "answerBox", "knowledgeGraph", "searchParameters"),
    "searxng": ("results", "answers", "infoboxes", "unresponsive_engines"),
    "remote": ("result",),
}
FIELDS = (
    "title", "snippet", "content", "contents", "text", "link", "url", "id", "document", "score", "answer", "result",
    "list", "table", "attributes", "label", "value", "infobox", "description", "type", "population", "translation",
    "definitions", "snippet_highlighted_words", "forecast", "name", "price", "to", "", "\ud800", " a\n", "<b>",
)  # fmt: skip
TEXTS = ("Nepal", "", " ", "<b>x</b>", "a<b and c>d", "<" * 40, "\x00\x1b[31m", "\ud83d", "北京", "https://x", "1" * 99)
SCALARS = (None, True, False, 0, -1, 2024, 10**30, 1.5, 3.0, float("nan"), float("inf"), -float("inf"))


def junk(draw: random.Random, depth: int = 0) -> Any:
    kind = draw.random()
    if depth > 5 or kind < 0.35:
        return draw.choice(TEXTS)
    if kind < 0.6:
        return draw.choice(SCALARS)
    if kind < 0.8:
        return [junk(draw, depth + 1) for _ in range(draw.randrange(4))]
    return {draw.choice(FIELDS): junk(draw, depth + 1) for _ in range(draw.randrange(5))}


def foreign(draw: random.Random, kind: str) -> Any:
    """Mostly of the service's outer form: what is odd lies deeper."""
    if draw.random() < 0.1:
        return junk(draw)
    body = {name: junk(draw) for name in TOPS[kind] if draw.random() < 0.7}
    name = TOPS[kind][0]
    if draw.random() < 0.7:
        rows = [junk(draw) for _ in range(draw.randrange(5))]
        good = {"title": "Nepal", "snippet": "Kathmandu.", "content": "Kathmandu.", "contents": "Kathmandu."}
        rows.insert(draw.randrange(len(rows) + 1), good)
        body[name] = [rows] if kind == "remote" else rows
    return body


@pytest.mark.parametrize("kind", sorted(ENGINES))
def test_any_json_is_a_page_or_a_typed_error(
    kind: str, tally: Any, tries: Callable[[int, int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in KEY_VARIABLES.values():
        monkeypatch.setenv(variable, KEY)
    engine = ENGINES[kind](HttpOptions("http://127.0.0.1:9/x"))
    draw, pages = random.Random(kind), 0
    for number in range(tries(full=60_000, short=400)):
        body = foreign(draw, kind)
        with tally("foreign JSON from a search service", f"{kind} {number}: {body!r}"[:400]):
            failed, page = None, ()
            try:
                page = engine._page(engine._read(body), TOP_K)
            except EngineError as error:
                failed = error
            if failed is not None:
                assert failed.kind in ("malformed", "http", "empty")
                assert "\n" not in str(failed)
                assert len(str(failed)) < 500
            pages += bool(page)
            assert len(page) <= TOP_K
            for document in page:
                assert document.text.strip()
                for part in (document.title, document.text, document.id):
                    assert part.encode("utf-8").decode() == " ".join(part.split())  # one line, no half characters
                    assert not any(c < " " or c == "\x7f" for c in part)
    assert pages > 100  # much of it was readable
