"""The leak rate, over hand-made trajectories and a real BM25 index."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace

import pytest

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.errors import EngineError
from zerosearch.questions import Question
from zerosearch.scoring import Scores
from zerosearch.search import Document, SearchPage, SearchRequest
from zerosearch.simulation.fidelity import Leak, holds_answer, leak
from zerosearch.trajectory import SearchRecord, Trajectory

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
    corpus = folder / "corpus.jsonl"
    rows = ({"id": str(i), "title": title, "text": text} for i, (title, text) in enumerate(CORPUS))
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows))
    engine = BM25Engine.open(corpus, cache=folder / "cache")
    yield engine
    engine.close()


def search(query: str, page: str, *, quality: str | None = "useful", error: str | None = None) -> SearchRecord:
    documents = (Document("Page", page),) if page else ()
    return SearchRecord(query, documents, "simulated:x", quality, 0.0, error=error)


def episode(question: Question, *searches: SearchRecord) -> Trajectory:
    return Trajectory(
        question=question, ids=(1,), mask=(0,), logprobs=(0.0,), prompt_length=1, turns=(), searches=searches,
        answer=None, scores=Scores(0.0, 0.0, 0.0, 0.0), reward=0.0, stop_reason="no_answer",
    )  # fmt: skip


def measure(real: BM25Engine, *episodes: Trajectory, top_k: int = 1) -> Leak:
    return asyncio.run(leak(episodes, real, top_k))


def test_a_page_leaks_where_the_real_engine_has_no_answer_for_the_query(real: BM25Engine) -> None:
    found = measure(
        real,
        episode(PERU, search("llamas", "Lima is the capital.")),  # BM25: Peru, no Lima. Leaked
        episode(PERU, search("llamas", "Peru has llamas.")),  # honest
        episode(PERU, search("mountains", "Lima lies at the Andes.")),  # BM25 says so too: not counted
        episode(NEPAL, search("nepal", "Kathmandu.")),  # the same
    )
    assert found == Leak(queries=2, leaked=1)
    assert found.rate == 0.5


def test_each_page_is_held_against_the_answers_of_its_own_question(real: BM25Engine) -> None:
    assert measure(real, episode(NEPAL, search("llamas", "Lima is the capital."))) == Leak(1, 0)
    assert measure(real, episode(NEPAL, search("llamas", "Katmandu."))) == Leak(1, 1)  # an alias
    assert measure(real, episode(NEPAL, search("llamas", "Kathmandus."))) == Leak(1, 0)  # whole words


def test_every_search_of_an_episode_counts(real: BM25Engine) -> None:
    searches = [search("llamas", "Lima"), search("capital with llamas", "nothing"), search("peru", "Lima")]
    assert measure(real, episode(PERU, *searches)) == Leak(3, 2)


def test_noisy_and_failed_searches_and_pages_of_real_engines_are_left_out(real: BM25Engine) -> None:
    left_out = episode(
        PERU,
        search("llamas", "Lima", quality="noisy"),
        search("llamas", "", error="deadline"),
        search("llamas", "Lima", quality=None),
    )
    found = measure(real, left_out)
    assert found == Leak(0, 0)
    assert found.rate is None


def test_there_is_no_rate_without_anything_to_count(real: BM25Engine) -> None:
    assert measure(real).rate is None
    assert measure(real, episode(NEPAL, search("nepal", "Kathmandu"))).rate is None
    assert Leak(3, 0).rate == 0.0


def test_the_real_engine_is_asked_for_as_many_documents_as_it_judges_with(real: BM25Engine) -> None:
    """Among three documents there is one with Lima; the best one alone does not hold it."""
    page = episode(PERU, search("country andes llamas mountains", "Lima"))
    assert measure(real, page, top_k=1) == Leak(1, 1)
    assert measure(real, page, top_k=3) == Leak(0, 0)


def test_a_query_that_finds_nothing_at_all_can_leak(real: BM25Engine) -> None:
    assert measure(real, episode(PERU, search("???", "Lima"), search("zzz", "Lima"))) == Leak(2, 2)


def test_a_title_holds_an_answer_too() -> None:
    assert holds_answer([Document("Lima", "a city")], ["Lima"])
    assert not holds_answer([Document("Limassol", "a city")], ["Lima"])
    assert not holds_answer([], ["Lima"])
    assert not holds_answer([Document("x", "y")], [""])  # an empty golden answer is in no page


def test_an_episode_whose_search_failed_still_counts_its_other_pages(real: BM25Engine) -> None:
    broken = replace(
        episode(PERU, search("llamas", "Lima"), search("llamas", "", error="http")), stop_reason="engine_error"
    )
    assert measure(real, broken) == Leak(1, 1)


def test_a_real_engine_that_fails_takes_the_query_out_of_the_count(real: BM25Engine) -> None:
    class Flaky:
        name = "flaky"

        async def search(self, request: SearchRequest) -> SearchPage:
            if "llamas" in request.query:
                raise EngineError("deadline", "too slow")
            return await real.search(request)

    asked = episode(PERU, search("country with llamas", "Lima"), search("peru", "Lima"))
    assert asyncio.run(leak([asked], Flaky(), 1)) == Leak(queries=1, leaked=1)
