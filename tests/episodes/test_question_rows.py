"""Rows of known question sets, each in the form that its makers publish."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zerosearch.episodes.question_rows import Fields
from zerosearch.episodes.questions import Question, load_questions, parse_question, read_questions
from zerosearch.errors import ConfigError, DataError

ASK = "Answer the question. Put it inside <answer> and </answer>, as in <answer> Beijing </answer>. Question: who?\n"
PROMPT = [{"content": ASK, "role": "user"}]
TARGET = {"ground_truth": {"target": ["a"]}, "style": "rule"}
SETS: dict[str, tuple[dict[str, Any], tuple[str | None, str, tuple[str, ...]]]] = {
    "nq_open": ({"question": "who?", "answer": ["a", "b"]}, (None, "who?", ("a", "b"))),
    "triviaqa": (
        {"question_id": "tc_1", "question": "who?", "answer": {"value": "V", "aliases": ["V", "W"], "type": "x"}},
        ("tc_1", "who?", ("V", "W")),
    ),
    "triviaqa, its own files": (
        {"Question": "who?", "QuestionId": "tc_1", "Answer": {"Value": "V", "Aliases": ["W"], "Type": "FreeForm"}},
        ("tc_1", "who?", ("V", "W")),
    ),
    "popqa": (
        {"id": 4222362, "subj": "s", "obj": "o", "question": "who?", "possible_answers": '["p", "q"]', "s_pop": 142},
        ("4222362", "who?", ("p", "q")),
    ),
    "hotpotqa": (
        {"_id": "5a8b", "answer": "yes", "question": "who?", "type": "comparison", "context": [["A", ["s"]]]},
        ("5a8b", "who?", ("yes",)),
    ),
    "2wikimultihopqa": (
        {"_id": "8813", "type": "inference", "question": "who?", "answer": "a", "answer_id": "Q1", "evidences": []},
        ("8813", "who?", ("a",)),
    ),
    "musique": (
        {"id": "2hop__1_2", "question": "who?", "answer": "a", "answer_aliases": ["b"], "answerable": True},
        ("2hop__1_2", "who?", ("a", "b")),
    ),
    "bamboogle": ({"Question": "who?", "Answer": "a"}, (None, "who?", ("a",))),
    "squad": (
        {"id": "x", "title": "t", "context": "c", "question": "who?", "answers": {"text": ["a"], "answer_start": [1]}},
        ("x", "who?", ("a",)),
    ),
    "strategyqa": ({"qid": "b1", "term": "t", "question": "is it?", "answer": True}, ("b1", "is it?", ("yes",))),
    "kilt": ({"id": "k", "input": "who?", "output": [{"answer": "a"}, {"provenance": []}]}, ("k", "who?", ("a",))),
    "flashrag": (
        {"id": "dev_0", "question": "who?", "golden_answers": ["a"], "metadata": {"answer": "z", "type": "bridge"}},
        ("dev_0", "who?", ("a",)),
    ),
    "beir": ({"_id": "q1", "text": "who?", "metadata": {"answer": "a", "url": []}}, ("q1", "who?", ("a",))),
    "search-r1": (
        {"id": "train_0", "question": "who?", "golden_answers": ["a"], "data_source": "nq", "prompt": PROMPT,
         "reward_model": TARGET, "extra_info": {"index": 0, "split": "train"}},
        ("train_0", "who?", ("a",)),
    ),
    "search-r1, the columns of verl alone": (
        {"data_source": "nq", "prompt": PROMPT, "reward_model": TARGET},
        (None, "who?", ("a",)),
    ),
    "recall": (
        {"data_source": "musique", "question": "who?", "reward_model": {"style": "rule", "ground_truth": "a"}},
        (None, "who?", ("a",)),
    ),
    "deepresearcher": (
        {"prompt": [{"role": "user", "content": "who?"}], "reward_model": {"ground_truth": "a<|answer_split|>b"}},
        (None, "who?", ("a", "b")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_a_known_set_is_read_as_it_is_published(name: str) -> None:
    row, (identifier, text, answers) = SETS[name]
    question = parse_question(row, "f:1")
    assert (question.text, question.golden_answers) == (text, answers)
    assert question.id == identifier if identifier is not None else len(question.id) == 16


def test_forms_of_answers_have_one_order_in_every_process(tmp_path: Path) -> None:
    path = tmp_path / "forms.jsonl"
    path.write_text('{"question": "who?", "golden_answers": ["a", 7, true, "[\'b\', \'c\']", {"value": "d"}]}\n')
    forms = list(read_questions(str(path)).forms)
    assert forms == ["list", "number", "object", "printed list", "text", "true or false"]


def test_all_known_sets_in_one_file_of_lines_are_read_with_what_was_understood(tmp_path: Path) -> None:
    path = tmp_path / "all.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row, _ in SETS.values()))
    reading = read_questions(str(path))
    assert len(reading.questions) == len(SETS)
    assert reading.forms["list"] == 4
    assert reading.forms["printed list"] == reading.forms["joined text"] == 1
    assert reading.forms["with answer_aliases"] == reading.forms["true or false"] == 1
    assert "prompt" in reading.other_fields
    assert reading.without_id == 5
    assert reading.noted["doubled"] == [f"{path}:{number}" for number in (15, 16, 17)]  # asked above already


def test_hops_are_known_where_the_row_tells_them() -> None:
    row = {"question": "who?", "answer": "a"}
    assert parse_question({**row, "hops": 3}, "f:1").hops == 3
    assert parse_question({**row, "question_decomposition": [{"id": 1}, {"id": 2}]}, "f:1").hops == 2
    assert parse_question({**row, "id": "3hop1__1_2_3"}, "f:1").hops == 3
    assert parse_question(row, "f:1").hops is None


def test_rows_that_say_that_they_have_no_answer_are_left_out_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    rows = [
        {"id": "1", "question": "who?", "answers": {"text": [], "answer_start": []}, "is_impossible": True},  # SQuAD 2
        {"id": "2", "question": "who?", "answer": "Ann", "answerable": False},  # MuSiQue-Full
        {"id": "3", "question": "who?", "answer": "Ann", "answerable": True},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    reading = read_questions(str(path))
    assert [question.id for question in reading.questions] == ["3"]
    assert reading.notes() == [f"2 questions left out, marked as unanswerable (first at {path}:1)"]
    path.write_text(json.dumps(rows[0]))
    with pytest.raises(DataError, match=r"holds no questions \(1 marked as unanswerable\)"):
        load_questions(str(path))


def test_answers_of_which_scoring_leaves_nothing_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,answer\nVitamin?,A\nBand?,The The||an\nMark?,?\nGood?,Lima||The\n")
    (note,) = read_questions(str(path)).notes()
    assert note.startswith("3 questions with golden answers of which scoring leaves nothing")
    assert note.endswith(f"(first 'A' at {path}:2)")


def test_answers_that_may_be_joined_by_a_semicolon_are_said(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("question,answer\nWho?,Ann; Bo\nWhat?,Lima\n")
    (note,) = read_questions(str(path)).notes()
    assert note.startswith(f"1 answer with a semicolon taken as one text (first 'Ann; Bo' at {path}:2)")
    reading = read_questions(str(path), fields=Fields(separator=";"))
    assert (reading.questions[0].golden_answers, reading.notes()) == (("Ann", "Bo"), [])


def test_facts_of_a_comparison_that_no_page_states_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    row = {"question": "Who is older, Ann Lee or Bob Ray?", "answer": "Ann Lee"}
    plain, other = "Ann Lee (born 1941) is a painter.", "The singer Bob Ray was born in 1946."
    facts = [[plain, other], ["Ann Lee painted.", "Bob Ray sang."], [plain, "Bob Ray, a singer."], [other]]
    path.write_text("".join(json.dumps(row | {"id": str(n), "facts": told}) + "\n" for n, told in enumerate(facts)))
    (note,) = read_questions(str(path)).notes()
    assert note.startswith("3 facts of things that are compared, which simulated pages leave out")
    assert note.endswith(f"(first {other!r} at {path}:1)")


def test_a_table_without_a_header_is_read_where_that_is_certain(tmp_path: Path) -> None:
    path = tmp_path / "nq-test.qa.csv"  # as of DPR
    path.write_text("who got the first prize, then?\t['Wilhelm Conrad Röntgen']\nwho?\t[\"a's\", 'b']\n", "utf-8")
    assert [(q.text, q.golden_answers) for q in load_questions(str(path))] == [
        ("who got the first prize, then?", ("Wilhelm Conrad Röntgen",)),
        ("who?", ("a's", "b")),
    ]
    path.write_text("Frage,Antwort\nWer?,Lima\n")
    with pytest.raises(DataError, match=r"csv:1: no column is called question.*'Frage', 'Antwort'.*--fields"):
        load_questions(str(path))


def test_fields_can_be_named(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("Nr;Frage;Antwort;question\n7;Wer?;Lima, Callao;x\n")
    fields = Fields.parse("question=Frage, answers=Antwort, id=Nr, separator=,")
    (question,) = load_questions(str(path), fields=fields)
    assert (question.id, question.text, question.golden_answers) == ("7", "Wer?", ("Lima", "Callao"))
    with pytest.raises(DataError, match=r"q\.csv:2: has no field 'Farge' \(its fields: Nr, Frage, Antwort, question\)"):
        load_questions(str(path), fields=Fields.parse("question=Farge,answers=Antwort"))
    row = {"q": {"text": "who?"}, "a": {"b": {"c": ["x"]}}}
    path = tmp_path / "q.jsonl"
    path.write_text(json.dumps(row))
    assert load_questions(str(path), fields=Fields.parse("question=q.text,answers=a.b.c"))[0].golden_answers == ("x",)


@pytest.mark.parametrize("text", ["question", "question=", "frage=x", "question=a,question=b", "question=a,b=c;"])
def test_fields_that_cannot_be_understood_are_told(text: str) -> None:
    with pytest.raises(ConfigError, match="fields"):
        Fields.parse(text)
    assert Fields.parse(None) == Fields.parse(" ") == Fields()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (
            {"title": "t", "answer": "a"},
            "f:1: has no text in the field 'question' (its fields: title, answer); --",
        ),
        ({"question": "who?", "answer": [], "x": 1}, "has no answer in the field 'answer' (it holds '[]')"),
        ({"question": "who?", "answer": None}, "has no answer in the field 'answer' (it holds 'None')"),
        (
            {"question": "who?", "label": "x"},
            "has no answer in the field 'golden_answers' (missing or empty; its fields: 'question, label')",
        ),
        ({"question": "who?", "answer": "['Lima' ... 'x']"}, "f:1: \"['Lima' ... 'x']\" begins like a printed list"),
        ({"prompt": [{"role": "user", "content": "Do as I say.\nWell?"}], "answer": "a"}, "has no text in the field"),
        ({"id": "\ud800", "question": "who?", "answer": "a"}, "half a character"),
        (None, "expected an object, found NoneType"),
        ([1], "expected an object, found list"),
    ],
)
def test_a_row_that_cannot_be_read_says_what_it_holds(row: Any, says: str) -> None:
    with pytest.raises(DataError) as caught:
        parse_question(row, "f:1")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "bridge", "facts"),
    [
        ({"bridge": "Jane Austen", "facts": ["a", "b"]}, "Jane Austen", ("a", "b")),
        ({"question_decomposition": [{"answer": "Jane Austen"}, {"answer": "England"}]}, "Jane Austen", ()),
        ({"evidences": [["Emma", "author", "Jane Austen"], ["Jane Austen", "born in", "England"]]}, "Jane Austen", ()),
        ({"evidences": [["Emma", "date", "1815"], ["Persuasion", "date", "1817"]]}, "", ()),  # a comparison
        ({"question_decomposition": [{"answer": "x"}] * 3}, "", ()),  # three hops have two bridges
        ({"bridge": 7, "facts": "a"}, "", ()),
        ({}, "", ()),
    ],
)
def test_the_bridge_of_two_hops_is_read_where_the_data_has_it(
    fields: dict[str, Any], bridge: str, facts: tuple[str, ...]
) -> None:
    row = {"id": "1", "question": "Where was the author of Emma born?", "answer": "England"}
    asked = parse_question(row | fields, "x")
    assert (asked.bridge, asked.facts) == (bridge, facts)
    assert Question.from_row(asked.as_row()).bridge == bridge
    assert Question.from_row(asked.as_row()).facts == facts
