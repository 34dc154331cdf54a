"""Rollouts of scripted policies and engines over a few questions, for the tests of what plays them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from fakes import FakeEngine, FakeGenerator

from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, roll_out
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest
from zerosearch.episodes.trajectory import Trajectory, tries
from zerosearch.errors import EngineError
from zerosearch.usage import Usage

PATIENCE = 30.0  # seconds until a test that hangs is failed; never waited for in a run that passes
LIMITS = EpisodeLimits(max_searches=2, max_context_tokens=4000)


def questions(count: int) -> list[Question]:
    return [Question(f"q{n}", f"What is number {n}?", (f"gold{n}",)) for n in range(count)]


QUESTIONS = questions(6)


# ---- policies: what is written after a prompt


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


# ---- engines: what is given for a request


def page_of(request: SearchRequest, quality: Quality | None = None) -> SearchPage:
    """A page that tells which question, golden answer and seed came with the query."""
    gold = request.question.golden_answers[0]
    return SearchPage((Document(request.question.id, f"{request.query} is {gold}"),), "test", quality)


def simulated(request: SearchRequest) -> SearchPage:
    return page_of(request, request.quality)


def draws(request: SearchRequest) -> SearchPage:
    """Another page for each seed, which costs something."""
    document = Document("", f"draw {request.seed}")
    return SearchPage((document,), "test", request.quality, usage=Usage(prompt_tokens=9, usd=0.5))


class Crowd:
    """Searches of questions from `failing` on hang; the others fail as soon as all of those do."""

    def __init__(self, failing: int, error: Exception | None = None) -> None:
        self.failing, self.error = failing, error or EngineError("connection", "nobody\n  listens")
        self.hanging = self.cancelled = 0
        self.all_there = asyncio.Event()

    async def search(self, request: SearchRequest) -> SearchPage:
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
        raise self.error

    def ends(self, codec: Codec, error: type[BaseException], write: Any = always_search, **options: Any) -> str:
        """Rolls out until `error` comes (CancelledError: cancels the rollout), and checks that nothing goes on."""

        async def main() -> str:
            task = asyncio.create_task(rolling(codec, write, self.search, **options)[0])
            if error is asyncio.CancelledError:
                await asyncio.wait_for(self.all_there.wait(), PATIENCE)
                task.cancel()
            with pytest.raises(error) as raised:
                await asyncio.wait_for(task, PATIENCE)
            assert len(asyncio.all_tasks()) == 1  # nothing but the test itself is left running
            assert self.cancelled == self.hanging
            return str(raised.value)

        return asyncio.run(main())


# ---- rollouts


def settings(codec: Codec, **changes: Any) -> RolloutSettings:
    base = RolloutSettings(
        codec, lambda text: codec.encode(f"Question: {text}\n"), LIMITS, Sampling(), top_k=3, seed=11
    )
    return replace(base, **changes)


@dataclass
class Played(list[Trajectory]):
    """The episodes, with who wrote and who was asked."""

    author: FakeGenerator
    engine: FakeEngine


def rolling(
    codec: Codec,
    write: FakeGenerator | Callable[..., Any] = always_search,
    search: Any = page_of,
    of: Sequence[Question] = QUESTIONS,
    *,
    errors: ErrorRate | None = None,
    rollouts: int = 1,
    step: int = 0,
    noise: float | None = None,
    **changes: Any,
) -> tuple[Any, Any, Any]:
    """A rollout that has not begun, its author and its engine; `changes` are of the settings."""
    author = write if hasattr(write, "generate") else FakeGenerator(codec, write)
    engine = search if hasattr(search, "search") else FakeEngine(search)
    asking = tries(of, rollouts, step=step, noise=noise)
    return roll_out(asking, author, engine, settings(codec, **changes), errors or ErrorRate()), author, engine


def roll(codec: Codec, *scripts: Any, **options: Any) -> Played:
    """Play what `rolling` describes."""

    async def limited() -> Played:
        running, author, engine = rolling(codec, *scripts, **options)
        played = Played(author, engine)
        played.extend(await asyncio.wait_for(running, PATIENCE))
        return played

    return asyncio.run(limited())


def timeless(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    return [replace(t, seconds=0.0, searches=tuple(replace(s, seconds=0.0) for s in t.searches)) for t in trajectories]
