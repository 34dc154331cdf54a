"""Do pages keep to what was decided? python obedience.py CONFIG QUESTIONS.jsonl [COUNT] [--out FILE] [--set KEY=VALUE]

The simulator of CONFIG writes pages for whole questions, first hops, second hops and what is beside the point, all at
once. Printed by kind: how often a page was decided to hit, how often those that were and were not hold the answer, how
often a page of two hops names the bridge; then documents and words a page, worlds that could not be made, and pages.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from script import at_least, run
from simulated_worlds import second_query

from zerosearch.config_file import load_config
from zerosearch.episodes.questions import Question, subject
from zerosearch.episodes.scoring import normalize
from zerosearch.episodes.search import Quality, SearchPage, SearchRequest, holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.statistics import share_interval
from zerosearch.errors import EngineError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.parts import Parts
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.hits import Asked, kind_of
from zerosearch.simulator.style import documents_with_answer, mean, plainness


def share(hits: list[bool]) -> str:
    if not hits:
        return "      -          "
    low, high = share_interval(sum(hits), len(hits))
    return f"{sum(hits) / len(hits):.3f} [{low:.2f}, {high:.2f}]"


async def play(
    engine: SimulatedEngine, questions: list[Question], top_k: int
) -> list[tuple[Asked, str, SearchPage | EngineError]]:
    """Every question with its queries; the first page makes the world that the second is asked by."""

    async def page(question: Question, query: str, quality: Quality) -> SearchPage | EngineError:
        seed = derive_seed("obedience", question.id, query)
        try:
            return await engine.search(SearchRequest(query, top_k, question, quality, seed))
        except EngineError as error:
            return error

    async def one(place: int, question: Question) -> list[tuple[Asked, str, SearchPage | EngineError]]:
        whole = await page(question, question.text, Quality.USEFUL)
        world = await engine.worlds.known(question)
        other = questions[(place + 1) % len(questions)].text
        queries = [(other, "useful")] if place % 3 == 0 else []
        if place % 4 == 0:
            queries.append((question.text, "noisy"))
        if world.bridge and world.facts:
            queries += [(second_query(question, world), "useful"), (subject(world.facts[0]), "useful")]
        queries = [(query, quality) for query, quality in queries if query]
        pages = await asyncio.gather(*(page(question, query, Quality(quality)) for query, quality in queries))
        made = [(question.text, "useful", whole), *((*asked, got) for asked, got in zip(queries, pages, strict=True))]
        return [(Asked(question, query, world.bridge), quality, got) for query, quality, got in made]

    rows = await asyncio.gather(*(one(place, question) for place, question in enumerate(questions)))
    return [row for of in rows for row in of]


def tell_plainness(kinds: Mapping[str, Sequence[tuple[Asked, SearchPage]]]) -> None:
    for kind in ("whole", "second_hop"):
        held = [(a.question, page.documents) for a, page in kinds.get(kind, ()) if page.hit]
        shared = mean([plainness(question, page) for question, page in held])
        if shared is not None:
            documents = mean([documents_with_answer(question, page) for question, page in held])
            print(f"{kind}, pages that hit: plainness {shared:.2f}, {documents:.2f} documents with the answer")


def main() -> None:
    parser = argparse.ArgumentParser(description="Do pages keep to what was decided?")
    parser.add_argument("config", type=Path)
    parser.add_argument("questions")
    parser.add_argument("count", type=at_least(1), nargs="?", default=240)
    parser.add_argument("--out", type=Path, help="write all pages to this file")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    asked = parser.parse_args()
    config = load_config(asked.config, asked.set)
    with Parts(config) as parts:
        engine = parts.engine("train", metered=False)
        assert isinstance(engine, SimulatedEngine)
        questions = parts.questions(asked.questions, asked.count)
        started = time.perf_counter()
        rows = parts.run(play(engine, questions, config.engine.top_k))
        seconds = time.perf_counter() - started
    pages = [(a, quality, page) for a, quality, page in rows if isinstance(page, SearchPage)]
    kinds = defaultdict(list)
    for a, quality, page in pages:
        kind = "compares" if page.hit is None else kind_of(a)
        kinds[kind if quality == "useful" else "noisy"].append((a, page))
    print(f"{'':16s} pages  decided to hit       hits hold it         misses hold it       name the bridge")
    for kind, found in kinds.items():
        held = [(page.hit, holds_answer(page.documents, a.question.golden_answers)) for a, page in found]
        named = [holds_answer(page.documents, [a.bridge]) for a, page in found if a.bridge]
        shares = [share([bool(hit) for hit, _ in held])]
        shares += [share([holds for hit, holds in held if hit is wanted]) for wanted in (True, False)]
        print(f"{kind:16s} {len(found):5d}  {'    '.join([*shares, share(named)])}")
    tell_plainness(kinds)
    documents = [d for _, _, page in pages for d in page.documents]
    words = sum(len(normalize(f"{d.title} {d.text}").split()) for d in documents)
    print(f"{len(pages)} pages in {seconds:.1f} s; {len(rows) - len(pages)} failed")
    print(f"worlds: {len(questions) - engine.worlds.failed} of {len(questions)}")
    print(f"{len(documents) / len(pages):.2f} documents a page, {words / len(documents):.1f} words a document")
    print(f"{sum(page.attempts for _, _, page in pages) / len(pages):.2f} writings a page")
    if asked.out:
        write_jsonl(
            asked.out,
            (
                {"question": a.question.text, "answers": list(a.question.golden_answers), "query": a.query}
                | {"kind": kind_of(a), "quality": quality, "bridge": a.bridge, "hit": page.hit}
                | {"page": [f"{d.title}: {d.text}" for d in page.documents]}
                for a, quality, page in pages
            ),
        )


if __name__ == "__main__":
    run(main)
