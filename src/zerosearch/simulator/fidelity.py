"""How faithful a simulator is to the engine it stands in for.

A simulator sees the golden answer. If it prints the answer whatever the query says, a policy learns that one search
with the whole question always works, and fails with a real engine. The *leak rate* measures that directly, the
*transfer gap* (see learning/trainer.py) by its effect. The *control gap* is what the words useful and noisy decide.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Quality, SearchEngine, SearchPage, SearchRequest, holds_answer, shows_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.episodes.statistics import share_interval
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import EngineError
from zerosearch.simulator.style import copies, documents_with_answer, mean, overlap, plainness, style_auc, words

SIDES = ("real", "useful", "noisy")


@dataclass(frozen=True)
class Leak:
    """`rate` is `leaked` / `queries`; None where the real engine's pages held the answer for every query."""

    queries: int
    leaked: int

    @property
    def rate(self) -> float | None:
        return self.leaked / self.queries if self.queries else None


async def leak(trajectories: Sequence[Trajectory], real: SearchEngine, top_k: int) -> Leak:
    """Of the useful simulated pages whose query finds no answer in the `real` engine: how many hold the answer?

    An answer on a noisy page is a failure of control, not a leak. Questions whose answer is yes, no or a bare number
    are left out: such words stand on many pages by chance.
    """
    queries = leaked = 0
    for trajectory in trajectories:
        golden = trajectory.question.evident_answers
        for search in trajectory.searches:
            if not golden or search.error is not None or search.quality != "useful":
                continue
            try:
                page = await real.search(SearchRequest(search.query, top_k))
            except EngineError:
                continue  # what the real engine would have shown is not known: the query counts on neither side
            if holds_answer(page.documents, golden):
                continue
            queries += 1
            leaked += holds_answer(search.documents, golden)
    return Leak(queries, leaked)


@dataclass(frozen=True)
class FidelityQuery:
    """A query to compare two engines on. `kind` groups queries in the report (first hop, whole question, ...).

    `bridge` is what its page should name for the next query, where that is known; `others` what it might name instead.
    """

    query: str
    question: Question
    kind: str = "query"
    bridge: str = ""
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Compared:
    """What the real engine and the simulator answered to one query; a page is None where the search failed.

    `blind` is a useful page written without question and answer in the prompt, where it was asked for.
    """

    asked: FidelityQuery
    real: SearchPage | None
    useful: SearchPage | None
    noisy: SearchPage | None
    blind: SearchPage | None = None


async def compare(
    asked: Sequence[FidelityQuery],
    simulated: SearchEngine,
    real: SearchEngine,
    *,
    top_k: int,
    seed: int = 0,
    blind: int = 0,
) -> list[Compared]:
    """Ask both engines each query, the simulator for a useful and for a noisy page; the first `blind` queries once more
    without question and answer. Failed searches are kept as such.
    """

    async def one(number: int, a: FidelityQuery) -> Compared:
        def request(name: str, quality: Quality, question: Question | None) -> SearchRequest:
            return SearchRequest(
                a.query, top_k, question, quality, derive_seed(seed, "fidelity", name, a.query, number)
            )

        pages = await asyncio.gather(
            _page(real, SearchRequest(a.query, top_k)),
            _page(simulated, request("useful", Quality.USEFUL, a.question)),
            _page(simulated, request("noisy", Quality.NOISY, a.question)),
            _page(simulated, request("useful", Quality.USEFUL, None) if number < blind else None),
        )
        return Compared(a, *pages)

    return list(await asyncio.gather(*(one(number, a) for number, a in enumerate(asked))))


async def _page(engine: SearchEngine, request: SearchRequest | None) -> SearchPage | None:
    try:
        return await engine.search(request) if request is not None else None
    except EngineError:
        return None


