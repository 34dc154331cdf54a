"""A search engine whose pages a language model writes: the point of the whole package.

    engine = SimulatedEngine(OpenAIWriter("http://localhost:8000/v1", "Qwen/Qwen2.5-14B-Instruct"))
    page = await engine.search(SearchRequest(query, top_k=5, question=question, quality=Quality.NOISY, seed=7))

The prompt is made from the request and from nothing else, so a query is always simulated with its own question.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from zerosearch.curriculum import derive_seed
from zerosearch.engines.base import close_connections
from zerosearch.engines.pages import parse_page
from zerosearch.engines.retry import AttemptError, Retry, with_retry
from zerosearch.engines.writers import Writer, Written
from zerosearch.errors import ConfigError, EngineError
from zerosearch.prompts import PromptStyle, simulator_messages
from zerosearch.search import Document, SearchPage, SearchRequest

log = logging.getLogger(__name__)

_WORD = re.compile(r"\w")


class SimulatedEngine:
    """A `SearchEngine`. With a local writer a page is a function of its request, the seed included.

    `style` is `tuned` for a simulator that was tuned on that short prompt, `instruct` for any other. Temperature .8 and
    600 tokens are the paper's. The prices are in US dollars per million tokens; attempts that came to nothing are paid
    for too. `sleep` and `clock` are for tests.

    A query without a word in it gets what a real engine gives it, an empty page, and the writer is not asked. A text
    without any document is an `EngineError` of kind `empty` once `retry` is used up; each attempt draws from a seed of
    its own. A text out of form whose documents can be made out is kept, with `parsed` False.
    """

    def __init__(
        self,
        writer: Writer,
        *,
        style: PromptStyle = "instruct",
        temperature: float = 0.8,
        max_tokens: int = 600,
        retry: Retry | None = None,
        usd_per_million_prompt_tokens: float = 0.0,
        usd_per_million_completion_tokens: float = 0.0,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not temperature >= 0:
            raise ConfigError(f"simulator.temperature is {temperature}; it must be 0 or more")
        if max_tokens < 1:
            raise ConfigError(f"simulator.max_tokens is {max_tokens}; it must be at least 1")
        self.name = f"simulated:{writer.model}"
        self._writer = writer
        self._style: PromptStyle = style
        self._temperature = temperature
        self._max_tokens = max_tokens
        self._retry = retry if retry is not None else Retry()
        self._prices = (usd_per_million_prompt_tokens, usd_per_million_completion_tokens)
        self._sleep = sleep
        self._clock = clock
        self._warned = False

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request`. Raises `EngineError` once the attempts or the deadline are used up."""
        if not _WORD.search(request.query):
            return SearchPage((), self.name, request.quality)
        messages = simulator_messages(request, self._style)
        started = self._clock()
        bill = _Bill()

        async def attempt(number: int) -> tuple[tuple[Document, ...], bool]:
            seed = request.seed if number == 1 else derive_seed("attempt", number, request.seed)
            try:
                written = await self._writer.write(
                    messages, max_tokens=self._max_tokens, temperature=self._temperature, seed=seed
                )
            except EngineError as error:  # an answer that is of no use may have been written and charged for
                bill.prompt_tokens += error.prompt_tokens
                bill.completion_tokens += error.completion_tokens
                raise
            self._charge(bill, written)
            page = parse_page(written.text, request.top_k)
            if not page.documents:
                raise AttemptError("empty", f"{self.name}: wrote no document for the query {request.query[:80]!r}")
            return page.documents, page.well_formed

        try:
            (documents, parsed), attempts = await with_retry(attempt, self._retry, sleep=self._sleep, clock=self._clock)
        except EngineError as error:
            error.cost_usd = self._cost(bill)
            error.prompt_tokens, error.completion_tokens = bill.prompt_tokens, bill.completion_tokens
            raise
        return SearchPage(
            documents,
            self.name,
            request.quality,
            seconds=self._clock() - started,
            cost_usd=self._cost(bill),
            attempts=attempts,
            parsed=parsed,
            prompt_tokens=bill.prompt_tokens,
            completion_tokens=bill.completion_tokens,
        )

    async def aclose(self) -> None:
        """Close the writer's connections, where it has any."""
        await close_connections(self._writer)

    def _charge(self, bill: _Bill, written: Written) -> None:
        for price, tokens in zip(self._prices, (written.prompt_tokens, written.completion_tokens), strict=True):
            if price and tokens is None and not self._warned:
                self._warned = True
                log.warning("%s: the server does not tell how many tokens it used; costs are counted as 0", self.name)
        bill.prompt_tokens += written.prompt_tokens or 0
        bill.completion_tokens += written.completion_tokens or 0

    def _cost(self, bill: _Bill) -> float:
        return (self._prices[0] * bill.prompt_tokens + self._prices[1] * bill.completion_tokens) / 1e6


@dataclass
class _Bill:
    """The tokens of one search, all attempts together."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
