"""What a training run writes for an evaluation: predictions, as `zerosearch evaluate` does, and a summary.

evaluations/step-000050.jsonl    a file of predictions (`episodes/predictions.py`), which `zerosearch compare` reads
evaluations/step-000050.json     the summary, the transfer gap, and what it used
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.episodes.predictions import Header, Outcome, Prediction, write_predictions
from zerosearch.episodes.questions import questions_digest
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.episodes.search import SearchEngine
from zerosearch.episodes.summary import Summary, summarize
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.evaluation.benchmarks import benchmark_name
from zerosearch.evaluation.methods import EPISODE
from zerosearch.learning.metrics import share
from zerosearch.simulator.fidelity import Leak
from zerosearch.spending.ledger import counted

_SHOWN = ("engine", "top_k", "temperature", "seed", "questions_digest")


def evaluation_header(
    config: TrainConfig, step: int, played: Sequence[Trajectory], engine: SearchEngine, settings: RolloutSettings
) -> Header:
    """How the policy of `config` was evaluated after `step` steps."""
    return Header(
        benchmark=benchmark_name(config.evaluation.questions),
        method=EPISODE,
        model=f"{config.model.name} of {config.name} after {counted(step, 'step')}",
        engine=engine.name,
        engine_identity=engine.identity,
        top_k=settings.top_k,
        questions_digest=questions_digest([t.question for t in played]),
        count=len(played),
        temperature=settings.sampling.temperature,
        seed=settings.seed,
        source=config.evaluation.questions,
        limit=config.evaluation.limit,
        settings={"protocol": config.protocol.model_dump(mode="json"), "step": step},
    )


def evaluation_record(header: Header, step: int, played: Sequence[Trajectory]) -> tuple[Summary, dict[str, Any]]:
    """The summary of an evaluation, and with it how it was made: what `step-N.json` begins with."""
    summary = summarize(played)
    stops = dict(sorted(Counter(t.stop_reason for t in played).items()))
    made = {name: getattr(header, name) for name in _SHOWN}
    return summary, {"step": step, "summary": asdict(summary), **made, "stop_reasons": stops}


def write_played(path: Path, header: Header, played: Sequence[Trajectory]) -> None:
    """Write the predictions of an evaluation, all of them or none. Raises `RunError` on a full disk."""
    rows = [Prediction.scored(t.question, Outcome.of(t), header.benchmark, header.method) for t in played]
    write_predictions(path, header, rows)


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
