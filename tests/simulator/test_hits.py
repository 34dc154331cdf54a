"""Whether a query finds the answer is decided by what it asks: kinds, draws, recordings, and an honest fit."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.config import TrainConfig
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document
from zerosearch.errors import DataError, FolderError
from zerosearch.files.jsonl import write_jsonl
from zerosearch.simulator.hit_training import HitExample, decisions, fit_hits, hit_examples, tune_hits
from zerosearch.simulator.hits import DEFAULT, KINDS, Asked, HitPredictor, QueryKind, features, kind_of, question_key

TWO = Question("e", "In which country was the author of Emma born?", ("England",), 2)
ONE = Question("n", "Who voices the Beast in the new film?", ("Dan Stevens",), 1)
WORDS = st.text(alphabet="abc ABC?'é1", max_size=30)


@pytest.mark.parametrize(
    ("question", "query", "bridge", "kind"),
    [
        (TWO, TWO.text, "Jane Austen", "whole_multi_hop"),
        (TWO, "Emma author", "Jane Austen", "first_hop"),
        (TWO, "Jane Austen country born", "Jane Austen", "second_hop"),
        (TWO, "Austen birthplace", "Jane Austen", "second_hop"),
        (TWO, "Austen birthplace", "", "beside"),  # nobody knows of Austen
        (TWO, "steam engines", "Jane Austen", "beside"),
        (ONE, ONE.text, "", "whole"),
        (ONE, "voice Beast actor", "", "part"),
        (ONE, "Jane Austen Beast", "Jane Austen", "part"),  # one hop has no second
    ],
)
def test_a_query_is_known_for_what_it_asks(question: Question, query: str, bridge: str, kind: QueryKind) -> None:
    assert kind_of(Asked(question, query, bridge)) == kind


def test_earlier_pages_say_what_a_query_was_told_where_no_bridge_is_known() -> None:
    told = "[1] Emma: A novel by Jane Austen."
    assert kind_of(Asked(TWO, "Austen birthplace", earlier=told)) == "second_hop"
    assert kind_of(Asked(TWO, "Brontë birthplace", earlier=told)) == "beside"


@given(text=WORDS, query=WORDS, bridge=WORDS, hops=st.sampled_from([None, 1, 2]))
def test_any_query_has_a_kind_and_a_probability(text: str, query: str, bridge: str, hops: int | None) -> None:
    asked = Asked(Question("x", text, ("a b", "9"), hops), query, bridge)
    assert kind_of(asked) in KINDS
    assert all(value == value and abs(value) < 10 for value in features(asked).values())
    assert 0 <= HitPredictor.open(DEFAULT).probability(asked) <= 1


def test_the_shipped_predictor_ranks_kinds_as_the_engine_does() -> None:
    hits = HitPredictor.open(DEFAULT)

    def told(question: Question, query: str) -> float:
        return hits.probability(Asked(question, query, "Jane Austen"))

    whole, second, beside = told(TWO, TWO.text), told(TWO, "Jane Austen born"), told(TWO, "steam engines")
    assert beside < 0.15 < 0.25 < whole < 0.55 < second
    assert told(ONE, ONE.text) > 0.6
    assert hits.made["held_out"]["auc"] >= 0.8
    for kind in hits.made["held_out"]["kinds"].values():
        assert abs(kind["engine"] - kind["drawn"]) <= 0.05


def test_rewording_a_query_that_missed_draws_no_second_lot() -> None:
    flat = HitPredictor(0.0, {})  # every query hits with .5: an own draw for each would differ
    for number in range(40):
        question = replace(TWO, id=str(number))
        words = [question.text, "author of Emma", "Emma novel author country"]
        assert len({flat.decide(Asked(question, query, "Jane Austen")) for query in words}) == 1
    drawn = [flat.decide(Asked(replace(TWO, id=str(n)), TWO.text)) for n in range(400)]
    assert 0.4 < sum(drawn) / 400 < 0.6


def test_a_recorded_query_is_decided_as_it_was_recorded() -> None:
    known = {question_key(TWO): {"emma author": False, "jane austen born country": True}}
    hits = HitPredictor(9.0, {}, known)  # else all hit
    assert not hits.decide(Asked(TWO, "Emma  AUTHOR"))
    assert not hits.decide(Asked(TWO, "the author of Emma"))  # the same words
    assert hits.decide(Asked(TWO, "country where Jane Austen was born"))
    assert hits.decide(Asked(TWO, "Emma publisher"))
    assert not hits.decide(Asked(replace(TWO, id="other"), "emma author"))  # the question's text counts, not its id


def test_a_predictor_is_read_as_it_was_written(tmp_path: Path) -> None:
    made = HitPredictor(0.5, {"coverage": 1.25}, {"k": {"q": True}}, {"pages": 3})
    made.save(tmp_path / "hits.json")
    read = HitPredictor.open(str(tmp_path / "hits.json"))
    assert read == made
    assert read.identity == made.identity
    assert read.identity != HitPredictor(0.5, {"coverage": 1.26}, {"k": {"q": True}}).identity


@pytest.mark.parametrize(
    "text", ["{}", '{"hits": 1}', '{"hits": 2, "bias": 0}', '{"hits": 1, "bias": "x", "weights": {}}']
)
def test_what_is_no_predictor_is_said_to_be_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "hits.json").write_text(text)
    with pytest.raises(DataError, match="hit predictor"):
        HitPredictor.open(str(tmp_path / "hits.json"))
    with pytest.raises(DataError, match="no such file"):
        HitPredictor.open(str(tmp_path / "missing.json"))


def pages(count: int) -> list[RecordedPage]:
    """Whole questions of one hop hit in nine of ten cases, of two in one of ten."""
    rng, made = random.Random(1), []
    for number in range(count):
        hops = 1 + number % 2
        hit = rng.random() < (0.9 if hops == 1 else 0.1)
        question = Question(str(number), f"What did Person{number} write of place{number}?", (f"Gold{number}",), hops)
        text = f"It was Gold{number}." if hit else "It was something."
        made.append(
            RecordedPage(question.text, (Document("Title", text), Document("Other", "Text.")), question=question)
        )
    return made


def test_a_fit_finds_the_rates_of_pages_that_it_has_not_seen() -> None:
    predictor = fit_hits(hit_examples(pages(600), top_k=2))
    report = predictor.made["held_out"]
    assert report["auc"] > 0.8
    assert abs(report["kinds"]["whole"]["told"] - 0.9) < 0.05
    assert abs(report["kinds"]["whole_multi_hop"]["told"] - 0.1) < 0.05
    ninth = Question("new", "What did Person7777 write of place7777?", ("Gold",), 1)
    assert predictor.probability(Asked(ninth, ninth.text)) > 0.8


def test_tuning_writes_the_predictor_with_what_was_recorded(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "pages.jsonl", (page.as_row() for page in pages(600)))
    config = TrainConfig.model_validate({"engine": {"kind": "simulated", "top_k": 2}})
    tune_hits(config, [tmp_path / "pages.jsonl"], tmp_path / "hits.json", lambda line: None)
    hits = HitPredictor.open(str(tmp_path / "hits.json"))
    assert [hits.decide(e.asked) for e in hit_examples(pages(600), top_k=2)] == [
        e.hit for e in hit_examples(pages(600), top_k=2)
    ]
    with pytest.raises(FolderError):  # another file is not overwritten
        tune_hits(config, [tmp_path / "pages.jsonl"], tmp_path / "pages.jsonl", lambda line: None)


def test_labels_at_random_are_not_told() -> None:
    """Held out means held out: a fit judged on its own rows would tell them."""
    rng, examples = random.Random(3), []
    for number in range(240):
        words = ["who", "when", "where", *(f"Word{rng.randrange(9)}" for _ in range(6))]
        text = " ".join(rng.sample(words, rng.randint(3, 9)))
        query = " ".join(rng.sample(words, rng.randint(1, 6)))
        question = Question(str(number), f"{text} {number}", ("gold 7 (x)"[: rng.randint(4, 10)],), rng.randint(1, 2))
        examples.append(HitExample(Asked(question, query, "Word3"), rng.random() < 0.5))
    assert abs(fit_hits(examples).made["held_out"]["auc"] - 0.5) < 0.08


def test_too_few_pages_are_refused_and_unclear_answers_left_out() -> None:
    with pytest.raises(DataError, match="needs 100"):
        fit_hits(hit_examples(pages(120), top_k=2))
    yes = RecordedPage("q", (Document("T", "yes"),), question=Question("y", "Is it?", ("yes",)))
    assert hit_examples([yes], top_k=1) == []


def test_only_the_documents_that_a_policy_sees_count() -> None:
    question = Question("d", "Who wrote Emma?", ("Austen",))
    page = RecordedPage(question.text, (Document("T", "Nobody."), Document("U", "Austen did.")), question=question)
    assert [hit_examples([page], top_k=k)[0].hit for k in (1, 2)] == [False, True]


def test_the_report_counts_what_would_be_decided() -> None:
    examples = hit_examples(pages(400), top_k=2)
    report = decisions(examples, [0.25] * len(examples))
    assert report["auc"] == 0.5
    for row in report["kinds"].values():
        assert row["told"] == pytest.approx(0.25)
        assert abs(row["drawn"] - 0.25) < 0.1
        assert row["engine_interval"][0] <= row["engine"] <= row["engine_interval"][1]
