"""Write the tables of docs/results from the JSON there.

python scripts/results_tables.py            # writes the blocks between <!-- begin NAME --> and <!-- end NAME -->
python scripts/results_tables.py --check    # exit status 1 where a block is not what its data say

A page that has no block for a table, or a block that nobody fills, is an error too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, median
from typing import Any

from ablation_tables import TABLES as ABLATIONS
from beat_rag_tables import TABLES as BEAT_RAG
from made_pages import main, short, table

from zerosearch.episodes.statistics import share_interval
from zerosearch.evaluation.benchmarks import SOURCES

RESULTS = Path(__file__).parent.parent / "docs" / "results"
BENCHMARKS = {name: source.title.removesuffix("MultiHopQA") for name, source in SOURCES.items()}


def share(value: float, count: int) -> str:
    """A share of `count` with its 95 % interval."""
    low, high = share_interval(round(value * count), count)
    return f"{short(value)} [{short(low, 2)}, {short(high, 2)}]"


def report(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def steps(run: str) -> list[dict[str, Any]]:
    """The rows of a run's metrics, one a step; of verl's rows what they hold under `data`."""
    rows = [json.loads(line) for line in (RESULTS / f"{run}.jsonl").read_text(encoding="utf-8").splitlines()]
    return [row.get("data", row) for row in rows]


def methods() -> str:
    head = ["method", "all", "macro average", *BENCHMARKS.values()]
    rows = []
    for row in report("evaluate-qwen")["rows"]:
        cells = [row["micro"], row["macro"], *(row["cells"][name] for name in BENCHMARKS)]
        shown = [f"{100 * c['value']:.1f} [{100 * c['low']:.1f}, {100 * c['high']:.1f}]" for c in cells]
        rows.append([f"`{row['method']}`", *shown])
    return table(head, rows)


def behaviour() -> str:
    head = [
        "method", "searches", "turns", "tokens", "valid actions", "answered", "page contained the answer",
        "right without",
    ]  # fmt: skip
    rows = []
    for row in report("evaluate-qwen")["rows"]:
        b = row["behaviour"]
        valid = "" if b["valid_actions"] is None else f"{b['valid_actions']:.1%}"
        shares = [f"{b[key]:.1%}" for key in ("answered", "evidence", "without_evidence")]
        counts = [f"{b['searches']:.2f}", f"{b['turns']:.2f}", f"{b['tokens']:.0f}"]
        rows.append([f"`{row['method']}`", *counts, valid, *shares])
    return table(head, rows)


def learnable() -> str:
    top = [report("factbook-measure")[f"top_{count}"]["test"] for count in (3, 5)]
    labels = {
        "one_hop": "one-hop, the question as query",
        "two_hop": "two-hop, the question as query",
        "two_hop_gold": "two-hop, after the two right queries",
        "first_bridge": "two-hop, the bridge country's name on the first page",
    }
    rows = [[label, *(share(found[name], 500) for found in top)] for name, label in labels.items()]
    return table(["share of test questions whose page contains the answer", "top 3", "top 5"], rows)


def fidelity_rows(found: Any) -> dict[str, tuple[int, float, float, float]]:
    """Queries, share of real pages with the answer, of useful and of noisy ones, by the kind of query."""
    rows = {
        "control": (found["findable"], 1.0, found["control"]["useful"], found["control"]["noisy"]),
        "leak": (found["leak"]["queries"], 0.0, found["leak"]["useful"], found["leak"]["noisy"]),
    }
    for name, kind in found["kinds"].items():
        rows[name] = (kind["queries"], kind["real"], kind["useful"], kind["noisy"])
    return rows


def embedded() -> str:
    plain, again = (fidelity_rows(report(f"fidelity-embedded{end}")) for end in ("", "-rewrites-3"))
    labels = {
        "control": "the real page contains it (*control*)",
        "leak": "the real page does not (*leak*)",
        "first_hop": "first hop",
        "second_hop": "second hop",
        "one_hop": "one hop",
        "whole": "the whole question, one- and two-hop",
        "wrong_country": "about the wrong country",
    }
    head = ["share of pages with the answer", "queries", "BM25", "useful", "noisy", "3 rewrites: useful", "noisy"]
    rows = []
    for name, label in labels.items():
        count, real, useful, noisy = plain[name]
        shares = [share(x, count) for x in (useful, noisy, again[name][2], again[name][3])]
        rows.append([label, str(count), short(real), *shares])
    return table(head, rows)


def qwen() -> str:
    prompted, tuned = (report(f"fidelity-qwen-{name}") for name in ("prompted", "tuned"))
    labels = {
        "control": ("the real page contains it (*control*)", ">= .90, noisy <= .15"),
        "leak": ("the real page does not (*leak*)", "none was set"),
        "whole_multi_hop": ("whole questions of several hops", "<= .575"),
    }
    head = ["300 questions", "queries", "BM25", "prompted: useful", "noisy", "tuned: useful", "noisy", "wanted"]
    rows = []
    for name, (label, wanted) in labels.items():
        count, real, *others = fidelity_rows(prompted)[name]
        shares = [share(x, count) for x in (*others, *fidelity_rows(tuned)[name][2:])]
        rows.append([label, str(count), short(real), *shares, wanted])
    kinds = ("useful", "noisy")
    auc = [short(found["style_auc"][kind], 2) for found in (prompted, tuned) for kind in kinds]
    rows.append(["style AUC against real pages", "", "", *auc, ""])
    for key, label, digits in (("words_per_document", "words a document", 1), ("overlap_within_page", "overlap", 3)):
        cells = [short(found["pages"][kind][key], digits) for found in (prompted, tuned) for kind in kinds]
        rows.append([label, "", short(tuned["pages"]["real"][key], digits), *cells, ""])
    forms = [short(found["whole_pages"]) for found in (prompted, tuned)]
    rows.append(["pages with five documents in form", "", "", forms[0], "", forms[1], "", ">= .98"])
    return table(head, rows)


def qwen_sets() -> str:
    named = {"the 300": "tuned", "the 161 others": "tuned-others"}
    found = {label: fidelity_rows(report(f"fidelity-qwen-{name}")) for label, name in named.items()}
    first, second = found.values()
    found["all 461"] = {name: _pooled(first[name], second[name]) for name in first}
    rows = []
    for label, kinds in found.items():
        (many, _, useful, noisy), (several, real, whole, _) = kinds["control"], kinds["whole_multi_hop"]
        control = [share(useful, many), share(noisy, many)]
        rows.append([label, *control, share(kinds["leak"][2], kinds["leak"][0]), short(real), share(whole, several)])
    return table(["questions", "control: useful", "noisy", "leak", "several hops: BM25", "useful"], rows)


def _pooled(
    one: tuple[int, float, float, float], other: tuple[int, float, float, float]
) -> tuple[int, float, float, float]:
    count = one[0] + other[0]
    real, useful, noisy = ((one[0] * a + other[0] * b) / count for a, b in zip(one[1:], other[1:], strict=True))
    return count, real, useful, noisy


def qwen_versions() -> str:
    named = {
        "prompted": "prompted-no-rewrites",
        "prompted, 3 rewrites": "prompted",
        "tuned without a plan": "tuned-no-plan",
        "tuned, bare plan, 3 rewrites": "tuned-bare-plan",
        "tuned, plan that quotes, 3 rewrites": "tuned-rewrites-3",
        "the same, 6 rewrites": "tuned",
    }
    rows = []
    for label, name in named.items():
        found = report(f"fidelity-qwen-{name}")
        kinds = fidelity_rows(found)
        (many, _, useful, noisy), (few, _, leak, _) = kinds["control"], kinds["leak"]
        cells = [share(useful, many), share(noisy, many), share(leak, few), short(kinds["whole_multi_hop"][2])]
        rows.append([label, *cells, short(found["style_auc"]["useful"], 2), short(found["whole_pages"])])
    return table(["simulator", "control: useful", "noisy", "leak", "several hops", "style AUC", "in form"], rows)


def qwen_training() -> str:
    runs = {"A": steps("make-simulator-grpo"), "B": steps("make-simulator-grpo-kl")}
    head = ["step", "noise", *(f"{run}: {what}" for run in runs for what in ("reward", "searches", "page had it"))]
    rows = []
    for number, row in enumerate(runs["A"]):
        cells = [str(number + 1), short(row["noise"], 2)]
        for run in runs.values():
            played = run[number] if number < len(run) else None
            for key, digits in (("reward", 3), ("searches", 2), ("evidence", 2)):
                cells.append(short(played[key], digits) if played else "")
        rows.append(cells)
    return table(head, rows)


def two_gpus() -> str:
    """Seconds are those of seed 0: the runs of the other seeds shared their GPUs."""
    names = [f"{name}{seed}" for seed in ("", "-1", "-2") for name in ("one-process", "two-processes")]
    runs = [steps(f"two-gpus-{name}") for name in names]
    gaps = [[row["sampler_gap"] for row in run] for run in runs]
    seconds = [[row["timing"]["seconds"] for row in run] for run in runs[:2]]
    rows = [
        ["mean reward of the ten steps", *(short(fmean(row["reward"] for row in run)) for run in runs)],
        ["of the last five", *(short(fmean(row["reward"] for row in run[5:])) for run in runs)],
        ["searches an episode, last step", *(short(run[-1]["searches"], 2) for run in runs)],
        ["sampler gap, nats a token: mean", *(short(fmean(gap), 4) for gap in gaps)],
        ["sampler gap: largest of a step", *(short(max(gap), 4) for gap in gaps)],
        ["valid actions", *(f"{fmean(row['valid_actions'] for row in run):.1%}" for run in runs)],
        ["seconds a step, median", *(f"{median(run):.1f}" for run in seconds), *[""] * 4],
        ["episodes a second, median", *(f"{median(160 / second for second in run):.1f}" for run in seconds), *[""] * 4],
    ]
    heads = [f"{number}, seed {seed}" for seed in range(3) for number in ("one process", "two")]
    return table(["", *heads], rows)


def demo() -> str:
    labels = {"f1": "F1", "em": "EM", "searches": "searches per episode", "evidence": "a page contained the answer"}
    before, after = (report(f"demo-{when}")["summary"] for when in ("before", "after"))
    digits = {"searches": 2}
    rows = [[label, *(short(run[n], digits.get(n, 3)) for run in (before, after))] for n, label in labels.items()]
    return table(["24 held-out two-hop questions, BM25", "before", "after 3 steps"], rows)


def sweep() -> str:
    named = {
        "rate 3e-4 (the demo's)": "lr3",
        "rate 4e-4": "lr4",
        "rate 5e-4": "lr5",
        "rate 6e-4": "base",
        "rate 6e-4, no noise": "end0",
        "rate 6e-4, four steps": "steps4",
        "rate 6e-4, six questions a step": "q6",
        "rate 6e-4, five rollouts": "r5",
        "rate 1e-3": "lr10",
    }
    rows = []
    for label, name in named.items():
        scores = sweep_scores(name)
        below = sum(score < 0.7 for score in scores)
        rows.append([label, str(len(scores)), short(fmean(scores)), short(min(scores)), str(below)])
    return table(["setting", "seeds", "F1: mean", "worst seed", "seeds below .70"], rows)


def sweep_scores(name: str) -> list[float]:
    """F1 by seed, on a GPU; on a CPU where a seed was run there alone."""
    found: dict[str, float] = {}
    for row in sorted(steps("demo-sweep"), key=lambda row: str(row["device"])):  # the GPU's last
        setting, _, seed = row["run"].rpartition("-s")
        if setting == name:
            found[seed] = row["f1_139"]
    return list(found.values())


TABLES: dict[str, dict[str, Callable[[], str]]] = {
    "what-there-is-to-learn": {"shares": learnable},
    "eight-methods": {"methods": methods, "behaviour": behaviour},
    "embedded-simulator": {"fidelity": embedded},
    "simulator-tuned": {"fidelity": qwen, "sets": qwen_sets, "versions": qwen_versions},
    "make-simulator": {"steps": qwen_training},
    "two-gpus": {"runs": two_gpus},
    "demo": {"evaluation": demo, "sweep": sweep},
    "beat-rag": BEAT_RAG,
    "ablations": ABLATIONS,
}


def render(page: str, text: str) -> str:
    """The page with its blocks as the data say. Raises `ValueError` where blocks and tables are not the same."""
    tables, seen = TABLES[page], []

    def fill(block: re.Match[str]) -> str:
        seen.append(block[1])
        return f"<!-- begin {block[1]} -->\n\n{tables[block[1]]()}\n\n<!-- end {block[1]} -->"

    found = re.findall(r"<!-- begin (\S+) -->", text)
    if sorted(found) != sorted(tables):
        raise ValueError(f"docs/results/{page}.md: has blocks {found}, and the tables are {list(tables)}")
    text = re.sub(r"<!-- begin (\S+) -->.*?<!-- end \1 -->", fill, text, flags=re.DOTALL)
    if seen != found:
        raise ValueError(f"docs/results/{page}.md: a block has no end")
    return text


def filled(page: str) -> Callable[[], str]:
    """A function that gives a page of results with its tables made anew."""
    return lambda: render(page, (RESULTS / f"{page}.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main({RESULTS / f"{page}.md": filled(page) for page in TABLES}, __doc__)
