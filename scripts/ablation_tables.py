"""The tables of docs/results/ablations.md, from docs/results/ablations.json.

The JSON holds, for every arm and seed, a 0 or 1 for each of the 500 questions in one order (EM), F1, searches, and a
few metrics of every training step. A run that was stopped has steps alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from made_pages import short, table

from zerosearch.episodes.statistics import Interval, average, between_runs, paired_p_value
from zerosearch.evaluation.comparison_text import p_value

DATA = Path(__file__).parent.parent / "docs" / "results" / "ablations.json"
BASE = "base"


@cache
def arms() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = json.loads(DATA.read_text(encoding="utf-8"))
    return found


def evaluated(runs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [run for run in runs if "em" in run]


def em(runs: Sequence[dict[str, Any]]) -> list[float]:
    """Percent of the 500 questions, of each run that came to its end."""
    return [100 * run["em"].count("1") / len(run["em"]) for run in evaluated(runs)]


def against_base(arm: str) -> tuple[Interval, Interval, float]:
    """EM less that of `base`, in points: over runs, over questions, and the paired p value over questions."""
    found = arms()
    sides = [
        np.mean([[int(one) for one in run["em"]] for run in evaluated(found[name])], axis=0) for name in (arm, BASE)
    ]
    differences = [100 * (sides[0] - sides[1])]
    return (
        between_runs(em(found[arm]), em(found[BASE])),
        average(differences, differences=True),
        paired_p_value(differences),
    )


def of_steps(arm: str, key: str, steps: slice) -> list[float]:
    """The mean of a metric over some steps, of each run."""
    return [fmean(step[key] for step in run["steps"][steps]) for run in arms()[arm]]


def points(found: Interval) -> str:
    return f"{found.value:+.1f} [{found.low:+.1f}, {found.high:+.1f}]"


def scores() -> str:
    heads = ["arm", "EM of each seed", "mean", "less base: over runs", "over these questions", "p", "searches"]
    rows = []
    for arm, runs in arms().items():
        if not (ended := evaluated(runs)):
            rows.append([f"`{arm}`", "stopped by its alarm", *[""] * 5])
            continue
        numbers = em(runs)
        cells = [", ".join(f"{value:.1f}" for value in numbers), f"{fmean(numbers):.1f}"]
        if arm == BASE:
            cells += [""] * 3
        else:
            over, questions, p = against_base(arm)
            cells += [points(over), points(questions), p_value(p)]
        rows.append([f"`{arm}`", *cells, f"{fmean(run['searches'] for run in ended):.2f}"])
    return table(heads, rows)


def training() -> str:
    heads = [
        "arm",
        "reward: first step",
        "last three",
        "a page held the answer: first step",
        "last three",
        "searches, last step",
        "valid actions, last step",
    ]
    rows = []
    first, last, end = slice(0, 1), slice(-3, None), slice(-1, None)
    for arm in arms():
        columns = [
            ("reward", first),
            ("reward", last),
            ("evidence", first),
            ("evidence", last),
            ("searches", end),
            ("valid_actions", end),
        ]
        seeds = [[short(value, 2) for value in of_steps(arm, key, where)] for key, where in columns]
        rows.append([f"`{arm}`", *map(", ".join, seeds)])
    return table(heads, rows)


def claims() -> Iterator[tuple[str, str]]:
    """What the page says of the tables, as `results_claims.py` checks it."""
    page = "docs/results/ablations.md"

    def over_runs(arm: str, key: str, steps: slice) -> str:
        found = between_runs(of_steps(arm, key, steps), of_steps(BASE, key, steps))
        low, high = short(found.low, 2), short(found.high, 2)
        return f"{'+' if found.value > 0 else ''}{short(found.value, 2)} [{low}, {high}]"

    first, end = slice(0, 1), slice(-1, None)
    yield page, f"reward of the last three steps {over_runs('unmasked', 'reward', slice(-3, None))} over runs"
    yield page, f"{over_runs('prompted', 'evidence', first)} of the first step's episodes"
    yield page, f"and reward {over_runs('prompted', 'reward', first)}; in the last step"
    yield page, f"{over_runs('prompted', 'searches', end)} searches"
    for arm, said in {"real": "EM of the real engine", "fixed-noise": "fixed noise", "no-noise": "of none"}.items():
        yield page, f"{said} {points(against_base(arm)[0]).replace(' +', ' ')}"
    yield page, f"EM of the reward EM {points(against_base('em')[0]).replace(' +', ' ')}"
    p_values = [against_base(arm) for arm, runs in arms().items() if arm != BASE and evaluated(runs)]
    assert (len(p_values), sum(p < 0.05 for *_, p in p_values)) == (7, 6)
    yield page, "six of the seven differences have p < .05"
    assert not any(over.apart for over, *_ in p_values)


TABLES: dict[str, Callable[[], str]] = {"scores": scores, "training": training}
