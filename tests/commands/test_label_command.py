"""What `label` suggests to tune by, where no judge was asked."""

from __future__ import annotations

import pytest

from zerosearch.commands.label import best_free
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document
from zerosearch.simulator.label import label_recorded

QUESTION = Question("q", "What is the currency of the country whose capital is Oslo?", ("krone",), hops=2)


def page(query: str, *titles: str) -> RecordedPage:
    return RecordedPage(query, tuple(Document(title, "text") for title in titles), question=QUESTION)


@pytest.mark.parametrize(
    ("pages", "way"),
    [
        ([page("a query", "Peru", "Chad")], "rank"),  # labels by containment, which leak
        ([page("a query", "Peru", "Chad"), page("Norway currency", "Norway", "Chad")], "evidence"),
        ([page("a query", "Peru")], "evidence"),  # no document behind the first: rank would have no noisy page
    ],
)
def test_labels_that_only_say_containment_are_not_suggested_where_rank_can_be(
    pages: list[RecordedPage], way: str
) -> None:
    assert best_free(label_recorded(pages, top_k=1), 1) == way
