"""Google through Serper: like SerpAPI, for a tenth of the price.

    engine = SerperEngine()                                    # the key is in SERPER_API_KEY
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

Asked and read as serper.dev shows in its playground: POST {"q", "num"} with the key in X-API-KEY; `organic` holds the
results, and `searchParameters` comes with every answer. A wrong key is answered with 403.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from zerosearch.engines.results import google_results, malformed
from zerosearch.engines.web import RESULTS_A_PAGE, HttpEngine
from zerosearch.episodes.search import Document
from zerosearch.models.client import error_message
from zerosearch.models.retry import AttemptError

_BOXES = ("answerBox", "knowledgeGraph")


class SerperEngine(HttpEngine):
    """See `HttpEngine`. Google's own answer and its knowledge graph are the first documents, as on Google's page."""

    kind = "serper"
    default_url = example_url = "https://google.serper.dev/search"
    exhausted = "not enough credits"

    def _headers(self) -> dict[str, str]:
        return {"X-API-KEY": self._key}

    async def _ask(self, query: str, top_k: int) -> Any:
        return await self._client.post({"q": query, "num": max(top_k, RESULTS_A_PAGE)})

    def price_usd(self, top_k: int) -> float:
        # more than ten results are charged as two searches (serper.dev, as reported on 2026-08-13)
        return super().price_usd(top_k) * (2 if top_k > RESULTS_A_PAGE else 1)

    def _read(self, answer: Any) -> Iterable[Document]:
        if not isinstance(answer, dict):
            raise malformed(self.name, "no object")
        if not any(name in answer for name in ("organic", "searchParameters", *_BOXES)):
            if "message" in answer or "error" in answer:
                said = error_message(answer)
                raise AttemptError("refused" if self.exhausted in said.lower() else "http", f"{self.name}: {said}")
            raise malformed(self.name, "neither organic nor searchParameters")
        return google_results(answer, _BOXES, "organic", self.name)
