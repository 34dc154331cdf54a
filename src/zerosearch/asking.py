"""Ask a policy one question, and follow it as it thinks, searches and answers.

    with Parts(config) as parts:
        print(Asker(parts).put(Question.asked("Capital of Nepal?")).answer)

The episode is the very one of training and evaluation (`rollout.run_episode`): a listener changes nothing in it.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Generation, Generator, Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, run_episode
from zerosearch.episodes.search import SearchEngine, SearchPage, SearchRequest
from zerosearch.episodes.streaming import Piece, TagStream, TextStream
from zerosearch.episodes.trajectory import Trajectory, Try
from zerosearch.errors import EngineError, check_at_least
from zerosearch.parts import Parts


class Listener(Protocol):
    """What an episode tells, in its order. Calls come from the thread that decodes, or from the event loop's."""

    def wrote(self, piece: Piece) -> None:
        """The policy has written some more of a block."""

    def searching(self, query: str) -> None:
        """The engine is being asked."""

    def found(self, page: SearchPage) -> None: ...

    def failed(self, error: EngineError) -> None:
        """The search failed for good, and the episode ends."""


class Silent:
    """A `Listener` that does not listen."""

    def wrote(self, piece: object) -> None: ...
    def searching(self, query: str) -> None: ...
    def found(self, page: object) -> None: ...
    def failed(self, error: object) -> None: ...


@dataclass(frozen=True)
class Answered:
    """How a question went. `writing` is the time in the generator and `searching` that in the engine, in seconds.

    `error` is the failure that ended the episode, where one did. `text` is all that followed the prompt.
    """

    trajectory: Trajectory
    text: str
    writing: float
    searching: float
    error: EngineError | None = None

    @property
    def answer(self) -> str | None:
        """What the policy answered; None where it did not."""
        return self.trajectory.answer

    @property
    def complaint(self) -> str | None:
        """The failure in one line."""
        if self.error is None:
            return None
        return f"the search failed ({self.error.kind}): {' '.join(str(self.error).split())}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready: question, answer, searches with their pages, the whole text, timings in seconds."""
        t = self.trajectory
        searches = [asdict(search) for search in t.searches]
        for search in searches:
            search["documents"] = list(search["documents"])
            del search["quality"], search["noise"]  # drawn in training only
        return {
            "question": t.question.text,
            "answer": t.answer,
            "stop_reason": t.stop_reason,
            "searches": searches,
            "text": self.text,
            "policy_tokens": t.usage.completion_tokens,
            "seconds": {
                "total": round(t.seconds, 3),
                "writing": round(self.writing, 3),
                "searching": round(self.searching, 3),
            },
            "cost_usd": t.usage.usd + sum(record.usage.usd for record in t.searches),
            "error": {"kind": self.error.kind, "message": str(self.error)} if self.error is not None else None,
        }


class Asker:
    """Puts questions to the policy of `parts`, with its `judge` engine. What is missing is told as it is made.

    Raises `ConfigError` for a `temperature` below 0.
    """

    def __init__(self, parts: Parts, *, temperature: float = 0.0) -> None:
        check_at_least(0, temperature=temperature)
        self._parts = parts
        top_k = parts.engine_config("judge").top_k
        self._generator, self._playing = parts.policy(temperature=temperature, top_k=top_k)
        self._engine = parts.engine("judge")

    def put(self, question: Question, listener: Listener | None = None) -> Answered:
        """Ask one question, in the loop of the parts. Raises `BudgetError` where the budget is spent."""
        playing = ask(question, self._generator, self._engine, self._playing, listener or Silent())
        return self._parts.run(playing)


async def ask(
    question: Question, generator: Generator, engine: SearchEngine, settings: RolloutSettings, listener: Listener
) -> Answered:
    """Play the question's episode and tell `listener` of it. A failed search is part of the result, not raised.

    A generator with a field `on_token`, such as a local model's, tells each token as it is sampled; else `listener`
    hears a turn at a time.
    """
    heard = _HeardGenerator(generator, settings.codec, listener)
    overheard = _HeardEngine(engine, listener)
    try:
        trajectory = await run_episode(Try(question), heard, overheard, settings, ErrorRate())
    finally:
        heard.close()
    text = settings.codec.decode(trajectory.ids[trajectory.prompt_length :])
    return Answered(trajectory, text, heard.seconds, overheard.seconds, overheard.error)


class NobodyListens(Exception):
    """Nobody listens any more: ends the decoding of a question that was given up."""


class _HeardGenerator:
    """A `Generator` that tells what it writes: token by token where it can, else a turn at a time."""

    def __init__(self, generator: Any, codec: Codec, listener: Listener) -> None:
        streams = hasattr(generator, "on_token")
        self._inner: Generator = replace(generator, on_token=self._on_token) if streams else generator
        self._listener = listener
        self._words = TextStream(codec.decode, codec.special_tokens)
        self._tags = TagStream()
        self._told = 0
        self._closed = False
        self.seconds = 0.0

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        self._told = 0
        started = time.perf_counter()
        try:
            generation = await self._inner.generate(prompt_ids, sampling)
        finally:
            self.seconds += time.perf_counter() - started
        for token in generation.token_ids[self._told :]:
            self._tell(self._words.feed(token))
        self._tell(self._words.finish())
        for piece in self._tags.finish():
            self._listener.wrote(piece)
        return generation

    def close(self) -> None:
        self._closed = True

    def _on_token(self, token: int) -> None:
        if self._closed:
            raise NobodyListens
        self._told += 1
        self._tell(self._words.feed(token))

    def _tell(self, text: str) -> None:
        for piece in self._tags.feed(text):
            self._listener.wrote(piece)


class _HeardEngine:
    """A `SearchEngine` that tells what it is asked and what it finds."""

    def __init__(self, engine: SearchEngine, listener: Listener) -> None:
        self._engine, self._listener = engine, listener
        self.name, self.identity = engine.name, engine.identity
        self.seconds = 0.0
        self.error: EngineError | None = None

    async def search(self, request: SearchRequest) -> SearchPage:
        self._listener.searching(request.query)
        started = time.perf_counter()
        try:
            page = await self._engine.search(request)
        except EngineError as error:
            self.error = error
            self._listener.failed(error)
            raise
        finally:
            self.seconds += time.perf_counter() - started
        self._listener.found(page)
        return page
