"""Replicas of a simulator over real servers on loopback: load is shared, a killed one is done without, and said."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from engines.conftest import PAGE, Endpoint, Reply, completion

from zerosearch.api import open_engine
from zerosearch.config_file import config_from_dict
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import SearchRequest
from zerosearch.errors import ConfigError, EngineError
from zerosearch.models.chat import OpenAIWriter
from zerosearch.models.config import Server
from zerosearch.models.pool import PooledChat
from zerosearch.usage import TokenPrices

PATIENCE = 30.0  # seconds until a test that hangs is failed
CHAT = [{"role": "user", "content": "a page, please"}]
USAGE = {"prompt_tokens": 10, "completion_tokens": 4}


@pytest.fixture
def servers() -> Iterator[list[Endpoint]]:
    started = [Endpoint(), Endpoint()]
    for server in started:
        server.says(PAGE, usage=USAGE)
    try:
        yield started
    finally:
        for server in started:
            server.stop()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def pool(servers: list[Endpoint], clock: Callable[[], float] = Clock(), **told: Any) -> PooledChat:  # noqa: B008
    return PooledChat([OpenAIWriter(Server(s.url, **told), "sim") for s in servers], clock=clock)


async def write(chat: PooledChat, times: int) -> list[str]:
    written = await asyncio.gather(*(chat.write(CHAT, Sampling()) for _ in range(times)))  # type: ignore[arg-type]
    return [one.text for one in written]


async def in_turn(chat: PooledChat, times: int) -> list[str]:
    return [text for _ in range(times) for text in await write(chat, 1)]


def test_the_least_busy_replica_is_asked(servers: list[Endpoint]) -> None:
    async def main() -> None:
        chat = pool(servers)
        servers[0].script = [Reply(body=completion(PAGE), hold=True)]
        slow = [asyncio.create_task(write(chat, 1))]
        while not servers[0].requests:
            await asyncio.sleep(0.001)
        await in_turn(chat, 5)  # one of them waits at the first, so all go to the second
        assert [len(server.requests) for server in servers] == [1, 5]
        servers[0].released.set()
        await asyncio.gather(*slow)
        await chat.aclose()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_many_at_once_are_shared_evenly(servers: list[Endpoint]) -> None:
    chat = pool(servers)
    assert asyncio.run(write(chat, 20)) == [PAGE] * 20
    assert [len(server.requests) for server in servers] == [10, 10]


def test_a_killed_replica_costs_no_page_and_is_said(servers: list[Endpoint], caplog: pytest.LogCaptureFixture) -> None:
    """The engine that a run uses, one of its two servers killed while it searches."""
    urls = [server.url for server in servers]
    question = Question("q", "What is the capital of Nepal?", ("Kathmandu",))

    async def main() -> list[int]:
        async with open_engine("simulated", base_url=urls, model="sim", attempts=1, top_k=2) as engine:

            async def search(n: int) -> int:
                return len((await engine.search(SearchRequest(f"capital {n}", 2, question, seed=n))).documents)

            before = [await search(n) for n in range(4)]
            servers[1].stop()
            return before + await asyncio.gather(*(search(n) for n in range(4, 16)))

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(main()) == [2] * 16
    said = caplog.text
    assert "1 of 2 replicas are left" in said
    assert "requests lost" in said  # at the end: which, and how many


def test_a_replica_that_comes_back_is_asked_again(servers: list[Endpoint], caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    chat = pool(servers, clock)
    servers[0].script = [Reply(status=503), Reply(body=b"{}"), Reply(body=completion(PAGE))]

    async def main() -> None:
        await in_turn(chat, 3)
        assert [len(server.requests) for server in servers] == [1, 3]  # one lost, and left alone since
        clock.now = 2.0
        await in_turn(chat, 2)
        assert servers[0].paths[1:] == ["/v1/models", "/v1/chat/completions", "/v1/chat/completions"]

    asyncio.run(main())
    assert "answers again" in caplog.text
    assert (chat.replicas[0].lost, chat.replicas[0].replies) == (1, 2)


def test_without_any_replica_the_search_fails_as_it_would_with_one(servers: list[Endpoint]) -> None:
    for server in servers:
        server.script = [Reply(status=500)]
    chat = pool(servers)
    with pytest.raises(EngineError) as raised:
        asyncio.run(write(chat, 1))
    assert raised.value.kind == "http"
    with pytest.raises(EngineError, match="no replica of sim answers") as raised:
        asyncio.run(write(chat, 1))  # both are left alone now
    assert [len(server.requests) for server in servers] == [1, 1]


def test_what_is_refused_is_no_fault_of_the_replica(servers: list[Endpoint]) -> None:
    servers[0].script = [Reply(status=404)]
    chat = pool(servers)
    with pytest.raises(EngineError) as raised:
        asyncio.run(write(chat, 1))
    assert raised.value.kind == "refused"
    assert not chat.replicas[0].down
    assert not servers[1].requests


def test_each_replica_has_its_own_bill(servers: list[Endpoint]) -> None:
    chat = pool(servers, prices=TokenPrices(1.0, 2.0))
    asyncio.run(in_turn(chat, 4))
    assert [replica.usage.completion_tokens for replica in chat.replicas] == [8, 8]
    assert "2 replies" in chat.replicas[0].line()
    assert "$0.0000" in chat.replicas[0].line()


def test_a_list_of_addresses_is_a_setting() -> None:
    def made(urls: Any) -> Any:
        return config_from_dict({"engine": {"kind": "simulated", "simulated": {"base_url": urls}}}, "test")

    simulated = made(["http://a/v1", "http://b/v1"]).engine.simulated
    assert [server.base_url for server in simulated.servers(timeout_seconds=60)] == ["http://a/v1", "http://b/v1"]
    assert {server.timeout_seconds for server in simulated.servers(timeout_seconds=60)} == {30.0}
    assert made("none").engine.simulated.servers() == []
    for wrong in ([], ["no address"]):
        with pytest.raises(ConfigError, match="base_url"):
            made(wrong)


def test_the_order_of_addresses_is_no_other_engine(servers: list[Endpoint]) -> None:
    assert pool(servers).identity == pool(servers[::-1]).identity
    assert pool(servers).identity != pool(servers[:1]).identity
