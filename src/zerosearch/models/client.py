"""JSON over HTTP: the one client of everything here that asks a server, simulators and search engines alike.

    client = JsonClient("https://google.serper.dev/search", headers={"X-API-KEY": key_from("SERPER_API_KEY")})
    answer = await client.post({"q": "capital of Nepal"})

It knows nothing of what is asked. It bounds what a server can do to a run (silence, size, redirects), gives every
failure a kind that `retry.py` understands, and has what it says cleaned of the key (`cleaning.py`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

import httpx

from zerosearch.cleaning import CleanLogs, check_address, check_variable, clean, register_secret, shown_address
from zerosearch.episodes.protocol import one_line
from zerosearch.errors import ConfigError
from zerosearch.models.network import client_options
from zerosearch.models.retry import AttemptError, parse_retry_after

T = TypeVar("T")

MAX_BODY_BYTES = 4 << 20  # a page is a few kilobytes; more is a broken server, and a run must survive it
_QUOTED_CONTROL = re.compile(r"\\u00[01][0-9a-f]")
_RETRYABLE_4XX = frozenset((408, 409, 425, 429))
_LOGGERS = ("httpx", "httpcore.connection", "httpcore.http11", "httpcore.http2", "httpcore.proxy")


class StatusError(AttemptError):
    """The server answered, and not with 200. `detail` is what it said, in one short line; `said` is all of it."""

    def __init__(self, url: str, status: int, said: str, detail: str, retry_after: float | None) -> None:
        kind = "http" if status >= 500 or status in _RETRYABLE_4XX else "refused"
        message = f"{url}: HTTP {status}{': ' if detail else ''}{detail}"
        super().__init__(kind, message, retry_after=retry_after)
        self.status, self.said = status, said
        self.detail = detail


class PerLoop(Generic[T]):
    """An object that belongs to one event loop, made again in the next: connections, locks and semaphores are such."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._held: tuple[asyncio.AbstractEventLoop, T] | None = None

    def get(self) -> T:
        """The running loop's own object."""
        loop = asyncio.get_running_loop()
        if self._held is None or self._held[0] is not loop:
            self._held = (loop, self._make())
        return self._held[1]

    def take(self) -> T | None:
        """Give up the object. None where there is none, or where it belongs to a loop that is not running."""
        held, self._held = self._held, None
        return held[1] if held is not None and held[0] is asyncio.get_running_loop() else None


class JsonClient:
    """Asks one address. `headers` may carry a key.

    `timeout_seconds` is the longest silence of the server that is waited out. Redirects are not followed: they would
    carry the key elsewhere. A server on this machine is never asked through a proxy. Connections belong to the event
    loop that they were opened in: `aclose` closes them there, and the client can be used again afterwards.
    """

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_seconds: float = 60.0,
        max_connections: int = 256,
    ) -> None:
        self.url = url
        self._timeout_seconds = timeout_seconds
        self._max_connections = max_connections
        self._headers = {"Accept": "application/json", **(headers or {})}
        self._route = client_options(url)
        self._session = PerLoop(self._open)

    async def get(self, parameters: Mapping[str, str]) -> Any:
        """The answer to `GET url?parameters`; raises as `post` does."""
        return await self._ask("GET", params=dict(parameters))

    async def post(self, body: Mapping[str, Any]) -> Any:
        """The answer to `body`, sent as JSON.

        Raises `AttemptError` of kind `connection`, `deadline` (silence), `malformed` (no JSON, or more than 4 MiB of
        it), and `StatusError` of kind `refused` (4xx, another try is of no use) or `http` (429, 5xx).
        """
        return await self._ask("POST", content=json.dumps(body), headers={"Content-Type": "application/json"})

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        session = self._session.take()
        if session is not None:
            await session.aclose()

    async def _ask(self, method: str, **request: Any) -> Any:
        try:
            async with self._session.get().stream(method, self.url, **request) as response:
                payload = await self._read(response)
        except httpx.TimeoutException:
            raise AttemptError("deadline", f"{self.url}: silent for {self._timeout_seconds:g} s") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            reason = clean(str(error)) or type(error).__name__
            raise AttemptError("connection", f"{self.url}: {reason}") from None
        if response.status_code != 200:
            pause = parse_retry_after(response.headers.get("retry-after"))
            said, detail = payload.decode("utf-8", "replace"), _error_text(payload)
            if response.has_redirect_location:
                detail += (
                    f"{'; ' if detail else ''}it leads to {shown_address(response.headers['location'])}, not followed"
                )
            raise StatusError(self.url, response.status_code, said, detail, pause)
        try:
            return json.loads(payload)
        except (ValueError, RecursionError):
            raise AttemptError("malformed", f"{self.url}: the answer is not JSON") from None

    def _open(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(
            headers=self._headers,
            # Waiting for a free connection is not the server's silence: the search's deadline bounds it.
            timeout=httpx.Timeout(self._timeout_seconds, pool=None),
            limits=httpx.Limits(max_connections=self._max_connections),
            **self._route,
        )

    async def _read(self, response: httpx.Response) -> bytes:
        payload = bytearray()
        async for chunk in response.aiter_bytes():
            payload += chunk
            if len(payload) > MAX_BODY_BYTES:
                raise AttemptError("malformed", f"{self.url}: answered with more than {MAX_BODY_BYTES >> 20} MiB")
        return bytes(payload)


def checked_url(text: str, setting: str, example: str = "http://localhost:8000/v1") -> httpx.URL:
    """The address that stands in the setting `setting`. Raises `ConfigError` for what is none, or holds a secret."""
    try:
        return httpx.URL(check_address(text, example))
    except httpx.InvalidURL as error:
        raise ConfigError(f"{setting} cannot be used ({error}); write for example {example}") from None
    except ValueError as error:
        raise ConfigError(f"{setting} {error}") from None


def key_from(variable: str | None) -> str:
    """The key that the environment variable `variable` holds, hidden from now on; None: no key.

    Raises `ConfigError`, without the key.
    """
    if variable is None:
        return ""
    try:
        check_variable(variable)
    except ValueError as error:
        raise ConfigError(f"api_key_env: {error}") from None
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {variable} is not set; export the key in it")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the environment variable {variable} does not hold a key: spaces or odd characters in it")
    register_secret(key)
    return key


def error_message(answer: Any) -> str:
    """What a server's answer says went wrong, in one short line; the answer itself where it has no usual form."""
    said = answer
    if isinstance(answer, dict):
        said = next((answer[name] for name in ("error", "message", "detail") if name in answer), answer)
        if isinstance(said, dict):
            said = said.get("message", answer)
    text = said if isinstance(said, str) else _QUOTED_CONTROL.sub("", json.dumps(said, ensure_ascii=False))
    return short_line(text)


def short_line(text: str) -> str:
    """`text` in one short line: cleaned first, then cut."""
    return one_line(clean(text))[:200]


def _error_text(payload: bytes) -> str:
    try:
        return error_message(json.loads(payload))
    except (ValueError, RecursionError):
        return short_line(payload.decode("utf-8", "replace"))


for _name in _LOGGERS:
    logging.getLogger(_name).addFilter(CleanLogs())
