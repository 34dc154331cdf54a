"""Rollout: many episodes at once over one generator and one engine, each its own asyncio task."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial

from zerosearch.episodes.curriculum import draw_quality
from zerosearch.episodes.episode import Codec, Done, Episode, EpisodeLimits, Generate, Search
from zerosearch.episodes.generation import Generator, Sampling
from zerosearch.episodes.protocol import STOP_STRINGS
from zerosearch.episodes.rewards import REWARDS
from zerosearch.episodes.scoring import with_format
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.shared_pages import Answer, SharedPages, credit_the_first, same_query
from zerosearch.episodes.tasks import together
from zerosearch.episodes.trajectory import Reward, SearchRecord, Trajectory, Try, finish
from zerosearch.errors import EngineError, PolicyError, RunError
from zerosearch.usage import Usage

log = logging.getLogger(__name__)

_BY_CHANCE = 1e-12  # how likely a row of failures that stops a run may be, at the highest rate that is allowed
_FEWEST, _WINDOW = 4, 500  # failures that stop a run; searches that are looked back on
_ENOUGH, _MOST = 20, 0.5  # searches from which on misses are judged; the share of them that is too many


@dataclass(frozen=True)
class RolloutSettings:
    """What all episodes of a run have in common. `prompt` turns a question's text into the prompt's ids.

    `remembers`: equal queries of a question get one page in a step, noisy if it is, whichever of its rollouts asks;
    else each search of a simulator is another draw.
    """

    codec: Codec
    prompt: Callable[[str], list[int]]
    limits: EpisodeLimits
    sampling: Sampling
    top_k: int = 5
    reward: Reward = REWARDS["f1"]
    format_reward: float = 0.0
    seed: int = 0
    remembers: bool = True

    def shares(self, one: Try) -> bool:
        """Whether equal queries share a page. A real engine gives equal pages of itself."""
        return self.remembers and one.noise is not None


class ErrorRate:
    """Counts searches and failures; stops the run where failures pass `limit`, a share of the last 500 searches, or
    where more fail in a row than chance gives at that rate: an outage late in a run is noticed like an early one.

    Up to 3 failures are let pass. A limit of 1 never stops anything. `what` is counted and what is at fault stand in
    the message. `last` is the last failure in words.

    Queries that a recorded engine has no page for (`misses`) are no failures, but from 20 searches on the run stops
    where they are more than half of all, or more than `limit` if that is larger.
    """

    def __init__(self, limit: float = 0.2, *, what: str = "searches", at_fault: str = "the engine") -> None:
        self.limit = limit
        self._what, self._at_fault = what, at_fault
        self._recent: deque[bool] = deque(maxlen=_WINDOW)
        by_chance = math.ceil(math.log(_BY_CHANCE) / math.log(limit)) if 0 < limit < 1 else 1
        self._longest_row = max(by_chance, _FEWEST)
        self._row = 0
        self.searches = self.misses = 0
        self.failures: Counter[str] = Counter()
        self.last = ""

    @property
    def failed(self) -> int:
        return self.failures.total()

    def complaint(self) -> str:
        """What has failed and why, in one line; empty where nothing has."""
        if not self.failed:
            return ""
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(self.failures.items()))
        return f"{self.failed} of {self.searches} {self._what} failed ({kinds}); the last one: {self.last}"

    def success(self) -> None:
        self._count(failed=False)

    def found(self, page: SearchPage) -> None:
        """A search brought a page. Raises `RunError` where most of them are misses."""
        self._count(failed=False)
        self.misses += page.missed
        if page.missed and self.searches >= _ENOUGH and self.misses > max(self.limit, _MOST) * self.searches:
            raise RunError(
                f"{self.misses} of {self.searches} queries were never recorded: {page.engine} is a recording of other "
                "queries. Take the right engine.recorded.file or source, match = 'nearest' or a smaller min_overlap, "
                "or an engine that searches (engine.max_error_rate = 1 never stops)"
            )

    def failure(self, error: EngineError) -> None:
        """Count it; the first of each kind is told of. Raises `RunError` once the limit is passed."""
        self._count(failed=True)
        self.failures[error.kind] += 1
        self.last = " ".join(str(error).split()).removesuffix(".")  # one line, within a sentence
        failed, recent = sum(self._recent), len(self._recent)
        if self.limit < 1 and self._row >= self._longest_row:
            failed = recent = self._row
        counted = f"{failed} of {'' if recent == self.searches else 'the last '}{recent} {self._what} failed"
        if failed >= _FEWEST and failed > self.limit * recent:
            raise RunError(
                f"{counted} (limit {self.limit:.0%}); the last one: {self.last}. "
                f"Nothing written so far is lost; mend {self._at_fault} and run the same command again"
            )
        if self.failures[error.kind] == 1:
            log.warning("%s: the first to fail (%s): %s", self._what, error.kind, self.last)

    def _count(self, *, failed: bool) -> None:
        self.searches += 1
        self._recent.append(failed)
        self._row = self._row + 1 if failed else 0


async def roll_out(
    asked: Sequence[Try], generator: Generator, engine: SearchEngine, settings: RolloutSettings, errors: ErrorRate
) -> list[Trajectory]:
    """The episodes of one step, all at once, in the order of `asked`.

    The first error that ends a run cancels the other episodes and is raised.
    """
    async with SharedPages() as pages:
        played = await together([run_episode(one, generator, engine, settings, errors, pages) for one in asked])
    return credit_the_first(played) if asked and settings.shares(asked[0]) else played


async def run_episode(
    one: Try,
    generator: Generator,
    engine: SearchEngine,
    settings: RolloutSettings,
    errors: ErrorRate,
    pages: SharedPages | None = None,
) -> Trajectory:
    """Play one episode to its end; `pages` holds what its step has been answered so far.

    Every draw has a seed of its own: whatever finishes first elsewhere changes nothing here. Tokens go by the run's
    seed, the try (`Try.key`) and the turn. A page and its noise go by the run's seed, the step, the question and the
    query where equal queries share a page, else by the try and the search's place in the episode.
    """
    started = time.perf_counter()
    episode = Episode(one.question, settings.prompt(one.question.text), settings.codec, settings.limits)
    searches: list[SearchRecord] = []
    usage = Usage()
    async with SharedPages() if pages is None else nullcontext(pages) as known:
        try:
            while not isinstance(action := episode.next(), Done):
                if isinstance(action, Generate):
                    piece = (action.piece,) if action.piece else ()
                    seed = derive_seed(settings.seed, *one.key, "turn", len(episode.turns), *piece)
                    told = replace(settings.sampling, max_tokens=action.max_tokens, stop=STOP_STRINGS, seed=seed)
                    generation = await generator.generate(action.prompt_ids, told)
                    usage += generation.usage or Usage(len(action.prompt_ids), len(generation.token_ids))
                    episode.feed_generation(generation)
                    continue
                searches.append(await _search(action, one, engine, settings, errors, known))
                if searches[-1].error is None:
                    episode.feed_page(searches[-1].documents)
                else:
                    episode.feed_failure()
        except PolicyError as error:
            error.usage = usage + error.usage
            raise
    played = finish(one, episode, searches, seconds=time.perf_counter() - started, usage=usage)
    return replace(played, reward=with_format(settings.reward(played), played.scores, settings.format_reward))


async def _search(
    action: Search, one: Try, engine: SearchEngine, settings: RolloutSettings, errors: ErrorRate, pages: SharedPages
) -> SearchRecord:
    """Ask the engine, or take the page that another rollout of the question got for this query."""
    shared, same = settings.shares(one), same_query(action.query)
    place = (one.step, one.question.id, "page", same) if shared else (*one.key, "page", action.index)
    seed = derive_seed(settings.seed, *place)
    request = SearchRequest(action.query, settings.top_k, one.question, draw_quality(one.noise, seed), seed)
    started = time.perf_counter()
    ask = partial(_ask, engine, request, errors)
    answer, again = await pages.get((one.question.id, same), ask) if shared else (await ask(), False)
    if isinstance(answer, SearchPage):
        return SearchRecord.of(action.query, answer.again() if again else answer, one.noise)
    failed = SearchRecord.failed(request, engine.name, answer, time.perf_counter() - started, one.noise)
    return failed.again(failed.seconds) if again else failed


async def _ask(engine: SearchEngine, request: SearchRequest, errors: ErrorRate) -> Answer:
    """Ask the engine, and count it once, however many wait for it. Raises `RunError` past the limit of failures."""
    try:
        page = await engine.search(request)
    except EngineError as error:
        errors.failure(error)
        return error
    errors.found(page)
    return page
