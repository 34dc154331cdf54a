"""Predictions: scored in one place, written so that a kill loses at most one, read back as they were."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.predictions import (
    Header,
    Outcome,
    Prediction,
    append_prediction,
    read_predictions,
    start_predictions,
)
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document
from zerosearch.episodes.trajectory import SearchRecord
from zerosearch.errors import DataError
from zerosearch.usage import Usage

NEPAL = Question("n", "Capital of Nepal?", ("Kathmandu", "Katmandu"))
HEADER = Header("atlas", "rag", "tiny", "bm25:x", 5, "d1", count=2, samples=2, settings={"max_searches": 4})


def search(*texts: str, **changes: Any) -> SearchRecord:
    page = tuple(Document("Title", text, "7") for text in texts)
    return SearchRecord(page, "bm25:x", query="a query", **changes)


def predict(
    question: Question = NEPAL, answer: str | None = "Kathmandu", *pages: str, sample: int = 0, **changes: Any
) -> Prediction:
    outcome = Outcome(answer, tuple(search(page) for page in pages), **changes)
    return Prediction.scored(question, outcome, "atlas", "rag", sample)


def test_an_answer_is_scored_as_everywhere() -> None:
    right, part, none = predict(), predict(answer="Kathmandu in Nepal"), predict(answer=None)
    assert (right.em, right.cover_em, right.f1) == (1, 1, 1)
    assert (part.em, part.cover_em, part.f1) == (0, 1, 0.5)
    assert (none.em, none.cover_em, none.f1) == (0, 0, 0)


def test_a_page_holds_the_answer_in_its_title_too() -> None:
    assert predict(NEPAL, None, "Lima is a city", "the town of Katmandu,").saw_answer
    assert not predict(NEPAL, None, "Kathmanduites live there").saw_answer
    titled = SearchRecord((Document("Kathmandu", "A city."),), "bm25:x", query="q")
    assert Prediction.scored(NEPAL, Outcome(None, (titled,)), "atlas", "rag").saw_answer


@pytest.mark.parametrize(
    ("question", "answer", "pages", "without"),
    [
        (NEPAL, "Kathmandu", (), True),  # by heart
        (NEPAL, "Kathmandu", ("Lima is the capital of Peru",), True),
        (NEPAL, "Kathmandu", ("Katmandu is the capital of Nepal",), False),
        (NEPAL, "Lima", (), False),  # not right
        (NEPAL, "It is Kathmandu", (), False),  # right by cover-EM only
        (NEPAL, None, (), False),
        (Question("y", "Is it high?", ("yes",)), "yes", (), None),
        (Question("n", "How many?", ("2",)), "2", ("page 2",), None),
    ],
)
def test_answered_without_evidence_is_an_exact_match_that_no_page_held(
    question: Question, answer: str | None, pages: tuple[str, ...], without: bool | None
) -> None:
    assert predict(question, answer, *pages).answered_without_evidence is without


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "out" / "nq.jsonl"
    paid = Usage(usd=0.25)
    rows = [
        predict(NEPAL, "Kathmandu", "a page", usage=Usage(90, 7), valid_actions=0.5, text="<think>é</think>"),
        replace(
            predict(sample=1, answer=None, error="deadline"),
            searches=(search(error="deadline", usage=paid),),
        ),
    ]
    assert start_predictions(path, HEADER) == []
    for row in rows:
        append_prediction(path, row)
    found = read_predictions(path)
    assert (found.header, list(found.rows), found.missing) == (HEADER, rows, 2)
    assert start_predictions(path, HEADER) == rows[:1]  # what failed is asked again
    assert list(read_predictions(path).rows) == rows[:1]
    assert found.by_question == {"n": rows}
    assert found.failures == {"deadline": 1}
    assert "1 of 2 predictions failed (deadline 1)" in found.told_failures


@given(text=st.text(), answer=st.none() | st.text(), query=st.text())
def test_any_text_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, text: str, answer: str | None, query: str
) -> None:
    path = tmp_path_factory.mktemp("any") / "p.jsonl"
    outcome = Outcome(answer, (SearchRecord((Document(text, query, text),), "x", query=query),), text=text)
    row = Prediction.scored(NEPAL, outcome, "atlas", "rag")
    start_predictions(path, HEADER)
    append_prediction(path, row)
    assert read_predictions(path).rows == (row,)


def test_a_line_cut_off_by_a_kill_is_written_again_and_not_glued_to_the_next(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    start_predictions(path, HEADER)
    append_prediction(path, predict())
    whole = path.read_bytes()
    append_prediction(path, predict(sample=1))
    for cut in range(1, len(path.read_bytes()) - len(whole), 40):
        path.write_bytes(path.read_bytes()[: len(whole) + cut])
        assert start_predictions(path, HEADER) == [predict()]
        append_prediction(path, predict(sample=1))
        assert [row.sample for row in read_predictions(path).rows] == [0, 1]


def test_a_cut_header_is_begun_again(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text('{"version": 1, "benchm')
    assert start_predictions(path, HEADER) == []
    assert read_predictions(path).header == HEADER


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"questions_digest": "d2", "count": 9}, "other questions (2, now 9: another limit or file)"),
        ({"engine": "serper"}, "engine 'bm25:x'"),
        ({"seed": 3}, "seed 0"),
        ({"settings": {"max_searches": 5}}, "settings {'max_searches': 4}"),
    ],
)
def test_a_file_of_other_settings_is_not_gone_on_with(tmp_path: Path, change: dict[str, Any], words: str) -> None:
    path = tmp_path / "p.jsonl"
    start_predictions(path, HEADER)
    before = path.read_bytes()
    with pytest.raises(DataError, match="was made with") as caught:
        start_predictions(path, replace(HEADER, **change))
    assert words in str(caught.value)
    assert path.read_bytes() == before


WRONG_SHAPES = (
    ("answer", 7), ("usage", {"usd": "many"}), ("usage", 7), ("seconds", None),
    ("golden_answers", [None]), ("searches", [7]),
    ("searches", [{"query": 1, "documents": []}]), ("em", "1"), ("error", True), ("text", ["a"]), ("saw_answer", 1),
)  # fmt: skip


def changed_row(name: str, value: Any) -> str:
    row = predict()
    kept = {f.name: getattr(row, f.name) for f in fields(row)} | {"searches": [], "usage": {}, "golden_answers": ["x"]}
    return json.dumps(kept | {name: value})


def test_of_two_rows_of_one_try_the_first_that_did_not_fail_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "p.jsonl"
    start_predictions(path, HEADER)
    rows = [predict(answer=None, error="http"), predict(answer="Kathmandu"), predict(answer="Lima")]
    append_prediction(path, *rows[:2])
    assert read_predictions(path).rows == (rows[1],)
    assert not caplog.records
    append_prediction(path, rows[2])
    assert read_predictions(path).rows == (rows[1],)
    assert "1 rows are of tries that have one already" in caplog.text
    assert start_predictions(path, HEADER) == [rows[1]]  # and the file is mended
    caplog.clear()
    assert read_predictions(path).rows == (rows[1],)
    assert not caplog.records


def test_what_is_no_file_of_predictions_is_named_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with pytest.raises(DataError, match="no such file"):
        read_predictions(path)
    path.write_text('{"id": "n"}\n')
    with pytest.raises(DataError, match="no header"):
        read_predictions(path)
    header = {"version": 9, "questions_digest": "d"}
    path.write_text(json.dumps(header) + "\n")
    with pytest.raises(DataError, match="schema version 9"):
        read_predictions(path)
    path.unlink()
    start_predictions(path, HEADER)
    good = path.read_bytes()
    for bad, words in (
        ("[]", "p.jsonl:2: not an object of JSON"),
        ("{oops}", "p.jsonl:2: not valid JSON"),
        ('{"id": "n"}', "p.jsonl:2: not a prediction"),
        *((changed_row(name, value), "p.jsonl:2: not a prediction") for name, value in WRONG_SHAPES),
    ):
        path.write_bytes(good + bad.encode() + b"\n")
        with pytest.raises(DataError) as caught:
            read_predictions(path)
        assert words in str(caught.value)
    path.write_bytes(good)
    append_prediction(path, replace(predict(), method="other"))
    with pytest.raises(DataError, match="is other on atlas; the file is rag on atlas"):
        read_predictions(path)
    path.write_bytes(good)
    append_prediction(path, replace(predict(), em=1.5))
    with pytest.raises(DataError, match="between 0 and 1"):
        read_predictions(path)
