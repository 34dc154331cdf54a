"""Fit and evaluate a hit predictor on recorded pages.

examples = hit_examples(pages, top_k=3)
predictor = fit_hits(examples)             # predictor.made["held_out"]: AUC, and the rate of each kind of query
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from zerosearch.config import TrainConfig
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.search import holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.shared_pages import same_query
from zerosearch.episodes.statistics import share_interval
from zerosearch.errors import DataError
from zerosearch.files.folders import check_file, owned
from zerosearch.files.jsonl import holds
from zerosearch.simulator.hits import KINDS, Asked, HitPredictor, draw, features, kind_of, matrix, question_key
from zerosearch.simulator.record import read_recorded_pages
from zerosearch.simulator.style import auc
from zerosearch.spending.ledger import counted

FOLDS = 5
FEWEST = 100
"""Examples of each outcome that a fit needs."""
RIDGE = 1.0
STEPS = 50


@dataclass(frozen=True)
class HitExample:
    """A query, and whether the engine's page held the answer."""

    asked: Asked
    hit: bool


def hit_examples(pages: Sequence[RecordedPage], *, top_k: int) -> list[HitExample]:
    """One for each query of a question; those whose answer is yes, no or a bare number tell nothing and are left out.

    Where a question's bridge is not known, the pages of earlier turns of its rollout stand for it.
    """
    episodes: dict[tuple[str, int], list[RecordedPage]] = defaultdict(list)
    for page in pages:
        episodes[page.question.id, page.rollout].append(page)
    made: dict[tuple[str, str], HitExample] = {}
    for played in episodes.values():
        for page in played:
            question, answers = page.question, page.question.evident_answers
            if not answers:
                continue
            seen = [d for other in played if other.turn < page.turn for d in other.documents[:top_k]]
            earlier = "" if question.bridge else "\n".join(f"{d.title}: {d.text}" for d in seen)
            asked = Asked(question, page.query, question.bridge, earlier)
            hit = holds_answer(page.documents[:top_k], answers)
            made.setdefault((question_key(question), same_query(page.query)), HitExample(asked, hit))
    return list(made.values())


def fit_hits(examples: Sequence[HitExample]) -> HitPredictor:
    """The predictor fitted on all examples. What `made` says of it is of queries that it was not fitted on: questions
    are dealt into five parts, each told by a fit on the others.

    Raises `DataError` for fewer than 100 hits or misses.
    """
    hits = np.array([example.hit for example in examples], dtype=float)
    if min(hits.sum(), len(hits) - hits.sum()) < FEWEST:
        raise DataError(
            f"{int(hits.sum())} of {counted(len(hits), 'page')} hold the answer: a hit predictor needs "
            f"{FEWEST} that do and {FEWEST} that do not"
        )
    rows = [features(example.asked) for example in examples]
    names = sorted({name for row in rows for name in row})
    values = np.column_stack([np.ones(len(rows)), matrix(rows, names)])
    parts = np.array([derive_seed("fold", question_key(e.asked.question)) % FOLDS for e in examples])
    told = np.empty(len(rows))
    for part in range(FOLDS):
        told[parts == part] = _told(values[parts == part], _fit(values[parts != part], hits[parts != part]))
    weights = _fit(values, hits)
    report = decisions(examples, told.tolist())
    made = {"pages": len(examples), "questions": len({question_key(e.asked.question) for e in examples})}
    named = dict(zip(names, (round(float(w), 4) for w in weights[1:]), strict=True))
    return HitPredictor(round(float(weights[0]), 4), named, made={**made, "held_out": report})


