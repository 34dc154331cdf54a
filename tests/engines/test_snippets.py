"""Snippets: short, in the passage's own order, and about the query."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from fakes import FakeEngine
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.snippets import Snippets, snippet
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest
from zerosearch.usage import Usage

NEPAL = (
    "Nepal. Capital - name: Kathmandu. Government type: federal parliamentary republic. "
    "National holiday: Constitution Day, 20 September. Elevation - highest point: Mount Everest 8,849 m. "
    "Exchange rates - currency: Nepalese rupees."
)

WORDS = st.sampled_from(["capital", "river", "Nepal,", "1,204", "m", "(km)", "lake;", "the", "of", "Lima", "-", "é"])
SENTENCES = st.builds(
    lambda words, end: " ".join(words) + end, st.lists(WORDS, min_size=1, max_size=14), st.sampled_from(".!?")
)
GAPS = st.sampled_from([" ", "\n", "  "])
TEXTS = st.builds(lambda parts, gap: gap.join(parts), st.lists(SENTENCES, max_size=8), GAPS)
QUERIES = st.builds(" ".join, st.lists(WORDS, max_size=4))


@given(TEXTS, QUERIES, st.integers(1, 20), QUERIES)
def test_a_snippet_is_short_and_in_the_words_and_order_of_its_text(
    text: str, query: str, max_words: int, title: str
) -> None:
    short = snippet(text, query, max_words, title)
    assert len(short.split()) <= max_words + max_words // 3
    left = iter(text.split())
    assert all(word in left for word in short.split())  # a subsequence
    assert bool(short.split()) == bool(text.split())
    assert snippet(short, query, max_words, title) == short
    if len(text.split()) <= max_words:
        assert short == text


@given(st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=9), min_size=1, max_size=9), st.integers(1, 25))
def test_sentences_stay_whole_unless_one_alone_is_too_long(sizes: list[list[int]], max_words: int) -> None:
    sentences = [" ".join(f"w{n}x{i}" for i in range(len(size))) + "." for n, size in enumerate(sizes)]
    short = snippet(" ".join(sentences), "w3x0 w5x0", max_words)
    kept = [s for s in sentences if s in short]
    if " ".join(kept) != short:
        (one,) = [s for s in sentences if s.startswith(short)]
        assert len(one.split()) > len(short.split()) == max_words + max_words // 3
    else:
        assert len(kept) == 1 or len(short.split()) <= max_words


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("capital of Nepal", "Capital - name: Kathmandu."),
        ("what is Nepal's highest point?", "Elevation - highest point: Mount Everest 8,849 m."),
        ("currencies", "Exchange rates - currency: Nepalese rupees."),  # by the stem
        (
            "national holiday and capital",
            "Capital - name: Kathmandu. National holiday: Constitution Day, 20 September.",
        ),
        ("holiday, then the capital", "Capital - name: Kathmandu. National holiday: Constitution Day, 20 September."),
    ],
)
def test_the_sentences_of_the_query_are_kept_in_the_order_of_the_text(query: str, expected: str) -> None:
    assert expected in snippet(NEPAL, query, 12, title="Nepal: Government")


def test_words_of_the_title_make_no_sentence_better() -> None:
    text = "Nepal has a flag in Nepal. The river is long."
    assert snippet(text, "Nepal river", 5, title="Nepal") == "The river is long."
    assert snippet(text, "Nepal river", 6, title="") == "Nepal has a flag in Nepal."  # both share one word: the first


def test_stop_words_make_no_sentence_better() -> None:
    text = "Climate: the rest of the year is in the rain of the hills. National tree: cedar."
    assert snippet(text, "What is the tree of Arvenia?", 4, title="Arvenia") == "National tree: cedar."


def test_a_sentence_that_only_repeats_the_title_gives_its_room_to_others() -> None:
    assert snippet("Nepal. Lima is far. Peru is big here.", "zzz", 6, title="Nepal: Geography") == "Lima is far."
    assert (
        snippet("Nepal. Nepal! Geography?", "zzz", 1, title="Nepal: Geography") == "Nepal."
    )  # unless there is nothing else


def test_a_date_just_over_the_limit_is_seen_whole_and_a_long_sentence_is_cut() -> None:
    text = "Filler comes first here. Independence: it was declared on 20 August 1991."
    assert snippet(text, "independence", 6) == "Independence: it was declared on 20 August 1991."
    assert snippet(text, "independence", 5) == "Independence: it was declared on 20"


def test_the_engine_cuts_every_document_and_keeps_everything_else() -> None:
    documents = (Document("Nepal: Facts", NEPAL, "np-000"), Document("Peru", "Lima.", "pe-000"))
    whole = SearchPage(documents, "bm25:nepal", Quality.NOISY, True, 0.25, Usage(usd=0.5), 2, False)
    engine = Snippets(FakeEngine(whole, name="bm25:nepal"), 6)
    page = asyncio.run(engine.search(SearchRequest("currency", 2)))
    assert engine.name == page.engine == "bm25:nepal/snippets-6"
    assert page.documents[0] == Document("Nepal: Facts", "Exchange rates - currency: Nepalese rupees.", "np-000")
    assert page.documents[1] == Document("Peru", "Lima.", "pe-000")
    assert replace(page, documents=documents, engine=whole.engine) == whole
