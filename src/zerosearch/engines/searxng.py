"""SearXNG, a metasearch engine that you run yourself: web search without a key and without a price.

    engine = SearxngEngine(HttpOptions(url="http://localhost:8080"))
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

Asked and read as documented at docs.searxng.org/dev/search_api.html: GET /search?q=&format=json. The instance must
allow JSON (`search.formats` in its settings.yml; by default it does not, and answers 403). Use your own instance:
public ones limit such clients, and rightly so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import httpx

from zerosearch.engines.results import boxes, malformed, rows_of, web_result
from zerosearch.engines.web import HttpEngine
from zerosearch.episodes.search import Document
from zerosearch.models.client import StatusError, short_line
from zerosearch.models.retry import AttemptError


class SearxngEngine(HttpEngine):
    """See `HttpEngine`. `url` is the instance's own address, without `/search`. Answers and infoboxes come first.

    A page without results is empty only if all the engines that the instance asks have answered. While some are blocked
    or down nobody knows what they would have found: that is an error of kind `empty`, which names them.
    """

    kind = "searxng"
    example_url = "http://localhost:8080"

    def _address(self, url: httpx.URL) -> httpx.URL:
        path = url.path.rstrip("/")
        return url.copy_with(path=path if path.endswith("/search") else f"{path}/search")

    async def _ask(self, query: str, top_k: int) -> Any:
        return await self._client.get({"q": query, "format": "json"})

    def _explained(self, error: StatusError) -> AttemptError:
        if error.status != 403:
            return super()._explained(error)
        hint = "does the instance allow JSON? Its settings.yml needs search: formats: [html, json]"
        return AttemptError("refused", f"{error} ({hint})")

    def _read(self, answer: Any) -> Iterable[Document]:
        if not isinstance(answer, dict) or "results" not in answer:
            raise malformed(self.name, "no results")
        results = [box for name in ("answers", "infoboxes") for box in boxes(answer.get(name))]
        results += [web_result(row, "content", "url") for row in rows_of(answer, "results", ("content",), self.name)]
        silent = answer.get("unresponsive_engines")
        if not results and silent:
            rows = silent if isinstance(silent, list) else [silent]  # ["google", "CAPTCHA"], ...
            named = (f"{row[0]} ({row[1]})" if isinstance(row, list) and len(row) == 2 else str(row) for row in rows)
            said = short_line(", ".join(named))
            raise AttemptError("empty", f"{self.name}: no results, but not all engines answered: {said}")
        return results
