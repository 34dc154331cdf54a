from __future__ import annotations

import asyncio
import selectors
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from zerosearch.errors import ConfigError, EngineError
from zerosearch.models.retry import AttemptError, Retry, parse_retry_after, with_retry


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def failing(*failures: Exception | None) -> tuple[Callable[[int], Awaitable[str]], list[int]]:
    """A call that fails as told, one entry an attempt, and then answers."""
    seen: list[int] = []

    async def call(attempt: int) -> str:
        seen.append(attempt)
        failure = failures[attempt - 1] if attempt <= len(failures) else None
        if failure is not None:
            raise failure
        return f"answer {attempt}"

    return call, seen


def run(call: Callable[[int], Awaitable[str]], policy: Retry, time: FakeTime | None = None) -> tuple[str, int]:
    time = time or FakeTime()
    return asyncio.run(with_retry(call, policy, sleep=time.sleep, clock=time.clock))


def test_a_failure_is_tried_again_with_growing_pauses() -> None:
    time = FakeTime()
    call, seen = failing(*[AttemptError("http", "HTTP 500")] * 4)
    policy = Retry(attempts=5, backoff_seconds=0.5, max_backoff_seconds=3.0)
    assert run(call, policy, time) == ("answer 5", 5)
    assert seen == [1, 2, 3, 4, 5]
    assert time.pauses == [0.5, 1.0, 2.0, 3.0]


def http(message: str, retry_after: float | None = None) -> AttemptError:
    return AttemptError("http", message, retry_after=retry_after)


@pytest.mark.parametrize(
    ("failures", "policy", "kind", "said", "pauses"),
    [
        ([http(f"HTTP 50{n}") for n in range(9)], Retry(attempts=3), "http", "HTTP 502", [0.5, 1.0]),
        ([AttemptError("refused", "HTTP 401")], Retry(attempts=3), "refused", "HTTP 401", []),
        ([http("HTTP 429", 3600.0)], Retry(deadline_seconds=60.0), "http", "longer than the deadline leaves", []),
        ([http("HTTP 429", 86400.0)], Retry(deadline_seconds=None), "http", "longer", []),  # nobody waits for a day
        ([http("x")] * 99, Retry(99, 10.0, 4.0, 4.0), "http", "longer", [4.0, 4.0]),  # pauses count
    ],
)
def test_attempts_are_bounded_and_the_last_failure_is_told(
    failures: list[AttemptError], policy: Retry, kind: str, said: str, pauses: list[float]
) -> None:
    time = FakeTime()
    call, seen = failing(*failures)
    with pytest.raises(EngineError, match=said) as caught:
        run(call, policy, time)
    assert (caught.value.kind, caught.value.attempts, time.pauses) == (kind, len(seen), pauses)
    assert seen == list(range(1, len(pauses) + 2))


def test_the_pause_that_a_server_asks_for_is_kept() -> None:
    time = FakeTime()
    call, _ = failing(http("HTTP 429", 7.0), http("x", 0.1))
    assert run(call, Retry(attempts=3, max_backoff_seconds=2.0), time) == ("answer 3", 3)
    assert time.pauses == [7.0, 1.0]


class JumpingSelector(selectors.SelectSelector):
    """Where an event loop would wait until its next timer, its clock jumps there instead: deadlines without waiting."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing will ever happen in this loop"
        self.now += max(timeout, 0.0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.selector = JumpingSelector()
        super().__init__(self.selector)

    def time(self) -> float:
        return self.selector.now if hasattr(self, "selector") else 0.0


def run_in_jumping_time(call: Callable[[int], Awaitable[str]], policy: Retry) -> tuple[float, EngineError]:
    """The time in seconds at which the search failed, and how."""
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        loop = runner.get_loop()
        with pytest.raises(EngineError) as caught:
            runner.run(with_retry(call, policy, clock=loop.time))
        return loop.time(), caught.value


def test_an_attempt_that_never_ends_is_cut_off_by_the_deadline() -> None:
    cancelled = []

    async def hang(attempt: int) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(attempt)
            raise
        return ""

    ended, error = run_in_jumping_time(hang, Retry(attempts=3, deadline_seconds=60.0))
    assert ended == pytest.approx(60.0)
    assert "within the deadline of 60 s" in str(error)
    assert (error.kind, error.attempts, cancelled) == ("deadline", 1, [1])


def test_the_deadline_is_one_for_all_attempts_and_the_pauses_between() -> None:
    async def slow(attempt: int) -> str:
        await asyncio.sleep(20.0)
        raise AttemptError("http", f"HTTP 50{attempt}")

    policy = Retry(attempts=9, deadline_seconds=60.0, backoff_seconds=5.0, max_backoff_seconds=5.0)
    ended, error = run_in_jumping_time(slow, policy)  # 20 + 5 + 20 + 5 + 10
    assert ended == pytest.approx(60.0)
    assert "before that: HTTP 502" in str(error)
    assert (error.kind, error.attempts) == ("deadline", 3)


@pytest.mark.parametrize("error", [ValueError("a bug"), TimeoutError("of the call's own")])
def test_what_is_no_engine_error_goes_through_untouched(error: Exception) -> None:
    call, seen = failing(error)
    with pytest.raises(type(error), match=str(error)):
        run(call, Retry())
    assert seen == [1]


def test_cancelling_the_search_is_not_a_failed_search() -> None:
    async def main() -> None:
        started = asyncio.Event()

        async def hang(attempt: int) -> str:
            started.set()
            await asyncio.Event().wait()
            return ""

        task = asyncio.create_task(with_retry(hang, Retry()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


def test_the_pause_cannot_overflow() -> None:
    assert Retry(attempts=10**6).pause(10**6) == 10.0


@pytest.mark.parametrize(
    "settings",
    [
        {"attempts": 0},
        {"deadline_seconds": 0.0},
        {"deadline_seconds": float("nan")},
        {"backoff_seconds": -1.0},
        {"max_backoff_seconds": -1.0},
    ],
)
def test_a_policy_out_of_range_is_refused_by_name(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"retry.{next(iter(settings))} is"):
        Retry(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 0.5 ", 0.5),
        ("Wed, 21 Oct 2015 07:28:10 GMT", 10.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),
        *(
            (value, None)
            for value in (
                None,
                "",
                "soon",
                "-3",
                "inf",
                "1e400",
                "١٢",
                "Wed, 21 Oct 99999999999 07:28:00 GMT",
                "Wed, 21 Oct 2099 07:28:00 +99999999999999",
                "Fri, 31 Dec 9999 23:59:59 -9999",
            )
        ),
    ],
)
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, datetime(2015, 10, 21, 7, 28, 0, tzinfo=UTC)) == seconds
