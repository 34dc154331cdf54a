"""Requests and pages: what a page is called follows from what its documents are asked for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.search import DocumentKind, Noise, Quality, SearchRequest, page_quality

USEFUL = Quality.USEFUL
a_kind: st.SearchStrategy[DocumentKind] = st.sampled_from([USEFUL, *Noise])


@given(st.lists(a_kind, max_size=6))
def test_a_page_is_mixed_where_some_documents_are_noisy_and_some_are_not(kinds: list[DocumentKind]) -> None:
    noisy = sum(kind in list(Noise) for kind in kinds)
    expected = "useful" if not noisy else "noisy" if noisy == len(kinds) else "mixed"
    assert page_quality(kinds) == expected


@given(st.lists(a_kind, min_size=1, max_size=6).map(tuple))
def test_a_request_says_of_every_document_what_it_shall_be(kinds: tuple[DocumentKind, ...]) -> None:
    request = SearchRequest("q", len(kinds), quality=page_quality(kinds), kinds=kinds)
    assert request.asked == kinds


@pytest.mark.parametrize(("quality", "kind"), [(Quality.USEFUL, Quality.USEFUL), (Quality.NOISY, Noise.PLAIN)])
def test_without_kinds_a_page_is_the_papers(quality: Quality, kind: DocumentKind) -> None:
    assert SearchRequest("q", 4, quality=quality).asked == (kind,) * 4


@pytest.mark.parametrize(
    ("quality", "kinds", "says"),
    [
        ("mixed", (), "do not make a page that is mixed"),
        ("mixed", (USEFUL, USEFUL), "do not make a page that is mixed"),
        (Quality.USEFUL, (USEFUL, Noise.NEAR_MISS), "do not make a page that is useful: useful, near-miss"),
        (Quality.NOISY, (USEFUL, USEFUL), "do not make a page that is noisy"),
        ("mixed", (USEFUL, Noise.PLAIN, USEFUL), "3 kinds for a page of 2 documents"),
        (Quality.USEFUL, (USEFUL,), "1 kinds for a page of 2 documents"),
    ],
)
def test_kinds_that_contradict_the_rest_of_a_request_are_refused(quality: Quality, kinds: tuple, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SearchRequest("q", 2, quality=quality, kinds=kinds)
