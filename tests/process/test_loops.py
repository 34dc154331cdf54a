"""Synchronous functions where an event loop runs already, as in a notebook."""

from __future__ import annotations

import asyncio
import inspect
import os
import signal
import threading
import time

import pytest

from zerosearch.process.loops import Loop


async def where() -> tuple[asyncio.AbstractEventLoop, str]:
    await asyncio.sleep(0)
    return asyncio.get_running_loop(), threading.current_thread().name


def test_a_script_runs_its_loop_in_its_own_thread() -> None:
    with Loop() as loop:
        first, second = loop.run(where()), loop.run(where())
    assert first == second
    assert first[1] == threading.current_thread().name


def test_a_closed_loop_says_so_and_leaves_no_coroutine_behind() -> None:
    loop = Loop()
    loop.close()
    loop.close()
    work = where()
    with pytest.raises(RuntimeError, match="this is closed"):
        loop.run(work)
    assert inspect.getcoroutinestate(work) == inspect.CORO_CLOSED


def test_a_notebook_runs_it_in_another_and_it_is_the_same_loop() -> None:
    async def cell() -> None:
        with Loop() as loop:
            first, second = loop.run(where()), loop.run(where())
            assert first[0] is second[0]
            assert first[0] is not asyncio.get_running_loop()
            assert first[1].startswith("zerosearch")
            with pytest.raises(ZeroDivisionError):
                loop.run(fail())

    async def fail() -> float:
        return 1 / 0

    asyncio.run(cell())


def test_a_cell_that_is_stopped_cancels_its_work_and_waits_for_its_end() -> None:
    seen = []

    async def long() -> None:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            await asyncio.sleep(0.05)
            seen.append("closed")
            raise

    async def cell() -> None:
        with Loop() as loop:
            with pytest.raises(KeyboardInterrupt):
                loop.run(long())
            assert seen == ["cancelled", "closed"]
            assert loop.run(where())[1].startswith("zerosearch")  # it can be used again

    started = time.monotonic()
    loop = asyncio.new_event_loop()  # as a notebook's, without a handler of interrupts of its own
    loop.run_until_complete(cell())
    loop.close()
    assert time.monotonic() - started < 30
