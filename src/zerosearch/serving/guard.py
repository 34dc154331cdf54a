"""The checks of every request: id, key, limits. Then it is counted and logged.

Pure ASGI. A body is read whole before the application sees it: one that is too large, too slow or broken off never
reaches an engine.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zerosearch.serving.config import ServeConfig
from zerosearch.serving.faults import Fault, answer
from zerosearch.serving.logs import REQUESTS
from zerosearch.serving.metrics import Metrics

OPEN_PATHS = ("/health",)
"""Paths that need no key and count against no limit."""
BODY_SECONDS = 30.0  # how long a client may take to send its body
_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)
_BURST_SECONDS = 2.0
_CLIENTS = 10_000  # addresses whose rate is remembered


class Rate:
    """A token bucket for each client: `per_second` requests, and bursts of two seconds' worth. None: no limit."""

    def __init__(self, per_second: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second, self._clock = per_second, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """0, or in how many seconds `client` may ask again."""
        if self._per_second is None:
            return 0.0
        now, most = self._clock(), max(1.0, self._per_second * _BURST_SECONDS)
        left, at = self._left.pop(client, (most, now))
        left = min(most, left + (now - at) * self._per_second)
        allowed = left >= 1
        self._left[client] = (left - 1 if allowed else left, now)
        if len(self._left) > _CLIENTS:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) / self._per_second


class Guard:
    """ASGI middleware. `key` empty: none is asked for."""

    def __init__(self, app: ASGIApp, *, config: ServeConfig, key: str, metrics: Metrics) -> None:
        self._app, self._config, self._key, self._metrics = app, config, key.encode(), metrics
        self._rate = Rate(config.requests_per_second)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket" and (fault := self._refused(scope)) is not None:
            self._told(scope, fault.status, time.perf_counter())
            await _refuse_socket(scope, receive, send, fault)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, status = time.perf_counter(), 0
        name = _header(scope, b"x-request-id")
        name = name if _ID.fullmatch(name) else secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = name

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", name.encode())]
            await send(message)

        open_ = scope["path"] in OPEN_PATHS
        self._metrics.requests_under_way += not open_
        try:
            fault = None if open_ else self._refused(scope)
            if fault is None:
                body = await self._body(scope, receive)
                whole: Message = {"type": "http.request", "body": body, "more_body": False}
                await self._app(scope, replay(whole, receive), tell)
        except Fault as raised:
            fault = raised
        except _Gone:
            status = 499  # nobody is there to be answered
        except Exception:
            REQUESTS.exception("a request failed inside of the server", extra={"fields": {"request_id": name}})
            fault = Fault(500, "internal", "a fault of this server; its log has the request id")
        finally:
            self._metrics.requests_under_way -= not open_
        if fault is not None and not status:
            await answer(fault, name)(scope, receive, tell)
        self._told(scope, status, began)

    def _refused(self, scope: Scope) -> Fault | None:
        if scope["path"] in OPEN_PATHS:
            return None
        if self._key and not any(hmac.compare_digest(key, self._key) for key in _keys(scope)):
            said = "this is not the server's key" if any(_keys(scope)) else "a key is needed"
            return Fault(401, "key", f"{said}: Authorization: Bearer KEY, or the parameter api_key=KEY")
        if wait := self._rate.take(_client(scope)):
            most = self._config.requests_per_second
            return Fault(429, "rate", f"more than {most:g} requests a second from one address", retry_after=wait)
        if self._metrics.requests_under_way > self._config.concurrency:
            return Fault(503, "busy", f"{self._config.concurrency} requests are under way", retry_after=1)
        return None

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body. Raises `Fault` (413, 408), and `_Gone` where the client went away."""
        most = self._config.max_body_kb * 1024
        fault = Fault(413, "too_large", f"the body is larger than {self._config.max_body_kb} KB (serve.max_body_kb)")
        declared = _header(scope, b"content-length")
        if declared.isdigit() and int(declared) > most:
            raise fault
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(BODY_SECONDS):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        raise _Gone
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    if size > most:
                        raise fault
                    if not message.get("more_body", False):
                        return b"".join(parts)
        except TimeoutError:
            raise Fault(408, "slow", f"the body did not come within {BODY_SECONDS:g} s") from None

    def _told(self, scope: Scope, status: int, began: float) -> None:
        seconds = time.perf_counter() - began
        route = getattr(scope.get("route"), "path", None) or ("/mcp" if scope["path"] == "/mcp" else "other")
        method = scope.get("method", "WS") if scope.get("method") in ("GET", "POST", "DELETE", "HEAD") else "other"
        self._metrics.request(method, route, status, seconds)
        if not REQUESTS.isEnabledFor(logging.INFO):
            return
        fields = {
            "request_id": scope.get("state", {}).get("request_id"), "method": method, "path": route,
            "status": status, "seconds": round(seconds, 4), "client": _client(scope),
        }  # fmt: skip
        REQUESTS.info("request", extra={"fields": fields})


class _Gone(Exception):
    """The client went away before its request was whole."""


def _keys(scope: Scope) -> list[bytes]:
    """The keys that a request offers, in its header and in its address."""
    scheme, _, given = _header(scope, b"authorization").partition(" ")
    offered = [given.strip()] if scheme.lower() == "bearer" else []
    with suppress(ValueError):  # more than 100 parameters
        offered += parse_qs(scope.get("query_string", b"").decode("latin-1"), max_num_fields=100).get("api_key", [])
    return [key.encode("utf-8", "replace") for key in offered]


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _client(scope: Scope) -> str:
    client = scope.get("client")
    return client[0] if client else ""


def replay(first: Message, receive: Receive) -> Receive:
    """`first` once more, then whatever else the client does, such as going away."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return first

    return again


async def _refuse_socket(scope: Scope, receive: Receive, send: Send, fault: Fault) -> None:
    if "websocket.http.response" in scope.get("extensions", {}):
        await answer(fault)(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.close", "code": 1008, "reason": str(fault)[:120]})
