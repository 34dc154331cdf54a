"""Reading questions: every format, every way a file can be wrong, ids and digest."""

from __future__ import annotations

import gzip
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.questions import Question, load_questions, parse_question, questions_digest
from zerosearch.errors import ConfigError, DataError
from zerosearch.files.formats import read_jsonl

ROWS: list[dict[str, Any]] = [
    {"id": "n1", "question": "Which lake lies highest?", "golden_answers": ["Lake Titicaca", "Titicaca"], "hops": 1},
    {"id": 7, "question": "  Capital of Nepal? ", "golden_answers": ["Kathmandu", " Kathmandu ", "", "काठमाडौँ"]},
]
QUESTIONS = [
    Question("n1", "Which lake lies highest?", ("Lake Titicaca", "Titicaca")),
    Question("7", "Capital of Nepal?", ("Kathmandu", "काठमाडौँ")),
]


def jsonl(*rows: Any) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def written(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_jsonl_gzip_and_parquet_hold_the_same_questions(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    plain = written(tmp_path / "q.jsonl", "\n" + jsonl(*ROWS) + "\n \n")
    zipped, columns = tmp_path / "q.jsonl.gz", tmp_path / "q.parquet"
    zipped.write_bytes(gzip.compress(jsonl(*ROWS).encode()))
    table = pyarrow.Table.from_pylist([{**row, "id": str(row["id"])} for row in ROWS])
    parquet.write_table(table, columns)
    for source in (plain, str(zipped), str(columns)):
        questions = load_questions(source)
        assert questions == QUESTIONS
        assert questions[0].hops == 1
        assert load_questions(source, limit=1) == QUESTIONS[:1]
        assert load_questions(source, limit=99) == QUESTIONS


@pytest.mark.parametrize("field", ["question", "query", "text"])
def test_the_first_known_field_that_holds_something_is_read(field: str) -> None:
    row = {field: " q ", "golden_answers": None, "answers": [], "answer": ["a", None, float("nan"), "b"]}
    found = parse_question(row, "f:1")
    assert (found.text, found.golden_answers) == ("q", ("a", "b"))  # never the answers "None" and "nan"


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"golden_answers": [" ", ""]}, {"golden_answers": [[], [None]]}, {"golden_answers": {"aliases": []}},
        {"golden_answers": [{"text": ""}, {"start": 3}]}, {"possible_answers": "[]"},
    ],
)  # fmt: skip
def test_a_question_without_answers_is_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    source = written(tmp_path / "q.jsonl", jsonl(ROWS[0], {"question": "Why?", **fields}))
    with pytest.raises(DataError, match=r"q\.jsonl:2: the question 'Why\?' has no answer"):
        load_questions(source)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('{"question": "q", "answer"', "q.jsonl:3: not valid JSON"),
        ("7", "q.jsonl:3: expected an object, found int"),
        ('{"question": "  ", "answer": "a"}', "q.jsonl:3: has no text in the field 'question'"),
        ('{"question": 5, "answer": "a"}', "q.jsonl:3: has no text"),
        ('{"question": "q \\ud83d", "answer": "a"}', "q.jsonl:3: the text holds half a character"),
        ('{"question": "q", "answer": "a \\ude00"}', "q.jsonl:3: the text holds half a character"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    # line 2 is blank: numbers are those an editor shows
    source = written(tmp_path / "q.jsonl", jsonl(ROWS[0]) + f"\n{line}\n" + jsonl(ROWS[1]))
    with pytest.raises(DataError) as caught:
        load_questions(source)
    assert says in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_an_id_that_is_there_twice_is_told_apart_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    merged = [  # as published by Search-R1: both parts begin with train_0
        {"id": "train_0", "question": "q", "answer": "x", "data_source": "nq"},
        {"id": "train_0", "question": "r", "answer": "b", "data_source": "hotpotqa"},
        {"id": "train_0", "question": "s", "answer": "c", "data_source": "hotpotqa"},
        {"id": "train_0", "question": "t", "answer": "d"},
    ]
    source = written(tmp_path / "q.jsonl", jsonl(*merged))
    ids = [question.id for question in load_questions(source)]
    assert ids == ["train_0", "hotpotqa/train_0", "hotpotqa/train_0#2", "train_0#2"]
    assert [question.id for question in load_questions(source, limit=2)] == ids[:2]  # whatever comes after
    assert "3 ids stood at an earlier row already" in caplog.text
    assert f"first 'train_0' at {source}:2, now 'hotpotqa/train_0'" in caplog.text
    assert len(caplog.messages) == 1 + 1  # once a call


def test_a_set_that_is_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no questions"):
        load_questions(written(tmp_path / "q.jsonl", "\n\n"))
    with pytest.raises(ConfigError, match="at least 1"):
        load_questions(written(tmp_path / "q.jsonl", jsonl(*ROWS)), limit=0)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    whole = gzip.compress(
        jsonl(*({"id": n, "question": f"question {n * n}?", "answer": n} for n in range(300))).encode()
    )
    damaged = bytearray(whole)
    damaged[20:24] = b"\xff\xff\xff\xff"  # a broken deflate block, which is zlib's error and not gzip's
    files = {
        "cut.jsonl.gz": whole[: len(whole) // 2],
        "damaged.jsonl.gz": bytes(damaged),
        "not-gzip.jsonl.gz": b"{}\n",
        "latin.jsonl": '{"question": "é", "answer": "a"}\n'.encode("latin-1"),
        "junk.parquet": b"PAR1 and no more",
        "empty.parquet": b"",
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.jsonl").mkdir()
    for name in (*files, "folder.jsonl", "missing.jsonl", "missing.jsonl.gz", "missing.parquet", "questions.csv"):
        with pytest.raises(DataError, match=name) as caught:
            load_questions(str(tmp_path / name))
        assert len(str(caught.value).splitlines()) == 1, name


def test_a_bad_parquet_row_is_named(tmp_path: Path) -> None:
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    table = pyarrow.Table.from_pylist([{"question": "q", "answer": "a"}, {"question": "r", "answer": None}])
    parquet.write_table(table, tmp_path / "q.parquet")
    with pytest.raises(DataError, match=r"q\.parquet: row 2: the question 'r' has no answer"):
        load_questions(str(tmp_path / "q.parquet"))


@pytest.mark.parametrize("module", ["pyarrow.parquet", "datasets"])
def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=rf"needs? .*{module.split('.')[0]}.*pip install 'zerosearch-rl\[data\]'"):
        load_questions("q.parquet" if "parquet" in module else "hub:org/set:train")


@pytest.mark.parametrize("source", ["hub:", "hub:org/set", "hub:a:b:c:d"])
def test_a_hub_source_is_written_with_its_split(source: str) -> None:
    with pytest.raises(DataError, match="hub:NAME:SPLIT"):
        load_questions(source)


def test_lines_are_numbered_as_an_editor_shows_them(tmp_path: Path) -> None:
    path = Path(written(tmp_path / "x.jsonl", '\n1\n\n{"a": "line\u2028separator"}'))
    assert list(read_jsonl(path)) == [(f"{path}:2", 1), (f"{path}:4", {"a": "line\u2028separator"})]


def test_ids_are_made_from_the_content_and_stay(tmp_path: Path) -> None:
    rows = [{key: value for key, value in row.items() if key != "id"} for row in ROWS]
    ids = [question.id for question in load_questions(written(tmp_path / "a.jsonl", jsonl(*rows)))]
    again = load_questions(written(tmp_path / "b.jsonl", jsonl(*[{**row, "note": 1} for row in reversed(rows)])))
    assert [question.id for question in again] == ids[::-1]  # whatever the file, the order and the other fields
    assert ids == [
        "5e39275d17e26385",
        "d621cb098a521fae",
    ]  # and whatever the release: an id stands in published results
    other = parse_question({**rows[0], "golden_answers": ["Lake Titicaca"]}, "f:1")
    assert other.id not in ids


def test_a_users_question_has_no_answers_and_scores_nothing() -> None:
    asked = Question.asked("  Which lake\n lies highest? ")
    assert (asked.text, asked.golden_answers) == ("Which lake lies highest?", ())
    assert asked == Question.asked("\ufeffWhich lake lies highest?")  # from a file of Notepad, through a pipe
    assert asked.id == Question.asked("Which lake lies highest?").id != Question.asked("Which lake?").id
    assert not asked.yes_or_no
    assert Question("1", "Is it?", ("Yes", "no")).yes_or_no


@pytest.mark.parametrize(("text", "complaint"), [("", "empty"), (" \n\t", "empty"), ("caf\udce9?", "half a character")])
def test_a_users_question_that_cannot_be_asked_is_told_in_one_line(text: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as raised:
        Question.asked(text)
    assert "\n" not in str(raised.value)


texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)
question_sets = st.lists(
    st.builds(Question, texts, texts, st.lists(texts, min_size=1, max_size=3).map(tuple)), min_size=1, max_size=4
)


@given(question_sets, question_sets)
def test_digest_is_that_of_the_questions(one: list[Question], other: list[Question]) -> None:
    assert (questions_digest(one) == questions_digest(other)) == (one == other)
    assert questions_digest([replace(q, hops=3) for q in one]) == questions_digest(iter(one))


@pytest.mark.parametrize(
    "changed",
    [
        QUESTIONS[::-1],
        [*QUESTIONS, QUESTIONS[0]],
        [replace(QUESTIONS[0], id="n2"), QUESTIONS[1]],
        [replace(QUESTIONS[0], text="Which lake lies highest"), QUESTIONS[1]],
        [replace(QUESTIONS[0], golden_answers=("Titicaca", "Lake Titicaca")), QUESTIONS[1]],
    ],
)
def test_digest_changes_with_any_change(changed: list[Question]) -> None:
    assert questions_digest(changed) != questions_digest(QUESTIONS)
