"""The leak rate, over hand-made trajectories and a real BM25 index."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterator
from dataclasses import replace
from typing import Any

import pytest
from engines.passages import write_corpus
from fakes import FakeEngine

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import Scores
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest
from zerosearch.episodes.trajectory import SearchRecord, Trajectory
from zerosearch.errors import EngineError
from zerosearch.simulator.fidelity import SIDES, Compared, FidelityQuery, Leak, compare, fidelity, leak
from zerosearch.simulator.gallery import page
from zerosearch.usage import Usage

CORPUS = [
    ("Nepal", "Kathmandu is the capital of Nepal."),
    ("Peru", "A country of the Andes, with llamas."),
    ("Andes", "The Andes are mountains. Lima lies at their feet."),
]
PERU = Question("p", "What is the capital of the country with llamas?", ("Lima",))
NEPAL = Question("n", "What is the capital of Nepal?", ("Kathmandu", "Katmandu"))


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BM25Engine]:
    folder = tmp_path_factory.mktemp("corpus")
    corpus = write_corpus(folder / "corpus.jsonl", ((str(i), *passage) for i, passage in enumerate(CORPUS)))
    engine = BM25Engine.open(corpus, cache=folder / "cache")
    yield engine
    engine.close()


def search(query: str, page: str, *, quality: str | None = "useful", error: str | None = None) -> SearchRecord:
    documents = (Document("Page", page),) if page else ()
    return SearchRecord(documents, "simulated:x", quality, query=query, noise=0.0, error=error)


def episode(question: Question, *searches: SearchRecord) -> Trajectory:
    return Trajectory(
        question=question, ids=(1,), mask=(0,), logprobs=(0.0,), prompt_length=1, turns=(), searches=searches,
        answer=None, scores=Scores(0.0, 0.0, 0.0, 0.0), reward=0.0, stop_reason="no_answer",
    )  # fmt: skip


def measure(real: BM25Engine, *episodes: Trajectory, top_k: int = 1) -> Leak:
    return asyncio.run(leak(episodes, real, top_k))


@pytest.mark.parametrize(
    ("question", "searches", "found"),
    [
        # a page leaks where the real engine has no answer for the query
        (PERU, [search("llamas", "Lima is the capital.")], Leak(1, 1)),  # BM25: Peru, no Lima
        (PERU, [search("llamas", "Peru has llamas.")], Leak(1, 0)),  # honest
        (PERU, [search("mountains", "Lima lies at the Andes.")], Leak(0, 0)),  # BM25 says so too: not counted
        (NEPAL, [search("nepal", "Kathmandu.")], Leak(0, 0)),  # the same
        (PERU, [search("???", "Lima"), search("zzz", "Lima")], Leak(2, 2)),  # BM25 finds nothing at all
        # each page is held against the answers of its own question
        (NEPAL, [search("llamas", "Lima is the capital.")], Leak(1, 0)),
        (NEPAL, [search("llamas", "Katmandu.")], Leak(1, 1)),  # an alias
        (NEPAL, [search("llamas", "Kathmandus.")], Leak(1, 0)),  # whole words
        # every search counts, also beside one that failed, but noisy pages, and those of real engines, do not
        (
            PERU,
            [search("llamas", "Lima"), search("capital with llamas", "nothing"), search("peru", "Lima")],
            Leak(3, 2),
        ),
        (PERU, [search("llamas", "Lima"), search("llamas", "", error="http")], Leak(1, 1)),
        (PERU, [search("llamas", "Lima", quality="noisy"), search("llamas", "Lima", quality=None)], Leak(0, 0)),
    ],
)
def test_what_leaks(real: BM25Engine, question: Question, searches: list[SearchRecord], found: Leak) -> None:
    assert measure(real, episode(question, *searches)) == found


def test_the_leaks_of_all_episodes_are_one_rate_and_there_is_none_without_anything_to_count(real: BM25Engine) -> None:
    leaked, honest = search("llamas", "Lima"), search("llamas", "Hills.")
    assert measure(real, episode(PERU, leaked), episode(PERU, honest)).rate == 0.5
    assert measure(real).rate is None
    assert Leak(3, 0).rate == 0.0


def test_the_real_engine_is_asked_for_as_many_documents_as_it_judges_with(real: BM25Engine) -> None:
    """Among three documents there is one with Lima; the best one alone does not hold it."""
    page = episode(PERU, search("country andes llamas mountains", "Lima"))
    assert measure(real, page, top_k=1) == Leak(1, 1)
    assert measure(real, page, top_k=3) == Leak(0, 0)


def test_a_real_engine_that_fails_takes_the_query_out_of_the_count(real: BM25Engine) -> None:
    def flaky(request: SearchRequest) -> Any:
        return EngineError("deadline", "too slow") if "llamas" in request.query else real.search(request)

    asked = episode(PERU, search("country with llamas", "Lima"), search("peru", "Lima"))
    assert asyncio.run(leak([asked], FakeEngine(flaky), 1)) == Leak(queries=1, leaked=1)


def simulator(leaks: Container[str] = (), fails: Container[str] = ()) -> FakeEngine:
    """Useful pages hold the answer, noisy ones only for queries in `leaks`, and none without a question."""

    def page(request: SearchRequest) -> Any:
        if request.query in fails:
            return EngineError("empty", "nothing")
        good = request.quality is Quality.USEFUL and request.query != "llamas"
        told = request.question is not None and (good or request.query in leaks)
        text = f"It is {request.question.golden_answers[0]}." if told and request.question else "Hills and more hills."
        documents = (Document("Page", text), Document("Page", "The sea."))[: request.top_k]
        return SearchPage(documents, "simulated:x", request.quality, seconds=0.5, usage=Usage(usd=0.001))

    return FakeEngine(page)


ASKED = [
    FidelityQuery("capital nepal", NEPAL, "one_hop"),  # BM25 finds Kathmandu
    FidelityQuery("andes mountains", PERU, "second_hop"),  # and Lima
    FidelityQuery("llamas", PERU, "first_hop"),  # and no Lima
]


def report_on(real: BM25Engine, simulated: FakeEngine, **options: int) -> dict[str, Any]:
    compared = asyncio.run(compare(ASKED, simulated, real, top_k=2, **options))
    return fidelity(compared, top_k=2)


def test_control_is_what_the_word_decides_where_the_real_page_holds_the_answer(real: BM25Engine) -> None:
    report = report_on(real, simulator())
    assert (report["queries"], report["findable"], report["failed"]) == (3, 2, 0)
    assert report["control"] == {"useful": 1.0, "noisy": 0.0}
    assert report["leak"] == {"queries": 1, "useful": 0.0, "noisy": 0.0}
    assert report["kinds"]["first_hop"] == {"queries": 1, "real": 0.0, "useful": 0.0, "noisy": 0.0}
    assert report["kinds"]["one_hop"] == {"queries": 1, "real": 1.0, "useful": 1.0, "noisy": 0.0}


def test_a_leak_and_a_noisy_page_with_the_answer_are_seen(real: BM25Engine) -> None:
    report = report_on(real, simulator(leaks=("llamas", "capital nepal")))
    assert report["leak"] == {"queries": 1, "useful": 1.0, "noisy": 1.0}
    assert report["control"] == {"useful": 1.0, "noisy": 0.5}


def test_every_share_has_its_interval(real: BM25Engine) -> None:
    within = report_on(real, simulator())["intervals"]
    assert within["control"]["useful"] == pytest.approx([0.158, 1.0], abs=1e-3)  # 2 of 2, Clopper and Pearson
    assert within["leak"]["useful"] == pytest.approx([0.0, 0.975], abs=1e-3)
    assert within["kinds"]["one_hop"]["real"] == pytest.approx([0.025, 1.0], abs=1e-3)
    assert report_on(real, simulator(fails=("llamas",)))["intervals"]["leak"]["useful"] is None


def test_a_first_hop_that_names_a_wrong_bridge_is_seen() -> None:
    def found(*texts: str) -> SearchPage:
        return SearchPage(tuple(Document("", text) for text in texts), "x")

    asked = FidelityQuery("country with llamas", PERU, "first_hop", "Peru", ("Chad", "Nepal", "Peru"))
    pages = [
        Compared(asked, found("Peru has llamas."), found("Chad has llamas."), found("Nothing.")),
        Compared(asked, found("Nepal", "Peru"), found("Peru has llamas.", "Chad"), found("Nepal is high.")),
        Compared(replace(asked, bridge=""), found("Chad"), found("Chad"), found("Chad")),
    ]
    report = fidelity(pages, top_k=2)
    assert report["bridge"] == {
        "queries": 2,
        "real": {"right": 1.0, "wrong": 0.0},
        "useful": {"right": 0.5, "wrong": 0.5},
        "noisy": {"right": 0.0, "wrong": 0.5},
    }
    assert report["intervals"]["bridge"]["useful"]["wrong"] == pytest.approx([0.0126, 0.9874], abs=1e-3)
    shown = page({**report, "simulator": "s", "engine": "e"}, pages)
    assert "first hops that name a wrong one and not it</th><td>50% [1%, 99%]" in shown


def test_what_stands_on_many_pages_by_chance_is_no_answer_there(real: BM25Engine) -> None:
    found = SearchPage((Document("", "There are no 2 alike."),), "x")
    unclear = [Question("y", "Is Lima in Chad?", ("no",)), Question("n", "How many?", ("2",))]
    pages = [Compared(FidelityQuery(question.text, question, "whole"), found, found, found) for question in unclear]
    pages.append(Compared(FidelityQuery("capital nepal", NEPAL, "whole"), found, found, found))
    report = fidelity(pages, top_k=1)
    assert (report["queries"], report["unclear"], report["findable"], report["leak"]["queries"]) == (3, 2, 0, 1)
    assert report["kinds"]["whole"] == {"queries": 1, "real": 0.0, "useful": 0.0, "noisy": 0.0}
    assert measure(real, *(episode(question, search("llamas", "no 2")) for question in unclear)) == Leak(0, 0)


def test_the_answer_in_the_prompt_is_held_against_pages_written_without_it(real: BM25Engine) -> None:
    simulated = simulator()
    report = report_on(real, simulated, blind=1)
    assert report["answer_in_prompt"] == {"queries": 1, "with": 1.0, "without": 0.0}
    assert [r.query for r in simulated.requests if r.question is None] == ["capital nepal"]


def test_queries_that_failed_count_on_no_side(real: BM25Engine) -> None:
    report = report_on(real, simulator(fails=("llamas",)))
    assert (report["queries"], report["failed"], report["findable"], report["leak"]["queries"]) == (3, 1, 2, 0)
    assert report["leak"]["useful"] is None


def test_each_query_is_simulated_with_its_own_question_and_a_seed_of_its_own(real: BM25Engine) -> None:
    simulated = simulator()
    report_on(real, simulated)
    assert {(r.query, r.question) for r in simulated.requests} == {(a.query, a.question) for a in ASKED}
    assert len({r.seed for r in simulated.requests}) == 2 * len(ASKED)


def test_pages_short_of_documents_are_not_whole(real: BM25Engine) -> None:
    compared = asyncio.run(compare(ASKED, simulator(), real, top_k=2))
    assert fidelity(compared, top_k=2)["whole_pages"] == 1.0
    assert fidelity(compared, top_k=3)["whole_pages"] == 0.0
    assert fidelity(compared, top_k=2)["seconds_per_page"] == 0.5


def test_nothing_of_a_page_can_become_markup(real: BM25Engine) -> None:
    bad = Question("x", "<script>alert(1)</script>?", ("<b>Lima</b>",))
    asked = [FidelityQuery("<img src=x onerror=alert(2)>", bad, "<kind>")]
    compared = asyncio.run(compare(asked, simulator(), real, top_k=2))
    names = {"simulator": "<s>", "engine": "e&e"}
    html = page({**names, **fidelity(compared, top_k=2)}, compared)
    assert "<script>" not in html
    assert "<img" not in html
    assert "<kind>" not in html
    assert "<b>Lima" not in html
    assert "It is &lt;b&gt;Lima&lt;/b&gt;." in html
    assert 'class="holds"' in html


def test_how_plainly_the_answer_is_told_is_measured_on_pages_that_hold_it() -> None:
    def told(*texts: str) -> SearchPage:
        return SearchPage(tuple(Document("Andes", text) for text in texts), "x")

    real = told("The capital of Peru is large. Lima lies at the sea.")
    useful = told("Lima is the capital of Peru.", "Lima.")
    compared = [Compared(FidelityQuery("capital of Peru", PERU), real, useful, told("A country."))]
    pages = fidelity(compared, top_k=2)["pages"]
    assert [pages[side]["documents_with_answer"] for side in SIDES] == [1.0, 2.0, None]
    assert [pages[side]["plainness"] for side in SIDES] == [0.0, pytest.approx(1 / 3), None]


def test_how_often_the_answer_stands_in_a_title_is_told_of_pages_that_hold_it() -> None:
    def found(title: str, text: str) -> SearchPage:
        return SearchPage((Document("Andes", "Mountains."), Document(title, text)), "x")

    def compared(real: SearchPage, useful: SearchPage) -> Compared:
        return Compared(FidelityQuery("capital of Peru", PERU), real, useful, found("Peru", "A country."))

    stated, titled, without = found("Peru", "Lima."), found("Lima", "A city."), found("Peru", "A country.")
    report = fidelity([compared(stated, titled), compared(titled, titled), compared(stated, without)], top_k=2)
    assert report["titles"] == {"pages": {"real": 3, "useful": 2}, "real": pytest.approx(1 / 3), "useful": 1.0}
    assert report["intervals"]["titles"]["useful"][0] < 0.5
