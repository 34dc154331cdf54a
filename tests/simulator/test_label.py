"""Labels: by outcome and containment, their agreement, and a file that says what it cannot read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator.rows import NEPAL, PERU, documents, episode, search

from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality
from zerosearch.errors import DataError
from zerosearch.simulator.label import (
    CONTAINMENT,
    EVIDENCE,
    JUDGE,
    OUTCOME,
    agreements,
    balance,
    cohens_kappa,
    evidence_note,
    free_labels,
    label_pages,
    label_recorded,
    named,
    read_labels,
    write_labels,
)

USEFUL, NOISY = Quality.USEFUL, Quality.NOISY


def test_outcome_is_how_the_trajectory_ended_and_containment_what_the_page_holds() -> None:
    pages = label_pages(
        [
            episode(NEPAL, "Kathmandu", search("nepal", "Mountains."), search("capital", "Katmandu is a city.")),
            episode(PERU, "the city Lima", search("llamas", "Lima lies by the sea.")),  # half right is not right
        ]
    )
    assert [(p.query, p.labels[OUTCOME], p.labels[CONTAINMENT]) for p in pages] == [
        ("nepal", USEFUL, NOISY),
        ("capital", USEFUL, USEFUL),
        ("llamas", NOISY, USEFUL),
    ]
    assert [(p.question.id, p.turn) for p in pages] == [("n", 0), ("n", 1), ("p", 0)]


def test_a_failed_search_is_no_page_and_no_ones_fault() -> None:
    """A trajectory that ended because its engine failed did not end wrong: its pages have no outcome."""
    broken = episode(NEPAL, None, search("a", "Hills."), search("b", error="deadline"), stop="engine_error")
    (page,) = label_pages([broken])
    assert page.query == "a"
    assert page.labels == {CONTAINMENT: NOISY, EVIDENCE: NOISY}
    assert label_pages([episode(NEPAL, None, search("a"))]) == []  # an empty page


def test_a_document_without_text_is_no_document_as_in_a_file_that_is_read(tmp_path: Path) -> None:
    """Else the verdicts on a page would move to its other documents on the way through a file."""
    blank = replace(search("a", "Kathmandu."), documents=(Document(" ", "", "http://x"), *documents("Kathmandu.")))
    (page,) = label_pages([episode(NEPAL, "Kathmandu", blank)])
    assert page.documents == documents("Kathmandu.")
    assert label_pages([episode(NEPAL, None, replace(blank, documents=blank.documents[:1]))]) == []
    page = replace(page, verdicts=(USEFUL,))
    write_labels(tmp_path / "labels.jsonl", [page])
    assert list(read_labels(tmp_path / "labels.jsonl")) == [page]


def test_kappa_is_that_of_a_worked_example() -> None:
    """Two raters, fifty grants: 20 both yes, 15 both no, 5 and 10 apart. Cohen's kappa is .4."""
    pairs = [(USEFUL, USEFUL)] * 20 + [(USEFUL, NOISY)] * 5 + [(NOISY, USEFUL)] * 10 + [(NOISY, NOISY)] * 15
    assert cohens_kappa(pairs) == pytest.approx(0.4)


@given(st.lists(st.tuples(st.sampled_from(list(Quality)), st.sampled_from(list(Quality))), max_size=40))
def test_kappa_is_at_most_one_and_one_only_in_full_agreement(pairs: list[tuple[Quality, Quality]]) -> None:
    kappa = cohens_kappa(pairs)
    if kappa is None:
        assert not pairs or len({q for pair in pairs for q in pair}) == 1
    else:
        assert -1 <= kappa <= 1 + 1e-12
        assert (kappa == pytest.approx(1.0)) == all(a == b for a, b in pairs)


def test_ways_are_compared_on_the_pages_that_both_have_labelled() -> None:
    pages = label_pages([episode(NEPAL, "Kathmandu", search("a", "Kathmandu."), search("b", "Hills."))])
    pages = [pages[0].with_label(JUDGE, USEFUL), pages[1].with_label(JUDGE, None)]
    found = {(a.first, a.second): (a.pages, a.alike) for a in agreements(pages)}
    assert found == {
        (OUTCOME, JUDGE): (1, 1.0),
        (OUTCOME, CONTAINMENT): (2, 0.5),
        (OUTCOME, EVIDENCE): (2, 0.5),
        (JUDGE, CONTAINMENT): (1, 1.0),
        (JUDGE, EVIDENCE): (1, 1.0),
        (CONTAINMENT, EVIDENCE): (2, 1.0),
    }
    assert balance(pages, JUDGE) == {USEFUL: 1, NOISY: 0}


def test_evidence_knows_first_hops_of_questions_of_several_hops_and_no_others() -> None:
    bridge = (Document("Peru (country)", "A country with llamas."),)
    one, two = (Question("p", PERU.text, PERU.golden_answers, hops) for hops in (None, 2))
    assert free_labels(one, "capital of Peru", bridge) == {CONTAINMENT: NOISY, EVIDENCE: NOISY}
    assert free_labels(two, "capital of Peru", bridge) == {CONTAINMENT: NOISY, EVIDENCE: USEFUL}
    assert free_labels(two, "capital of Chile", bridge) == {CONTAINMENT: NOISY, EVIDENCE: NOISY}
    choice = "Lima or Cusco, which is the capital of Peru?"  # names the answer: only a page with it tells
    assert free_labels(two, choice, bridge) == {CONTAINMENT: NOISY, EVIDENCE: NOISY}
    assert free_labels(two, choice.replace("Lima", "Ica"), bridge) == {CONTAINMENT: NOISY, EVIDENCE: USEFUL}
    assert free_labels(one, "x", (Document("Lima", "A city."),)) == {CONTAINMENT: USEFUL, EVIDENCE: USEFUL}


