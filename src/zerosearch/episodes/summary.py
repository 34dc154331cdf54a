"""Episodes in numbers: the means of a training step or of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zerosearch.episodes.search import shows_answer
from zerosearch.episodes.trajectory import Trajectory


@dataclass(frozen=True)
class Summary:
    """Means over all trajectories, those whose search failed included (they score 0). Shares lie in [0, 1].

    `evidence`: trajectories in which a page held a golden answer. `misses`: queries that a recorded engine had no page
    for.
    """

    questions: int
    em: float
    f1: float
    cover_em: float
    reward: float
    searches: float
    turns: float
    policy_tokens: float
    answered: float
    valid_actions: float
    well_formed: float
    evidence: float
    engine_errors: int
    misses: int


def summarize(trajectories: Sequence[Trajectory]) -> Summary:
    """See `Summary`. Raises `ValueError` for no trajectories: a mean of nothing is not 0."""
    if not trajectories:
        raise ValueError("no trajectories to sum up")
    count = len(trajectories)
    turns = sum(len(t.turns) for t in trajectories)
    saw = [shows_answer((s.documents for s in t.searches), t.question) for t in trajectories]
    seen = [held for held in saw if held is not None]

    def mean(values: Sequence[float]) -> float:
        return sum(values) / count

    return Summary(
        questions=count,
        em=mean([t.scores.em for t in trajectories]),
        f1=mean([t.scores.f1 for t in trajectories]),
        cover_em=mean([t.scores.cover_em for t in trajectories]),
        reward=mean([t.reward for t in trajectories]),
        searches=mean([float(len(t.searches)) for t in trajectories]),
        turns=turns / count,
        policy_tokens=mean([float(t.policy_tokens) for t in trajectories]),
        answered=mean([float(t.answer is not None) for t in trajectories]),
        valid_actions=sum(r.action != "invalid" for t in trajectories for r in t.turns) / max(turns, 1),
        well_formed=mean([t.scores.format for t in trajectories]),
        evidence=sum(seen) / max(len(seen), 1),
        engine_errors=sum(not t.valid for t in trajectories),
        misses=sum(s.missed for t in trajectories for s in t.searches),
    )
