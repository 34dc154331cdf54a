"""One question in a prompted method: calls the model and the engine, and counts tokens and searches."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from zerosearch.engines.scripts import count_words, first_words
from zerosearch.episodes.generation import Sampling
from zerosearch.episodes.protocol import ActionKind, Message, neutralize
from zerosearch.episodes.questions import Question
from zerosearch.episodes.replies import close_tag, visible
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Document, SearchEngine, SearchRequest
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.trajectory import SearchRecord
from zerosearch.errors import EngineError
from zerosearch.models.chat import ChatModel, Written
from zerosearch.models.retry import Retry, with_retry
from zerosearch.usage import NOTHING, Usage

ONCE = Retry(attempts=1, deadline_seconds=None)


@dataclass(frozen=True)
class MethodSettings:
    """What all prompted methods have in common.

    `max_tokens` bounds a reply, `max_page_words` a page as the model sees it (a word is about 4/3 tokens).
    `temperature` 0 is greedy. `retry`: how often a reply is asked for again; for a local model once.
    """

    top_k: int = 5
    max_searches: int = 5
    max_tokens: int = 256
    max_page_words: int = 375
    temperature: float = 0.0
    seed: int = 0
    retry: Retry = ONCE


@dataclass
class Errors:
    """What has failed so far, of searches and of replies; each kind ends the run where it passes its limit."""

    searches: ErrorRate
    replies: ErrorRate

    @classmethod
    def limited(cls, limit: float) -> Errors:
        return cls(ErrorRate(limit), ErrorRate(limit, what="replies", at_fault="the model's server"))


@dataclass
class Session:
    """The model and the engine for one try at one question.

    Every call has a seed of its own, made from the run's seed, the question, the try and the call's number. `actions`
    holds what each turn of an agent did. `stop_reason` is set where a method ends in another way than with an answer
    or without one. `cut_off`: a reply was used up by its thoughts, and said nothing.
    """

    question: Question
    chat: ChatModel
    engine: SearchEngine | None
    settings: MethodSettings
    errors: Errors
    sample: int = 0
    searches: list[SearchRecord] = field(default_factory=list)
    actions: list[ActionKind] = field(default_factory=list)
    stop_reason: str | None = None
    turns: int = 0
    usage: Usage = NOTHING
    cut_off: bool = False
    _thinks: bool = False
    _searched: int = 0
    _log: list[str] = field(default_factory=list)

    @property
    def asked(self) -> str:
        """The question as it stands in a prompt: it cannot speak the protocol."""
        return neutralize(self.question.text)

    @property
    def searches_left(self) -> int:
        return self.settings.max_searches - self._searched

    @property
    def transcript(self) -> str:
        """What the model wrote and what was searched for, in the order in which it was asked; no prompts, no pages."""
        return "\n".join(self._log)

    def _seed(self, call: str, number: int) -> int:
        return derive_seed(self.settings.seed, self.question.id, self.sample, call, number)

    async def write(
        self,
        messages: Sequence[Message] | str,
        *,
        stop: tuple[str, ...] = (),
        max_tokens: int | None = None,
        temperature: float | None = None,
    ) -> str:
        """The model's reply to a chat, or to one message, its thoughts included. It ends before a string of `stop`
        outside of them, but for a closing tag, which is kept.

        `max_tokens` is less than a reply may have; a model that needs it for its thoughts gets all. Raises
        `EngineError` after all tries.
        """
        chat: Sequence[Message] = [{"role": "user", "content": messages}] if isinstance(messages, str) else messages
        heat = self.settings.temperature if temperature is None else temperature
        limits = [self.settings.max_tokens]
        if max_tokens is not None and max_tokens < limits[0] and not self._thinks:
            limits.insert(0, max_tokens)
        seed = self._seed("reply", self.turns)
        self.turns += 1
        place = len(self._log)
        self._log.append("")

        async def attempt(number: int) -> Written:
            while True:
                try:
                    how = Sampling(heat, max_tokens=limits[0], stop=stop, seed=seed)
                    written = await self.chat.write(chat, how, outside_thoughts=True)
                except EngineError as error:  # what comes to nothing is paid for too
                    self.usage += error.usage
                    if error.kind != "empty" or len(limits) == 1:
                        raise
                else:
                    self.usage += written.usage
                    if not _cut_in_thought(written) or len(limits) == 1:
                        return written
                self._thinks = True
                del limits[0]

        try:
            written, _ = await with_retry(attempt, self.settings.retry)
        except EngineError as error:
            self.stop_reason = "model_error"
            self.errors.replies.failure(error)
            raise
        self.errors.replies.success()
        self.cut_off = self.cut_off or _cut_in_thought(written)
        text = written.text if written.truncated else close_tag(written.text, stop)
        self._log[place] = f"model: {text.strip()}"
        return text

    async def search(self, query: str) -> tuple[Document, ...]:
        """The documents for a query, those that fit in a page. Raises `EngineError`, and `RuntimeError` where no search
        is left."""
        if self.engine is None or self.searches_left < 1:
            raise RuntimeError("the method searched more often than it may")
        index, self._searched = self._searched, self._searched + 1
        self._log.append(f"search: {query}")
        request = SearchRequest(query, self.settings.top_k, question=self.question, seed=self._seed("page", index))
        started = time.perf_counter()
        try:
            page = await self.engine.search(request)
        except EngineError as error:
            self.stop_reason = "engine_error"
            seconds = time.perf_counter() - started
            self.searches.append(SearchRecord.failed(request, self.engine.name, error, seconds))
            self.errors.searches.failure(error)
            raise
        self.errors.searches.found(page)
        self.searches.append(SearchRecord.of(query, page, 0.0))  # a simulator is asked for useful pages only
        return fit(page.documents, self.settings.max_page_words)


def _cut_in_thought(written: Written) -> bool:
    """Whether a reply had no room for more than its thoughts."""
    return written.truncated and not visible(written.text).strip()


def fit(documents: Sequence[Document], max_words: int) -> tuple[Document, ...]:
    """The first documents that have at most `max_words` words together, titles included (`scripts.count_words`).

    Documents stay whole, but for a first one that is too long by itself: it is cut.
    """
    kept: list[Document] = []
    room = max_words
    for document in documents:
        words = count_words(document.text)
        room -= count_words(document.title) + words
        if room < 0:
            if not kept:
                kept.append(replace(document, text=first_words(document.text, words + room)))
            break
        kept.append(document)
    return tuple(kept)
