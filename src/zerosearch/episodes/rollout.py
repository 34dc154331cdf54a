"""Rollout: many episodes at once over one generator and one engine, each its own asyncio task."""

from __future__ import annotations

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from zerosearch.episodes.curriculum import PageDraw
from zerosearch.episodes.episode import Codec, Done, Episode, EpisodeLimits, Generate
from zerosearch.episodes.generation import Generator, Sampling
from zerosearch.episodes.protocol import STOP_STRINGS
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rewards import REWARDS
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest, page_quality
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.shared_pages import Answer, SharedPages, credit_the_first, same_query
from zerosearch.episodes.tasks import together
from zerosearch.episodes.trajectory import Reward, SearchRecord, Trajectory, finish
from zerosearch.errors import EngineError, PolicyError, RunError
from zerosearch.usage import Usage

log = logging.getLogger(__name__)

_BY_CHANCE = 1e-12
"""How likely so many failures in a row may be at the highest rate that is allowed."""


@dataclass(frozen=True)
class RolloutSettings:
    """What all episodes of a run have in common. `prompt` turns a question's text into the prompt's ids.

    `pages` says how noise falls on simulated pages. `remembers`: equal queries of a question get one page in a step,
    noisy if it is, whichever of its rollouts asks; else each search of a simulator is another draw.
    """

    codec: Codec
    prompt: Callable[[str], list[int]]
    limits: EpisodeLimits
    sampling: Sampling
    top_k: int = 5
    reward: Reward = REWARDS["f1"]
    format_reward: float = 0.0
    seed: int = 0
    pages: PageDraw = field(default_factory=PageDraw)
    remembers: bool = True


class ErrorRate:
    """Counts searches and failures; stops the run where failures pass `limit`, a share of the last `window` searches,
    or where more fail in a row than chance gives at that rate: an outage late in a run is noticed like an early one.

    A single failure among the first few searches says little, so at least `minimum` failures are waited for. `what` is
    counted and what is at fault stand in the message; other things than searches can be counted just so. A limit of 1
    never stops anything. `last` is the last failure in words.

    Queries that a recorded engine has no page for are no failures, but a run in which most of them are misses measures
    the recording: from `ENOUGH` searches on it stops where they are more than half of all (more than `limit`, if that
    is larger: 1 never stops).
    """

    ENOUGH = 20
    MOST = 0.5

    def __init__(
        self,
        limit: float = 0.2,
        minimum: int = 4,
        *,
        window: int = 500,
        what: str = "searches",
        at_fault: str = "the engine",
    ) -> None:
        self.limit, self.minimum = limit, minimum
        self._what, self._at_fault = what, at_fault
        self._recent: deque[bool] = deque(maxlen=window)
        self._in_a_row = math.ceil(math.log(_BY_CHANCE) / math.log(limit)) if 0 < limit < 1 else 1
        self._row = 0
        self.searches = self.misses = 0
        self.failures: dict[str, int] = {}
        self.last = ""

    @property
    def failed(self) -> int:
        return sum(self.failures.values())

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
        if page.missed and self.searches >= self.ENOUGH and self.misses > max(self.limit, self.MOST) * self.searches:
            raise RunError(
                f"{self.misses} of {self.searches} queries were never recorded: {page.engine} is a recording of other "
                "queries. Take the right engine.recorded.file or source, match = 'nearest' or a smaller min_overlap, "
                "or an engine that searches (engine.max_error_rate = 1 goes on all the same)"
            )

    def failure(self, error: EngineError) -> None:
        """Count it; the first of each kind is told of. Raises `RunError` once the limit is passed."""
        self._count(failed=True)
        self.failures[error.kind] = self.failures.get(error.kind, 0) + 1
        self.last = " ".join(str(error).split()).removesuffix(".")  # one line, within a sentence
        failed, recent = sum(self._recent), len(self._recent)
        if self.limit < 1 and self._row >= max(self._in_a_row, self.minimum):
            failed = recent = self._row
        counted = f"{failed} of {'' if recent == self.searches else 'the last '}{recent} {self._what} failed"
        if failed >= self.minimum and failed > self.limit * recent:
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
    repeat: int = 0,
    pages: SharedPages | None = None,
) -> Trajectory:
    """Play one episode to its end. `noise` is the chance that a page (or where pages are mixed: a document) is noisy;
    None: the engine is a real one.

    Every draw has a seed of its own: whatever finishes first elsewhere changes nothing here. Tokens go by the run's
    seed, the step, the question, the rollout and the turn, and by `repeat`, which counts the times that a step has had
    this question before. A page and its noise go by the run's seed, the step, the question and the query, so that all
    who ask the same get the same; `pages` holds what the step has been answered so far. Where a simulator does not
    remember (and with a real engine), they go by the rollout and the search's place in the episode.
    """
    started = time.perf_counter()
    episode = Episode(question, settings.prompt(question.text), settings.codec, settings.limits)
    searches: list[SearchRecord] = []
    usage = Usage()
    shared = (settings.seed, step, question.id)
    own = (*shared, f"{rollout} again {repeat}" if repeat else rollout)
    remembers = settings.remembers and noise is not None  # a real engine gives the same page of itself
    known = (pages or SharedPages()) if remembers else None
    try:
        while not isinstance(action := episode.next(), Done):
            if isinstance(action, Generate):
                s = settings.sampling
                piece = (action.piece,) if action.piece else ()
                seed = derive_seed(*own, "turn", len(episode.turns), *piece)
                sampling = Sampling(s.temperature, s.top_p, s.top_k, action.max_tokens, STOP_STRINGS, seed)
                generation = await generator.generate(action.prompt_ids, sampling)
                usage += generation.usage or Usage(len(action.prompt_ids), len(generation.token_ids))
                episode.feed_generation(generation)
                continue
            query = action.query
            same = same_query(query)
            place = (*shared, "page", same) if known else (*own, "page", action.index)
            request = _request(query, question, settings, noise, derive_seed(*place))
            asked = time.perf_counter()
            ask = partial(_ask, engine, request, errors)
            answer, again = await known.get((question.id, same), ask) if known else (await ask(), False)
            if isinstance(answer, SearchPage):
                searches.append(SearchRecord.of(query, answer.again() if again else answer, noise))
                episode.feed_page(answer.documents)
            else:
                failed = SearchRecord.failed(request, engine.name, answer, time.perf_counter() - asked, noise)
                searches.append(failed.again() if again else failed)
                episode.feed_failure()
    except PolicyError as error:
        error.usage = usage + error.usage
        raise
    finally:
        if known and known is not pages:
            await known.close()
    return finish(
        episode,
        searches,
        reward=settings.reward,
        format_reward=settings.format_reward,
        step=step,
        group=group,
        rollout=rollout,
        seconds=time.perf_counter() - started,
        usage=usage,
    )


