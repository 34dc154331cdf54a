"""A query is asked once; whatever is asked again costs nothing, and what failed is asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.cache import Cached
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest, close_connections
from zerosearch.errors import ConfigError, EngineError
from zerosearch.usage import Usage


class Priced:
    """A real engine as far as a cache can tell: it counts what it is asked, and answers when it is let go."""

    name = identity = "priced"

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.gate: asyncio.Event | None = None
        self.failure: EngineError | None = None
        self.quality: Quality | None = None
        self.cancelled = 0
        self.farewells = 0  # turns of the event loop that it takes to close a connection

    async def search(self, request: SearchRequest) -> SearchPage:
        self.asked.append((request.query, request.top_k))
        try:
            if self.gate is not None:
                await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            for _ in range(self.farewells):
                await asyncio.sleep(0)
            raise
        if self.failure is not None:
            raise self.failure
        documents = tuple(Document(request.query, f"text {rank}", str(rank)) for rank in range(request.top_k))
        return SearchPage(documents, self.name, self.quality, usage=Usage(usd=0.25), seconds=3.0, attempts=2)


@pytest.fixture
def engine() -> Priced:
    return Priced()


def search(cached: Cached, *queries: str, top_k: int = 2) -> list[SearchPage]:
    async def all_of_them() -> list[SearchPage]:
        return [await cached.search(SearchRequest(query, top_k)) for query in queries]

    return asyncio.run(all_of_them())


def test_a_query_that_is_asked_again_costs_nothing(engine: Priced, tmp_path: Path) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")
    first, again = search(cached, "capital of Nepal", "  capital of\nNepal")
    assert (first.cached, first.usage.usd, first.attempts, first.seconds) == (False, 0.25, 2, 3.0)
    assert (again.cached, again.usage.usd, again.attempts, again.engine) == (True, 0.0, 1, "priced")
    assert again.documents == first.documents
    assert 0 < again.seconds < 3.0  # its own time, not the recorded one
    assert engine.asked == [("capital of Nepal", 2)]
    assert cached.name == "priced"


def test_what_one_run_paid_for_the_next_one_has(engine: Priced, tmp_path: Path) -> None:
    search(Cached(engine, tmp_path / "pages.sqlite"), "a", "b")
    later = Cached(engine, tmp_path / "pages.sqlite")
    assert [page.cached for page in search(later, "a", "b", "c")] == [True, True, False]
    assert len(engine.asked) == 3


def test_another_top_k_or_another_engine_of_that_name_is_asked_for(engine: Priced, tmp_path: Path) -> None:
    path = tmp_path / "pages.sqlite"
    search(Cached(engine, path), "a")
    assert not search(Cached(engine, path), "a", top_k=3)[0].cached
    other = Priced()
    other.identity = "priced in French"
    assert not search(Cached(other, path), "a")[0].cached
    assert search(Cached(engine, path), "a")[0].cached


def test_an_empty_page_is_an_answer_too(tmp_path: Path, engine: Priced) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")
    assert [(page.documents, page.cached) for page in search(cached, "a", "a", top_k=0)] == [((), False), ((), True)]


def test_a_failed_search_is_not_recorded(engine: Priced, tmp_path: Path) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")
    engine.failure = EngineError("http", "503", attempts=3)
    with pytest.raises(EngineError) as caught:
        search(cached, "a")
    assert (caught.value.kind, caught.value.attempts) == ("http", 3)
    engine.failure = None
    assert [page.cached for page in search(cached, "a", "a")] == [False, True]


async def settle(done: Callable[[], bool]) -> None:
    while not done():
        await asyncio.sleep(0)


def test_identical_queries_in_flight_are_asked_once(engine: Priced, tmp_path: Path) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")

    async def at_once() -> list[SearchPage]:
        engine.gate = asyncio.Event()
        searches = [asyncio.create_task(cached.search(SearchRequest(q, 2))) for q in ("a", "a ", "b", "a")]
        await settle(lambda: len(engine.asked) == 2)
        for _ in range(20):  # whoever would ask once more had the time to
            await asyncio.sleep(0)
        engine.gate.set()
        return list(await asyncio.gather(*searches))

    pages = asyncio.run(at_once())
    assert engine.asked == [("a", 2), ("b", 2)]
    assert [page.cached for page in pages] == [False, True, False, True]
    assert sum(page.usage.usd for page in pages) == 0.5


def test_a_failure_in_flight_reaches_everybody_who_waits(engine: Priced, tmp_path: Path) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")
    engine.failure = EngineError("deadline", "too slow")

    async def at_once() -> list[SearchPage | BaseException]:
        return await asyncio.gather(*(cached.search(SearchRequest("a", 2)) for _ in range(3)), return_exceptions=True)

    failures = asyncio.run(at_once())
    assert all(isinstance(failure, EngineError) and failure.kind == "deadline" for failure in failures)
    assert len(engine.asked) == 1


def test_one_who_gives_up_takes_nothing_from_the_others(engine: Priced, tmp_path: Path) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")

    async def first_gives_up() -> SearchPage:
        engine.gate = asyncio.Event()
        first, second = (asyncio.create_task(cached.search(SearchRequest("a", 2))) for _ in range(2))
        await settle(lambda: len(engine.asked) == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        engine.gate.set()
        return await second

    assert asyncio.run(first_gives_up()).documents
    assert (len(engine.asked), engine.cancelled) == (1, 0)


def test_when_everybody_gives_up_the_engine_is_called_off_and_can_be_asked_again(
    engine: Priced, tmp_path: Path
) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")

    async def all_give_up() -> SearchPage:
        engine.gate = asyncio.Event()
        searches = [asyncio.create_task(cached.search(SearchRequest("a", 2))) for _ in range(2)]
        await settle(lambda: len(engine.asked) == 1)
        for task in searches:
            task.cancel()
        await asyncio.gather(*searches, return_exceptions=True)
        assert engine.cancelled == 1
        engine.gate.set()
        return await cached.search(SearchRequest("a", 2))

    assert not asyncio.run(all_give_up()).cached
    assert len(engine.asked) == 2


def test_who_asks_while_the_engine_is_being_called_off_asks_anew(engine: Priced, tmp_path: Path) -> None:
    cached = Cached(engine, tmp_path / "pages.sqlite")
    engine.farewells = 5

    async def asks_late() -> SearchPage:
        engine.gate = asyncio.Event()
        early = asyncio.create_task(cached.search(SearchRequest("a", 2)))
        await settle(lambda: len(engine.asked) == 1)
        early.cancel()
        await settle(lambda: engine.cancelled == 1)
        engine.gate.set()
        return await cached.search(SearchRequest("a", 2))

    assert not asyncio.run(asks_late()).cached
    assert len(engine.asked) == 2


def test_a_simulated_page_is_never_recorded(engine: Priced, tmp_path: Path) -> None:
    engine.quality = Quality.USEFUL
    cached = Cached(engine, tmp_path / "pages.sqlite")
    with pytest.raises(ConfigError, match="cannot be cached"):
        search(cached, "a")
    engine.quality = None
    assert not search(cached, "a")[0].cached


def test_two_corpora_of_one_name_do_not_share_their_pages(tmp_path: Path) -> None:
    engines = []
    for folder, text in (("one", "Kathmandu lies in Nepal."), ("two", "Kathmandu is a city.")):
        (tmp_path / folder).mkdir()
        corpus = tmp_path / folder / "corpus.jsonl"
        corpus.write_text(f'{{"id": "1", "title": "Kathmandu", "text": "{text}"}}\n')
        engines.append(BM25Engine.open(corpus, tmp_path / "cache"))
    assert engines[0].name == engines[1].name
    pages = [search(Cached(e, tmp_path / "pages.sqlite"), "Kathmandu")[0] for e in engines]
    assert [page.documents[0].text for page in pages] == ["Kathmandu lies in Nepal.", "Kathmandu is a city."]
    assert not any(page.cached for page in pages)


def test_closing_a_cache_closes_the_connections_of_what_it_stands_before(tmp_path: Path) -> None:
    class Connected:
        name = identity = "connected"
        closed = 0

        async def search(self, request: SearchRequest) -> SearchPage:
            return SearchPage((), self.name)

        async def aclose(self) -> None:
            self.closed += 1

    inner = Connected()

    async def main() -> None:
        cached = Cached(inner, tmp_path / "pages.sqlite")
        await cached.search(SearchRequest("q", 1))
        await close_connections(cached)

    asyncio.run(main())
    assert inner.closed == 1
