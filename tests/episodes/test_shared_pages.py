"""One page for a question and query in a step (rule 16): what is equal, who waits, who pays, what fails."""

from __future__ import annotations

import asyncio
import random
from dataclasses import asdict, replace

import pytest
from fakes import FakeEngine as Engine
from fakes import FakeGenerator as Author
from test_rollout import (
    PATIENCE,
    QUESTIONS,
    Crowd,
    always_search,
    asked,
    draws,
    pages_in,
    roll,
    search_text,
    search_then_answer,
    settings,
    timeless,
)

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, roll_out, run_episode
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.episodes.shared_pages import SharedPages, same_query
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
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


class Late(Author):
    """Gives a question's first turns back in an order of its own: what is sooner elsewhere is later here."""

    def __init__(self, codec: Codec, order: int) -> None:
        super().__init__(codec, search_then_answer)
        self.order, self.waiting = order, list[asyncio.Event]()

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        if pages_in(self.codec.decode(prompt_ids)) == 0:
            mine = asyncio.Event()
            self.waiting.append(mine)
            if len(self.waiting) == 12:
                random.Random(self.order).shuffle(self.waiting)
                self.waiting[0].set()
            await mine.wait()
            await asyncio.sleep(0)
            place = self.waiting.index(mine)
            if place + 1 < 12:
                self.waiting[place + 1].set()
        return await super().generate(prompt_ids, sampling)


def test_who_came_first_changes_neither_pages_nor_records(byte_codec: Codec) -> None:
    def play(order: int) -> list[Trajectory]:
        author, engine = Late(byte_codec, order), Engine(draws)
        out = roll(QUESTIONS[:3], author, engine, settings(byte_codec), rollouts=4, noise=0.5)
        assert len(engine.requests) == 3
        return timeless(out)

    assert play(1) == play(2) == play(3)


def test_a_page_is_that_of_a_run_that_asks_for_it_alone(byte_codec: Codec) -> None:
    author, chosen = Author(byte_codec, search_then_answer), settings(byte_codec)
    together = roll(QUESTIONS, author, Engine(draws), chosen, rollouts=4, noise=0.5, step=3)
    one = asyncio.run(
        run_episode(QUESTIONS[2], author, Engine(draws), chosen, ErrorRate(), noise=0.5, step=3, rollout=3)
    )
    assert one.searches[0].documents == together[11].searches[0].documents
    assert one.searches[0].quality == together[11].searches[0].quality


def test_another_step_and_another_question_have_pages_of_their_own(byte_codec: Codec) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        return search_text("the same") if not pages_in(prompt) else "<answer> x </answer>"

    engine = Engine(draws)
    for step in (0, 1):
        roll(
            QUESTIONS[:2],
            Author(byte_codec, write),
            engine,
            settings(byte_codec),
            rollouts=3,
            noise=0.5,
            step=step,
        )
    assert len({request.seed for request in engine.requests}) == len(engine.requests) == 4


def failing_once(record: list[str]) -> Engine:
    async def fails(request: SearchRequest) -> SearchPage:
        record.append(request.query)
        await asyncio.sleep(0)
        raise EngineError("http", "status 503", attempts=3, usage=Usage(30, 7, 0.25))

    return Engine(fails)


def test_a_failure_is_everybodys_failed_search_paid_and_counted_once(byte_codec: Codec) -> None:
    calls: list[str] = []
    errors = ErrorRate(0.2, 4)  # five failed searches would stop the run; the engine failed once
    out = roll(
        QUESTIONS[:1], Author(byte_codec, always_search), failing_once(calls), settings(byte_codec), errors,
        rollouts=5, noise=0.5,
    )  # fmt: skip
    assert len(calls) == 1
    assert (errors.searches, errors.failures) == (1, {"http": 1})
    assert [t.stop_reason for t in out] == ["engine_error"] * 5
    records = [search for t in out for search in t.searches]
    assert [r.error for r in records] == ["http"] * 5
    assert [r.cached for r in records] == [False, True, True, True, True]
    assert [(r.usage, r.attempts) for r in records] == [(Usage(30, 7, 0.25), 3)] + [(Usage(), 1)] * 4
    assert len({(r.quality, r.asked) for r in records}) == 1


