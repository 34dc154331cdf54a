"""Many episodes at once: pairing, the last turn, failures, slow engines, the same run twice (rules 1, 8, 11, 13)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
from episodes.rolled import (
    LIMITS,
    QUESTIONS,
    Crowd,
    always_search,
    answer_text,
    asked,
    draws,
    page_of,
    pages_in,
    questions,
    roll,
    search_text,
    search_then_answer,
    settings,
    simulated,
    timeless,
)
from fakes import FakeEngine, FakeGenerator

from zerosearch.episodes.curriculum import draw_quality
from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.protocol import STOP_STRINGS
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rewards import REWARDS
from zerosearch.episodes.rollout import ErrorRate, run_episode
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.trajectory import Trajectory, Try, tries
from zerosearch.errors import EngineError, PolicyError, RunError
from zerosearch.usage import Usage


def test_each_query_is_answered_for_its_own_question_whatever_finished_first(byte_codec: Codec) -> None:
    waiting: list[asyncio.Event] = []
    finished: list[str] = []

    async def held(request: SearchRequest) -> SearchPage:
        mine = asyncio.Event()
        waiting.append(mine)
        if len(waiting) == 24:  # nobody is answered before everybody has asked
            random.Random(1).shuffle(waiting)
            waiting[0].set()
        await mine.wait()
        place = waiting.index(mine)
        if place + 1 < len(waiting):
            waiting[place + 1].set()
        finished.append(request.question.id)
        return page_of(request)

    out = roll(byte_codec, search_then_answer, held, rollouts=4)
    assert finished != sorted(finished)
    assert [(t.question.id, t.group, t.rollout) for t in out] == [
        (f"q{n}", n, rollout) for n in range(6) for rollout in range(4)
    ]
    for trajectory in out:
        n = trajectory.question.id[1:]
        (record,) = trajectory.searches
        assert record.query == f"What is number {n}"
        assert record.documents == (Document(f"q{n}", f"What is number {n} is gold{n}"),)
        assert (trajectory.answer, trajectory.reward, trajectory.stop_reason) == (f"gold{n}", 1.0, "answer")
        assert len(trajectory.ids) == len(trajectory.mask) == len(trajectory.logprobs)
    for request in out.engine.requests:
        assert (request.query, request.top_k) == (request.question.text.rstrip("?"), 3)


@pytest.mark.parametrize("max_searches", [0, 1, 3])
def test_the_last_turns_search_reaches_no_engine(byte_codec: Codec, max_searches: int) -> None:
    out = roll(byte_codec, of=QUESTIONS[:2], limits=replace(LIMITS, max_searches=max_searches))
    assert len(out.engine.requests) == 2 * max_searches
    assert len(out.author.asked) == 2 * (max_searches + 1)
    for trajectory in out:
        assert [s.query.split()[1] for s in trajectory.searches] == [str(n) for n in range(max_searches)]
        assert (trajectory.stop_reason, trajectory.reward, trajectory.valid) == ("refused_search", 0.0, True)
        assert trajectory.turns[-1].last


def test_what_is_sampled_is_what_the_settings_say_and_each_turn_has_its_own_seed(byte_codec: Codec) -> None:
    told = {"sampling": Sampling(0.7, 0.9, 12, 1, ("never",), 5), "limits": replace(LIMITS, max_turn_tokens=77)}
    out = roll(byte_codec, always_search, simulated, QUESTIONS[:3], rollouts=2, noise=0.5, **told)
    for _, sampling in out.author.asked:
        assert replace(sampling, seed=0) == Sampling(0.7, 0.9, 12, 77, STOP_STRINGS, 0)
    assert len({sampling.seed for _, sampling in out.author.asked}) == len(out.author.asked) == 18
    requests = out.engine.requests
    assert len({request.seed for request in requests}) == len(requests) == 6  # two rollouts ask alike


def asks_twice(prompt: str, sampling: Sampling) -> str:
    """The same query in other dress, then another one."""
    return search_text(["Who is  IT?", "who is it?", "who was it", "at last"][pages_in(prompt)])


def test_a_query_asked_again_gets_the_page_it_got_before_and_costs_nothing(byte_codec: Codec) -> None:
    out = roll(byte_codec, asks_twice, draws, rollouts=5, noise=0.5, limits=replace(LIMITS, max_searches=3))
    assert len(out.engine.requests) == 2 * len(QUESTIONS)  # whichever rollout asks
    for trajectory in out:
        first, again, other = trajectory.searches
        assert (first.documents, first.quality) == (again.documents, again.quality)
        assert again.query == "who is it?"
        assert other.documents != first.documents
        paid = trajectory.rollout == 0  # the first in order, whoever was sooner
        assert [s.cached for s in trajectory.searches] == [not paid, True, not paid]
        assert (first.usage, again.usage) == (Usage(9, usd=0.5) if paid else Usage(), Usage())
    for question in QUESTIONS:
        assert len({t.searches[0].documents for t in out if t.question is question}) == 1
    assert len({t.searches[0].documents for t in out}) == len(QUESTIONS)  # each question has its own page
    assert {t.searches[0].quality for t in out} == {"useful", "noisy"}


@pytest.mark.parametrize(("remembers", "noise"), [(False, 0.5), (True, None)])
def test_every_search_is_asked_of_a_real_engine_and_as_published_of_a_simulator(
    byte_codec: Codec, remembers: bool, noise: float | None
) -> None:
    told = {"limits": replace(LIMITS, max_searches=3), "remembers": remembers}
    out = roll(byte_codec, asks_twice, draws, QUESTIONS[:2], rollouts=2, noise=noise, **told)
    assert len(out.engine.requests) == len({s.documents for t in out for s in t.searches}) == 12
    assert not any(s.cached for t in out for s in t.searches)


def test_a_failed_search_ends_its_episode_and_is_on_record(byte_codec: Codec) -> None:
    def failing(request: SearchRequest) -> SearchPage:
        if request.query == "try 1 What is number 2":
            raise EngineError("http", "status 503", attempts=3, usage=Usage(30, 7, 0.25))
        return page_of(request)

    errors = ErrorRate()
    out = roll(byte_codec, always_search, failing, errors=errors)
    assert [t.valid for t in out] == [True, True, False, True, True, True]
    failed = out[2]
    assert (failed.stop_reason, failed.answer, failed.reward) == ("engine_error", None, 0.0)
    assert [s.error for s in failed.searches] == [None, "http"]
    last = failed.searches[1]
    assert (last.documents, last.attempts, last.engine, last.query) == ((), 3, "test", "try 1 What is number 2")
    assert last.usage == Usage(30, 7, 0.25)
    assert last.seconds > 0
    text = byte_codec.decode(failed.ids)
    assert pages_in(text) == 1  # and no page was made up for the second search
    assert text.endswith("</search>")
    assert (errors.searches, errors.failures) == (12, {"http": 1})
    assert all(s.error is None for t in out if t.valid for s in t.searches)


def test_a_failure_keeps_what_was_asked_for(byte_codec: Codec) -> None:
    out = roll(byte_codec, always_search, EngineError("deadline", "slow"), QUESTIONS[:2], noise=0.4)
    for t in out:
        (search,) = t.searches
        drawn = draw_quality(0.4, derive_seed(11, 0, t.question.id, "page", search.query.casefold()))
        assert (search.quality, search.documents, search.error, search.noise) == (drawn, (), "deadline", 0.4)


def test_too_many_failures_stop_the_run_with_one_line_and_cancel_the_others(byte_codec: Codec) -> None:
    crowd = Crowd(failing=4)
    message = crowd.ends(byte_codec, RunError, search_then_answer, errors=ErrorRate(0.5))
    assert "4 of 4 searches failed (limit 50%); the last one: nobody listens" in message
    assert "\n" not in message
    assert crowd.cancelled == 2


@pytest.mark.parametrize("where", ["generator", "engine"])
def test_an_error_that_nobody_expected_ends_the_run_and_cancels_the_others(byte_codec: Codec, where: str) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        if where == "generator" and asked(prompt) == "What is number 0":
            raise FloatingPointError("broken")
        return search_then_answer(prompt, sampling)

    assert Crowd(1, FloatingPointError("broken")).ends(byte_codec, FloatingPointError, write) == "broken"


@pytest.mark.parametrize(("rollouts", "noise"), [(1, None), (3, 0.5)])
def test_cancelling_a_rollout_cancels_its_episodes_and_their_searches(
    byte_codec: Codec, rollouts: int, noise: float | None
) -> None:
    crowd = Crowd(failing=0)
    crowd.ends(byte_codec, asyncio.CancelledError, rollouts=rollouts, noise=noise)
    assert crowd.cancelled == len(QUESTIONS)


@pytest.mark.parametrize(
    ("limit", "outcomes", "stops_at"),
    [
        (0.2, "fff", None),  # few failures say little
        (0.2, "ffff", 4),
        (0.2, "f" * 3 + "s" * 17 + "f", None),  # 4 of 21 are below a fifth
        (0.2, "s" * 16 + "ffff" + "f", 21),  # 4 of 20 are a fifth and not more
        (0.0, "ssssfsfsff", 10),
        (1.0, "f" * 50, None),
        (0.2, "s" * 9000 + "f" * 50, 9018),  # an outage late in a run: 18 in a row are no chance at one in five
        (0.2, "s" * 9000 + "fs" * 500, 9201),  # half of them fail: more than a fifth of the last 500
        (0.2, "ssssf" * 2000, None),  # a fifth, for ever
    ],
)
def test_the_error_rate_stops_where_failures_pass_the_limit(limit: float, outcomes: str, stops_at: int | None) -> None:
    errors = ErrorRate(limit)
    stopped = None
    for number, outcome in enumerate(outcomes, start=1):
        if outcome == "s":
            errors.success()
            continue
        try:
            errors.failure(EngineError("http", "status 500"))
        except RunError:
            stopped = number
            break
    assert stopped == stops_at


def test_an_episode_that_waits_for_its_page_holds_up_nobody(byte_codec: Codec) -> None:
    released = asyncio.Event()
    done: list[str] = []

    def write(prompt: str, sampling: Sampling) -> str:
        if pages_in(prompt) < 2:
            return always_search(prompt, sampling)
        done.append(asked(prompt))
        if len(done) == len(QUESTIONS) - 1:
            released.set()  # all others are through all of their turns
        return answer_text("x")

    async def slow_for_one(request: SearchRequest) -> SearchPage:
        if request.query == "try 0 What is number 0":
            await released.wait()
        return page_of(request)

    out = roll(byte_codec, write, slow_for_one)
    assert done[-1] == "What is number 0"
    assert [t.question.id for t in out] == [q.id for q in QUESTIONS]
    assert all(len(t.searches) == 2 for t in out)


def moody(prompt: str, sampling: Sampling) -> str:
    """Text that depends on nothing but the seed and the question."""
    rng = random.Random(sampling.seed)
    word = f"w{rng.randrange(10**9)}"
    return rng.choice([search_text(word), search_text(word), answer_text(word), f"neither {word}"])


def moody_pages(request: SearchRequest) -> SearchPage:
    if random.Random(request.seed).random() < 0.1:
        raise EngineError("empty", "nothing written")
    return SearchPage((Document("d", f"{request.seed} {request.quality}"),), "test", request.quality, seconds=0.5)


def moody_roll(codec: Codec, of: Sequence[Question] = QUESTIONS, *, seed: int = 1, step: int = 3) -> list[Trajectory]:
    lenient = ErrorRate(1.0)
    return timeless(roll(codec, moody, moody_pages, of, errors=lenient, rollouts=5, noise=0.5, step=step, seed=seed))


def test_the_same_seed_gives_the_same_trajectories_and_another_seed_or_step_others(byte_codec: Codec) -> None:
    one = moody_roll(byte_codec)
    assert Counter(t.stop_reason for t in one).keys() >= {"answer", "engine_error"}
    assert moody_roll(byte_codec) == one
    assert {t.step for t in one} == {3}
    for other in (moody_roll(byte_codec, step=4), moody_roll(byte_codec, seed=2)):
        assert all(a.ids != b.ids for a, b in zip(one, other, strict=True))
    assert len({t.ids for t in one}) == len(one)  # also the rollouts of one question differ


def test_an_episode_is_the_same_whatever_else_is_rolled_out(byte_codec: Codec) -> None:
    together = moody_roll(byte_codec)
    alone = moody_roll(byte_codec, QUESTIONS[4:5])
    assert [replace(t, group=4) for t in alone] == together[20:25]
    author, engine = FakeGenerator(byte_codec, moody), FakeEngine(moody_pages)
    one = Try(QUESTIONS[4], step=3, group=4, rollout=2, noise=0.5)
    played = asyncio.run(run_episode(one, author, engine, settings(byte_codec, seed=1), ErrorRate(1.0)))
    assert timeless([played]) == together[22:23]


def test_tries_are_numbered_by_question_and_rollout_and_know_what_was_there_before() -> None:
    one, two = QUESTIONS[:2]
    asked = tries([one, two, one], 2, step=7, noise=0.5)
    assert [(t.question, t.group, t.rollout, t.repeat) for t in asked] == [
        (one, 0, 0, 0), (one, 0, 1, 0), (two, 1, 0, 0), (two, 1, 1, 0), (one, 2, 0, 1), (one, 2, 1, 1),
    ]  # fmt: skip
    assert {(t.step, t.noise) for t in asked} == {(7, 0.5)}
    assert len({t.key for t in asked}) == 6


@pytest.mark.parametrize(("noise", "quality"), [(0.0, "useful"), (1.0, "noisy"), (None, None)])
def test_the_quality_that_was_drawn_is_asked_for_and_recorded_and_a_real_engine_has_none(
    byte_codec: Codec, noise: float | None, quality: str | None
) -> None:
    out = roll(byte_codec, always_search, page_of if noise is None else simulated, noise=noise)
    assert {(s.quality, s.noise) for t in out for s in t.searches} == {(quality, noise)}
    assert {request.quality for request in out.engine.requests} == {quality or "useful"}


def test_noise_is_drawn_for_each_query_by_itself(byte_codec: Codec) -> None:
    out = roll(byte_codec, always_search, simulated, questions(240), noise=0.25)
    qualities = [s.quality for t in out for s in t.searches]
    assert abs(qualities.count("noisy") / len(qualities) - 0.25) < 4 * (0.25 * 0.75 / len(qualities)) ** 0.5
    both = Counter((t.searches[0].quality, t.searches[1].quality) for t in out)
    assert len(both) == 4  # a page's quality does not decide the next one's


def test_reward_settings_reach_the_score(byte_codec: Codec) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        return answer_text(f"it is gold{asked(prompt)[-1]}" if asked(prompt)[-1] != "5" else "no")

    assert [t.reward for t in roll(byte_codec, write, of=QUESTIONS[4:])] == [0.5, 0.0]
    told = {"reward": REWARDS["cover_em"], "format_reward": 0.1}
    assert [t.reward for t in roll(byte_codec, write, of=QUESTIONS[4:], **told)] == [1.0, 0.1]
    silent = roll(byte_codec, lambda *asked: "Lake Titicaca", of=QUESTIONS[:1], format_reward=0.1)
    assert [t.reward for t in silent] == [0.0]


def test_an_episode_has_what_its_policys_server_counted_and_an_unfinished_one_too(byte_codec: Codec) -> None:
    def counted(prompt: str, sampling: Sampling, *, fails: bool = False) -> Generation:
        if fails and pages_in(prompt):
            raise PolicyError("refused", "too long", usage=Usage(1))
        ids = byte_codec.encode(search_then_answer(prompt, sampling))
        return Generation(ids, [0.0] * len(ids), "stop", Usage(100, 10, 0.5))

    (played,) = roll(byte_codec, counted, of=QUESTIONS[:1])
    assert played.usage == Usage(200, 20, 1.0)
    with pytest.raises(PolicyError) as caught:
        roll(byte_codec, lambda *call: counted(*call, fails=True), of=QUESTIONS[:1])
    assert caught.value.usage == Usage(101, 10, 0.5)
    (local,) = roll(byte_codec, search_then_answer, of=QUESTIONS[:1])
    assert local.usage == Usage(sum(turn.start for turn in local.turns), local.policy_tokens)
