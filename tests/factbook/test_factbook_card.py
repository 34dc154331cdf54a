"""The numbers of the data card are those of the data."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest

from zerosearch.episodes.scoring import normalize
from zerosearch.factbook import FactbookQuestion, factbook_rows, manifest

CARD = (Path(__file__).parents[2] / "docs" / "cards" / "factbook.md").read_text(encoding="utf-8")
Rows = dict[str, list[FactbookQuestion]]


@pytest.fixture(scope="module")
def rows() -> Rows:
    return {split: list(factbook_rows(split)) for split in ("train", "dev", "test")}


def table_row(name: str) -> list[str]:
    (line,) = re.findall(rf"^\| {re.escape(name)} \|(.+)\|$", CARD, re.MULTILINE)
    return [cell.strip() for cell in line.split("|")]


def test_sizes_are_those_of_the_files(rows: Rows) -> None:
    for hops, name in ((1, "one-hop questions"), (2, "two-hop questions")):
        assert table_row(name) == [f"{sum(q.hops == hops for q in split):,}" for split in rows.values()]
    assert table_row("countries and territories") == [str(len(manifest()["countries"][split])) for split in rows]
    means = [sum(len(q.golden_answers) for q in split) / len(split) for split in rows.values()]
    assert table_row("golden answers a question (mean)") == [f"{mean:.2f}" for mean in means]
    assert f"{sum(map(len, rows.values())):,} questions" in CARD
    assert f"{manifest()['passages']:,} passages" in CARD


def a_leader(q: FactbookQuestion) -> bool:
    return bool({"president", "prime_minister"} & {q.attribute, q.bridge.get("attribute")})


def one_of_several(q: FactbookQuestion) -> bool:
    return q.attribute in ("symbol", "heritage_site", "port")


def a_number(q: FactbookQuestion) -> bool:
    return all(normalize(answer).replace(" ", "").isdigit() for answer in q.golden_answers)


@pytest.mark.parametrize(
    ("said", "counted"),
    [
        (r"(\d+) of the 1,000 test questions ask for a president", a_leader),
        (r"(\d+) test questions ask for \*a\* port", one_of_several),
        (r"(\d+) test questions have a bare number", a_number),
    ],
)
def test_faults_are_as_many_as_it_says(rows: Rows, said: str, counted: Callable[[FactbookQuestion], bool]) -> None:
    assert re.findall(said, CARD) == [str(sum(map(counted, rows["test"])))]


def test_answers_recur_as_often_as_it_says(rows: Rows) -> None:
    answers = [{normalize(answer) for answer in q.golden_answers} for q in rows["test"]]
    trained = {normalize(answer) for q in rows["train"] for answer in q.golden_answers}
    usual: dict[str, Counter[str]] = defaultdict(Counter)
    for q in rows["train"]:
        usual[q.attribute][normalize(q.golden_answers[0])] += 1
    guesses = [usual[q.attribute].most_common(1)[0][0] for q in rows["test"]]
    assert re.findall(r"\((\d+) of 1,000\)", CARD) == [str(sum(bool(own & trained) for own in answers))]
    right = sum(guess in own for guess, own in zip(guesses, answers, strict=True))
    assert re.findall(r"is right for (\d+) of 1,000", CARD) == [str(right)]
