"""Many episodes at once: pairing, the last turn, failures, slow engines, the same run twice (rules 1, 8, 11, 13)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from fakes import FakeEngine as Engine
from fakes import FakeGenerator as Author

from zerosearch.episodes.curriculum import PageDraw
from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Generation, Generator, Sampling
from zerosearch.episodes.protocol import STOP_STRINGS
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rewards import REWARDS
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, roll_out, run_episode
from zerosearch.episodes.search import Document, Noise, Quality, SearchEngine, SearchPage, SearchRequest
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import EngineError, PolicyError, RunError
from zerosearch.usage import Usage

T = TypeVar("T")
PATIENCE = 30.0  # seconds until a test that hangs is failed; never waited for in a run that passes
QUESTIONS = [Question(f"q{n}", f"What is number {n}?", (f"gold{n}",)) for n in range(6)]
LIMITS = EpisodeLimits(max_searches=2, max_context_tokens=4000)

Write = Callable[[str, Sampling], str]


def asked(prompt: str) -> str:
    return prompt.split("Question: ")[1].split("?")[0]


def pages_in(prompt: str) -> int:
    return prompt.count("<information>")


def search_text(query: str) -> str:
    return f"<think>t</think><search> {query} </search>"


def answer_text(answer: str) -> str:
    return f"<think>t</think><answer> {answer} </answer>"


def search_then_answer(prompt: str, sampling: Sampling) -> str:
    """One search with the question, then the last word of the page as the answer."""
    if not pages_in(prompt):
        return search_text(asked(prompt))
    return answer_text(prompt.split("</information>")[0].split()[-1])


def always_search(prompt: str, sampling: Sampling) -> str:
    return search_text(f"try {pages_in(prompt)} {asked(prompt)}")


def page_of(request: SearchRequest, quality: Quality | None = None) -> SearchPage:
    """A page that tells which question, golden answer and seed came with the query."""
    assert request.question is not None
    gold = request.question.golden_answers[0]
    return SearchPage((Document(request.question.id, f"{request.query} is {gold}"),), "test", quality)


async def prompt_answer(request: SearchRequest) -> SearchPage:
    return page_of(request)


async def simulated(request: SearchRequest) -> SearchPage:
    return page_of(request, request.quality)


def settings(codec: Codec, **changes: Any) -> RolloutSettings:
    base = RolloutSettings(
        codec, lambda text: codec.encode(f"Question: {text}\n"), LIMITS, Sampling(), top_k=3, seed=11
    )
    return replace(base, **changes)


def roll(
    questions: Sequence[Question],
    generator: Generator,
    engine: SearchEngine,
    chosen: RolloutSettings,
    errors: ErrorRate | None = None,
    **options: Any,
) -> list[Trajectory]:
    async def limited() -> list[Trajectory]:
        running = roll_out(questions, generator, engine, chosen, errors or ErrorRate(), **options)
        return await asyncio.wait_for(running, PATIENCE)

    return asyncio.run(limited())


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
        assert request.question is not None
        finished.append(request.question.id)
        return page_of(request)

    engine = Engine(held)
    out = roll(QUESTIONS, Author(byte_codec, search_then_answer), engine, settings(byte_codec), rollouts=4)
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
    for request in engine.requests:
        assert request.question is not None
        assert request.query == request.question.text.rstrip("?")
        assert request.top_k == 3


@pytest.mark.parametrize("max_searches", [0, 1, 3])
def test_the_last_turns_search_reaches_no_engine(byte_codec: Codec, max_searches: int) -> None:
    engine = Engine(prompt_answer)
    author = Author(byte_codec, always_search)
    chosen = settings(byte_codec, limits=replace(LIMITS, max_searches=max_searches))
    out = roll(QUESTIONS[:2], author, engine, chosen)
    assert len(engine.requests) == 2 * max_searches
    assert len(author.asked) == 2 * (max_searches + 1)
    for trajectory in out:
        assert [s.query.split()[1] for s in trajectory.searches] == [str(n) for n in range(max_searches)]
        assert (trajectory.stop_reason, trajectory.reward, trajectory.valid) == ("refused_search", 0.0, True)
        assert trajectory.turns[-1].last


def test_what_is_sampled_is_what_the_settings_say_and_each_turn_has_its_own_seed(byte_codec: Codec) -> None:
    author = Author(byte_codec, always_search)
    chosen = settings(
        byte_codec, sampling=Sampling(0.7, 0.9, 12, 1, ("never",), 5), limits=replace(LIMITS, max_turn_tokens=77)
    )
    engine = Engine(simulated)
    roll(QUESTIONS[:3], author, engine, chosen, rollouts=2, noise=0.5)
    for _, sampling in author.asked:
        assert replace(sampling, seed=0) == Sampling(0.7, 0.9, 12, 77, STOP_STRINGS, 0)
    assert len({sampling.seed for _, sampling in author.asked}) == len(author.asked) == 18
    assert len({request.seed for request in engine.requests}) == len(engine.requests) == 6  # two rollouts ask alike


def asks_twice(prompt: str, sampling: Sampling) -> str:
    """The same query in other dress, then another one."""
    return search_text(["Who is  IT?", "who is it?", "who was it", "at last"][pages_in(prompt)])


async def draws(request: SearchRequest) -> SearchPage:
    return SearchPage(
        (Document("", f"draw {request.seed}"),), "test", request.quality, usage=Usage(prompt_tokens=9, usd=0.5)
    )


def test_a_query_asked_again_gets_the_page_it_got_before_and_costs_nothing(byte_codec: Codec) -> None:
    engine, chosen = Engine(draws), settings(byte_codec, limits=replace(LIMITS, max_searches=3))
    out = roll(QUESTIONS, Author(byte_codec, asks_twice), engine, chosen, rollouts=5, noise=0.5)
    assert len(engine.requests) == 2 * len(QUESTIONS)  # whichever rollout asks
    for trajectory in out:
        first, again, other = trajectory.searches
        assert (first.documents, first.quality, first.asked) == (again.documents, again.quality, again.asked)
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
    chosen = settings(byte_codec, limits=replace(LIMITS, max_searches=3), remembers=remembers)
    engine = Engine(draws)
    out = roll(QUESTIONS[:2], Author(byte_codec, asks_twice), engine, chosen, rollouts=2, noise=noise)
    assert len(engine.requests) == len({s.documents for t in out for s in t.searches}) == 12
    assert not any(s.cached for t in out for s in t.searches)


def test_a_failed_search_ends_its_episode_and_is_on_record(byte_codec: Codec) -> None:
    async def failing(request: SearchRequest) -> SearchPage:
        if request.query == "try 1 What is number 2":
            raise EngineError("http", "status 503", attempts=3, usage=Usage(30, 7, 0.25))
        return page_of(request)

    errors = ErrorRate()
    out = roll(QUESTIONS, Author(byte_codec, always_search), Engine(failing), settings(byte_codec), errors)
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


class Crowd:
    """Episodes beyond the failing ones hang in their search; counts those that are cancelled there."""

    def __init__(self, failing: int, message: str = "nobody listens") -> None:
        self.failing, self.message = failing, message
        self.hanging = 0
        self.cancelled = 0
        self.all_there = asyncio.Event()

    async def search(self, request: SearchRequest) -> SearchPage:
        assert request.question is not None
        if int(request.question.id[1:]) >= self.failing:
            self.hanging += 1
            if self.hanging == len(QUESTIONS) - self.failing:
                self.all_there.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        await self.all_there.wait()
        raise EngineError("connection", self.message)


def test_too_many_failures_stop_the_run_with_one_line_and_cancel_the_others(byte_codec: Codec) -> None:
    async def main() -> tuple[str, Crowd, int]:
        crowd = Crowd(failing=4, message="nobody\n  listens")
        author = Author(byte_codec, search_then_answer)
        running = roll_out(QUESTIONS, author, Engine(crowd.search), settings(byte_codec), ErrorRate(0.5, 4))
        with pytest.raises(RunError) as raised:
            await asyncio.wait_for(running, PATIENCE)
        return str(raised.value), crowd, len(asyncio.all_tasks())

    message, crowd, tasks = asyncio.run(main())
    assert "4 of 4 searches failed (limit 50%); the last one: nobody listens" in message
    assert "\n" not in message
    assert (crowd.hanging, crowd.cancelled) == (2, 2)
    assert tasks == 1  # nothing but the test itself is left running


@pytest.mark.parametrize(
    ("limit", "minimum", "outcomes", "stops_at"),
    [
        (0.2, 4, "fff", None),  # few failures say little
        (0.2, 4, "ffff", 4),
        (0.2, 4, "f" * 3 + "s" * 17 + "f", None),  # 4 of 21 are below a fifth
        (0.2, 4, "s" * 16 + "ffff" + "f", 21),  # 4 of 20 are a fifth and not more
        (0.0, 1, "ssssf", 5),
        (1.0, 1, "f" * 50, None),
        (0.2, 4, "s" * 9000 + "f" * 50, 9018),  # an outage late in a run: 18 in a row are no chance at one in five
        (0.2, 4, "s" * 9000 + "fs" * 500, 9201),  # half of them fail: more than a fifth of the last 500
        (0.2, 4, "ssssf" * 2000, None),  # a fifth, for ever
    ],
)
def test_the_error_rate_stops_where_failures_pass_the_limit(
    limit: float, minimum: int, outcomes: str, stops_at: int | None
) -> None:
    errors = ErrorRate(limit, minimum)
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


@pytest.mark.parametrize("where", ["generator", "engine"])
def test_an_error_that_nobody_expected_ends_the_run_and_cancels_the_others(byte_codec: Codec, where: str) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        if where == "generator" and asked(prompt) == "What is number 0":
            raise FloatingPointError("broken")
        return search_then_answer(prompt, sampling)

    async def main() -> tuple[Crowd, int]:
        crowd = Crowd(failing=1)

        async def search(request: SearchRequest) -> SearchPage:
            try:
                return await crowd.search(request)
            except EngineError:
                raise FloatingPointError("broken") from None

        running = roll_out(QUESTIONS, Author(byte_codec, write), Engine(search), settings(byte_codec), ErrorRate())
        with pytest.raises(FloatingPointError, match="broken"):
            await asyncio.wait_for(running, PATIENCE)
        return crowd, len(asyncio.all_tasks())

    crowd, tasks = asyncio.run(main())
    assert crowd.cancelled == crowd.hanging
    assert tasks == 1


def test_cancelling_a_rollout_cancels_its_episodes(byte_codec: Codec) -> None:
    async def main() -> tuple[Crowd, int]:
        crowd = Crowd(failing=0)
        task = asyncio.create_task(
            roll_out(
                QUESTIONS,
                Author(byte_codec, always_search),
                Engine(crowd.search),
                settings(byte_codec),
                ErrorRate(),
            )
        )
        await asyncio.wait_for(crowd.all_there.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return crowd, len(asyncio.all_tasks())

    crowd, tasks = asyncio.run(main())
    assert (crowd.cancelled, tasks) == (6, 1)


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

    out = roll(QUESTIONS, Author(byte_codec, write), Engine(slow_for_one), settings(byte_codec))
    assert done[-1] == "What is number 0"
    assert [t.question.id for t in out] == [q.id for q in QUESTIONS]
    assert all(len(t.searches) == 2 for t in out)


def moody(prompt: str, sampling: Sampling) -> str:
    """Text that depends on nothing but the seed and the question."""
    rng = random.Random(sampling.seed)
    word = f"w{rng.randrange(10**9)}"
    return rng.choice([search_text(word), search_text(word), answer_text(word), f"neither {word}"])


async def moody_pages(request: SearchRequest) -> SearchPage:
    if random.Random(request.seed).random() < 0.1:
        raise EngineError("empty", "nothing written")
    return SearchPage((Document("d", f"{request.seed} {request.quality}"),), "test", request.quality, seconds=0.5)


def timeless(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    return [replace(t, seconds=0.0, searches=tuple(replace(s, seconds=0.0) for s in t.searches)) for t in trajectories]


def moody_roll(
    codec: Codec, questions: Sequence[Question] = QUESTIONS, seed: int = 1, step: int = 3
) -> list[Trajectory]:
    return timeless(
        roll(
            questions, Author(codec, moody), Engine(moody_pages), settings(codec, seed=seed), ErrorRate(1.0),
            rollouts=5, noise=0.5, step=step,
        )
    )  # fmt: skip


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
    (one,) = timeless(
        [
            asyncio.run(
                run_episode(
                    QUESTIONS[4], Author(byte_codec, moody), Engine(moody_pages), settings(byte_codec, seed=1),
                    ErrorRate(1.0), noise=0.5, step=3, group=4, rollout=2,
                )
            )
        ]
    )  # fmt: skip
    assert one == together[22]


def test_questions_of_a_larger_batch_keep_their_numbers(byte_codec: Codec) -> None:
    author, engine = Author(byte_codec, search_then_answer), Engine(prompt_answer)
    out = roll(QUESTIONS[2:4], author, engine, settings(byte_codec), rollouts=2, groups=[7, 4])
    numbers = [(t.question.id, t.group, t.rollout) for t in out]
    assert numbers == [("q2", 7, 0), ("q2", 7, 1), ("q3", 4, 0), ("q3", 4, 1)]


@pytest.mark.parametrize(("noise", "quality"), [(0.0, Quality.USEFUL), (1.0, Quality.NOISY)])
def test_the_quality_that_was_drawn_is_asked_for_and_recorded(
    byte_codec: Codec, noise: float, quality: Quality
) -> None:
    engine = Engine(simulated)
    out = roll(QUESTIONS, Author(byte_codec, always_search), engine, settings(byte_codec), noise=noise)
    assert {request.quality for request in engine.requests} == {quality}
    assert {(s.quality, s.noise) for t in out for s in t.searches} == {(quality.value, noise)}


def test_a_real_engine_has_no_quality(byte_codec: Codec) -> None:
    out = roll(QUESTIONS, Author(byte_codec, always_search), Engine(prompt_answer), settings(byte_codec), noise=None)
    assert {(s.quality, s.noise) for t in out for s in t.searches} == {(None, None)}


def test_noise_is_drawn_for_each_query_by_itself(byte_codec: Codec) -> None:
    questions = [Question(f"q{n}", f"What is number {n}?", (f"gold{n}",)) for n in range(240)]
    out = roll(questions, Author(byte_codec, always_search), Engine(simulated), settings(byte_codec), noise=0.25)
    qualities = [s.quality for t in out for s in t.searches]
    assert abs(qualities.count("noisy") / len(qualities) - 0.25) < 4 * (0.25 * 0.75 / len(qualities)) ** 0.5
    both = Counter((t.searches[0].quality, t.searches[1].quality) for t in out)
    assert len(both) == 4  # a page's quality does not decide the next one's


def test_a_failure_keeps_the_quality_that_was_asked_for(byte_codec: Codec) -> None:
    async def failing(request: SearchRequest) -> SearchPage:
        raise EngineError("deadline", "too slow")

    out = roll(QUESTIONS[:2], Author(byte_codec, always_search), Engine(failing), settings(byte_codec), noise=1.0)
    assert [(s.quality, s.noise, s.error) for t in out for s in t.searches] == [("noisy", 1.0, "deadline")] * 2


MIXED = PageDraw("mixed", (Noise.NEAR_MISS, Noise.OUTDATED))


def test_what_each_document_was_asked_for_is_drawn_with_the_pages_seed_and_recorded(byte_codec: Codec) -> None:
    async def whole(request: SearchRequest) -> SearchPage:
        documents = tuple(Document("d", f"{kind} {rank}") for rank, kind in enumerate(request.asked))
        return SearchPage(documents, "test", request.quality, asked=request.asked)

    engine = Engine(whole)
    chosen = settings(byte_codec, pages=MIXED)
    questions = [Question(f"q{n}", f"What is number {n}?", (f"gold{n}",)) for n in range(48)]
    out = roll(questions, Author(byte_codec, always_search), engine, chosen, noise=0.4)
    for request in engine.requests:
        assert request.kinds == MIXED.draw(0.4, 3, request.seed)
    for t in out:
        for place, search in enumerate(t.searches):
            seed = derive_seed(11, 0, t.question.id, "page", f"try {place} what is number {t.question.id[1:]}")
            assert search.asked == MIXED.draw(0.4, 3, seed)
            assert [d.text for d in search.documents] == [f"{kind} {n}" for n, kind in enumerate(search.asked)]
            noisy = sum(kind != "useful" for kind in search.asked)
            assert search.quality == {0: "useful", 3: "noisy"}.get(noisy, "mixed")
    assert {search.quality for t in out for search in t.searches} == {"useful", "mixed", "noisy"}


def test_mixed_pages_do_not_change_the_seeds_of_pages_and_turns(byte_codec: Codec) -> None:
    def seeds(**changes: Any) -> tuple[list[int], list[int]]:
        author, engine = Author(byte_codec, always_search), Engine(prompt_answer)
        roll(QUESTIONS[:3], author, engine, settings(byte_codec, **changes), noise=0.5)
        return sorted(s.seed for _, s in author.asked), sorted(r.seed for r in engine.requests)

    assert seeds(pages=MIXED) == seeds()


def test_a_failure_keeps_what_was_asked_of_a_mixed_page(byte_codec: Codec) -> None:
    async def failing(request: SearchRequest) -> SearchPage:
        raise EngineError("deadline", "too slow")

    chosen = settings(byte_codec, pages=MIXED)
    out = roll(QUESTIONS[:2], Author(byte_codec, always_search), Engine(failing), chosen, noise=0.4)
    for t in out:
        (search,) = t.searches
        asked = MIXED.draw(0.4, 3, derive_seed(11, 0, t.question.id, "page", search.query.casefold()))
        assert (search.asked, search.documents, search.error, search.noise) == (asked, (), "deadline", 0.4)


def test_a_real_engine_is_asked_for_no_kind(byte_codec: Codec) -> None:
    engine = Engine(prompt_answer)
    out = roll(QUESTIONS[:2], Author(byte_codec, always_search), engine, settings(byte_codec, pages=MIXED), noise=None)
    assert {request.kinds for request in engine.requests} == {()}
    assert {(s.quality, s.noise, s.asked) for t in out for s in t.searches} == {(None, None, ())}


def test_reward_settings_reach_the_score(byte_codec: Codec) -> None:
    def write(prompt: str, sampling: Sampling) -> str:
        return answer_text(f"it is gold{asked(prompt)[-1]}") if asked(prompt)[-1] != "5" else answer_text("no")

    def rewards(**changes: Any) -> list[float]:
        out = roll(QUESTIONS[4:], Author(byte_codec, write), Engine(prompt_answer), settings(byte_codec, **changes))
        return [t.reward for t in out]

    assert rewards() == [0.5, 0.0]
    assert rewards(reward=REWARDS["cover_em"], format_reward=0.1) == [1.0, 0.1]


def test_episodes_of_the_real_generator_are_the_same_in_every_run(tiny_tokenizer: Any) -> None:
    from tiny import give_adapter, tiny_local_model

    from zerosearch.models.worker import TransformersGenerator, Worker

    def real(step: int) -> tuple[list[Trajectory], dict[str | None, tuple[int, int]]]:
        model = tiny_local_model(tiny_tokenizer)
        give_adapter(model, "policy")
        worker = Worker(model, max_batch_rows=5)
        codec = model.codec
        chosen = RolloutSettings(
            codec, codec.encode, EpisodeLimits(max_searches=2, max_turn_tokens=12, max_context_tokens=400), Sampling()
        )
        generator = TransformersGenerator(worker, "policy")
        out = roll(QUESTIONS, generator, Engine(simulated), chosen, rollouts=2, noise=0.5, step=step)
        worker.close()
        return timeless(out), {lane: (t.batches, t.tokens) for lane, t in worker.totals.items()}

    one, again, other = real(0), real(0), real(1)
    assert one == again  # the log-probs too: the batches were made up alike
    assert all(a.ids != b.ids for a, b in zip(one[0], other[0], strict=True))
    assert all(len(t.turns) == 3 for t in one[0])
    assert sum(t.policy_tokens for t in one[0]) == one[1]["policy"][1]


def test_an_episode_has_what_its_policys_server_counted_and_an_unfinished_one_too(byte_codec: Codec) -> None:
    class Counted(Author):
        fails = False

        async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
            generation = await super().generate(prompt_ids, sampling)
            if "gold" in byte_codec.decode(prompt_ids) and self.fails:
                raise PolicyError("refused", "too long", usage=Usage(1))
            return replace(generation, usage=Usage(100, 10, 0.5))

    async def pages(request: SearchRequest) -> SearchPage:
        return page_of(request)

    author = Counted(byte_codec, search_then_answer)
    (played,) = roll(QUESTIONS[:1], author, Engine(pages), settings(byte_codec))
    assert played.usage == Usage(200, 20, 1.0)
    author.fails = True
    with pytest.raises(PolicyError) as caught:
        roll(QUESTIONS[:1], author, Engine(pages), settings(byte_codec))
    assert caught.value.usage == Usage(101, 10, 0.5)
    (local,) = roll(QUESTIONS[:1], Author(byte_codec, search_then_answer), Engine(pages), settings(byte_codec))
    assert local.usage == Usage(sum(turn.start for turn in local.turns), local.policy_tokens)
