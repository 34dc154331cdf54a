"""Pages whose content is decided before they are written: they keep to it, whatever the model writes."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ChatCall, FakeChat
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.config import SimulatedConfig
from zerosearch.episodes.questions import Question, subject
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest, holds_answer
from zerosearch.errors import EngineError
from zerosearch.learning.metrics import rollout_metrics
from zerosearch.simulator.decided import plan_page, without
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.hits import HitPredictor
from zerosearch.simulator.worlds import TRIES, World, Worlds, parse_world

EMMA = Question("e", "In which country was the author of Emma born?", ("England",), 2)
FACTS = ("Emma is an 1815 novel by Jane Austen.", "Jane Austen was born in Steventon, England.")
SAID = f"Unnamed: Jane Austen\nFact 1: {FACTS[0]}\nFact 2: {FACTS[1]}"
KNOWN = replace(EMMA, bridge="Jane Austen", facts=FACTS)
STUBBORN = " Emma Lake: A lake in England. It is deep.\n[2] Harbour: A bridge of steel.\n[3] Title: More of it."
"""A page that states nothing that was asked for, and the answer by chance."""


def engine(tmp_path: Path, chat: FakeChat, *, hit: bool, style: str = "instruct", rewrites: int = 0) -> SimulatedEngine:
    HitPredictor(99.0 if hit else -99.0, {}).save(tmp_path / "hits.json")
    told = {"hits": str(tmp_path / "hits.json"), "style": style, "rewrites": rewrites}
    return SimulatedEngine(chat, SimulatedConfig.model_validate(told))


def writer(page: str = STUBBORN, world: str = SAID) -> FakeChat:
    def say(call: ChatCall) -> str:
        return page if call.messages[-1]["role"] == "assistant" else world

    return FakeChat(say)


def find(
    tmp_path: Path, chat: FakeChat, query: str, *, hit: bool, question: Question = EMMA, **how: object
) -> SearchPage:
    request = SearchRequest(query, 3, question, **how)  # type: ignore[arg-type]
    return asyncio.run(engine(tmp_path, chat, hit=hit).search(request))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("question", [EMMA, KNOWN], ids=["made-up", "known"])
def test_a_hit_holds_the_answer_although_the_model_does_not_write_it(
    tmp_path: Path, question: Question, seed: int
) -> None:
    chat = writer(" Lake: It is deep.\n[2] Harbour: A bridge.\n[3] Title: More of it.")
    page = find(tmp_path, chat, "Jane Austen born", hit=True, question=question, seed=seed)
    assert page.hit is True
    assert holds_answer(page.documents, ["England"])
    assert len(page.documents) == 3
    assert page.attempts == 2 - seed % 2  # written freely first, in half of the pages


@pytest.mark.parametrize("seed", range(4))
def test_a_server_that_does_not_go_on_with_what_was_begun_gets_its_fact_all_the_same(tmp_path: Path, seed: int) -> None:
    chat = writer("[1] Lake: It is deep.\n[2] Harbour: A bridge.\n[3] Title: More of it.")
    page = find(tmp_path, chat, "Jane Austen born", hit=True, seed=seed)
    assert Document("Jane Austen", FACTS[1]) in page.documents
    assert len(page.documents) == 3


@pytest.mark.parametrize("query", [EMMA.text, "who wrote Emma"])
def test_a_first_page_that_misses_names_the_bridge_and_never_the_answer(tmp_path: Path, query: str) -> None:
    page = find(tmp_path, writer(), query, hit=False)
    assert page.hit is False
    assert holds_answer(page.documents, ["Jane Austen"])
    assert not holds_answer(page.documents, ["England"])
    assert holds_answer(page.documents, ["It is deep"])  # of a document only the sentence that tells is lost


@pytest.mark.parametrize(("query", "quality"), [("Jane Austen born", Quality.USEFUL), (EMMA.text, Quality.NOISY)])
def test_other_misses_tell_neither(tmp_path: Path, query: str, quality: Quality) -> None:
    hit = quality is Quality.NOISY  # what would have hit is noisy all the same
    chat = writer()
    page = find(tmp_path, chat, query, hit=hit, quality=quality)
    assert page.hit is False
    assert not holds_answer(page.documents, ["England"])
    assert not holds_answer(page.documents, ["Jane Austen"])


def test_who_writes_a_page_that_misses_is_told_neither_question_nor_answer(tmp_path: Path) -> None:
    chat = writer()
    find(tmp_path, chat, EMMA.text, hit=False)
    (told,) = [call.messages[-2]["content"] for call in chat.calls if call.messages[-1]["role"] == "assistant"][:1]
    assert "England" not in told
    assert "born" not in told
    assert "Jane Austen" in told


def test_a_question_has_one_world_for_all_who_ask(tmp_path: Path) -> None:
    chat = writer()
    made = engine(tmp_path, chat, hit=True)

    async def ask() -> None:
        queries = [EMMA.text, "Jane Austen born", "Emma author"]
        await asyncio.gather(*(made.search(SearchRequest(query, 3, EMMA, seed=1)) for query in queries))

    asyncio.run(ask())
    assert sum(call.messages[-1]["role"] == "user" for call in chat.calls) == 1
    assert made.worlds.failed == 0


def test_a_world_that_cannot_be_made_is_counted_and_its_hits_hold_the_answer(tmp_path: Path) -> None:
    chat = writer(world="I do not know.")
    made = engine(tmp_path, chat, hit=True)
    page = asyncio.run(made.search(SearchRequest(EMMA.text, 3, EMMA, seed=2)))
    assert made.worlds.failed == 1
    assert sum(call.messages[-1]["role"] == "user" for call in chat.calls) == TRIES
    assert holds_answer(page.documents, ["England"])


def test_a_writer_that_fails_is_asked_again_by_who_comes_later() -> None:
    worlds, tries = Worlds(), 0

    async def write(messages: object, max_tokens: int, seed: int) -> str:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise EngineError("http", "down")
        return SAID

    async def ask() -> World:
        with pytest.raises(EngineError):
            await worlds.of(EMMA, write)
        return await worlds.of(EMMA, write)

    assert asyncio.run(ask()) == World("Jane Austen", FACTS)


@pytest.mark.parametrize(
    "said",
    [
        "",
        SAID.replace("Unnamed: Jane Austen", "Unnamed: England"),  # the answer
        SAID.replace("Unnamed: Jane Austen", "Unnamed: Emma"),  # named by the question
        SAID.replace("novel by Jane Austen", "novel"),  # the first fact leads nowhere
        SAID.replace("Emma is an 1815 novel by Jane Austen", "Jane Austen was a novelist"),  # starts nowhere
        SAID.replace("novel by", "novel of England by"),  # tells it all at once
        SAID.replace(", England", ""),  # never tells it
    ],
)
def test_facts_that_are_no_two_hops_are_none(said: str) -> None:
    assert parse_world(said, EMMA) is None
    assert parse_world(SAID, EMMA) == World("Jane Austen", FACTS)


def test_a_tuned_simulator_is_told_by_its_plan(tmp_path: Path) -> None:
    held, lacks = "1] born in England</think>\n[1] Austen: Born in England.", "[1] Austen: A writer."
    for hit, text in ((True, held), (False, lacks)):
        chat = FakeChat(lambda call, text=text: text)
        made = engine(tmp_path, chat, hit=hit, style="tuned")
        page = asyncio.run(made.search(SearchRequest("Austen", 1, KNOWN)))
        begun = chat.calls[0].messages[-1]
        assert begun["content"] == ("<think>[" if hit else "<think>none</think>\n")
        assert page.hit is hit
        assert holds_answer(page.documents, ["England"]) is hit


def test_questions_without_a_clear_answer_are_written_as_before(tmp_path: Path) -> None:
    chat = FakeChat("[1] A: b.")
    page = find(tmp_path, chat, "is it so", hit=True, question=Question("y", "Is it so?", ("yes",)))
    assert page.hit is None
    assert len(chat.calls) == 1


def test_the_engine_is_another_one_with_another_predictor(tmp_path: Path) -> None:
    chat = writer()
    names = {engine(tmp_path, chat, hit=hit).identity for hit in (True, False)} | {SimulatedEngine(chat).identity}
    assert len(names) == 3


@given(st.lists(st.tuples(st.text(max_size=20), st.text("abEngland. !?", max_size=60)), max_size=4))
def test_what_is_taken_out_is_gone_and_nothing_is_added(pages: list[tuple[str, str]]) -> None:
    documents = [Document(title, text) for title, text in pages]
    left = without(["England"], documents)
    assert not holds_answer(left, ["England"])
    for document in left:
        assert any(set(document.text.split()) <= set(other.text.split()) for other in documents)


def test_titles_and_plans() -> None:
    assert subject("Cast Your Fate to the Wind is a 1945 ballad.") == "Cast Your Fate to the Wind"
    assert subject("who knows") == ""
    world = World("Jane Austen", FACTS)
    both = plan_page(EMMA, EMMA.text, "whole_multi_hop", world, hit=True, noisy=False)
    assert both.states[0].fact == " ".join(FACTS)
    assert plan_page(EMMA, "Jane Austen", "second_hop", world, hit=True, noisy=False).states[0].title == "Jane Austen"
    assert plan_page(EMMA, "steam", "beside", world, hit=False, noisy=False).states == ()


def test_as_many_passages_state_the_answer_as_bm25_finds() -> None:
    kathmandu = Question("k", "what is the capital of Nepal", ("Kathmandu",), 1)
    world = World(facts=("Kathmandu is the capital of Nepal, below the Himalayas.",))
    counts = Counter(
        len(plan_page(replace(kathmandu, id=str(n)), kathmandu.text, "whole", world, hit=True, noisy=False).states)
        for n in range(1000)
    )
    assert [counts[n] for n in (1, 2, 3)] == pytest.approx([270, 600, 130], abs=50)
    # the fact has two names for titles, and the answer as a third in one of five
    born, world = "Jane Austen born", World("Jane Austen", FACTS)
    asked = [replace(EMMA, id=str(n)) for n in range(200)]
    hops = [plan_page(question, born, "second_hop", world, hit=True, noisy=False) for question in asked]
    titles = {tuple(told.title for told in plan.states) for plan in hops}
    assert titles == {("Jane Austen",), ("Jane Austen", "Steventon")}
    assert all(told.fact == FACTS[1] for plan in hops for told in plan.states)


def test_metrics_say_what_was_decided_and_whether_pages_kept_to_it() -> None:
    from rows import NEPAL, episode, search

    right = replace(search("q", "It is Kathmandu."), hit=True)
    wrong = replace(search("q", "It is Kathmandu."), hit=False)
    row = rollout_metrics([episode(NEPAL, "x", right, wrong, search("q", "text"))])
    assert (row["pages_hit"], row["pages_as_decided"]) == (0.5, 0.5)
    assert rollout_metrics([episode(NEPAL, "x", search("q", "text"))])["pages_hit"] is None


def test_nobody_is_asked_for_the_facts_of_a_question_that_compares(tmp_path: Path) -> None:
    older = Question("c", "Who was born first, Jane Austen or Mary Shelley?", ("Jane Austen",), 2)
    chat = writer(" Lake: It is deep.\n[2] Harbour: A bridge.\n[3] Title: More of it.")
    for hit in (True, False):
        page = find(tmp_path, chat, older.text, hit=hit, question=older)
        assert holds_answer(page.documents, older.golden_answers) == hit
    assert all(call.messages[-1]["role"] == "assistant" for call in chat.calls)
