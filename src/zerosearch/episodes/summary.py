"""Ask a policy every question once and sum up: greedy, no remainder dropped, fixed ids."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from zerosearch.episodes.generation import Generator
from zerosearch.episodes.questions import Question, questions_digest
from zerosearch.episodes.rollout import ErrorRate, RolloutSettings, roll_out
from zerosearch.episodes.search import SearchEngine, shows_answer
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


@dataclass(frozen=True)
class Evaluation:
    """A summary with what it takes to make it again."""

    summary: Summary
    engine: str
    top_k: int
    temperature: float
    seed: int
    questions_digest: str
    stop_reasons: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


async def evaluate(
    questions: Sequence[Question],
    generator: Generator,
    engine: SearchEngine,
    settings: RolloutSettings,
    errors: ErrorRate,
    *,
    noise: float | None = None,
) -> tuple[Evaluation, list[Trajectory]]:
    """One episode a question, with the temperature of `settings`. `noise` 0 asks a simulator for useful pages only."""
    trajectories = await roll_out(questions, generator, engine, settings, errors, noise=noise)
    return describe(trajectories, engine.name, settings), trajectories


def describe(trajectories: Sequence[Trajectory], engine: str, settings: RolloutSettings) -> Evaluation:
    """Sum up the trajectories of an evaluation that was made with `settings`."""
    return Evaluation(
        summary=summarize(trajectories),
        engine=engine,
        top_k=settings.top_k,
        temperature=settings.sampling.temperature,
        seed=settings.seed,
        questions_digest=questions_digest([t.question for t in trajectories]),
        stop_reasons=dict(sorted(Counter(t.stop_reason for t in trajectories).items())),
    )


def summarize(trajectories: Sequence[Trajectory]) -> Summary:
    """See `Summary`. Raises `ValueError` for no trajectories: a mean of nothing is not 0."""
    if not trajectories:
        raise ValueError("no trajectories to sum up")
    count = len(trajectories)
    turns = sum(len(t.turns) for t in trajectories)
    seen = [saw for saw in map(saw_answer, trajectories) if saw is not None]

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


def saw_answer(trajectory: Trajectory) -> bool | None:
    """Whether a page of this trajectory held a golden answer; None where no page can be said to."""
    return shows_answer((s.documents for s in trajectory.searches), trajectory.question)
