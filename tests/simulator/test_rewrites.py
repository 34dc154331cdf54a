"""A page that does not keep its word is written again: noise that holds the answer, an answer that was announced."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial

import pytest
from fakes import FakeChat
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.config import SimulatedConfig
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest
from zerosearch.errors import EngineError
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.page_text import announces_answer, format_page, format_plan, parse_page
from zerosearch.simulator.prompts import PromptStyle
from zerosearch.usage import Usage

NEPAL = Question("1", "Which capital?", ("Kathmandu", "Katmandu"))
USEFUL = SearchRequest("capital of Nepal", 1, NEPAL, Quality.USEFUL, seed=7)
NOISY = replace(USEFUL, quality=Quality.NOISY)
HOLDS, LACKS = "[1] Nepal: Katmandu is the capital.", "[1] Nepal: A country with hills."
ANNOUNCED, NONE = "<think>[1] Kathmandu</think>\n", "<think>none</think>\n"


Scribe = partial(FakeChat, usage=Usage(10, 3, 1.0))


def search(scribe: FakeChat, request: SearchRequest, rewrites: int = 2, style: PromptStyle = "tuned") -> SearchPage:
    engine = SimulatedEngine(scribe, SimulatedConfig(style=style, rewrites=rewrites))
    return asyncio.run(engine.search(request))


def test_noise_that_holds_the_answer_is_written_again_with_another_seed_and_paid_for() -> None:
    scribe = Scribe(HOLDS, HOLDS, LACKS)
    page = search(scribe, NOISY)
    assert page.documents[0].text == "A country with hills."
    assert (page.attempts, page.usage) == (3, Usage(30, 9, 3.0))
    assert len(set(scribe.seeds)) == 3
    assert scribe.seeds[0] == NOISY.seed  # a page that keeps its word is the one of a run without rewrites
    again = Scribe(HOLDS, HOLDS, LACKS)
    search(again, NOISY)
    assert again.seeds == scribe.seeds


def test_the_last_page_is_taken_whatever_it_holds() -> None:
    scribe = Scribe(HOLDS)
    page = search(scribe, NOISY, rewrites=2)
    assert page.documents[0].text == "Katmandu is the capital."
    assert (page.attempts, len(scribe.seeds)) == (3, 3)
    assert len(search(Scribe(HOLDS), NOISY, rewrites=0).documents) == 1


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (ANNOUNCED + HOLDS, True),
        (ANNOUNCED + LACKS, False),
        (NONE + LACKS, True),
        (NONE + HOLDS, False),
        (HOLDS, True),  # without a plan a useful page may hold the answer or not, as real ones do
        (LACKS, True),
        ("<think>Let me see.</think>\n" + HOLDS, True),  # a thought that is no plan
    ],
)
def test_a_useful_page_keeps_to_its_plan(text: str, kept: bool) -> None:
    scribe = Scribe(text)
    search(scribe, USEFUL, rewrites=1)
    assert (len(scribe.seeds) == 1) == kept


def test_the_first_plan_counts_and_not_the_one_that_is_easier_to_keep() -> None:
    page = search(Scribe(ANNOUNCED + LACKS, NONE + LACKS, NONE + HOLDS), USEFUL)
    assert (page.attempts, page.documents[0].text) == (3, "Katmandu is the capital.")
    page = search(Scribe(NONE + HOLDS, ANNOUNCED + HOLDS, ANNOUNCED + LACKS), USEFUL)
    assert (page.attempts, page.documents[0].text) == (3, "A country with hills.")


def test_the_word_in_the_prompt_goes_before_the_plan_of_a_noisy_page() -> None:
    scribe = Scribe(ANNOUNCED + HOLDS, ANNOUNCED + LACKS)
    assert search(scribe, NOISY).documents[0].text == "A country with hills."


@pytest.mark.parametrize(
    "question", [None, Question("y", "Is it so?", ("yes",)), Question.asked("Which capital of them?")]
)
def test_where_nothing_can_be_said_nothing_is_written_again(question: Question | None) -> None:
    for request, text in ((NOISY, "[1] Yes: yes, Kathmandu."), (USEFUL, ANNOUNCED + LACKS)):
        scribe = Scribe(text)
        search(scribe, replace(request, question=question))
        assert len(scribe.seeds) == 1


def test_a_rewrite_without_a_document_is_an_attempt_that_failed() -> None:
    scribe = Scribe(HOLDS, "", LACKS)
    page = search(scribe, NOISY)
    assert page.documents[0].text == "A country with hills."
    assert page.usage.prompt_tokens == 30
    with pytest.raises(EngineError, match="wrote no document"):
        search(Scribe(HOLDS, ""), NOISY, rewrites=1)


@given(st.lists(st.tuples(st.text(max_size=20), st.text(max_size=30)), min_size=1, max_size=4), st.text(max_size=12))
def test_a_plan_is_read_as_it_was_written_and_is_no_part_of_the_page(pairs: list[tuple[str, str]], answer: str) -> None:
    documents = [Document(title, text) for title, text in pairs]
    plan = format_plan(documents, [answer])
    assert plan.count("\n") == 1
    assert announces_answer(plan + format_page(documents)) == ("none" not in plan or "[" in plan)
    count = len(parse_page(format_page(documents), 4).documents)
    assert parse_page(plan + format_page(documents), count or 1) == parse_page(format_page(documents), count or 1)
    assert announces_answer(format_page(documents)) is None
