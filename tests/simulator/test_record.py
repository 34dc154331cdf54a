"""Recorded pages: written once a query, gone on with after a kill, and read from search traces of elsewhere too."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Container
from pathlib import Path
from typing import Any

import pytest
from fakes import FakeEngine

from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import ErrorRate
from zerosearch.episodes.search import Document, SearchRequest
from zerosearch.errors import BudgetError, DataError, EngineError, RunError
from zerosearch.simulator.record import Query, Recorded, RecordSettings, read_recorded_pages, record
from zerosearch.spending.meter import Budget, Meter, Metered

QUESTIONS = [Question(f"q{n}", f"Question {n}?", (f"answer {n}",), 2 if n % 2 else None) for n in range(8)]
QUERIES = [Query(f"query {n}", question, turn=n) for n, question in enumerate(QUESTIONS)]


def numbered(
    identity: str = "numbered depth=1", broken: Container[str] = (), unknown: Container[str] = ()
) -> FakeEngine:
    """Says which document stands where; fails for the queries in `broken`, finds nothing for those in `unknown`."""

    def page(request: SearchRequest) -> Any:
        if request.query in broken:
            return EngineError("http", "down")
        count = 0 if request.query in unknown else request.top_k
        return [Document(f"{request.query} {n}", "Text.", str(n)) for n in range(count)]

    engine = FakeEngine(page, name="numbered")
    engine.identity = identity
    return engine


def run(engine: Any, path: Path, queries: list[Query] = QUERIES, **settings: Any) -> Recorded:
    errors = ErrorRate(0.5)
    return asyncio.run(record(queries, engine, path, errors, RecordSettings(3, 2), **settings))


def test_each_query_is_recorded_once_with_its_own_question(tmp_path: Path) -> None:
    path, engine = tmp_path / "pages.jsonl", numbered()
    assert run(engine, path, [*QUERIES, QUERIES[3]]) == Recorded(8, 8, 0)
    pages, without = read_recorded_pages(path)
    assert without == 0
    assert sorted((p.query, p.question.id, p.turn) for p in pages) == [(f"query {n}", f"q{n}", n) for n in range(8)]
    assert {p.question.hops for p in pages} == {None, 2}
    assert all([d.id for d in p.documents] == ["0", "1", "2"] and p.engine == "numbered" for p in pages)
    assert run(engine, path) == Recorded(8, 8, 0)
    assert len(engine.requests) == 8  # nothing is asked twice


def test_a_query_for_which_nothing_is_found_is_recorded_and_counted(tmp_path: Path) -> None:
    engine = numbered(unknown={"query 2"})
    assert run(engine, tmp_path / "pages.jsonl") == Recorded(8, 8, 0, nothing=1)
    assert run(engine, tmp_path / "pages.jsonl") == Recorded(8, 8, 0)  # nothing is asked again


def test_one_query_of_two_questions_is_two_pages(tmp_path: Path) -> None:
    twice = [Query("who", QUESTIONS[0]), Query("who", QUESTIONS[1])]
    assert run(numbered(), tmp_path / "pages.jsonl", twice).recorded == 2


def test_what_failed_is_asked_again_and_a_cut_line_too(tmp_path: Path) -> None:
    broken = {"query 2"}
    path, engine = tmp_path / "pages.jsonl", numbered(broken=broken)
    assert run(engine, path) == Recorded(7, 8, 1)
    path.write_bytes(path.read_bytes()[:-9])  # a kill cut the last line off
    broken.clear()
    assert run(engine, path) == Recorded(8, 8, 0)
    assert len(engine.requests) == 8 + 2
    assert len({p.query for p in read_recorded_pages(path)[0]}) == 8


def test_too_many_failures_and_a_spent_budget_keep_what_was_recorded(tmp_path: Path) -> None:
    broken = numbered(broken={f"query {n}" for n in range(2, 8)})
    with pytest.raises(RunError, match="searches failed"):
        run(broken, tmp_path / "a.jsonl")
    assert len(read_recorded_pages(tmp_path / "a.jsonl")[0]) == 2
    with pytest.raises(BudgetError):
        run(Metered(numbered(), Meter(Budget(searches=5))), tmp_path / "b.jsonl")
    assert 4 <= len(read_recorded_pages(tmp_path / "b.jsonl")[0]) <= 5


def test_pages_of_two_engines_are_not_mixed(tmp_path: Path) -> None:
    run(numbered(), tmp_path / "pages.jsonl")
    with pytest.raises(DataError, match=r"another engine than numbered as it is now \(depth 1 and 2\)"):
        run(numbered(identity="numbered depth=2"), tmp_path / "pages.jsonl")


def test_a_file_that_does_not_tell_its_engine_is_not_added_to(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    for row, said in (
        ({"id": "q0", "query": "query 0", "engine": "numbered", "results": []}, "an engine that is not recorded"),
        ({"query": "no id", "results": []}, "pages.jsonl:1: not a row that"),
        (["query 0"], "pages.jsonl:1: not an object of JSON"),
    ):
        path.write_text(json.dumps(row) + "\n")
        with pytest.raises(DataError, match=said):
            run(numbered(), path)


def test_search_traces_are_read_and_rows_without_an_answer_counted(tmp_path: Path) -> None:
    path = tmp_path / "traces.jsonl"
    rows: list[dict[str, Any]] = [
        {
            "query": "nepal", "engine": "google", "question": "Capital of Nepal?", "golden_answers": ["Kathmandu"],
            "turn": 1, "results": [{"title": "Nepal", "snippet": "One. Two words. " * 9}],
        },
        {"query": "peru", "results": [{"snippet": "Lima."}]},
        {"query": "peru", "results": [], "question": "Capital of Peru?", "golden_answers": []},
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    (page,), without = read_recorded_pages(path, snippet_words=5)
    assert without == 2
    assert (page.engine, page.turn, page.question.golden_answers) == ("google", 1, ("Kathmandu",))
    assert len(page.documents[0].text.split()) <= 6
    again = read_recorded_pages(path)[0][0].question
    assert again.id == page.question.id  # without an id of its own, a question has a stable one
    path.write_text(json.dumps({"query": 3, "results": []}) + "\n")
    with pytest.raises(DataError, match=r"traces\.jsonl:1: the field 'query' must be text"):
        read_recorded_pages(path)
