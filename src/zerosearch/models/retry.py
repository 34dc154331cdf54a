"""Retry a search: a limited number of attempts with exponential backoff, within one deadline.

The deadline covers all attempts of a search and the pauses between them. A dead server therefore costs a run one
deadline per search, and then a typed error that is counted; it can never hang a run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from zerosearch.errors import ConfigError, EngineError

T = TypeVar("T")

LONGEST_PAUSE_SECONDS = 600.0  # where there is no deadline: a server may ask for a day
FINAL_KINDS = frozenset(("refused",))  # asking again would be told the same: a wrong key, model or request


class AttemptError(EngineError):
    """One attempt failed. `retry_after` is the pause in seconds that the server asked for, if it did."""

    def __init__(self, kind: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(kind, message)
        self.retry_after = retry_after


@dataclass(frozen=True)
class Retry:
    """How often to try and how long to wait; times in seconds.

    The first pause is `backoff_seconds`, each further one twice as long, none above `max_backoff_seconds`; a longer
    pause that the server asks for is kept. `deadline_seconds` None: no deadline, as a local model's queue may be long.
    Raises `ConfigError` for values out of range.
    """

    attempts: int = 3
    deadline_seconds: float | None = 60.0
    backoff_seconds: float = 0.5
    max_backoff_seconds: float = 10.0

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("backoff_seconds", 0), ("max_backoff_seconds", 0)):
            if not getattr(self, name) >= least:
                raise ConfigError(f"retry.{name} is {getattr(self, name)}; it must be at least {least}")
        if self.deadline_seconds is not None and not self.deadline_seconds > 0:
            raise ConfigError(f"retry.deadline_seconds is {self.deadline_seconds}; it must be above 0")

    def pause(self, attempt: int, retry_after: float | None = None) -> float:
        """Seconds to wait after failed attempt `attempt` (from 1)."""
        # the exponent is bounded: 2 to the power of a thousand attempts overflows a float
        backoff = min(self.backoff_seconds * 2.0 ** min(attempt - 1, 64), self.max_backoff_seconds)
        return max(backoff, retry_after or 0.0)


PATIENT = Retry(attempts=6, deadline_seconds=600.0, backoff_seconds=1.0, max_backoff_seconds=60.0)
"""For a reply that a run cannot do without: an outage of half a minute is waited out."""


async def with_retry(
    call: Callable[[int], Awaitable[T]],
    policy: Retry,
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> tuple[T, int]:
    """Await `call(attempt)` with attempt 1, 2, ... until it succeeds; returns its value and the attempts it took.

    Only an `EngineError` is tried again, and only where its kind is not final. Raises `EngineError` with the kind of
    the last failure and the number of attempts; of kind `deadline` where an attempt was cut off by the deadline. A
    pause that would pass the deadline is not begun.
    """
    deadline = policy.deadline_seconds
    started = clock()
    attempt, last = 0, ""
    scope = asyncio.timeout(deadline)
    try:
        async with scope:
            while True:
                attempt += 1
                try:
                    return await call(attempt), attempt
                except EngineError as error:
                    kind, last = error.kind, str(error)
                    retry_after = error.retry_after if isinstance(error, AttemptError) else None
                if kind in FINAL_KINDS or attempt >= policy.attempts:
                    raise EngineError(kind, last, attempts=attempt)
                pause = policy.pause(attempt, retry_after)
                left = deadline - (clock() - started) if deadline is not None else LONGEST_PAUSE_SECONDS
                if pause >= left:
                    message = f"{last}; another attempt is due in {pause:g} s, which is longer than the deadline leaves"
                    raise EngineError(kind, message, attempts=attempt)
                await sleep(pause)
    except TimeoutError:
        if not scope.expired():
            raise
        before = f"; before that: {last}" if last else ""
        message = f"no answer within the deadline of {deadline:g} s (attempt {attempt}){before}"
        raise EngineError("deadline", message, attempts=attempt) from None


def parse_retry_after(value: str | None, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110, section 10.2.3: a number or a date); None where it makes no sense."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.replace(".", "", 1).isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=UTC)
        return max((date - (now or datetime.now(UTC))).total_seconds(), 0.0)
    except (ValueError, TypeError, LookupError, ArithmeticError):  # years and offsets beyond what a date can be
        return None
