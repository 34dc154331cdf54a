"""Rollout: many episodes at once over one generator and one engine, each its own asyncio task."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from zerosearch.curriculum import PageDraw, derive_seed
from zerosearch.engines.base import SearchEngine
from zerosearch.episode import Codec, Done, Episode, EpisodeLimits, Generate
from zerosearch.errors import EngineError, RunError
from zerosearch.generation import Sampling
from zerosearch.generators.base import Generator
from zerosearch.protocol import STOP_STRINGS
from zerosearch.questions import Question
from zerosearch.scoring import RewardName
from zerosearch.search import SearchPage, SearchRequest, page_quality
from zerosearch.trajectory import SearchRecord, Trajectory, finish

T = TypeVar("T")

_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class RolloutSettings:
    """What all episodes of a run have in common. `prompt` turns a question's text into the prompt's ids.

    `pages` says how noise falls on simulated pages. `remembers`: a query that an episode asks a simulator again (the
    same words in the same order) gets the page that it got before, noisy if it was; else another draw.
    """

    codec: Codec
    prompt: Callable[[str], list[int]]
    limits: EpisodeLimits
    sampling: Sampling
    top_k: int = 5
    reward: RewardName = "f1"
    format_reward: float = 0.0
    seed: int = 0
    pages: PageDraw = field(default_factory=PageDraw)
    remembers: bool = True


class ErrorRate:
    """Counts searches and failures; stops the run where failures pass `limit` (a share of all searches).

    A single failure among the first few searches says little, so at least `minimum` failures are waited for. `what` is
    counted and what is at fault stand in the message; other things than searches can be counted just so.
    """

    def __init__(
        self, limit: float = 0.2, minimum: int = 4, *, what: str = "searches", at_fault: str = "the engine"
    ) -> None:
        self.limit, self.minimum = limit, minimum
        self._what, self._at_fault = what, at_fault
        self.searches = 0
        self.failures: dict[str, int] = {}

    def success(self) -> None:
        self.searches += 1

    def failure(self, error: EngineError) -> None:
        """Raises `RunError` once the limit is passed."""
        self.searches += 1
        self.failures[error.kind] = self.failures.get(error.kind, 0) + 1
        failed = sum(self.failures.values())
        if failed >= self.minimum and failed > self.limit * self.searches:
            last = " ".join(str(error).split())  # one line
            raise RunError(
                f"{failed} of {self.searches} {self._what} failed (limit {self.limit:.0%}); the last one: {last}. "
                f"Nothing written so far is lost; mend {self._at_fault} and run the same command again"
            )


async def run_episode(
    question: Question,
    generator: Generator,
    engine: SearchEngine,
    settings: RolloutSettings,
    errors: ErrorRate,
    *,
    noise: float | None = None,
    step: int = 0,
    group: int = 0,
    rollout: int = 0,
) -> Trajectory:
    """Play one episode to its end. `noise` is the chance that a page (or where pages are mixed: a document) is noisy;
    None: the engine is a real one.

    Every draw (tokens, noise, page) has a seed of its own, made from the run's seed, the step, the question, the
    rollout and the place in the episode: whatever finishes first elsewhere changes nothing here.
    """
    started = time.perf_counter()
    episode = Episode(question, settings.prompt(question.text), settings.codec, settings.limits)
    searches: list[SearchRecord] = []
    key = (settings.seed, step, question.id, rollout)
    remembered: dict[tuple[str, ...], SearchPage] = {}
    while not isinstance(action := episode.next(), Done):
        if isinstance(action, Generate):
            s = settings.sampling
            piece = (action.piece,) if action.piece else ()
            seed = derive_seed(*key, "turn", len(episode.turns), *piece)
            sampling = Sampling(s.temperature, s.top_p, s.top_k, action.max_tokens, STOP_STRINGS, seed)
            episode.feed_generation(await generator.generate(action.prompt_ids, sampling))
            continue
        words = tuple(_WORD.findall(action.query.casefold()))
        if words in remembered:
            searches.append(SearchRecord.of(action.query, remembered[words].again(), noise))
            episode.feed_page(remembered[words].documents)
            continue
        seed = derive_seed(*key, "page", action.index)
        kinds = settings.pages.draw(noise, settings.top_k, seed) if noise is not None else ()
        request = SearchRequest(
            query=action.query,
            top_k=settings.top_k,
            question=question,
            quality=page_quality(kinds),
            seed=seed,
            kinds=kinds,
        )
        asked = time.perf_counter()
        try:
            page = await engine.search(request)
        except EngineError as error:
            searches.append(
                SearchRecord(
                    action.query, (), engine.name, str(request.quality) if kinds else None, noise,
                    seconds=time.perf_counter() - asked, cost_usd=error.cost_usd, attempts=error.attempts,
                    error=error.kind, prompt_tokens=error.prompt_tokens, completion_tokens=error.completion_tokens,
                    asked=tuple(map(str, kinds)),
                )
            )  # fmt: skip
            episode.feed_failure()
            errors.failure(error)
        else:
            errors.success()
            searches.append(SearchRecord.of(action.query, page, noise))
            episode.feed_page(page.documents)
            if settings.remembers and noise is not None:
                remembered[words] = page
    return finish(
        episode,
        searches,
        reward=settings.reward,
        format_reward=settings.format_reward,
        step=step,
        group=group,
        rollout=rollout,
        seconds=time.perf_counter() - started,
    )


async def roll_out(
    questions: Sequence[Question],
    generator: Generator,
    engine: SearchEngine,
    settings: RolloutSettings,
    errors: ErrorRate,
    *,
    rollouts: int = 1,
    noise: float | None = None,
    step: int = 0,
    groups: Sequence[int] | None = None,
) -> list[Trajectory]:
    """`rollouts` episodes for each question, all at once; the result is ordered by question, then rollout.

    `groups` numbers the questions, where they are part of a larger batch; by default they count from 0.

    The first error that ends a run cancels the other episodes and is raised.
    """
    episodes = [
        run_episode(question, generator, engine, settings, errors, noise=noise, step=step, group=group, rollout=rollout)
        for group, question in zip(groups or range(len(questions)), questions, strict=True)
        for rollout in range(rollouts)
    ]
    return await together(episodes)


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all calls, made at once, in their order. The first failure ends the others and is raised."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
