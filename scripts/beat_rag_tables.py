"""The tables of docs/results/beat-rag.md, from what each question got (docs/results/beat-rag-*.csv.gz)."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from zerosearch.episodes.statistics import average, paired_p_value

RESULTS = Path(__file__).parent.parent / "docs" / "results"
ONE_HOP = ("nq", "triviaqa", "popqa")
TITLES = {
    "nq": "NQ",
    "triviaqa": "TriviaQA",
    "popqa": "PopQA",
    "hotpotqa": "HotpotQA",
    "2wikimultihopqa": "2Wiki",
    "musique": "MuSiQue",
    "bamboogle": "Bamboogle",
}
FRESH = {"nq": "NQ", "multihop_mix": "HotpotQA and 2Wiki", "musique": "MuSiQue"}
SEEDS = {
    "mean-of-4": "**mean of the four seeds**",
    "mean-of-0-1": "mean of seeds 0 and 1",
    "mean-of-2-3": "mean of seeds 2 and 3",
    "seed-2": "seed 2 (50 steps)",
    "seed-3": "seed 3 (97 steps)",
    "real": "real engine (23 steps)",
    "rag-6": "`rag` with six passages",
    "rag": "`rag`",
}
Row = dict[str, str]
Rows = Sequence[Row]


@cache
def scores(name: str) -> Rows:
    with gzip.open(RESULTS / f"beat-rag-{name}.csv.gz", "rt", encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


@dataclass(frozen=True)
class Difference:
    """Points by which one policy is above `rag`: with a 95 % interval, and the p of the paired test."""

    value: float
    low: float
    high: float
    p: float

    def __str__(self) -> str:
        words = f"{_signed(self.value)} [{_points(self.low)}, {_points(self.high)}]"
        return f"**{words}**" if self.low > 0 or self.high < 0 else words

    @property
    def told_p(self) -> str:
        return "< .001" if self.p < 0.001 else f"{self.p:.3f}".lstrip("0") if self.p < 0.0995 else f"{self.p:.2g}"[1:]


def column(rows: Rows, name: str, measure: str = "em") -> NDArray[np.float64]:
    """One number a question; of `held` those questions alone where it can be told."""
    return np.array([float(row[f"{name} {measure}"]) for row in rows if row[f"{name} {measure}"]])


def against(rows: Rows, ours: str, theirs: str = "rag", *, macro: bool = False) -> Difference:
    parts = [[row for row in rows if row["benchmark"] == one] for one in sorted({row["benchmark"] for row in rows})]
    gains = [column(part, ours) - column(part, theirs) for part in parts]
    if not macro:
        gains = [np.concatenate(gains)]
    found = average(gains, macro=macro, differences=True)
    p = paired_p_value(gains, [1 / len(gains)] * len(gains) if macro else None)
    return Difference(*(100 * number for number in (found.value, found.low, found.high)), p)


def _points(value: float) -> str:
    return f"{value:.1f}".replace("-0.0", "0.0").replace("0.", ".", 1) if abs(value) < 1 else f"{value:.1f}"


def _signed(value: float) -> str:
    return f"{'-' if value < -0.05 else '+'}{_points(abs(value))}"


def _percent(values: NDArray[np.float64]) -> str:
    return f"{100 * values.mean():.1f}"


def by_benchmark() -> str:
    """A row a benchmark and a kind of question; two policies, each with its difference."""
    rows = scores("benchmarks")
    hops = [row for row in rows if row["benchmark"] not in ONE_HOP]
    kinds: dict[str, Rows] = {title: [r for r in rows if r["benchmark"] == name] for name, title in TITLES.items()}
    kinds |= {
        "all questions": rows,
        "several hops (804)": hops,
        "of these, without comparisons (539)": [row for row in hops if row["compares"] == "0"],
        "of these, comparisons (265)": [row for row in hops if row["compares"] == "1"],
        "one hop (1,499)": [row for row in rows if row["benchmark"] in ONE_HOP],
    }
    return _two_policies(kinds, rows)


def fresh() -> str:
    """The same over the questions that no choice was made with."""
    rows = scores("fresh")
    kinds: dict[str, Rows] = {}
    for name, title in FRESH.items():
        of = [row for row in rows if row["benchmark"] == name]
        kinds[f"{title} ({len(of)})"] = of
    kinds["all (1,683)"] = rows
    kinds["several hops (1,086)"] = [row for row in rows if row["benchmark"] != "nq"]
    return _two_policies(kinds, None)


def _two_policies(kinds: dict[str, Rows], macro: Rows | None) -> str:
    lines = ["| | `rag` | real engine | difference | simulated pages, mean of four | difference |", "|---" * 6 + "|"]
    for label, of in kinds.items():
        if label == "all questions" and macro is not None:
            means = [np.mean([column(part, name).mean() for part in list(kinds.values())[: len(TITLES)]]) for name in
                     ("rag", "real", "mean-of-4")]  # fmt: skip
            told = [f"{100 * value:.1f}" for value in means]
            gains = [str(against(macro, name, macro=True)) for name in ("real", "mean-of-4")]
            lines.append(f"| macro average | {told[0]} | {told[1]} | {gains[0]} | {told[2]} | {gains[1]} |")
        cells = [_percent(column(of, "rag"))]
        for name in ("real", "mean-of-4"):
            cells += [_percent(column(of, name)), str(against(of, name))]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return "\n".join(lines)


def policies() -> str:
    """A row a policy: over all questions, and by the number of hops."""
    rows = scores("benchmarks")
    one = [row for row in rows if row["benchmark"] in ONE_HOP]
    hops = [row for row in rows if row["benchmark"] not in ONE_HOP]
    head = ["", "EM", "against `rag`", "p", "one hop", "several hops", "searches: one hop", "several hops",
            "a page held the answer", "right where one did"]  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, label in SEEDS.items():
        held = column([row for row in rows if row[f"{name} held"] == "1"], name)
        kinds = ["", "", "", ""]
        if name != "rag":
            whole = against(rows, name)
            kinds = [str(whole), whole.told_p, str(against(one, name)), str(against(hops, name))]
        searches = [f"{column(part, name, 'searches').mean():.2f}" for part in (one, hops)]
        seen = [f"{100 * len(held) / len(rows):.1f}", _percent(held)]
        lines.append(f"| {' | '.join([label, _percent(column(rows, name)), *kinds, *searches, *seen])} |")
    return "\n".join(lines)


def simulator() -> str:
    """How often a page has the answer, the engine's and the simulator's, for questions and for a policy's queries."""
    lines = ["| queries | count | BM25's page has the answer | decided to have it | AUC |", "|---|---|---|---|---|"]
    kinds = {
        "whole": "one hop",
        "whole_multi_hop": "several hops",
        "first_hop": "first hop",
        "beside": "beside the point",
    }
    for name, whose in (("whole", "questions"), ("policy", "queries of the mean of four")):
        found = json.loads((RESULTS / f"fidelity-passages-{name}.json").read_text(encoding="utf-8"))
        decision = found["decision"]
        lines.append(f"| **{whose}** | {found['queries']} | | | {_share(decision['auc'])} |")
        for kind, label in kinds.items():
            if kind in decision["kinds"]:
                row = decision["kinds"][kind]
                cells = [_share(row[side], row[f"{side}_interval"]) for side in ("engine", "drawn")]
                lines.append(f"| {label} | {row['queries']} | {' | '.join(cells)} | {_share(row['auc'])} |")
    return "\n".join(lines)


def _share(value: float, interval: Sequence[float] = ()) -> str:
    words = f"{value:.3f}".lstrip("0")
    return f"{words} [{', '.join(f'{end:.2f}'.lstrip('0') for end in interval)}]" if interval else words


TABLES: dict[str, Callable[[], str]] = {
    "benchmarks": by_benchmark,
    "policies": policies,
    "fresh": fresh,
    "simulator": simulator,
}