def _request(
    query: str, question: Question, settings: RolloutSettings, noise: float | None, seed: int
) -> SearchRequest:
    kinds = settings.pages.draw(noise, settings.top_k, seed) if noise is not None else ()
    return SearchRequest(query, settings.top_k, question, page_quality(kinds), seed, kinds)


async def _ask(engine: SearchEngine, request: SearchRequest, errors: ErrorRate) -> Answer:
    """Ask the engine, and count it once, however many wait for it. Raises `RunError` past the limit of failures."""
    try:
        page = await engine.search(request)
    except EngineError as error:
        errors.failure(error)
        return error
    errors.found(page)
    return page


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
    repeats: Sequence[int] | None = None,
) -> list[Trajectory]:
    """`rollouts` episodes for each question, all at once; the result is ordered by question, then rollout.

    `groups` numbers the questions and `repeats` tells how often each was there before, where they are part of a larger
    batch; by default they are counted here. Equal queries of a question share one page (see `RolloutSettings`).

    The first error that ends a run cancels the other episodes and is raised.
    """
    pages = SharedPages()
    numbered = zip(groups or range(len(questions)), questions, repeats or times_before(questions), strict=True)
    episodes = [
        run_episode(
            question, generator, engine, settings, errors,
            noise=noise, step=step, group=group, rollout=rollout, repeat=repeat, pages=pages,
        )
        for group, question, repeat in numbered
        for rollout in range(rollouts)
    ]  # fmt: skip
    try:
        played = await together(episodes)
    finally:
        await pages.close()
    return credit_the_first(played) if settings.remembers and noise is not None else played


def times_before(questions: Sequence[Question]) -> list[int]:
    """How often each of a batch's questions has been there before its place."""
    seen: Counter[str] = Counter()
    counts = []
    for question in questions:
        counts.append(seen[question.id])
        seen[question.id] += 1
    return counts
