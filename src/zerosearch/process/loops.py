"""An event loop for synchronous functions, also where one is running already, as in a notebook."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """Like `asyncio.Runner`: one event loop for all that `run` is given, until `close`.

    Where the calling thread runs a loop of its own, as a notebook does, this one runs in another thread, and the caller
    waits. An interrupt of that wait (Ctrl-C, a stopped cell) cancels the work and is raised when it has ended.
    """

    def __init__(self) -> None:
        self._runner = asyncio.Runner()
        self._closed = False

    def __enter__(self) -> Loop:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns. Raises what it raises, and `RuntimeError` once the loop is closed."""
        if self._closed:
            work.close()
            raise RuntimeError("this is closed and cannot be used any more: open it again")
        return self._in_a_free_thread(lambda: self._runner.run(work))

    def close(self) -> None:
        """Cancel what is left, and close the loop; once more does nothing."""
        self._closed = True
        self._in_a_free_thread(self._runner.close)

    def _in_a_free_thread(self, what: Callable[[], T]) -> T:
        if asyncio._get_running_loop() is None:
            return what()
        with ThreadPoolExecutor(1, "zerosearch") as pool:
            done = pool.submit(contextvars.copy_context().run, what)
            try:
                return done.result()
            except BaseException:
                if not done.done():
                    self._cancel()
                raise

    def _cancel(self) -> None:
        loop = self._runner.get_loop()
        loop.call_soon_threadsafe(lambda: [task.cancel() for task in asyncio.all_tasks(loop)])
