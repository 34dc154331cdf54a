"""The search services of the tests: how each of them writes results, and an engine that asks the local server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

import pytest
from engines.conftest import Endpoint, Reply

from zerosearch.engines.remote import RemoteEngine
from zerosearch.engines.searxng import SearxngEngine
from zerosearch.engines.serpapi import SerpApiEngine
from zerosearch.engines.serper import SerperEngine
from zerosearch.engines.web import KEY_VARIABLES, HttpEngine, HttpOptions
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
        documents = [{"id": link, "contents": f'"{title}"\n{text}'} for title, text, link in rows]
        body = {"result": [[{"document": document, "score": 0.5} for document in documents]]}
    return json.dumps(body | more).encode()


class Service:
    """The local server in the part of a search service, and engines that ask it, with `KEY` in their variables."""

    def __init__(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        self.endpoint = endpoint
        for variable in KEY_VARIABLES.values():
            monkeypatch.setenv(variable, KEY)

    @property
    def requests(self) -> list[dict[str, Any]]:
        return self.endpoint.requests

    def says(self, *answers: bytes | Reply) -> None:
        """What the server answers, one after the other, the last for ever."""
        self.endpoint.script = [said if isinstance(said, Reply) else Reply(body=said) for said in answers]

    def open(self, kind: str, *answers: bytes | Reply, url: str | None = None, **options: Any) -> HttpEngine:
        """An engine of this kind; without pauses, unless `options` have some."""
        if answers:
            self.says(*answers)
        return ENGINES[kind](HttpOptions(url=url or self.endpoint.url, **({"sleep": no_sleep} | options)))


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
