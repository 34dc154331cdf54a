"""Many calls at once: all of them, or a bounded number at a time; the first failure ends the others."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")
R = TypeVar("R")


async def together(calls: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """The results of all calls, made at once, in their order.

    The first failure cancels the others, waits until they have ended, and is raised as it is: a `TaskGroup` would put
    it into a group.
    """
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


async def for_each(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], done: Callable[[R], object], *, limit: int
) -> None:
    """Work on all items, begun in their order, at most `limit` at a time; `done` is given each result as it comes.

    The first failure, of `work` or of `done`, cancels the others, waits until they have ended, and is raised. Whatever
    has been worked on by then has been given to `done`.
    """
    waiting = iter(items)

    async def go_on() -> None:
        for item in waiting:
            done(await work(item))

    await together([go_on() for _ in range(limit)])
