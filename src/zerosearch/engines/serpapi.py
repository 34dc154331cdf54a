"""Google through SerpAPI: the paper's search engine.

    engine = SerpApiEngine()                                   # the key is in SERPAPI_API_KEY
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

Asked and read as documented at serpapi.com/search-api, /organic-results, /search-errors and
/api-status-and-error-codes. A search that finds nothing has an `error` too, but status `Success`; status `Error` is a
failure on their side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from zerosearch.engines.results import boxes, malformed, rows_of, web_result
from zerosearch.engines.web import RESULTS_A_PAGE, HttpEngine, refused_key
from zerosearch.episodes.search import Document
from zerosearch.models.client import StatusError, error_message
from zerosearch.models.retry import AttemptError

_BOXES = ("answer_box", "knowledge_graph")
_NOTHING_FOUND = "hasn't returned any results"
_NOT_DONE = ("Processing", "Queued", "Error")
_EXHAUSTED = "run out of searches"  # sent with 429 too, but no pause brings searches back


class SerpApiEngine(HttpEngine):
    """See `HttpEngine`. Google's own answer and its knowledge graph are the first documents, as on Google's page."""

    kind = "serpapi"
    default_url = example_url = "https://serpapi.com/search.json"

    def _headers(self) -> dict[str, str]:
        return {}

    async def _ask(self, query: str, top_k: int) -> Any:
        number = str(max(top_k, RESULTS_A_PAGE))
        try:
            # The key is taken in the address and nowhere else; http.py keeps it out of what httpx logs.
            return await self._client.get({"engine": "google", "q": query, "num": number, "api_key": self._key})
        except StatusError as error:
            if error.status in (401, 403):
                raise refused_key(error, self._key_variable) from None
            if _EXHAUSTED in error.detail:
                raise AttemptError("refused", str(error)) from None
            raise

    def _read(self, answer: Any) -> Iterable[Document]:
        if not isinstance(answer, dict):
            raise malformed(self.name, "no object")
        results = list(self._results(answer))
        if results:
            return results
        metadata = answer.get("search_metadata")
        status = metadata.get("status") if isinstance(metadata, dict) else None
        if "error" in answer:
            said = error_message(answer)
            if _EXHAUSTED in said:
                raise AttemptError("refused", f"{self.name}: {said}")
            if status == "Success" or _NOTHING_FOUND in said:
                return ()
            raise AttemptError("http", f"{self.name}: {said}")
        if status in _NOT_DONE:
            raise AttemptError("http", f"{self.name}: the search is {status}, without results so far")
        if "organic_results" not in answer and "search_metadata" not in answer:
            raise malformed(self.name, "neither organic_results nor search_metadata")
        return ()

    def _results(self, answer: dict[str, Any]) -> Iterator[Document]:
        for name in _BOXES:
            yield from boxes(answer.get(name))
        if "organic_results" in answer:
            for row in rows_of(answer, "organic_results", ("snippet",), self.name):
                yield web_result(row, "snippet", "link")
