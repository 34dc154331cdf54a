"""Questions that no choice was made with: python fresh_questions.py CORPUS.jsonl.gz TRAIN_FOLDER WORK OUT

The benchmarks' questions judged every arm, one after another. These did not: they are training questions of the same
sets that the corpus *covers* (as hit_rows.py has it) and that are not among those which policies were trained or warmed
up with. WORK holds what hit_rows.py and simulated_questions.py wrote. Of those of several hops the hit predictor has
seen BM25's pages; of those of one hop nothing has. OUT gets nq.jsonl, multihop_mix.jsonl and musique.jsonl.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

from hit_rows import Passages, of_one_hop
from script import arguments, run

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.questions import load_questions
from zerosearch.episodes.scoring import normalize
from zerosearch.files.jsonl import write_jsonl

DEEP = 50
"""Passages among which one must cover a question of one hop, as in hit_rows.py."""


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    corpus, train, work, out = map(Path, arguments(__doc__, 4))
    met = {row["question"] for name in ("train", "warm") for row in rows(work / f"simulated-{name}.jsonl")}
    searched = rows(work / "hit-rows.jsonl")
    fresh: dict[str, list[dict[str, Any]]] = defaultdict(list)
    kept = ("id", "question", "golden_answers")
    several = {row["id"]: row for row in searched if row["hops"] == 2 and row["question"] not in met}
    for row in several.values():
        fresh[row["id"].partition("/")[0]].append({key: row[key] for key in kept})

    engine, passages, rng = BM25Engine.open(corpus), Passages(corpus), random.Random(0)
    met |= {row["question"] for row in searched}
    for question in load_questions(str(train / "nq.jsonl.gz")):
        if not question.evident_answers or question.text in met:
            continue
        deep = engine.search_many([question.text], DEEP)[0]
        texts = [f" {normalize(d.title + ' ' + d.text)} " for d in deep]
        if of_one_hop(question, passages, texts, rng) is not None:
            row = question.as_row()
            fresh["nq"].append({key: row[key] for key in kept})
    out.mkdir(parents=True, exist_ok=True)
    for name, found in fresh.items():
        write_jsonl(out / f"{name}.jsonl", found)
        print(f"{out / name}.jsonl: {len(found)}")


if __name__ == "__main__":
    run(main)
