"""How faithful a simulator is to the engine it stands in for: leak rate and transfer gap.

A simulator sees the golden answer. If it prints the answer whatever the query says, a policy learns that one search
with the whole question always works, and fails with a real engine. The *leak rate* measures that directly, the
*transfer gap* by its effect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zerosearch.engines.base import SearchEngine
from zerosearch.errors import EngineError
from zerosearch.scoring import contains_answer
from zerosearch.search import Document, SearchRequest
from zerosearch.trajectory import Trajectory


@dataclass(frozen=True)
class Leak:
    """`rate` is `leaked` / `queries`; None where the real engine's pages held the answer for every query."""

    queries: int
    leaked: int

    @property
    def rate(self) -> float | None:
        return self.leaked / self.queries if self.queries else None


async def leak(trajectories: Sequence[Trajectory], real: SearchEngine, top_k: int) -> Leak:
    """Of the useful simulated pages whose query finds no answer in the `real` engine: how many hold the answer?"""
    queries = leaked = 0
    for trajectory in trajectories:
        golden = trajectory.question.golden_answers
        for search in trajectory.searches:
            if search.quality != "useful" or search.error is not None:
                continue
            try:
                page = await real.search(SearchRequest(search.query, top_k))
            except EngineError:
                continue  # what the real engine would have shown is not known: the query counts on neither side
            if holds_answer(page.documents, golden):
                continue
            queries += 1
            leaked += holds_answer(search.documents, golden)
    return Leak(queries, leaked)


def holds_answer(documents: Sequence[Document], golden_answers: Sequence[str]) -> bool:
    return any(contains_answer(f"{d.title}: {d.text}", golden_answers) for d in documents)
