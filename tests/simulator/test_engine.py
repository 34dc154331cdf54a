from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest
from fakes import ChatCall, FakeChat

from zerosearch.engines.config import SimulatedConfig
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality, SearchEngine, SearchPage, SearchRequest, close_connections
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.tasks import together
from zerosearch.errors import EngineError
from zerosearch.models.chat import OpenAIWriter
from zerosearch.models.config import Server
from zerosearch.models.retry import Retry
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.usage import Usage

GOOD = "[1] Nepal: Kathmandu is the capital.\n[2] Peru: Lima is the capital."
REQUEST = SearchRequest("capital of Nepal", 2, Question("1", "Which capital?", ("Kathmandu",)), Quality.NOISY, seed=7)


TUNED = SimulatedConfig(style="tuned")
AT_ONCE = Retry(attempts=3, backoff_seconds=0.0)


def search(engine: SimulatedEngine, request: SearchRequest = REQUEST) -> SearchPage:
    return asyncio.run(engine.search(request))


def test_a_page_is_the_writers_with_the_quality_asked_for() -> None:
    scribe = FakeChat(GOOD)
    engine: SearchEngine = SimulatedEngine(scribe, TUNED)
    page = asyncio.run(engine.search(REQUEST))
    assert page.documents == (Document("Nepal", "Kathmandu is the capital."), Document("Peru", "Lima is the capital."))
    assert (page.engine, page.quality, page.parsed, page.attempts) == ("simulated:fake", Quality.NOISY, True, 1)
    (call,) = scribe.calls
    assert (call.max_tokens, call.temperature, call.seed) == (600, 0.8, 7)
    assert "Query: capital of Nepal\nWrite 2 noisy documents." in call.text


@pytest.mark.parametrize("query", ["", "  \n", "?!", "...", "<>"])
def test_a_query_without_a_word_gets_an_empty_page_and_asks_nobody(query: str) -> None:
    scribe = FakeChat(GOOD)
    page = search(SimulatedEngine(scribe), SearchRequest(query, 5, REQUEST.question, Quality.NOISY))
    assert (page.documents, page.quality, page.usage.usd, scribe.calls) == ((), Quality.NOISY, 0.0, [])


def test_an_empty_page_is_tried_again_with_another_seed_and_then_is_an_error_that_tells_its_cost() -> None:
    scribe = FakeChat("", usage=Usage(100, 10, 0.25))
    with pytest.raises(EngineError, match="wrote no document") as caught:
        search(SimulatedEngine(scribe, retry=AT_ONCE))
    error = caught.value
    assert (error.kind, error.attempts, error.usage) == ("empty", 3, Usage(300, 30, 0.75))
    assert scribe.seeds == [7, derive_seed("attempt", 2, 7), derive_seed("attempt", 3, 7)]
    assert len(set(scribe.seeds)) == 3


def test_a_second_attempt_that_works_is_a_page_and_every_attempt_is_paid_and_timed() -> None:
    scribe = FakeChat("<think>never ends", GOOD, usage=Usage(100, 10, 0.25))
    page = search(SimulatedEngine(scribe, retry=Retry(backoff_seconds=0.05)))
    assert (page.attempts, len(page.documents)) == (2, 2)
    assert page.usage == Usage(200, 20, 0.5)
    assert 0.05 <= page.seconds < 30


def test_an_attempt_that_was_paid_for_counts_where_the_deadline_cuts_off_the_next() -> None:
    stuck = FakeChat("", lambda call: asyncio.Event().wait(), usage=Usage(100, 10, 2e-4))
    with pytest.raises(EngineError) as caught:
        search(SimulatedEngine(stuck, retry=Retry(3, 0.05, backoff_seconds=0.0)))
    assert (caught.value.kind, caught.value.usage) == ("deadline", Usage(100, 10, 2e-4))


def test_an_empty_answer_over_http_is_paid_for_by_the_servers_own_count(endpoint: Any, reply: Any) -> None:
    thought = {
        "choices": [{"message": {"content": ""}, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 50, "completion_tokens": 600},
    }
    endpoint.script = [reply(body=json.dumps(thought).encode())]
    with pytest.raises(EngineError) as caught:
        over_http(endpoint, Retry(attempts=2, backoff_seconds=0.0))
    assert (caught.value.kind, caught.value.usage) == ("empty", Usage(100, 1200))


def test_a_page_out_of_form_is_kept_and_marked() -> None:
    scribe = FakeChat("I found that Kathmandu is the capital.")
    page = search(SimulatedEngine(scribe))
    assert page.documents == (Document("", "I found that Kathmandu is the capital."),)
    assert (page.parsed, page.attempts, len(scribe.calls)) == (False, 1, 1)


def test_each_page_belongs_to_its_own_question_whatever_finished_first() -> None:
    """Nobody is answered before everybody has asked, and then in a shuffled order."""
    everybody, turns, finished = asyncio.Barrier(64), list(range(64)), list[str]()
    random.Random(0).shuffle(turns)

    async def echo(call: ChatCall) -> str:
        await everybody.wait()
        lines = call.text.split("\n")
        for _ in range(turns[call.seed]):
            await asyncio.sleep(0)
        finished.append(lines[0])
        return "\n".join(f"[{rank}] Echo: {line}" for rank, line in enumerate(lines, start=1))

    engine = SimulatedEngine(FakeChat(echo), TUNED, retry=Retry(deadline_seconds=None))

    async def all_at_once() -> list[SearchPage]:
        asked = [(f"query {n}", Question(str(n), f"question {n}", (f"a{n}",)), n) for n in range(64)]
        return await together([engine.search(SearchRequest(query, 4, q, seed=seed)) for query, q, seed in asked])

    for n, page in enumerate(asyncio.run(all_at_once())):
        assert [d.text for d in page.documents[:3]] == [f"Question: question {n}", f"Answer: a{n}", f"Query: query {n}"]
    assert finished != [f"Question: question {n}" for n in range(64)]  # the order really was another one


def over_http(endpoint: Any, retry: Retry) -> SearchPage:
    async def main() -> SearchPage:
        writer = OpenAIWriter(Server(endpoint.url, timeout_seconds=30.0), "tiny")
        try:
            return await SimulatedEngine(writer, retry=retry).search(REQUEST)
        finally:
            await writer.aclose()

    return asyncio.run(main())


def test_closing_an_engine_closes_what_its_writer_holds_open() -> None:
    class Connected(FakeChat):
        closed = 0

        async def aclose(self) -> None:
            self.closed += 1

    writer = Connected(GOOD)
    asyncio.run(close_connections(SimulatedEngine(writer)))
    assert writer.closed == 1
    asyncio.run(close_connections(SimulatedEngine(FakeChat(GOOD))))  # a local model holds nothing open


def test_the_answer_of_a_question_never_enters_the_prompt_of_a_search_without_one() -> None:
    scribe = FakeChat(GOOD)
    search(SimulatedEngine(scribe), SearchRequest("capital of Nepal", 2))
    assert "Kathmandu" not in json.dumps(scribe.calls[0].messages)


def test_a_writer_that_breaks_is_no_failed_search() -> None:
    with pytest.raises(FloatingPointError):
        asyncio.run(SimulatedEngine(FakeChat(FloatingPointError("broken"))).search(SearchRequest("q", 1)))
