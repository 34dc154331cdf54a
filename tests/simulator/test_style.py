"""Style: an AUC that is an AUC, and a classifier that sees wording and not facts."""

from __future__ import annotations

import random
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.search import Document
from zerosearch.simulator.style import auc, copies, overlap, style_auc

Scored = st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=1, max_size=30)


@given(Scored)
def test_auc_is_the_share_of_pairs_in_order(rows: list[tuple[int, bool]]) -> None:
    positives, negatives = [s for s, p in rows if p], [s for s, p in rows if not p]
    pairs = list(product(positives, negatives))
    expected = sum((a > b) + 0.5 * (a == b) for a, b in pairs) / len(pairs) if pairs else None
    found = auc([float(s) for s, _ in rows], [p for _, p in rows])
    assert found == (pytest.approx(expected) if expected is not None else None)


def written(rng: random.Random, closing: str) -> tuple[Document, ...]:
    return tuple(
        Document("Peru", " ".join(rng.choices(["llamas", "hills", "sea", "gold", "fish"], k=8)) + closing)
        for _ in range(3)
    )


def test_documents_of_one_style_cannot_be_told_apart_and_those_of_another_can() -> None:
    rng = random.Random(0)
    real = [written(rng, "") for _ in range(40)]
    alike, marked = ([written(rng, closing) for _ in range(40)] for closing in ("", " as an assistant"))
    same, other = style_auc(real, alike), style_auc(real, marked)
    assert same is not None
    assert other is not None
    assert 0.35 < same < 0.65
    assert other > 0.95


def test_facts_of_a_query_do_not_give_its_page_away() -> None:
    """Every query has a word of its own, twice on each real page and once on each simulated one."""
    real = [(Document("", f"word{n} word{n} sea"),) for n in range(40)]
    simulated = [(Document("", f"word{n} sea sea"),) for n in range(40)]
    found = style_auc([*real], [*simulated])
    assert found is not None
    assert found > 0.95  # "sea" twice is wording
    balanced = style_auc(
        [(Document("", f"word{n} sea"),) for n in range(40)], [(Document("", f"sea word{n}"),) for n in range(40)]
    )
    assert balanced == pytest.approx(0.5)


def test_a_page_is_scored_by_what_others_look_like() -> None:
    """Words that stand on one page alone tell nothing: a classifier that had seen the page would know them all."""
    real, simulated = ([(Document("", f"{side}{n}"),) for n in range(40)] for side in "ab")
    assert style_auc(real, simulated) == pytest.approx(0.5)


def test_too_few_pages_have_no_style() -> None:
    page = (Document("", "sea"),)
    assert style_auc([page] * 4, [page] * 4) is None
    assert style_auc([()] * 8, [()] * 8) is None


def test_overlap_is_full_for_copies_and_none_for_strangers() -> None:
    a, b = Document("", "gold and fish"), Document("", "llamas")
    assert overlap((a, a, a)) == 1.0
    assert overlap((a, b)) == 0.0
    assert overlap((a,)) is None


@pytest.mark.parametrize(
    ("text", "copied"),
    [
        ("The capital of the country with llamas is unknown.", True),
        ("llamas live in many a country", True),  # two of three content words
        ("Lima is the capital", False),
        ("of the is what", False),
    ],
)
def test_a_document_repeats_the_question_where_it_holds_most_of_its_content_words(text: str, copied: bool) -> None:
    assert copies(Document("", text), "What is the capital of the country with llamas?") is copied