def test_yes_and_no_are_words_that_any_page_may_hold() -> None:
    question = Question("y", "Is Lima in Peru?", ("yes",))
    assert free_labels(question, "Lima", (Document("Lima", "yes"),)) == {}


def test_only_the_documents_that_a_policy_sees_make_the_label() -> None:
    deep = search("capital", "Hills.", "More hills.", "Kathmandu.")
    page = RecordedPage("capital", deep.documents, "bm25:x", question=NEPAL)
    for pages in (
        label_pages([episode(NEPAL, "Quito", deep)], top_k=2),
        label_recorded([page], top_k=2),
    ):
        assert pages[0].labels[CONTAINMENT] == NOISY
        assert len(pages[0].documents) == 3
    (whole,) = label_recorded([page])
    assert whole.labels == {CONTAINMENT: USEFUL, EVIDENCE: USEFUL}  # nobody's trajectory: no outcome
    assert label_recorded([RecordedPage("none", (), "bm25:x", question=NEPAL)]) == []


@given(st.text(max_size=20), st.text(max_size=30))
def test_labels_are_read_as_they_were_written(query: str, text: str) -> None:
    from tempfile import TemporaryDirectory

    nepal = Question(NEPAL.id, NEPAL.text, NEPAL.golden_answers, 2)
    page = RecordedPage(
        query, documents(text, "b", "c"), "bm25:x", "bm25 k1=1", nepal, 1, 2, {OUTCOME: NOISY, JUDGE: USEFUL},
        (USEFUL, None),
    )  # fmt: skip
    with TemporaryDirectory() as folder:
        path = Path(folder) / "labels.jsonl"
        write_labels(path, [page])
        (again,) = read_labels(path)
        assert again == page
        assert again.question.hops == 2


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 9}, "labels of version 9; this release reads 3. Label the pages again"),
        ({"version": "x" * 999}, f'labels of version "{"x" * 39}...; this release reads 3'),
        ({"version": None}, "labels of version null"),
        ({"version": 2}, "labels of version 2; this release reads 3"),
        ({"verdicts": ["fine"]}, "not a labelled page"),
        ({"verdicts": ["useful", None]}, r"not a labelled page \(2 verdicts on 1 document\)"),
        ({"labels": {"outcome": "fine"}}, "not a labelled page"),
        ({"results": [{"title": 7}]}, "result 1: the field 'title' must be text"),
        ({"question": None}, "not a labelled page"),
        ({"id": 7}, "not a labelled page"),
        ({"golden_answers": "abc"}, "not a labelled page"),
        ({"rollout": "first"}, "not a labelled page"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    path = tmp_path / "labels.jsonl"
    write_labels(path, label_pages([episode(NEPAL, "Kathmandu", search("a", "Kathmandu."))]) * 2)
    first, second = map(json.loads, path.read_text().splitlines())
    path.write_text("\n".join(map(json.dumps, (first, second | change))) + "\n")
    with pytest.raises(DataError, match=f"^{path}:2: {complaint}"):
        list(read_labels(path))


def test_pages_without_labels_are_told_from_labels_of_another_version(tmp_path: Path) -> None:
    path = tmp_path / "pages.jsonl"
    path.write_text(json.dumps({"query": "Lima", "results": []}) + "\n")
    with pytest.raises(DataError, match=f"^{path}:1: not a labelled page; `zerosearch label` makes them"):
        list(read_labels(path))


@pytest.mark.parametrize(
    ("title", "query", "named_by_it"),
    [
        ("Peru", "the capital of peru?", True),
        ("Peru", "a peruvian city", False),
        ("Paris (film)", "who directed Paris", True),
        ("It", "it is", False),
        ("Ning Hao - Wikipedia", "where was ning hao born", True),
        ("Ning Hao | Biography | Britannica", "where was Ning Hao born", True),
        ("Paris (film) – IMDb", "director of Paris", True),
        ("Nepal · The World Factbook", "capital of nepal", True),
        ("Spider-Man", "who plays spider-man", True),
        ("Wikipedia - Ning Hao", "where was Ning Hao born", False),
        ("Ning Hao - Wikipedia", "where was Zhang Yimou born", False),
        ("Ning Hao - " + "a" * 50_000 + " b c d e", "Ning Hao", False),
        ("", "anything", False),
        ("- " * 5000, "anything", False),
    ],
)
def test_a_title_names_its_subject_whatever_site_it_is_from(title: str, query: str, named_by_it: bool) -> None:
    assert named(Document(title, "..."), query) is named_by_it


def test_where_evidence_is_only_containment_it_is_said_with_numbers() -> None:
    def labelled(hops: int | None, title: str) -> RecordedPage:
        question = Question("q", "Where was the director of Crazy Stone born?", ("Taiyuan",), hops)
        found = (Document(title, "A Chinese director."),)
        return RecordedPage(
            "Ning Hao", found, "web", question=question, labels=free_labels(question, "Ning Hao", found)
        )

    told = labelled(2, "Ning Hao - Wikipedia")
    untold = labelled(None, "Ning Hao - Wikipedia")
    assert (told.labels["evidence"], untold.labels["evidence"]) == ("useful", "noisy")
    assert evidence_note([told, untold, untold]) == (
        "evidence differs from containment on 1 of 3 pages; of questions of several hops: 1 "
        "(2 pages of questions without `hops`: there evidence falls back to containment)"
    )
    assert evidence_note([]) == ""
