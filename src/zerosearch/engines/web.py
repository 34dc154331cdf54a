"""What search engines behind a URL have in common. `serpapi`, `serper`, `searxng` and `remote` add request and format.

    engine = SerperEngine()                                  # the key is in SERPER_API_KEY
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

A search is tried again within a deadline, and then is an `EngineError`. Searches beyond `max_connections` and beyond
`requests_per_second` wait in line, and waiting costs them nothing of their deadline: a polite limit fails no search.
"""

from __future__ import annotations

import asyncio
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import httpx

from zerosearch.cleaning import clean
from zerosearch.episodes.protocol import one_line
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.errors import ConfigError, EngineError
from zerosearch.files.identity import address_of, identity_of
from zerosearch.models.client import JsonClient, PerLoop, StatusError, checked_url, key_from
from zerosearch.models.retry import AttemptError, Retry, with_retry
from zerosearch.spending.ledger import PRICES
from zerosearch.usage import Usage

KEY_VARIABLES: dict[str, str] = {"serpapi": "SERPAPI_API_KEY", "serper": "SERPER_API_KEY"}
"""The environment variables that hold the keys, unless `api_key_env` names another."""

PRICES_USD = {"serpapi": PRICES.serpapi_search, "serper": PRICES.serper_search, "searxng": 0.0, "remote": 0.0}
"""US dollars a search by list price; `price_usd` says what you really pay."""

RESULTS_A_PAGE = 10  # always asked for, at the same price: some have no text, and others take their place
MAX_QUERY_CHARS = 1000  # more than any engine looks at, and short enough for the address of a GET

_WORD = re.compile(r"\w")


class RateLimiter:
    """At most `per_second` requests a second, evenly spaced and first come, first served; None: no limit.

    Whoever is cancelled while it waits leaves the line and takes no slot with it. `sleep` and `clock` are for tests.
    """

    def __init__(
        self,
        per_second: float | None,
        *,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if per_second is not None and not per_second > 0:
            raise ConfigError(f"requests_per_second is {per_second}; it must be above 0")
        self._interval = 1 / per_second if per_second else 0.0
        self._line = PerLoop(asyncio.Lock)
        self._next = float("-inf")
        self._sleep = sleep
        self._clock = clock

    async def wait(self) -> None:
        """Return when the next request may be made."""
        if not self._interval:
            return
        async with self._line.get():
            pause = self._next - self._clock()
            if pause > 0:
                await self._sleep(pause)
            self._next = max(self._next, self._clock()) + self._interval


@dataclass(frozen=True)
class HttpOptions:
    """How a service is asked. None is the engine's own default: its public address, key variable and list price.

    `timeout_seconds` is the longest silence that is waited out in one attempt, `retry` has the deadline of them all.
    `sleep` and `clock` are for tests.
    """

    url: str | None = None
    api_key_env: str | None = None
    price_usd: float | None = None
    retry: Retry = field(default_factory=Retry)
    timeout_seconds: float = 30.0
    max_connections: int = 32
    requests_per_second: float | None = None
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    clock: Callable[[], float] = time.monotonic


class HttpEngine(ABC):
    """A `SearchEngine` behind a URL. The price is paid for every answer, of use or not; failures cost nothing.

    A query without a word in it gets what a real engine gives it, an empty page, and nobody is asked; so does a query
    that finds nothing. Results without text are left out. Quality, question and seed are for simulators and not looked
    at. Raises `ConfigError` for an address that is missing or cannot be used, and a key variable that is not set.
    """

    kind: ClassVar[str]
    default_url: ClassVar[str | None] = None
    example_url: ClassVar[str]
    exhausted: ClassVar[str] = ""
    """What the service says, in lower case, once nothing is left to search with: no pause brings that back."""

    def __init__(self, options: HttpOptions | None = None) -> None:
        options = options if options is not None else HttpOptions()
        if options.max_connections < 1:
            raise ConfigError(f"max_connections is {options.max_connections}; it must be at least 1")
        given = options.url if options.url is not None else self.default_url
        if given is None:
            raise ConfigError(f"engine {self.kind} needs a url, for example {self.example_url}")
        url = self._address(checked_url(given, f"engine.{self.kind}.url", self.example_url))
        self.name = self.kind if options.url is None else f"{self.kind}:{url.netloc.decode()}"
        self.identity = identity_of(self.kind, address=address_of(url))
        self._key_variable = options.api_key_env or KEY_VARIABLES.get(self.kind)
        self._key = key_from(self._key_variable)
        self._client = JsonClient(
            str(url),
            headers=self._headers(),
            timeout_seconds=options.timeout_seconds,
            max_connections=options.max_connections,
        )
        self._price_usd = PRICES_USD[self.kind] if options.price_usd is None else options.price_usd
        self._retry, self._sleep, self._clock = options.retry, options.sleep, options.clock
        self._limiter = RateLimiter(options.requests_per_second, sleep=options.sleep, clock=options.clock)
        self._slots = PerLoop(lambda: asyncio.Semaphore(options.max_connections))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._client.url!r})"

    def _address(self, url: httpx.URL) -> httpx.URL:
        """What is asked, where `url` is what the user wrote."""
        return url

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}

    @abstractmethod
    async def _ask(self, query: str, top_k: int) -> Any:
        """The service's answer. Raises `AttemptError`."""

    @abstractmethod
    def _read(self, answer: Any) -> Iterable[Document]:
        """The results of an answer, in order. Raises `AttemptError`; any JSON at all may be in `answer`."""

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request.query`. Raises `EngineError` once the attempts or the deadline are used up."""
        query = one_line(request.query)[:MAX_QUERY_CHARS].strip()
        if not _WORD.search(query) or request.top_k < 1:
            return SearchPage((), self.name)
        spent = 0.0

        async def attempt(number: int) -> tuple[Document, ...]:
            nonlocal spent
            if number > 1:  # the first one has its turn already
                await self._limiter.wait()
            try:
                answer = await self._ask(query, request.top_k)
            except StatusError as error:
                raise self._explained(error) from None
            spent += self.price_usd(request.top_k)
            return self._page(self._read(answer), request.top_k)

        async with self._slots.get():
            await self._limiter.wait()
            started = self._clock()
            try:
                documents, attempts = await with_retry(attempt, self._retry, sleep=self._sleep, clock=self._clock)
            except EngineError as error:
                error.usage = Usage(usd=spent)
                raise
        seconds = self._clock() - started
        return SearchPage(documents, self.name, seconds=seconds, usage=Usage(usd=spent), attempts=attempts)

    def _explained(self, error: StatusError) -> AttemptError:
        """`error`, with what to do about it where that is known."""
        if error.status in (401, 403):
            variable = self._key_variable
            hint = f"is the key in {variable} right?" if variable else "api_key_env names the variable of a key"
            return AttemptError(error.kind, f"{error} ({hint})")
        if self.exhausted and self.exhausted in error.detail.lower():
            return AttemptError("refused", str(error))
        return error

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The engine can be used again afterwards."""
        await self._client.aclose()

    def price_usd(self, top_k: int) -> float:
        """US dollars for an answer of `top_k` results."""
        return self._price_usd

    def _page(self, results: Iterable[Document], top_k: int) -> tuple[Document, ...]:
        """The first `top_k` results that say something, each of them once."""
        page: dict[tuple[str, str], Document] = {}
        for result in results:
            if len(page) == top_k:
                break
            result = Document(*(one_line(clean(part)) for part in (result.title, result.text, result.id)))
            if _WORD.search(result.text):
                page.setdefault((result.title, result.text), result)
        return tuple(page.values())