def test_a_search_that_is_called_off_takes_the_page_from_nobody(byte_codec: Codec) -> None:
    async def main() -> tuple[Trajectory, int, int]:
        started, free = asyncio.Event(), asyncio.Event()

        async def held(request: SearchRequest) -> SearchPage:
            started.set()
            await free.wait()
            return SearchPage((Document("d", "gold0"),), "test", request.quality)

        engine, pages = Engine(held), SharedPages()

        def episode(rollout: int) -> asyncio.Task[Trajectory]:
            return asyncio.create_task(
                run_episode(
                    QUESTIONS[0], Author(byte_codec, search_then_answer), engine, settings(byte_codec), ErrorRate(),
                    noise=0.5, rollout=rollout, pages=pages,
                )
            )  # fmt: skip

        owner = episode(0)
        await started.wait()
        waiter = episode(1)
        await asyncio.sleep(0)
        owner.cancel()
        with pytest.raises(asyncio.CancelledError):
            await owner
        free.set()
        played = await asyncio.wait_for(waiter, PATIENCE)
        await pages.close()
        return played, len(engine.requests), len(asyncio.all_tasks())

    played, calls, tasks = asyncio.run(main())
    assert (played.answer, calls, tasks) == ("gold0", 1, 1)


def test_a_step_that_is_called_off_calls_its_searches_off(byte_codec: Codec) -> None:
    async def main() -> tuple[Crowd, int]:
        crowd = Crowd(failing=0)
        author = Author(byte_codec, always_search)
        step = asyncio.create_task(
            roll_out(QUESTIONS, author, Engine(crowd.search), settings(byte_codec), ErrorRate(), rollouts=3, noise=0.5)
        )
        await asyncio.wait_for(crowd.all_there.wait(), PATIENCE)
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        return crowd, len(asyncio.all_tasks())

    crowd, tasks = asyncio.run(main())
    assert (crowd.cancelled, tasks) == (len(QUESTIONS), 1)


def test_a_page_given_again_is_not_charged_to_the_budget(byte_codec: Codec) -> None:
    meter = Meter(Budget(searches=3))
    author = Author(byte_codec, search_then_answer)
    roll(QUESTIONS[:3], author, Metered(Engine(draws), meter), settings(byte_codec), rollouts=5, noise=0.5)
    assert (meter.used.queries, meter.used.usd) == (3, 1.5)
    with pytest.raises(BudgetError):
        roll(QUESTIONS[:1], author, Metered(Engine(draws), meter), settings(byte_codec), rollouts=5, noise=0.5)


def test_a_question_that_a_step_has_twice_is_played_anew_with_the_same_pages(byte_codec: Codec) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        if not pages_in(prompt):
            return search_text(asked(prompt))
        return f"<answer> {sampling.seed} </answer>"

    engine = Engine(draws)
    twice = [QUESTIONS[0], QUESTIONS[1], QUESTIONS[0]]
    out = roll(twice, Author(byte_codec, write), engine, settings(byte_codec), rollouts=3, noise=0.5)
    assert len({t.answer for t in out}) == 9  # the tokens are other ones
    assert len(engine.requests) == 2
    alone = roll(twice[2:], Author(byte_codec, write), engine, settings(byte_codec), rollouts=3, noise=0.5, repeats=[1])
    assert [t.answer for t in alone] == [t.answer for t in out[6:]]


def test_a_shared_page_is_recorded_as_it_was_given(byte_codec: Codec) -> None:
    out = roll(
        [Question("q", "What is number 1?", ("gold1",))],
        Author(byte_codec, search_then_answer), Engine(draws), settings(byte_codec), rollouts=3, noise=0.5,
    )  # fmt: skip
    first, *others = [t.searches[0] for t in out]
    for other in others:
        free = replace(first, cached=True, usage=Usage(), seconds=other.seconds)
        assert other == SearchRecord.from_row(asdict(free))
