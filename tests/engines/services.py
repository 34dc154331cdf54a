"""The search services of the tests: how each of them writes results, and an engine that asks the local server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest

from zerosearch.engines.remote import RemoteEngine
from zerosearch.engines.searxng import SearxngEngine
from zerosearch.engines.serpapi import SerpApiEngine
from zerosearch.engines.serper import SerperEngine
from zerosearch.engines.web import HttpEngine, HttpOptions
from zerosearch.episodes.search import SearchPage, SearchRequest
from zerosearch.errors import EngineError
from zerosearch.models.retry import Retry

ENGINES: dict[str, type[HttpEngine]] = {
    "serpapi": SerpApiEngine,
    "serper": SerperEngine,
    "searxng": SearxngEngine,
    "remote": RemoteEngine,
}
KEY = "0123456789abcdef-very/secret+key"
NEPAL = ("Nepal", "Kathmandu is the capital of Nepal.", "https://example.org/nepal")
PERU = ("Peru", "Lima is the capital of Peru.", "https://example.org/peru")
REQUEST = SearchRequest("capital of Nepal", 5)

Result = tuple[str, str, str]


def answer(kind: str, results: Iterable[Result], **more: Any) -> bytes:
    """A service's answer with these results (title, text, address), in the form that it documents; `more` is added."""
    rows = list(results)
    body: dict[str, Any]
    if kind == "serpapi":
        body = {
            "search_metadata": {"id": "1", "status": "Success"},
            "search_parameters": {"engine": "google", "q": "x"},
            "organic_results": [
                {"position": i, "title": title, "link": link, "displayed_link": link, "snippet": text}
                for i, (title, text, link) in enumerate(rows, start=1)
            ],
        }
    elif kind == "serper":
        body = {
            "searchParameters": {"q": "x", "type": "search", "num": 10},
            "organic": [
                {"title": title, "link": link, "snippet": text, "position": i}
                for i, (title, text, link) in enumerate(rows, start=1)
            ],
        }
    elif kind == "searxng":
        body = {
            "query": "x",
            "number_of_results": 0,
            "results": [
                {"title": title, "url": link, "content": text, "engine": "bing", "score": 1.0}
                for title, text, link in rows
            ],
            "answers": [],
            "unresponsive_engines": [],
        }
    else:
        body = {
            "result": [
                [
                    {"document": {"id": link, "contents": f'"{title}"\n{text}'}, "score": 0.5}
                    for title, text, link in rows
                ]
            ]
        }
    return json.dumps(body | more).encode()


def open_service(kind: str, url: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> HttpEngine:
    """An engine of this kind that asks `url`, with `KEY` in its environment variable."""
    for variable in ("SERPAPI_API_KEY", "SERPER_API_KEY"):
        monkeypatch.setenv(variable, KEY)
    return ENGINES[kind](HttpOptions(url=url, **({"sleep": no_sleep} | options)))


def search(engine: HttpEngine, request: SearchRequest = REQUEST) -> SearchPage:
    async def main() -> SearchPage:
        try:
            return await engine.search(request)
        finally:
            await engine.aclose()

    return asyncio.run(main())


def failure(engine: HttpEngine, request: SearchRequest = REQUEST) -> EngineError:
    with pytest.raises(EngineError) as caught:
        search(engine, request)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    return caught.value


async def no_sleep(seconds: float) -> None:
    return None


ONCE = Retry(attempts=1)
