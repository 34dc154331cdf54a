"""Remember the pages of an engine: a repeated query costs nothing and gets the same page.

    engine = Cached(SerperEngine(...), Path("pages.sqlite"))

The file outlives the run and may be shared by several runs at once (`cache_file.py`); `recorded.py` replays it.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from pathlib import Path

from zerosearch.engines.cache_file import PageStore, normalise_query
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest, close_connections
from zerosearch.errors import ConfigError
from zerosearch.models.client import PerLoop

_Key = tuple[int, str]


class _Flight:
    """A search of the inner engine that is under way, among the `flights` of its event loop."""

    def __init__(self, flights: dict[_Key, _Flight], key: _Key, task: asyncio.Task[SearchPage]) -> None:
        self._flights, self._key, self._task = flights, key, task
        self._waiting = 0
        task.add_done_callback(lambda _: self._land())

    async def page(self) -> SearchPage:
        """What the engine answers. The search is cancelled once all who waited for it were."""
        self._waiting += 1
        try:
            return await asyncio.shield(self._task)
        except asyncio.CancelledError:
            if self._waiting == 1 and not self._task.done():
                self._land()  # who asks from now on asks the engine again
                self._task.cancel()
                await asyncio.gather(self._task, return_exceptions=True)
            raise
        finally:
            self._waiting -= 1

    def _land(self) -> None:
        if self._flights.get(self._key) is self:
            del self._flights[self._key]


class Cached:
    """A `SearchEngine` that asks `engine` once for each query and `top_k`, and never again.

    A page from the file, or one that another search of this process has asked for, has `cached` True and costs nothing.
    A failed search fails for all who wait for it and is not recorded. Empty pages are recorded: the engine said so.

    Pages are kept under the engine's identity: engines that may give different pages share none.

    `search` raises `ConfigError` where the engine is a simulator: its page depends on question, quality and seed too.
    """

    def __init__(self, engine: SearchEngine, path: Path) -> None:
        self.engine = engine
        self.name, self.identity = engine.name, engine.identity
        self._store = PageStore(path)
        self._flights: PerLoop[dict[_Key, _Flight]] = PerLoop(dict)

    async def search(self, request: SearchRequest) -> SearchPage:
        # The file is read here and not in a thread: it takes microseconds, and this way a run whose pages are all
        # recorded meets them in one order, always.
        started = time.perf_counter()
        stored = self._store.get(self.identity, request.top_k, request.query)
        if stored is not None:
            return replace(stored, engine=self.name).again(time.perf_counter() - started)
        flights = self._flights.get()
        key = (request.top_k, normalise_query(request.query))
        if key in flights:
            page = await flights[key].page()
            return page.again(time.perf_counter() - started)
        flight = flights[key] = _Flight(flights, key, asyncio.create_task(self._ask(request)))
        return await flight.page()

    async def aclose(self) -> None:
        """Close the inner engine's connections, where it has any, and the file."""
        await close_connections(self.engine)
        self._store.close()

    async def _ask(self, request: SearchRequest) -> SearchPage:
        page = await self.engine.search(request)
        if page.quality is not None:
            raise ConfigError(f"{self.name}: a simulated page depends on more than its query and cannot be cached")
        if page.missed:
            return page
        # Another process may be writing: a thread waits for it, the event loop does not.
        await asyncio.to_thread(self._store.put, self.identity, request.top_k, request.query, page)
        return page
