"""Transfer: the same questions with the simulated engine and with the real one, by the same policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zerosearch.episodes.summary import summarize
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.learning.metrics import share
from zerosearch.simulator.fidelity import Leak


def transfer_row(simulated: Sequence[Trajectory], real: Sequence[Trajectory], leaked: Leak) -> dict[str, Any]:
    """Transfer gap and leak rate: `simulated` are the questions of `real` played again with a simulator's useful pages,
    and `leaked` is what a real engine said of these pages."""
    ours, theirs = summarize(simulated), summarize(real)
    return {
        "questions": len(real),
        "simulated_f1": ours.f1,
        "real_f1": theirs.f1,
        "transfer_gap": ours.f1 - theirs.f1,
        "simulated_searches": ours.searches,
        "leak_queries": leaked.queries,
        "leak_rate": leaked.rate,
        "pages_parsed": share([s.parsed for t in simulated for s in t.searches if s.error is None]),
    }
