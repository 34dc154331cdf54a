"""What every search engine offers: a request in, a page of ranked documents out."""

from __future__ import annotations

from typing import Protocol

from zerosearch.search import SearchPage, SearchRequest


class SearchEngine(Protocol):
    """Answers queries. `name` is short, for the eye. `identity` says all that pages depend on besides the request
    (`engines/identity.py`): equal identities promise equal pages.

    Raises `zerosearch.errors.EngineError` once its retries and its deadline are used up.
    """

    @property
    def name(self) -> str: ...

    @property
    def identity(self) -> str: ...

    async def search(self, request: SearchRequest) -> SearchPage: ...


async def close_connections(part: object) -> None:
    """Close the connections of an engine, or of something in it, to servers; nothing where it holds none.

    Connections belong to an event loop: call it in the loop in which `part` was used, once nothing uses it any more.
    """
    aclose = getattr(part, "aclose", None)
    if aclose is not None:
        await aclose()
