"""Queries over the Factbook as policies write them, each with the facts that its page should contain."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from zerosearch.episodes.questions import Question
from zerosearch.factbook.questions import FactbookQuestion, factbook_rows

KINDS = ("one_hop", "first_hop", "second_hop", "whole", "wrong_country")


@dataclass(frozen=True)
class Query:
    """A query of one of `KINDS`, and what a page would have to show to satisfy it."""

    text: str
    kind: str
    wanted: tuple[str, ...]


def queries_of(question: FactbookQuestion, countries: Sequence[str], rng: random.Random, count: int) -> list[Query]:
    """Queries as policies write them: right ones, the whole question, and a right one about the wrong country."""
    whole = Query(question.question.rstrip("?."), "whole", question.golden_answers)
    if question.hops == 1:
        kinds = [Query(question.queries[0], "one_hop", question.golden_answers)] * 3 + [whole]
        target = question.queries[0]
    else:
        bridge = question.bridge_country or ""
        kinds = [
            *[Query(question.queries[0], "first_hop", (bridge,))] * 3,
            *[Query(question.queries[1], "second_hop", question.golden_answers)] * 3,
            *[whole] * 2,
        ]
        target = question.queries[1]
    others = [country for country in countries if country != question.subject]
    if others and question.subject in target:
        other = rng.choice(others)
        kinds.append(Query(target.replace(question.subject, other), "wrong_country", (other,)))
    rng.shuffle(kinds)
    distinct = list({asked.text: asked for asked in kinds}.values())
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
        found = {asked.kind: asked for asked in queries_of(question, countries, rng, len(KINDS))}
        kinds = [kind for kind in KINDS if kind in found]
        asked = found[kinds[turn % len(kinds)]]
        first = asked.kind == "first_hop"
        bridge, others = (question.bridge_country or "", tuple(countries)) if first else ("", ())
        made.append((asked.text, question.plain, asked.kind, bridge, others))
    return made
