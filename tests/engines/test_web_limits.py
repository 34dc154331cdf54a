"""Many searches at once: pages find their queries, and the polite limits hold and fail nobody."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from engines.conftest import Reply
from engines.services import NEPAL, PERU, Service, answer, search

from zerosearch.engines.web import RateLimiter
from zerosearch.episodes.search import SearchPage, SearchRequest
from zerosearch.errors import ConfigError
from zerosearch.models.retry import Retry


def ask_all(engine: Any, count: int) -> list[SearchPage]:
    async def main() -> list[SearchPage]:
        try:
            return list(await asyncio.gather(*(engine.search(SearchRequest(f"query {n}", 1)) for n in range(count))))
        finally:
            await engine.aclose()

    return asyncio.run(main())


def test_64_searches_at_once_each_get_their_own_page(service: Service) -> None:
    together = threading.Barrier(64)  # nobody is answered before all have asked

    def echo(request: dict[str, Any]) -> Any:
        together.wait(30)
        return Reply(body=answer("serper", [("Echo", f"about {request['q']}", "u")]))

    service.endpoint.answer = echo
    pages = ask_all(service.open("serper", max_connections=64), 64)
    assert [page.documents[0].text for page in pages] == [f"about query {n}" for n in range(64)]


def test_no_more_searches_are_under_way_than_allowed(service: Service) -> None:
    lock, under_way, seen = threading.Lock(), 0, []
    together = threading.Barrier(4)

    def count(request: dict[str, Any]) -> Any:
        nonlocal under_way
        with lock:
            under_way += 1
            seen.append(under_way)
        together.wait(30)  # four at a time do come
        with lock:
            under_way -= 1
        return Reply(body=answer("remote", [NEPAL]))

    service.endpoint.answer = count
    pages = ask_all(service.open("remote", max_connections=4), 16)
    assert (len(pages), len(seen), max(seen)) == (16, 16, 4)


def test_one_engine_serves_several_event_loops_and_can_be_used_after_it_was_closed(service: Service) -> None:
    engine = service.open("remote", answer("remote", [NEPAL]), max_connections=1, requests_per_second=1e6)
    for _ in range(2):
        assert len(ask_all(engine, 3)) == 3  # the lock and the slots are waited for, and belong to this loop


class Clock:
    """Time that passes only where somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.now += seconds
        await asyncio.sleep(0)


def test_requests_are_spaced_evenly_and_first_come_first_served() -> None:
    clock = Clock()
    limiter = RateLimiter(2.0, sleep=clock.sleep, clock=clock)
    served: list[tuple[int, float]] = []

    async def one(number: int) -> None:
        await limiter.wait()
        served.append((number, clock.now))

    async def main() -> None:
        await asyncio.gather(*map(one, range(4)))
        clock.now += 10  # an idle time is not saved up
        await asyncio.gather(*map(one, range(4, 6)))

    asyncio.run(main())
    assert served == [(0, 0.0), (1, 0.5), (2, 1.0), (3, 1.5), (4, 11.5), (5, 12.0)]


def test_who_gives_up_in_the_line_takes_no_slot_with_it() -> None:
    clock = Clock()
    limiter = RateLimiter(1.0, sleep=clock.sleep, clock=clock)

    async def main() -> None:
        await limiter.wait()
        waiting = [asyncio.create_task(limiter.wait()) for _ in range(50)]
        await asyncio.sleep(0)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        before = clock.now
        await limiter.wait()
        assert clock.now - before <= 1.0

    asyncio.run(main())


def test_without_a_limit_nobody_waits() -> None:
    clock = Clock()

    async def main() -> None:
        await asyncio.gather(*(RateLimiter(None, sleep=clock.sleep, clock=clock).wait() for _ in range(9)))

    asyncio.run(main())
    assert clock.now == 0
    with pytest.raises(ConfigError, match="requests_per_second is 0"):
        RateLimiter(0.0)


def test_waiting_in_line_costs_no_deadline_and_retries_keep_to_the_limit(service: Service) -> None:
    clock = Clock()
    service.says(*[answer("remote", [NEPAL])] * 3, Reply(500), answer("remote", [PERU]))
    engine = service.open(
        "remote", retry=Retry(deadline_seconds=60.0), max_connections=1,
        requests_per_second=0.02, sleep=clock.sleep, clock=clock,
    )  # fmt: skip
    pages = ask_all(engine, 3)
    # the third search began after 100 s in line: with a deadline of 60 s
    assert [len(page.documents) for page in pages] == [1, 1, 1]
    assert (clock.now, [page.seconds for page in pages]) == (100.0, [0.0] * 3)
    page = search(engine)
    assert (page.attempts, clock.now) == (2, 200.0)
