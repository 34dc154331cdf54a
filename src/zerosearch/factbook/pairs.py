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
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document, Quality, SearchRequest
from zerosearch.factbook.questions import FactbookQuestion
from zerosearch.factbook.scripted import plain_question
from zerosearch.factbook.sources import factbook_rows

KINDS = ("one_hop", "first_hop", "second_hop", "whole", "wrong_country")
NOISE_POOL = 16
"""How deep into BM25's ranking a noisy page reaches."""


@dataclass(frozen=True)
class Pair:
    """A request as a simulator gets it, and the page it should write. `kind` says what sort of query it is."""

    request: SearchRequest
    documents: tuple[Document, ...]
    kind: str


@dataclass(frozen=True)
class Asked:
    """A query of some kind and what a page would have to show to satisfy it."""

    query: str
    kind: str
    wanted: tuple[str, ...]


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
        for asked in asked_of(question, countries, rng, per_question):
            ranked = engine.search_many([asked.query], NOISE_POOL)[0]
            shown = [cut(d, asked.query, snippet_words) for d in ranked]
            useful = shown[:top_k]
            banned = (*asked.wanted, *question.golden_answers)
            # the snippet is looked at too: a cut can bring words together that the passage keeps apart
            rest = [s for d, s in zip(ranked, shown, strict=True) if not _holds(d, banned) and not _holds(s, banned)]
            if not useful or len(rest) < top_k:
                continue
            noisy = [rest[i] for i in sorted(rng.sample(range(len(rest)), top_k))]
            for quality, documents in ((Quality.USEFUL, useful), (Quality.NOISY, noisy)):
                request = SearchRequest(asked.query, top_k, plain_question(question), quality)
                made.append(Pair(request, tuple(documents), asked.kind))
    return made


def _holds(document: Document, banned: Sequence[str]) -> bool:
    return contains_answer(f"{document.title}\n{document.text}", banned)


def asked_of(question: FactbookQuestion, countries: Sequence[str], rng: random.Random, count: int) -> list[Asked]:
    """Queries as policies write them: right ones, the whole question, and a right one about the wrong country."""
    whole = Asked(question.question.rstrip("?."), "whole", question.golden_answers)
    if question.hops == 1:
        kinds = [Asked(question.queries[0], "one_hop", question.golden_answers)] * 3 + [whole]
        target = question.queries[0]
    else:
        bridge = question.bridge_country or ""
        kinds = [
            *[Asked(question.queries[0], "first_hop", (bridge,))] * 3,
            *[Asked(question.queries[1], "second_hop", question.golden_answers)] * 3,
            *[whole] * 2,
        ]
        target = question.queries[1]
    others = [country for country in countries if country != question.subject]
    if others and question.subject in target:
        other = rng.choice(others)
        kinds.append(Asked(target.replace(question.subject, other), "wrong_country", (other,)))
    rng.shuffle(kinds)
    distinct = list({asked.query: asked for asked in kinds}.values())
    return distinct[:count]


def factbook_queries(source: str, limit: int, seed: int = 0) -> list[tuple[str, Question, str, str, tuple[str, ...]]]:
    """One query for each of the first `limit` questions of `factbook:SPLIT[:one-hop|two-hop]`.

    Each with its question and kind and, where it is a first hop, the country that its page should name (the bridge)
    and all countries that it might name instead. The kinds are those that simulators are tuned on, in equal turns as
    far as a question has them.
    """
    rows = factbook_rows(source)
    countries = sorted({q.subject for q in rows})
    made = []
    for turn, question in enumerate(rows[:limit]):
        rng = random.Random(f"{seed}-{question.id}")
        found = {asked.kind: asked for asked in asked_of(question, countries, rng, len(KINDS))}
        kinds = [kind for kind in KINDS if kind in found]
        asked = found[kinds[turn % len(kinds)]]
        first = asked.kind == "first_hop"
        bridge, others = (question.bridge_country or "", tuple(countries)) if first else ("", ())
        made.append((asked.query, plain_question(question), asked.kind, bridge, others))
    return made
