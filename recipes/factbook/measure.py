"""How hard the Factbook questions are for BM25: what one search finds, and what the gold queries find.

python -m recipes.factbook.measure
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import Stemmer

from recipes.script import run
from zerosearch.engines.lexical import bm25s
from zerosearch.episodes.scoring import contains_answer
from zerosearch.factbook import FactbookQuestion, corpus_path, factbook_rows
from zerosearch.factbook.shipped import SPLITS
from zerosearch.files.formats import read_jsonl


def measure(corpus: Path, splits: Mapping[str, Sequence[FactbookQuestion]], top_k: int) -> dict[str, dict[str, float]]:
    """Shares of questions, by split, whose page of `top_k` passages (BM25, k1 .9, b .4) holds a golden answer.

    `one_hop` and `two_hop`: the question is the query. `two_hop_gold`: either page of the two gold queries;
    `two_hop_second`: the second page alone. `first_answer` and `first_bridge`: the answer, or the bridge country's
    name, on the first gold page. `one_hop_gold`: the gold query of a one-hop question.
    """
    passages = [row for _, row in read_jsonl(corpus)]
    stemmer = Stemmer.Stemmer("english")
    index = bm25s.BM25(k1=0.9, b=0.4)
    texts = [f"{p['title']}\n{p['text']}" for p in passages]
    index.index(bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False), show_progress=False)

    def pages(queries: Iterable[str]) -> list[str]:
        tokens = bm25s.tokenize(list(queries), stopwords="en", stemmer=stemmer, show_progress=False)
        found, _ = index.retrieve(tokens, k=min(top_k, len(texts)), show_progress=False)
        return ["\n".join(texts[i] for i in row) for row in found]

    return {split: _shares(questions, pages) for split, questions in splits.items()}


def _shares(questions: Sequence[FactbookQuestion], pages: Any) -> dict[str, float]:
    one = [q for q in questions if q.hops == 1]
    two = [q for q in questions if q.hops == 2]
    shares = {"one_hop_questions": float(len(one)), "two_hop_questions": float(len(two))}
    if one:
        shares["one_hop"] = _share(_holds(one, pages(q.question for q in one)))
        shares["one_hop_gold"] = _share(_holds(one, pages(q.queries[0] for q in one)))
    if two:
        first, second = (pages(q.queries[hop] for q in two) for hop in (0, 1))
        on_first, on_second = _holds(two, first), _holds(two, second)
        shares["two_hop"] = _share(_holds(two, pages(q.question for q in two)))
        shares["two_hop_gold"] = _share([a or b for a, b in zip(on_first, on_second, strict=True)])
        shares["two_hop_second"] = _share(on_second)
        shares["first_answer"] = _share(on_first)
        names = [q.bridge_country or "" for q in two]
        shares["first_bridge"] = _share([contains_answer(p, [n]) for p, n in zip(first, names, strict=True)])
    return shares


def _holds(questions: Sequence[FactbookQuestion], texts: Sequence[str]) -> list[bool]:
    return [contains_answer(text, q.golden_answers) for q, text in zip(questions, texts, strict=True)]


def _share(hits: Sequence[bool]) -> float:
    return sum(hits) / len(hits)


def main() -> None:
    """Print the shares of all splits, for pages of three and of five passages."""
    argparse.ArgumentParser(description="How hard the Factbook questions are for BM25.").parse_args()
    every = {split: factbook_rows(f"factbook:{split}") for split in SPLITS}
    json.dump({f"top_{k}": measure(corpus_path(), every, k) for k in (3, 5)}, sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    run(main)
