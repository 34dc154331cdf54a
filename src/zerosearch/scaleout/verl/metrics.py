"""An episode in numbers for verl's loggers, and a step's numbers from those of its episodes.

verl averages what an episode says of itself in a validation (`reward_extra_info`); for training steps `step_metrics`
does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zerosearch.episodes.search import holds_answer, shows_answer
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.spending.ledger import Ledger

PREFIX = "search/"
_MEANS = ("em", "f1", "cover_em", "searches", "answered", "well_formed", "policy_tokens", "noise", "engine_seconds")
_SUMS = ("search_errors", "misses", "cost_usd", "simulator_tokens")
_SHARES = {
    "valid_actions": ("valid_turns", "turns"),
    "noisy_pages": ("noisy_pages", "simulated_pages"),
    "pages_parsed": ("parsed_pages", "pages"),
    "cache_hits": ("cached_pages", "pages"),
    "leak": ("noisy_pages_with_answer", "noisy_pages"),
    "evidence": ("evidence", "evidence_known"),
}


def episode_metrics(trajectory: Trajectory, noise: float | None = None) -> dict[str, float]:
    """Counts and scores of one episode, all numbers, always with the same keys.

    `noisy_pages_with_answer` are pages that were to be noisy and hold a golden answer all the same. `noise` is
    the probability in force; None with a real engine.
    """
    searches, turns = trajectory.searches, trajectory.turns
    pages = [s for s in searches if s.error is None]
    noisy = [s for s in pages if s.quality == "noisy"]
    answers = trajectory.question.evident_answers
    seen = shows_answer((s.documents for s in searches), trajectory.question)
    used = Ledger.of([trajectory])
    numbers = {
        "acc": trajectory.scores.em,
        "em": trajectory.scores.em,
        "f1": trajectory.scores.f1,
        "cover_em": trajectory.scores.cover_em,
        "well_formed": trajectory.scores.format,
        "answered": trajectory.answer is not None,
        "searches": len(searches),
        "turns": len(turns),
        "valid_turns": sum(turn.action != "invalid" for turn in turns),
        "policy_tokens": trajectory.policy_tokens,
        "noise": noise or 0.0,
        "pages": len(pages),
        "parsed_pages": sum(s.parsed for s in pages),
        "cached_pages": sum(s.cached for s in pages),
        "simulated_pages": sum(s.quality is not None for s in pages),
        "noisy_pages": len(noisy),
        "noisy_pages_with_answer": sum(bool(answers) and holds_answer(s.documents, answers) for s in noisy),
        "evidence": bool(seen),
        "evidence_known": seen is not None,
        "search_errors": sum(s.error is not None for s in searches),
        "misses": sum(s.missed for s in searches),
        "engine_seconds": used.engine_seconds,
        "simulator_tokens": used.prompt_tokens + used.completion_tokens,
        "cost_usd": used.usd,
    }
    return {name: float(value) for name, value in numbers.items()}


def step_metrics(episodes: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """`search/...`: means an episode, sums over the step, and shares of all turns and pages; none of nothing."""
    if not episodes:
        return {}

    def total(name: str) -> float:
        return sum(episode[name] for episode in episodes)

    made = {name: total(name) / len(episodes) for name in _MEANS}
    made |= {name: total(name) for name in _SUMS}
    made |= {name: total(part) / total(whole) for name, (part, whole) in _SHARES.items() if total(whole)}
    return {PREFIX + name: value for name, value in made.items()}
