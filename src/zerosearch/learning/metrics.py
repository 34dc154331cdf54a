"""A step's episodes in numbers: the part of a metrics row that needs no model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from zerosearch.episodes.search import holds_answer
from zerosearch.episodes.summary import summarize
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import RunError
from zerosearch.spending.ledger import Ledger

_MEANS = (
    "reward", "em", "f1", "searches", "valid_actions", "well_formed", "answered", "evidence", "policy_tokens",
)  # fmt: skip


def rollout_metrics(trajectories: Sequence[Trajectory]) -> dict[str, Any]:
    """Means over the episodes of a step. `cost_usd` is their sum, that of failed searches included.

    `cache_hits` is the share of pages that were known already, from a cache or because a rollout of the same question
    had asked for them in this step; `engine_calls` counts the searches that were not. `pages_hit` is the share of pages
    that were decided to hold the answer, `pages_as_decided` of those that do or do not hold it as was decided; None
    where nothing is decided. `misses` are queries that a recorded engine had no page for.

    Raises `ValueError` for no trajectories.
    """
    summary = summarize(trajectories)
    searches = [s for t in trajectories for s in t.searches]
    decided = [
        (s.hit, holds_answer(s.documents, t.question.golden_answers))
        for t in trajectories
        for s in t.searches
        if s.error is None and s.hit is not None
    ]
    stops = Counter(t.stop_reason for t in trajectories)
    return {
        **{name: getattr(summary, name) for name in _MEANS},
        "episodes": len(trajectories),
        "noisy_pages": share([s.quality == "noisy" for s in searches]),
        "pages_parsed": share([s.parsed for s in searches if s.error is None]),
        "pages_hit": share([hit for hit, _ in decided]),
        "pages_as_decided": share([hit is held for hit, held in decided]),
        "cache_hits": share([s.cached for s in searches if s.error is None]),
        "engine_calls": sum(not s.cached for s in searches),
        "search_errors": sum(s.error is not None for s in searches),
        "misses": summary.misses,
        "cost_usd": Ledger.of(trajectories).usd,
        "stops": dict(sorted(stops.items())),
    }


def check_searches(trajectories: Sequence[Trajectory], engine: str, last: str) -> None:
    """Raises `RunError` where every search of a step failed; `last` is the last failure in words."""
    searches = [s for t in trajectories for s in t.searches]
    if searches and all(s.error is not None for s in searches):
        kinds = ", ".join(sorted({str(s.error) for s in searches}))
        told = f"; the last one: {last}" if last else ""
        raise RunError(f"every search of this step failed ({kinds}): is the engine {engine} up?{told}")


def share(hits: Sequence[bool]) -> float | None:
    """In [0, 1]; None of nothing."""
    return sum(hits) / len(hits) if hits else None


def weighted_mean(pairs: Sequence[tuple[float, float]]) -> float:
    """Of (value, weight) pairs; 0 where all weights are 0."""
    return sum(value * weight for value, weight in pairs) / max(sum(weight for _, weight in pairs), 1e-9)
