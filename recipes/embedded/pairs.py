"""Query-page pairs over the Factbook, to tune a simulator that is faithful to the query.

A useful page is what BM25 returned for that very query, answer or not: the first hop of a two-hop question gets the
bridge country and not the final answer, and a whole two-hop question gets what BM25 finds for it, which is mostly not
the answer. A noisy page is what BM25 ranks next, without the documents that hold what the query asks for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.snippets import cut
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document, Quality, SearchRequest
from zerosearch.factbook.queries import queries_of
from zerosearch.factbook.questions import FactbookQuestion

NOISE_POOL = 16
"""How deep into BM25's ranking a noisy page reaches."""


@dataclass(frozen=True)
class Pair:
    """A request as a simulator gets it, and the page it should write. `kind` says what sort of query it is."""

    request: SearchRequest
    documents: tuple[Document, ...]
    kind: str


def pairs(
    questions: Sequence[FactbookQuestion],
    engine: BM25Engine,
    *,
    top_k: int,
    snippet_words: int,
    per_question: int = 1,
    seed: int = 0,
) -> list[Pair]:
    """`per_question` useful pages and as many noisy ones for each question, for queries of mixed kinds."""
    countries = sorted({q.subject for q in questions})
    made: list[Pair] = []
    for question in questions:
        rng = random.Random(f"{seed}-{question.id}")
        for asked in queries_of(question, countries, rng, per_question):
            ranked = engine.search_many([asked.text], NOISE_POOL)[0]
            shown = [cut(d, asked.text, snippet_words) for d in ranked]
            useful = shown[:top_k]
            banned = (*asked.wanted, *question.golden_answers)
            # the snippet is looked at too: a cut can bring words together that the passage keeps apart
            rest = [s for d, s in zip(ranked, shown, strict=True) if not _holds(d, banned) and not _holds(s, banned)]
            if not useful or len(rest) < top_k:
                continue
            noisy = [rest[i] for i in sorted(rng.sample(range(len(rest)), top_k))]
            for quality, documents in ((Quality.USEFUL, useful), (Quality.NOISY, noisy)):
                request = SearchRequest(asked.text, top_k, question.plain, quality)
                made.append(Pair(request, tuple(documents), asked.kind))
    return made


def _holds(document: Document, banned: Sequence[str]) -> bool:
    return contains_answer(f"{document.title}\n{document.text}", banned)
