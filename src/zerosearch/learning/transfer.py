"""Transfer: the same questions with the simulated engine and with the real one, by the same policy."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.episodes.search import SearchEngine
from zerosearch.episodes.summary import summarize
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.learning.books import Accounting
from zerosearch.learning.metrics import share
from zerosearch.learning.parallel import Processes
from zerosearch.simulator.fidelity import Leak, leak
from zerosearch.spending.ledger import Ledger

Play = Callable[..., Awaitable[tuple[list[Trajectory], Ledger]]]


async def transfer(
    play: Play,
    accounting: Accounting,
    processes: Processes,
    simulator: SearchEngine,
    judge: SearchEngine,
    settings: RolloutSettings,
    real: Sequence[Trajectory],
    top_k: int,
) -> tuple[dict[str, Any], Ledger]:
    """The questions of `real` again with `simulator`, useful pages only: transfer gap, leak rate, and what it used.

    `real` are episodes with the engine `judge` and pages of `top_k`; `settings` are those of the simulated ones.
    """
    questions = [t.question for t in real]
    simulated, used = await play(questions, simulator, settings, noise=0.0)
    metered = accounting.metered(judge)

    async def ask_once() -> list[Leak]:
        """By one process for all: a real engine may want money for every query."""
        return [await leak(simulated, metered, top_k)] if processes.first else []

    (found,), asked = await accounting.section("leak rate", ask_once)
    pages = [s for t in simulated for s in t.searches if s.error is None]
    row = {
        "questions": len(questions),
        "simulated_f1": summarize(simulated).f1,
        "real_f1": summarize(real).f1,
        "transfer_gap": summarize(simulated).f1 - summarize(real).f1,
        "simulated_searches": summarize(simulated).searches,
        "leak_queries": found.queries,
        "leak_rate": found.rate,
        "pages_parsed": share([s.parsed for s in pages]),
    }
    return row, used + asked
