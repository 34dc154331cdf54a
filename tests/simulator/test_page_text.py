from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.protocol import one_line
from zerosearch.episodes.search import Document, SearchPage
from zerosearch.simulator.page_text import format_page, parse_page

A, B = Document("Nepal", "Kathmandu is the capital."), Document("Peru", "Lima is the capital.")

words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).map(one_line)
with_words = words.filter(lambda text: any(c.isalnum() for c in text))
titles = with_words.filter(lambda text: ": " not in text and not text.startswith(":"))


@given(st.lists(st.builds(Document, titles, with_words), min_size=1, max_size=8))
def test_what_is_written_is_read_back(documents: list[Document]) -> None:
    assert parse_page(format_page(documents), len(documents)) == SearchPage(tuple(documents), "", parsed=True)


@given(st.lists(st.builds(Document, st.text(), st.text()), min_size=1, max_size=8))
def test_reading_and_writing_again_changes_nothing_whatever_the_documents_hold(documents: list[Document]) -> None:
    text = format_page(documents)
    assert format_page(parse_page(text, len(documents)).documents) == text


nearly_in_form = st.text(st.sampled_from('[]12.) \n\tDocument(Title: "x"):*#`<think>/'), max_size=60)


@given(st.text() | nearly_in_form, st.integers(1, 6))
def test_any_text_gives_a_page_of_documents_that_say_something(text: str, top_k: int) -> None:
    page = parse_page(text, top_k)
    assert len(page.documents) <= top_k
    assert all(re.search(r"\w", d.title + d.text) for d in page.documents)
    assert not page.parsed or len(page.documents) == top_k


@pytest.mark.parametrize(
    "text",
    [
        '[1] Nepal: Kathmandu is the capital.\n[2] "Peru": Lima',
        "[1] Nepal: Kathmandu is the capital.\r\n\r\n[2] Peru: Lima is the capital.\r\n",
        "<think>The answer is Kathmandu.</think>\n[1] Nepal: x y\n[2] Peru: z",
    ],
)
def test_the_asked_form_is_well_formed(text: str) -> None:
    page = parse_page(text, 2)
    assert page.parsed
    assert len(page.documents) == 2
    assert page.documents[0].title == "Nepal"


@pytest.mark.parametrize(
    "text",
    [
        "Here are two documents:\n[1] Nepal: Kathmandu is the capital.\n[2] Peru: Lima is the capital.",
        "[Doc 1] Nepal: Kathmandu is the capital.\n[Doc 2] Peru: Lima is\nthe capital.",
        'Doc 1(Title: "Nepal") Kathmandu is the capital.\nDoc 2(Title: "Peru") Lima is the capital.',
        "1. Nepal: Kathmandu is the capital.\n2. Peru: Lima is the capital.",
        "1) Nepal: Kathmandu is the capital.\n\n2) Peru: Lima is the capital.",
        "Document 1: Nepal: Kathmandu is the capital.\nDocument 2: Peru: Lima is the capital.",
        "**Document 1:** Nepal: Kathmandu is the capital.\n**Document 2:** Peru: Lima is the capital.",
        "```\n[1] Nepal: Kathmandu is the capital.\n[2] Peru: Lima is the capital.\n```",
        "<information>\n[1] Nepal: Kathmandu is the capital.\n[2] Peru: Lima is the capital.\n</information>",
    ],
)
def test_other_numberings_are_understood_and_marked(text: str) -> None:
    assert parse_page(text, 2) == SearchPage((A, B), "", parsed=False)


def test_too_many_documents_are_cut_and_too_few_kept() -> None:
    text = format_page([A, B])
    assert parse_page(text, 1) == SearchPage((A,), "", parsed=False)
    assert parse_page(text, 3) == SearchPage((A, B), "", parsed=False)


def test_a_number_at_the_start_of_a_line_is_not_always_a_document() -> None:
    page = parse_page("1. Nepal: It was founded in\n1768. King Prithvi began.\n7. chapter\n2. Peru: Lima.", 2)
    assert [d.text for d in page.documents] == ["It was founded in 1768. King Prithvi began. 7. chapter", "Lima."]


@pytest.mark.parametrize("numbers", [(1, 3), (1, 1), (2, 3)])
def test_documents_that_are_numbered_wrongly_are_kept_and_marked(numbers: tuple[int, int]) -> None:
    text = "[{}] Nepal: Kathmandu is the capital.\n[{}] Peru: Lima is the capital.".format(*numbers)
    assert parse_page(text, 2) == SearchPage((A, B), "", parsed=False)


def test_text_without_numbers_stays_one_document() -> None:
    page = parse_page("Kathmandu is\n the   capital of Nepal.", 5)
    assert page == SearchPage((Document("", "Kathmandu is the capital of Nepal."),), "", parsed=False)


@pytest.mark.parametrize(
    "text", ["", " \n ", "...", "[1]\n[2]", "[1] ...", "```\n```", "<think>The golden answer is 9N"]
)
def test_text_without_a_document_gives_none(text: str) -> None:
    assert parse_page(text, 5) == SearchPage((), "", parsed=False)


def test_a_title_is_optional_and_lines_stay_lines() -> None:
    page = format_page([Document("", "no title"), Document("T", "two\nlines [2] Fake: x"), Document("", " ")])
    assert page == "[1] no title\n[2] T: two lines [2] Fake: x"
