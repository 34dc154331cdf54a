"""One page for a question and query in a step (rule 16): what is equal, who waits, who pays, what fails."""

from __future__ import annotations

import asyncio
import random
from dataclasses import asdict, replace

import pytest
from episodes.rolled import (
    PATIENCE,
    QUESTIONS,
    always_search,
    answer_text,
    asked,
    draws,
    pages_in,
    roll,
    search_text,
    search_then_answer,
    settings,
    timeless,
)
from fakes import FakeEngine, FakeGenerator

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.rollout import ErrorRate, run_episode
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.episodes.shared_pages import SharedPages, same_query
from zerosearch.episodes.trajectory import SearchRecord, Trajectory, Try
from zerosearch.errors import BudgetError, EngineError
from zerosearch.spending.meter import Budget, Meter, Metered
from zerosearch.usage import Usage


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Capital  of\tNepal ", "capital of nepal"),
        ("Caf\u00e9", "cafe\u0301"),
        ("STRASSE", "stra\u00dfe"),
        ("\u0391\u03a3", "\u03b1\u03c3"),
        ("Tokyo\u3000tower", "tokyo tower"),
    ],
)
def test_queries_are_equal_whatever_case_blanks_and_composition(one: str, other: str) -> None:
    assert same_query(one) == same_query(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("C++", "C"), ("C#", "C"), ("C#", "C++"), ("\u0915\u0940", "\u0915\u093f"),
        ("\U0001f1eb\U0001f1f7", "\U0001f1e9\U0001f1ea"), (".NET", "net"), ("-5 degrees", "5 degrees"),
        ("3.5", "35"), ("a b", "ab"), ("\u0e01\u0e32", "\u0e01\u0e34"), ("\u304b", "\u304c"), ("AC/DC", "AC DC"),
    ],
)  # fmt: skip
def test_queries_differ_in_every_other_sign(one: str, other: str) -> None:
    assert same_query(one) != same_query(other)


def late(order: int) -> object:
    """`search_then_answer`, its first turns given back in an order of its own: what was sooner elsewhere is later."""
    waiting: list[asyncio.Event] = []

    async def write(prompt: str, sampling: Sampling) -> str:
        if pages_in(prompt) == 0:
            mine = asyncio.Event()
            waiting.append(mine)
            if len(waiting) == 12:
                random.Random(order).shuffle(waiting)
                waiting[0].set()
            await mine.wait()
            await asyncio.sleep(0)
            place = waiting.index(mine)
            if place + 1 < 12:
                waiting[place + 1].set()
        return search_then_answer(prompt, sampling)

    return write


def test_who_came_first_changes_neither_pages_nor_records(byte_codec: Codec) -> None:
    def play(order: int) -> list[Trajectory]:
        out = roll(byte_codec, late(order), draws, QUESTIONS[:3], rollouts=4, noise=0.5)
        assert len(out.engine.requests) == 3
        return timeless(out)

    assert play(1) == play(2) == play(3)


def test_another_step_and_another_question_have_pages_of_their_own(byte_codec: Codec) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        return answer_text("x") if pages_in(prompt) else search_text("the same")

    steps = [roll(byte_codec, write, draws, QUESTIONS[:2], rollouts=3, noise=0.5, step=step) for step in (0, 1)]
    seeds = [request.seed for out in steps for request in out.engine.requests]
    assert len(set(seeds)) == len(seeds) == 4


def test_a_failure_is_everybodys_failed_search_paid_and_counted_once(byte_codec: Codec) -> None:
    async def fails(request: SearchRequest) -> SearchPage:
        await asyncio.sleep(0)
        raise EngineError("http", "status 503", attempts=3, usage=Usage(30, 7, 0.25))

    errors = ErrorRate(0.2)  # five failed searches would stop the run; the engine failed once
    out = roll(byte_codec, always_search, fails, QUESTIONS[:1], errors=errors, rollouts=5, noise=0.5)
    assert len(out.engine.requests) == 1
    assert (errors.searches, errors.failures) == (1, {"http": 1})
    assert [t.stop_reason for t in out] == ["engine_error"] * 5
    records = [search for t in out for search in t.searches]
    assert [r.error for r in records] == ["http"] * 5
    assert [r.cached for r in records] == [False, True, True, True, True]
    assert [(r.usage, r.attempts) for r in records] == [(Usage(30, 7, 0.25), 3)] + [(Usage(), 1)] * 4
    assert len({r.quality for r in records}) == 1


def test_a_search_that_is_called_off_takes_the_page_from_nobody(byte_codec: Codec) -> None:
    async def main() -> None:
        started, free = asyncio.Event(), asyncio.Event()

        async def held(request: SearchRequest) -> SearchPage:
            started.set()
            await free.wait()
            return SearchPage((Document("d", "gold0"),), "test", request.quality)

        engine, author = FakeEngine(held), FakeGenerator(byte_codec, search_then_answer)
        async with SharedPages() as pages:
            owner, waiter = (
                asyncio.create_task(
                    run_episode(
                        Try(QUESTIONS[0], rollout=rollout, noise=0.5), author, engine, settings(byte_codec),
                        ErrorRate(), pages,
                    )
                )
                for rollout in (0, 1)
            )  # fmt: skip
            await started.wait()
            await asyncio.sleep(0)
            owner.cancel()
            with pytest.raises(asyncio.CancelledError):
                await owner
            free.set()
            played = await asyncio.wait_for(waiter, PATIENCE)
        assert (played.answer, len(engine.requests), len(asyncio.all_tasks())) == ("gold0", 1, 1)

    asyncio.run(main())


def test_a_page_given_again_is_not_charged_to_the_budget(byte_codec: Codec) -> None:
    meter = Meter(Budget(searches=3))
    engine = Metered(FakeEngine(draws), meter)
    roll(byte_codec, search_then_answer, engine, QUESTIONS[:3], rollouts=5, noise=0.5)
    assert (meter.used.queries, meter.used.usd) == (3, 1.5)
    with pytest.raises(BudgetError):
        roll(byte_codec, search_then_answer, engine, QUESTIONS[:1], rollouts=5, noise=0.5)


def test_a_question_that_a_step_has_twice_is_played_anew_with_the_same_pages(byte_codec: Codec) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        return answer_text(str(sampling.seed)) if pages_in(prompt) else search_text(asked(prompt))

    twice = [QUESTIONS[0], QUESTIONS[1], QUESTIONS[0]]
    out = roll(byte_codec, write, draws, twice, rollouts=3, noise=0.5)
    assert len({t.answer for t in out}) == 9  # the tokens are other ones
    assert len(out.engine.requests) == 2


def test_a_shared_page_is_recorded_as_it_was_given(byte_codec: Codec) -> None:
    out = roll(byte_codec, search_then_answer, draws, QUESTIONS[1:2], rollouts=3, noise=0.5)
    first, *others = [t.searches[0] for t in out]
    for other in others:
        free = replace(first, cached=True, usage=Usage(), seconds=other.seconds)
        assert other == SearchRecord.from_row(asdict(free))