def _fit(values: npt.NDArray[np.float64], hits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights (features,) of a logistic regression by Newton's method, with a ridge on all but the bias (column 0)."""
    weights, ridge = np.zeros(values.shape[1]), np.full(values.shape[1], RIDGE)
    ridge[0] = 1e-6
    for _ in range(STEPS):
        told = _told(values, weights)
        slope = values.T @ (hits - told) - ridge * weights
        curve = (values * (told * (1 - told))[:, None]).T @ values + np.diag(ridge)
        step = np.linalg.solve(curve, slope)
        weights += step
        if np.abs(step).max() < 1e-8:
            break
    return weights


def _told(values: npt.NDArray[np.float64], weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-(values @ weights))), dtype=np.float64)


def decisions(examples: Sequence[HitExample], told: Sequence[float]) -> dict[str, Any]:
    """How the decisions compare with the engine's pages, JSON-ready. `told[i]` is the probability of example i.

    `auc`: of the probability, of all and by kind. By kind: `engine`, the share of its pages that hold the answer with
    its 95 % interval, and `drawn`, the share of queries that the predictor would decide to be hits, with the mean
    probability (`told`). `calibration`: by fifths of the probability, its mean and the engine's share.
    """
    kinds: dict[str, list[int]] = defaultdict(list)
    for place, example in enumerate(examples):
        kinds[kind_of(example.asked)].append(place)
    drawn = [draw(example.asked) < p for example, p in zip(examples, told, strict=True)]
    hits = [example.hit for example in examples]

    def row(places: Sequence[int]) -> dict[str, Any]:
        count, held = len(places), sum(hits[i] for i in places)
        lots = sum(drawn[i] for i in places)
        return {
            "queries": count,
            "engine": held / count,
            "engine_interval": list(share_interval(held, count)),
            "told": sum(told[i] for i in places) / count,
            "drawn": lots / count,
            "drawn_interval": list(share_interval(lots, count)),
            "auc": auc([told[i] for i in places], [hits[i] for i in places]),
        }

    order = sorted(range(len(told)), key=lambda i: told[i])
    fifths = [order[len(order) * n // 5 : len(order) * (n + 1) // 5] for n in range(5)]
    return {
        "auc": auc(list(told), hits),
        "kinds": {kind: row(kinds[kind]) for kind in KINDS if kinds[kind]},
        "calibration": [
            [sum(told[i] for i in fifth) / len(fifth), sum(hits[i] for i in fifth) / len(fifth)]
            for fifth in fifths
            if fifth
        ],
    }


def tune_hits(
    config: TrainConfig, recorded: Sequence[str | Path], out: str | Path, say: Callable[[str], None] = print
) -> HitPredictor:
    """`zerosearch tune --by hits`: fit on files of recorded pages, `engine.top_k` documents each, and write `out`. What
    was recorded is kept there, and decided so.

    Says which settings of `[tune]` are not used: all but `by`. Raises `DataError` for pages that cannot be used,
    `FolderError` where `out` is something else's.
    """
    target, paths = Path(out), [Path(path) for path in recorded]
    settings = type(config.tune).model_fields
    if idle := [
        f"tune.{key}" for key, field in settings.items() if key != "by" and getattr(config.tune, key) != field.default
    ]:
        say(f"not used: {', '.join(idle)} (a predictor of hits is fitted, and no model is tuned)")
    with owned(target, "tune"):
        check_file(target, lambda path: holds(path, "hits"))
        pages = [page for path in paths for page in read_recorded_pages(path)[0]]
        examples = hit_examples(pages, top_k=config.engine.top_k)
        predictor = fit_hits(examples)
        engines = sorted({page.engine for page in pages if page.engine})
        made = {"engine": engines, "top_k": config.engine.top_k, "files": [path.name for path in paths]}
        known: dict[str, dict[str, bool]] = defaultdict(dict)
        for example in examples:
            known[question_key(example.asked.question)][same_query(example.asked.query)] = example.hit
        predictor = replace(predictor, recorded=known, made={**made, **predictor.made})
        predictor.save(target)
    say(f"{target}: {counted(predictor.made['pages'], 'page')} of {counted(predictor.made['questions'], 'question')}")
    return predictor
