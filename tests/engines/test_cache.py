"""A query is asked once; whatever is asked again costs nothing, and what failed is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import FakeEngine

from zerosearch.engines.cache import Cached
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest, close_connections
from zerosearch.errors import ConfigError, EngineError
from zerosearch.usage import Usage


def priced(request: SearchRequest) -> SearchPage:
    documents = tuple(Document(request.query, f"text {rank}", str(rank)) for rank in range(request.top_k))
    return SearchPage(documents, "priced", usage=Usage(usd=0.25), seconds=3.0, attempts=2)


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine(priced, name="priced")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pages.sqlite"


def search(cached: Cached, *queries: str, top_k: int = 2) -> list[SearchPage]:
    async def all_of_them() -> list[SearchPage]:
        return [await cached.search(SearchRequest(query, top_k)) for query in queries]

    return asyncio.run(all_of_them())


def test_a_query_that_is_asked_again_costs_nothing(engine: FakeEngine, path: Path) -> None:
    cached = Cached(engine, path)
    first, again = search(cached, "capital of Nepal", "  capital of\nNepal")
    assert (first.cached, first.usage.usd, first.attempts, first.seconds) == (False, 0.25, 2, 3.0)
    assert (again.cached, again.usage.usd, again.attempts, again.engine) == (True, 0.0, 1, "priced")
    assert again.documents == first.documents
    assert 0 < again.seconds < 3.0  # its own time, not the recorded one
    assert engine.requests == [SearchRequest("capital of Nepal", 2)]
    assert cached.name == "priced"


def test_what_one_run_paid_for_the_next_one_has(engine: FakeEngine, path: Path) -> None:
    search(Cached(engine, path), "a", "b")
    assert [page.cached for page in search(Cached(engine, path), "a", "b", "c")] == [True, True, False]
    assert len(engine.requests) == 3


def test_another_top_k_or_another_engine_of_that_name_is_asked_for(engine: FakeEngine, path: Path) -> None:
    search(Cached(engine, path), "a")
    assert not search(Cached(engine, path), "a", top_k=3)[0].cached
    other = FakeEngine(priced, name="priced")
    other.identity = "priced in French"
    assert not search(Cached(other, path), "a")[0].cached
    assert search(Cached(engine, path), "a")[0].cached


def test_an_empty_page_is_an_answer_too(engine: FakeEngine, path: Path) -> None:
    pages = search(Cached(engine, path), "a", "a", top_k=0)
    assert [(page.documents, page.cached) for page in pages] == [((), False), ((), True)]


def test_a_failed_search_is_not_recorded(path: Path) -> None:
    cached = Cached(FakeEngine(EngineError("http", "503", attempts=3), priced), path)
    with pytest.raises(EngineError) as caught:
        search(cached, "a")
    assert (caught.value.kind, caught.value.attempts) == ("http", 3)
    assert [page.cached for page in search(cached, "a", "a")] == [False, True]


class Held(FakeEngine):
    """Answers once its gate is open. `farewells`: turns of the event loop that it takes to close a connection."""

    def __init__(self, farewells: int = 0) -> None:
        super().__init__(self.wait, name="priced")
        self.gate = asyncio.Event()
        self.farewells, self.cancelled = farewells, 0

    async def wait(self, request: SearchRequest) -> SearchPage:
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            for _ in range(self.farewells):
                await asyncio.sleep(0)
            raise
        return priced(request)


def begin(cached: Cached, *queries: str) -> list[asyncio.Task[SearchPage]]:
    return [asyncio.create_task(cached.search(SearchRequest(query, 2))) for query in queries]


async def settle(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0)


def test_identical_queries_in_flight_are_asked_once(path: Path) -> None:
    engine = Held()

    async def at_once() -> list[SearchPage]:
        searches = begin(Cached(engine, path), "a", "a ", "b", "a")
        await settle(lambda: len(engine.requests) == 2)
        for _ in range(20):  # whoever would ask once more had the time to
            await asyncio.sleep(0)
        engine.gate.set()
        return list(await asyncio.gather(*searches))

    pages = asyncio.run(at_once())
    assert engine.queries == ["a", "b"]
    assert [page.cached for page in pages] == [False, True, False, True]
    assert sum(page.usage.usd for page in pages) == 0.5


def test_a_failure_in_flight_reaches_everybody_who_waits(path: Path) -> None:
    engine = FakeEngine(EngineError("deadline", "too slow"))

    async def at_once() -> list[SearchPage | BaseException]:
        return await asyncio.gather(*begin(Cached(engine, path), "a", "a", "a"), return_exceptions=True)

    failures = asyncio.run(at_once())
    assert all(isinstance(failure, EngineError) and failure.kind == "deadline" for failure in failures)
    assert len(engine.requests) == 1


def test_one_who_gives_up_takes_nothing_from_the_others(path: Path) -> None:
    engine = Held()

    async def first_gives_up() -> SearchPage:
        first, second = begin(Cached(engine, path), "a", "a")
        await settle(lambda: len(engine.requests) == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        engine.gate.set()
        return await second

    assert asyncio.run(first_gives_up()).documents
    assert (len(engine.requests), engine.cancelled) == (1, 0)


@pytest.mark.parametrize("farewells", [0, 5])
def test_when_everybody_gives_up_the_engine_is_called_off_and_asked_anew(farewells: int, path: Path) -> None:
    """Also by whoever asks while it is being called off."""
    engine = Held(farewells)

    async def all_give_up() -> SearchPage:
        cached = Cached(engine, path)
        searches = begin(cached, "a", "a")
        await settle(lambda: len(engine.requests) == 1)
        for task in searches:
            task.cancel()
        await settle(lambda: engine.cancelled == 1)
        engine.gate.set()
        page = await cached.search(SearchRequest("a", 2))
        await asyncio.gather(*searches, return_exceptions=True)
        return page

    assert not asyncio.run(all_give_up()).cached
    assert (len(engine.requests), engine.cancelled) == (2, 1)


def test_a_simulated_page_is_never_recorded(path: Path) -> None:
    engine = FakeEngine(lambda request: replace(priced(request), quality=Quality.USEFUL), priced)
    cached = Cached(engine, path)
    with pytest.raises(ConfigError, match="cannot be cached"):
        search(cached, "a")
    assert not search(cached, "a")[0].cached


def test_closing_a_cache_closes_the_connections_of_what_it_stands_before(path: Path) -> None:
    class Connected(FakeEngine):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    inner = Connected(priced)

    async def main() -> None:
        cached = Cached(inner, path)
        await cached.search(SearchRequest("q", 1))
        await close_connections(cached)

    asyncio.run(main())
    assert inner.closed == 1
