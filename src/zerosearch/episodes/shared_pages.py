"""One page for each question and query within a step: a repeated query gets the same page.

    async with SharedPages() as pages:
        answer, again = await pages.get(("q7", "capital of nepal"), lambda: ask(request))

A simulator would draw another page for each of a question's rollouts, and the group's advantage would then pay for the
luckier draw.
"""

from __future__ import annotations

import asyncio
import unicodedata
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

from zerosearch.episodes.search import SearchPage
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.errors import EngineError

Key = tuple[str, str]
Answer = SearchPage | EngineError


def same_query(query: str) -> str:
    """What equal queries have in common: the text without its case, with single blanks, in Unicode's NFC.

    Everything else tells queries apart: C++, C# and C; vowel signs; flags.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", query).casefold())
    return " ".join(folded.split())


class SharedPages:
    """The answers of one step. A failed search is an answer too: whoever asks the same in this step fails alike."""

    def __init__(self) -> None:
        self._asked: dict[Key, asyncio.Task[Answer]] = {}

    async def get(self, key: Key, ask: Callable[[], Coroutine[Any, Any, Answer]]) -> tuple[Answer, bool]:
        """The answer for `key`, and whether another search has asked for it. The first calls `ask`, the others wait.

        `ask` runs in a task of its own, so a search that is cancelled takes the answer from nobody. What `ask` raises
        is raised for everybody who waits.
        """
        again = key in self._asked
        if not again:
            self._asked[key] = asyncio.create_task(ask())
        return await asyncio.shield(self._asked[key]), again

    async def __aenter__(self) -> SharedPages:
        return self

    async def __aexit__(self, *raised: object) -> None:
        """Call off what is still under way."""
        for task in self._asked.values():
            task.cancel()
        await asyncio.gather(*self._asked.values(), return_exceptions=True)


def credit_the_first(trajectories: Sequence[Trajectory]) -> list[Trajectory]:
    """Of the searches that shared a page, the first in the order of `trajectories` is the one that paid for it.

    Which of the searches really asked the engine depends on who was sooner; a record must not. Sums stay as they are.
    """
    first: dict[Key, tuple[int, int]] = {}
    records = [list(t.searches) for t in trajectories]
    for row, trajectory in enumerate(trajectories):
        for place, record in enumerate(trajectory.searches):
            key = (trajectory.question.id, same_query(record.query))
            r, p = first.setdefault(key, (row, place))
            if not record.cached and (r, p) != (row, place):
                records[row][place], records[r][p] = _paid_as(record, records[r][p]), _paid_as(records[r][p], record)
    return [replace(t, searches=tuple(of)) for t, of in zip(trajectories, records, strict=True)]


def _paid_as(record: SearchRecord, other: SearchRecord) -> SearchRecord:
    return replace(record, cached=other.cached, usage=other.usage, attempts=other.attempts)
