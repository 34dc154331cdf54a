"""Measure how faithful a configuration's simulator is to its real engine: ask both, write the numbers.

measure(load_config("mine.toml"), "factbook:dev", out=Path("report"))["control"]
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from zerosearch.config import TrainConfig
from zerosearch.episodes.search import shows_answer
from zerosearch.errors import ConfigError, RunError
from zerosearch.factbook.queries import factbook_queries
from zerosearch.files.folders import check_file, check_no_file, owned
from zerosearch.files.jsonl import atomic_write, holds, write_json, write_jsonl
from zerosearch.parts import Parts
from zerosearch.process.runtime import prepare
from zerosearch.simulator.collect import read_collection
from zerosearch.simulator.fidelity import Compared, FidelityQuery, compare, fidelity, page_row
from zerosearch.simulator.gallery import page
from zerosearch.simulator.hit_training import HitExample, decisions
from zerosearch.simulator.hits import Asked, HitPredictor
from zerosearch.spending.ledger import counted


def measure(
    config: TrainConfig,
    queries: str | None = None,
    limit: int = 200,
    out: Path | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, Any]:
    """The report of `limit` queries (None: of `evaluation.questions`), as `[fidelity]` says; written to `out`, too.

    Raises `ConfigError`, `DataError` or `ModelError` for what cannot be used, `FolderError` for a folder that is
    another's, `BudgetError` where the budget is spent. What failed is counted in the report: see `check_failures`.
    """
    prepare()
    if config.engine.kind != "simulated":
        raise ConfigError("fidelity compares a simulator: engine.kind must be 'simulated'")
    if out is not None:
        check_no_file(out)
    with Parts(config) as parts, owned(out, "fidelity") if out is not None else nullcontext():
        parts.engine_config("real")
        if out is not None:
            for name in ("fidelity.json", "fidelity.html", "pages.jsonl"):  # other files of that name stay
                check_file(out / name, lambda _: holds(out / "fidelity.json", "simulator", "engine"))
        asked = _queries(parts, queries or config.evaluation.questions, limit)
        simulated, real = parts.engine("train"), parts.engine("real")
        top_k, count = config.engine.top_k, counted(len(asked), "query", "queries")
        say(f"{count}: {simulated.name} against {real.name}, {counted(top_k, 'document')} a page")

        blind = config.fidelity.blind
        compared = parts.run(compare(asked, simulated, real, top_k=top_k, seed=config.seed, blind=blind))
        report = _report(parts, compared)
        if config.engine.simulated.hits is not None:
            report["decision"] = _decisions(HitPredictor.open(config.engine.simulated.hits), compared)
        if out is not None:
            write_json(out / "fidelity.json", report)
            atomic_write(out / "fidelity.html", page(report, compared).encode())
            write_jsonl(out / "pages.jsonl", map(page_row, compared))
    return report


def _report(parts: Parts, compared: Sequence[Compared]) -> dict[str, Any]:
    """The figures, with what the pages were made with. Decoding is timed where the simulator is a local model."""
    config, models = parts.config, parts.models
    simulator = config.engine.simulated
    pages = sum(p is not None for c in compared for p in (c.useful, c.noisy, c.blind))
    return {
        "simulator": parts.engine("train").name,
        "engine": parts.engine("real").name,
        "top_k": config.engine.top_k,
        "temperature": simulator.temperature,
        "plan_temperature": simulator.plan_temperature,
        "rewrites": simulator.rewrites,
        "seed": config.seed,
        "decoding_seconds_per_page": models.simulator_seconds() / pages if pages and models.simulating else None,
        **fidelity(compared, top_k=config.engine.top_k),
    }


def _decisions(hits: HitPredictor, compared: Sequence[Compared]) -> dict[str, Any]:
    """What the predictor decides for these queries, against the real pages: see `hit_training.decisions`."""
    examples = [
        HitExample(Asked(c.asked.question, c.asked.query, c.asked.bridge or c.asked.question.bridge), held)
        for c in compared
        if c.real is not None and (held := shows_answer([c.real.documents], c.asked.question)) is not None
    ]
    return decisions(examples, [hits.probability(example.asked) for example in examples])


def check_failures(report: dict[str, Any]) -> None:
    """Raises `RunError` where the figures lack what failed."""
    if report["failed"]:
        raise RunError(f"{counted(report['failed'], 'search', 'searches')} failed: the figures are of the others")


def _queries(parts: Parts, source: str, limit: int) -> list[FidelityQuery]:
    """`factbook:SPLIT`: right, whole and misdirected queries, one a question; a folder: the queries of its
    trajectories; anything else: questions, each asked whole.
    """
    if source.startswith("factbook:"):
        return [FidelityQuery(*found) for found in factbook_queries(source, limit, parts.config.seed)]
    if Path(source).is_dir():
        found = {
            (s.query, t.question.id): FidelityQuery(s.query, t.question)
            for t in read_collection(Path(source))
            for s in t.searches
        }
        return list(found.values())[:limit]
    return [
        FidelityQuery(q.text, q, "whole" if q.hops in (None, 1) else "whole_multi_hop")
        for q in parts.questions(source, limit)
    ]