def fidelity(compared: Sequence[Compared], *, top_k: int) -> dict[str, Any]:
    """The report, JSON-ready: see docs/simulator.md for what each figure means. Shares of nothing are None.

    `control`: on queries whose real page holds the answer, the share of useful and of noisy pages that hold it.
    `leak`: on the other queries, the same. Every query whose three pages were all found counts, but in what asks for
    the answer those of questions whose answer is yes, no or a bare number (`unclear`). `bridge`: of first hops
    whose bridge is known, the share of pages that name it (`right`), and of those that name another one and not it
    (`wrong`). `titles`: of the pages that hold the answer, the share with it in a title. `intervals` has the 95 %
    interval of each share, under the same names.
    """
    whole = [c for c in compared if c.real is not None and c.useful is not None and c.noisy is not None]
    clear = [c for c in whole if c.asked.question.evident_answers]
    held = {side: [bool(_holds(c, side)) for c in clear] for side in SIDES}
    findable = [i for i, holds in enumerate(held["real"]) if holds]
    rest = [i for i, holds in enumerate(held["real"]) if not holds]
    blind = [i for i in findable if clear[i].blind is not None]
    simulated = [page for c in whole for page in (c.useful, c.noisy) if page is not None]

    def shares(places: Sequence[int], sides: Sequence[str] = SIDES[1:]) -> tuple[dict[str, Any], dict[str, Any]]:
        return _measured({side: [held[side][i] for i in places] for side in sides})

    kinds: dict[str, list[int]] = {}
    for i, c in enumerate(clear):
        kinds.setdefault(c.asked.kind, []).append(i)
    by_kind = {kind: shares(places, SIDES) for kind, places in sorted(kinds.items())}
    control, control_within = shares(findable)
    leaks, leaks_within = shares(rest)
    bridge, bridge_within = _bridges(whole)
    titled = {side: [_titled(c, side) for c, holds in zip(clear, held[side], strict=True) if holds] for side in SIDES}
    titles, titles_within = _measured({side: titled[side] for side in SIDES[:2]})
    prompted = {"with": [held["useful"][i] for i in blind], "without": [bool(_holds(clear[i], "blind")) for i in blind]}
    return {
        "queries": len(compared),
        "failed": len(compared) - len(whole),
        "unclear": len(whole) - len(clear),
        "findable": len(findable),
        "control": control,
        "leak": {"queries": len(rest), **leaks},
        "answer_in_prompt": {"queries": len(blind), **_measured(prompted)[0]},
        "kinds": {kind: {"queries": len(kinds[kind]), **found} for kind, (found, _) in by_kind.items()},
        "bridge": bridge,
        "titles": {"pages": {side: len(titled[side]) for side in SIDES[:2]}, **titles},
        "intervals": {
            "control": control_within,
            "leak": leaks_within,
            "kinds": {kind: within for kind, (_, within) in by_kind.items()},
            "bridge": bridge_within,
            "titles": titles_within,
        },
        "whole_pages": _share(page.parsed and len(page.documents) == top_k for page in simulated),
        "pages": {side: _looks(whole, side) for side in SIDES},
        "style_auc": {
            side: style_auc([c.real.documents for c in whole if c.real], [_of(c, side).documents for c in whole])
            for side in SIDES[1:]
        },
        "seconds_per_page": mean([page.seconds for page in simulated]),
        "usd_per_page": mean([page.usage.usd for page in simulated]),
    }


def _bridges(whole: Sequence[Compared]) -> tuple[dict[str, Any], dict[str, Any]]:
    """`bridge` of the report, and the intervals of its shares."""
    hops = [c for c in whole if c.asked.bridge]
    bridge: dict[str, Any] = {"queries": len(hops)}
    within: dict[str, Any] = {}
    for side in SIDES:
        named = [_named(c, side) for c in hops]
        bridge[side], within[side] = _measured({key: [name == key for name in named] for key in ("right", "wrong")})
    return bridge, within


def _named(compared: Compared, side: str) -> str:
    """`right` where a page names the bridge, `wrong` where it names another and not it, else empty."""
    documents, asked = _of(compared, side).documents, compared.asked
    if holds_answer(documents, [asked.bridge]):
        return "right"
    return "wrong" if holds_answer(documents, [o for o in asked.others if o != asked.bridge]) else ""


def _titled(compared: Compared, side: str) -> bool:
    """Whether a title has the answer: a policy that learns from pages where it mostly does answers with titles."""
    golden = compared.asked.question.golden_answers
    return any(contains_answer(document.title, golden) for document in _of(compared, side).documents)


def _measured(hits: Mapping[str, Sequence[bool]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The share of hits by name, and the interval of each share; None of nothing."""
    within = {name: list(share_interval(sum(hit), len(hit))) if hit else None for name, hit in hits.items()}
    return {name: _share(hit) for name, hit in hits.items()}, within


def page_row(compared: Compared) -> dict[str, Any]:
    """One query with its pages, JSON-ready: of each side, its documents and whether they hold the answer, or None."""
    asked = compared.asked
    row: dict[str, Any] = {"query": asked.query, "kind": asked.kind, **asked.question.as_row()}
    for side in (*SIDES, "blind"):
        page: SearchPage | None = getattr(compared, side)
        row[side] = page and {
            "holds_answer": _holds(compared, side),
            "attempts": page.attempts,
            "results": [{"title": document.title, "text": document.text} for document in page.documents],
        }
    return row


def _of(compared: Compared, side: str) -> SearchPage:
    page: SearchPage | None = getattr(compared, side)
    assert page is not None
    return page


def _holds(compared: Compared, side: str) -> bool | None:
    return shows_answer([_of(compared, side).documents], compared.asked.question)


def _share(hits: Iterable[bool]) -> float | None:
    return mean([float(hit) for hit in hits])


def _looks(whole: Sequence[Compared], side: str) -> dict[str, float | None]:
    pages = [(c.asked.question, _of(c, side).documents) for c in whole]
    documents = [(question.text, document) for question, page in pages for document in page]
    held = [(question, page) for question, page in pages if shows_answer([page], question)]
    return {
        "documents": mean([float(len(page)) for _, page in pages]),
        "words_per_document": mean([float(len(words(document))) for _, document in documents]),
        "documents_with_answer": mean([documents_with_answer(question, page) for question, page in held]),
        "plainness": mean([plainness(question, page) for question, page in held]),
        "overlap_within_page": mean([overlap(page) for _, page in pages]),
        "copies_the_question": _share(copies(document, question) for question, document in documents),
    }
