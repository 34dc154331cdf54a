"""Many calls at once: bounded, in order, and nothing is left running when one fails."""

from __future__ import annotations

import asyncio

import pytest

from zerosearch.episodes.tasks import for_each, together


class Work:
    """Counts what runs at a time; `slow` items wait until they are cancelled, `broken` ones raise."""

    def __init__(self, slow: tuple[int, ...] = (), broken: tuple[int, ...] = ()) -> None:
        self.slow, self.broken = slow, broken
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.going = self.most = 0

    async def __call__(self, item: int) -> int:
        self.begun.append(item)
        self.going += 1
        self.most = max(self.most, self.going)
        try:
            for _ in range(1 + item % 3):
                await asyncio.sleep(0)
            if item in self.broken:
                raise ValueError(f"item {item}")
            if item in self.slow:
                await asyncio.Event().wait()
            return item
        finally:
            self.ended.append(item)
            await asyncio.sleep(0)  # what is cancelled may still have to tidy up
            self.going -= 1


def test_results_of_calls_at_once_come_in_their_order() -> None:
    work = Work()
    assert asyncio.run(together([work(item) for item in (5, 3, 4)])) == [5, 3, 4]
    assert work.most == 3


def test_all_items_are_worked_on_in_order_and_never_more_than_the_limit() -> None:
    work, done = Work(), []
    asyncio.run(for_each(range(20), work, done.append, limit=4))
    assert (work.begun, sorted(done), work.most) == (list(range(20)), list(range(20)), 4)
    asyncio.run(for_each((), work, done.append, limit=4))
    assert len(done) == 20


def test_a_failure_ends_what_is_under_way_and_begins_nothing_new() -> None:
    work, done = Work(slow=(0, 1), broken=(5,)), []

    async def main() -> set[asyncio.Task[None]]:
        with pytest.raises(ValueError, match="item 5"):
            await for_each(range(20), work, done.append, limit=4)
        return asyncio.all_tasks() - {asyncio.current_task()}  # type: ignore[arg-type]

    assert asyncio.run(main()) == set()
    assert sorted(work.ended) == work.begun
    assert max(work.begun) < 9
    assert {2, 3, 4} <= set(done)
    assert not set(done) & {0, 1, 5}


def test_what_takes_the_results_may_end_it_all_too() -> None:
    work, done = Work(slow=(1,)), []

    def full(item: int) -> None:
        done.append(item)
        if len(done) == 3:
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        asyncio.run(for_each(range(20), work, full, limit=2))
    assert (done, sorted(work.ended)) == ([0, 2, 3], work.begun)
