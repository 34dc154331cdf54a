"""What every search engine offers: a request in, a page of ranked documents out."""

from __future__ import annotations

from typing import Protocol

from zerosearch.search import SearchPage, SearchRequest


class SearchEngine(Protocol):
    """Answers queries. `name` is what trajectories and manifests record.

    Raises `zerosearch.errors.EngineError` once its retries and its deadline are used up.
    """

    @property
    def name(self) -> str: ...

    async def search(self, request: SearchRequest) -> SearchPage: ...
