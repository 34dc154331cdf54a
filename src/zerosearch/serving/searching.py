"""The engine behind the server: limited in number and time, with the question of an episode if there is one.

searching = Searching(engine, simulated=True, config=ServeConfig(), seed=0)
pages = await searching.find(["capital of Nepal"], top_k=5)
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from zerosearch.episodes.curriculum import draw_quality
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.shared_pages import same_query
from zerosearch.episodes.tasks import together
from zerosearch.errors import BudgetError, EngineError
from zerosearch.serving.config import ServeConfig
from zerosearch.serving.episodes import OpenEpisode
from zerosearch.serving.faults import Fault, of_budget, of_engine
from zerosearch.serving.shapes import Knowing, plain

_SLICE_SECONDS = 0.02  # an engine that never waits, such as BM25, lets others have a turn so often


class Searching:
    """A `SearchEngine` that asks `engine`; a real one gets no noise.

    The pages of a question are a function of the server's seed, the episode's seed, the question and the query, as far
    as the engine's are: a trainer's rollouts of one question get equal pages for equal queries.

    `outcomes` counts searches by what came of them: `ok`, or a fault's kind.
    """

    def __init__(self, engine: SearchEngine, *, simulated: bool, config: ServeConfig, seed: int = 0) -> None:
        self.engine, self.simulated, self._config, self._seed = engine, simulated, config, seed
        self._slots = asyncio.Semaphore(config.searches)
        self._yielded = 0.0
        self.outcomes: Counter[str] = Counter()
        self.under_way = 0

    @property
    def identity(self) -> str:
        return self.engine.identity

    @property
    def name(self) -> str:
        return self.engine.name

    def knowing(self, episode: OpenEpisode | None) -> Knowing:
        """What the pages know, in one word."""
        if not self.simulated:
            return "real"
        return "blind" if episode is None else "question"

    async def find(self, queries: Sequence[str], top_k: int, episode: OpenEpisode | None = None) -> list[SearchPage]:
        """The pages for `queries`, in their order.

        Raises `Fault` where one of them fails: a request gets all of its pages or none.
        """
        try:
            async with asyncio.timeout(self._config.timeout_seconds):
                return await together([self._page(self._request(query, top_k, episode)) for query in queries])
        except TimeoutError:
            self.outcomes["timeout"] += 1
            raise Fault(
                504, "timeout", f"no answer within {self._config.timeout_seconds:g} s (serve.timeout_seconds)"
            ) from None

    def _request(self, query: str, top_k: int, episode: OpenEpisode | None) -> SearchRequest:
        same = same_query(query)
        if episode is None:
            return SearchRequest(query, top_k, seed=derive_seed(self._seed, "served", same))
        seed = derive_seed(self._seed, "served", episode.seed, episode.question.id, same)
        quality = draw_quality(episode.noise if self.simulated else None, seed)
        return SearchRequest(query, top_k, episode.question, quality, seed)

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request`, once there is room for another search. Raises `EngineError` and `BudgetError`."""
        async with self._slots:
            if time.monotonic() - self._yielded > _SLICE_SECONDS:
                await asyncio.sleep(0)
                self._yielded = time.monotonic()
            self.under_way += 1
            try:
                page = await self.engine.search(request)
            except EngineError as error:
                self.outcomes[error.kind] += 1
                raise
            except BudgetError:
                self.outcomes["budget"] += 1
                raise
            finally:
                self.under_way -= 1
            self.outcomes["missed" if page.missed else "ok"] += 1
            return replace(page, documents=tuple(map(plain, page.documents)))

    async def _page(self, request: SearchRequest) -> SearchPage:
        try:
            page = await self.search(request)
        except EngineError as error:
            raise of_engine(error) from None
        except BudgetError as error:
            raise of_budget(error) from None
        if page.missed:
            raise of_engine(EngineError("missed", f"{page.engine} is a recording and holds no page for this query"))
        return page
