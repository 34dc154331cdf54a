"""Google through SerpAPI: the paper's search engine.

    engine = SerpApiEngine()                                   # the key is in SERPAPI_API_KEY
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

Asked and read as documented at serpapi.com/search-api, /organic-results, /search-errors and
/api-status-and-error-codes. A search that finds nothing has an `error` too, but status `Success`; status `Error` is a
failure on their side.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zerosearch.engines.results import google_results, malformed
from zerosearch.engines.web import RESULTS_A_PAGE, HttpEngine
from zerosearch.episodes.search import Document
from zerosearch.models.client import error_message
from zerosearch.models.retry import AttemptError

_BOXES = ("answer_box", "knowledge_graph")
_NOTHING_FOUND = "hasn't returned any results"
_NOT_DONE = ("Processing", "Queued", "Error")


class SerpApiEngine(HttpEngine):
    """See `HttpEngine`. Google's own answer and its knowledge graph are the first documents, as on Google's page."""

    kind = "serpapi"
    default_url = example_url = "https://serpapi.com/search.json"
    exhausted = "run out of searches"  # sent with 429 too

    def _headers(self) -> dict[str, str]:
        return {}

    async def _ask(self, query: str, top_k: int) -> Any:
        number = str(max(top_k, RESULTS_A_PAGE))
        # The key is taken in the address and nowhere else; `cleaning.py` keeps it out of what httpx logs.
        return await self._client.get({"engine": "google", "q": query, "num": number, "api_key": self._key})

    def _read(self, answer: Any) -> Iterable[Document]:
        if not isinstance(answer, dict):
            raise malformed(self.name, "no object")
        results = list(google_results(answer, _BOXES, "organic_results", self.name))
        if results:
            return results
        metadata = answer.get("search_metadata")
        status = metadata.get("status") if isinstance(metadata, dict) else None
        if "error" in answer:
            said = error_message(answer)
            if self.exhausted in said.lower():
                raise AttemptError("refused", f"{self.name}: {said}")
            if status == "Success" or _NOTHING_FOUND in said:
                return ()
            raise AttemptError("http", f"{self.name}: {said}")
        if status in _NOT_DONE:
            raise AttemptError("http", f"{self.name}: the search is {status}, without results so far")
        if "organic_results" not in answer and "search_metadata" not in answer:
            raise malformed(self.name, "neither organic_results nor search_metadata")
        return ()
