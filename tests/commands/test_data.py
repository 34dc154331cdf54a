"""`zerosearch data`: what it says of good files, and the one line it says of bad ones."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest

from zerosearch.episodes.questions import load_questions, questions_digest

GOOD = '{"question": "Capital of Nepal?", "answer": "Kathmandu"}\n'


def test_a_file_is_counted_with_its_digest_and_first_rows(zerosearch: Any, questions_file: Path) -> None:
    result = zerosearch("data", str(questions_file), "--show", "1")
    assert result.code == 0
    digest = questions_digest(load_questions(str(questions_file)))[:12]
    assert f"2 questions, 1.5 golden answers each (at most 2), digest {digest}" in result.out
    assert "further fields: source" in result.out
    assert "Capital of Nepal?" in result.out
    assert "Kathmandu | Katmandu" in result.out
    assert "Peru" not in result.out


def test_limit_reads_no_further(zerosearch: Any, tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl.gz"
    path.write_bytes(gzip.compress((GOOD + "not json\n").encode()))
    assert "1 question," in zerosearch("data", str(path), "--limit", "1").out
    assert f"{path}:2: not valid JSON" in zerosearch("data", str(path)).line


@pytest.mark.parametrize(
    ("command", "line"),
    [
        (("factbook", "--limit", "3"), "error: --limit: the Factbook is several files: name one, such as factbook:dev"),
        (("--show", "3"), "error: --show: the Factbook is several files: name one, such as factbook:dev"),
        (
            ("factbook:dev", "--fields", "question=q"),
            "error: --fields: the fields of the Factbook are known: leave it out",
        ),
    ],
)
def test_an_option_that_the_factbook_has_no_use_for_is_refused(zerosearch: Any, command: Any, line: str) -> None:
    refused = zerosearch("data", *command)
    assert (refused.code, refused.line) == (2, line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (GOOD + "{'question': 1}\n", ":2: not valid JSON ("),
        (GOOD + "\n" + '{"question": "Why?"}\n', ":3: the question 'Why?' has no answer in the field 'golden_answers'"),
        ('{"answer": "x"}\n', ":1: has no text in the field 'question'"),
        ("\n \n", ": holds no questions"),
    ],
)
def test_a_malformed_file_is_one_line_with_its_place(zerosearch: Any, tmp_path: Path, text: str, line: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    result = zerosearch("data", str(path))
    assert result.code == 2
    assert result.line.startswith(f"error: {path}")
    assert line in result.line


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("no/such.jsonl", "error: no/such.jsonl: no such file"),
        ("questions.txt", "error: questions.txt: no such file"),
        (__file__, f"error: {__file__}: unknown kind of question file (use .jsonl, .ndjson, .json, .csv, .tsv"),
        ("factbook:trian", "error: factbook:trian: write factbook:train, :dev or :test"),
        ("hub:name", "error: hub:name: write hub:NAME:SPLIT"),
    ],
)
def test_a_source_that_is_not_there_is_one_line(zerosearch: Any, source: str, line: str) -> None:
    result = zerosearch("data", source)
    assert result.code == 2
    assert result.line.startswith(line)


def test_what_was_understood_is_said(zerosearch: Any, tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("Nr;Frage;Antwort\n1;Wer?;['Ann' 'Bo']\n1;Was?;A\n", encoding="utf-16")
    result = zerosearch("data", str(path), "--fields", "question=Frage,answers=Antwort,id=Nr")
    assert result.code == 0
    assert f"{path}: 2 questions, 1.5 golden answers each (at most 2)" in result.out
    assert "forms of answers, by questions: text 2, printed list 1" in result.out
    assert (
        f"note: 1 id stood at an earlier row already and got another, so that all differ (first '1' at {path}:3"
        in result.out
    )
    assert f"(first 'A' at {path}:3)" in result.out
    assert "    Ann | Bo" in result.out
    result = zerosearch("data", str(path))
    assert result.line == (
        f"error: {path}:1: no column is called question, query or text (found 'Nr', 'Frage', 'Antwort'): "
        "name them with --fields question=NAME,answers=NAME"
    )
    assert "error: fields 'Frage'" in zerosearch("data", str(path), "--fields", "Frage").line


def test_a_golden_answer_of_check_is_read_like_that_of_a_file() -> None:
    from zerosearch.commands.check import golden_answers
    from zerosearch.errors import DataError

    assert golden_answers("['Lima' 'City of Kings']") == ("Lima", "City of Kings")
    assert golden_answers("[sic") == ("[sic",)
    with pytest.raises(DataError, match="--answer"):
        golden_answers("['Lima' ...")


def test_factbook_says_what_is_in_it(zerosearch: Any) -> None:
    from zerosearch.factbook import corpus_path, factbook_rows

    result = zerosearch("data")
    assert result.code == 0
    assert str(corpus_path()) in result.out
    assert "public domain" in result.out
    assert [line.split()[1:2] for line in result.out.splitlines() if line.startswith("│")] == [
        ["corpus.jsonl"], ["train.jsonl"], ["dev.jsonl"], ["test.jsonl"],
    ]  # fmt: skip
    assert re.search(rf"│ train.jsonl +│ +{len(factbook_rows('factbook:train'))} │", result.out)


def test_a_part_of_the_factbook_can_be_shown(zerosearch: Any) -> None:
    result = zerosearch("data", "factbook:train:two-hop", "--show", "0", "--limit", "7")
    assert result.out.startswith("factbook:train:two-hop: 7 questions")


def test_show_may_stand_before_the_source(zerosearch: Any, tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text('{"question": "Capital of Nepal?", "answer": "Kathmandu"}')
    plain, shown = (zerosearch("data", *words, str(tmp_path / "q.jsonl")) for words in ((), ("show",)))
    assert plain.code == shown.code == 0
    assert plain.out == shown.out
    assert zerosearch("data").out == zerosearch("data", "factbook").out
    assert zerosearch("data", "a.jsonl", "b.jsonl").line.endswith("data reads one source, found 2: a.jsonl, b.jsonl")
