"""Pages of passages written each on its own: as decided, whatever the model writes; and what teaches a model to."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fakes import ChatCall, FakeChat
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from tiny import tiny_local_model, tiny_tokenizer

from zerosearch.engines.config import SimulatedConfig
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.examples import Example
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document, Quality, SearchPage, SearchRequest, holds_answer
from zerosearch.errors import DataError, EngineError
from zerosearch.simulator.decided import PagePlan, Statement, plan_comparison
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.hits import HitPredictor
from zerosearch.simulator.passage_training import FEWEST, passage_examples
from zerosearch.simulator.passages import write_page

FACTS = ("Emma is an 1815 novel by Jane Austen.", "Jane Austen was born in Steventon, England.")
EMMA = Question("e", "In which country was the author of Emma born?", ("England",), 2, "Jane Austen", FACTS)
SECOND = "Jane Austen born"


def obedient(call: ChatCall) -> str:
    """A passage with its fact in the middle; others of different titles, one of which has the answer by chance."""
    order = call.messages[-1]["content"]
    if "Fact: " in order:
        fact = order.partition("Fact: ")[2].partition("\n")[0]
        return f"Emma: It is long. {fact} It is read much."
    return f"Passage {order.rstrip('.')[-1]}: It is old. It is not in England. It is far away."


def find(tmp_path: Path, chat: FakeChat, query: str, *, hit: bool, rewrites: int = 0, **how: object) -> SearchPage:
    HitPredictor(99.0 if hit else -99.0, {}).save(tmp_path / "hits.json")
    settings = SimulatedConfig(style="passages", hits=str(tmp_path / "hits.json"), rewrites=rewrites)
    request = SearchRequest(query, 3, **{"question": EMMA, **how})  # type: ignore[arg-type]
    return asyncio.run(SimulatedEngine(chat, settings).search(request))


@pytest.mark.parametrize("seed", range(4))
def test_a_hit_states_its_fact_among_other_sentences(tmp_path: Path, seed: int) -> None:
    chat = FakeChat(obedient)
    page = find(tmp_path, chat, SECOND, hit=True, seed=seed)
    (told,) = [d for d in page.documents if d.title == "Jane Austen"]
    assert told.text == f"It is long. {FACTS[1]} It is read much."
    assert (page.hit, len(page.documents), len(chat.calls), page.attempts) == (True, 3, 3, 1)


def test_the_passages_of_a_page_have_seeds_of_their_own_and_are_asked_for_at_once(tmp_path: Path) -> None:
    chat = FakeChat(obedient)
    find(tmp_path, chat, SECOND, hit=True)
    assert len({call.seed for call in chat.calls}) == 3
    again = FakeChat(obedient)
    find(tmp_path, again, SECOND, hit=True)
    assert [call.seed for call in again.calls] == [call.seed for call in chat.calls]


@pytest.mark.parametrize("query", [EMMA.text, "who wrote Emma"])
def test_a_first_page_that_misses_names_the_bridge_and_never_the_answer(tmp_path: Path, query: str) -> None:
    page = find(tmp_path, FakeChat(obedient), query, hit=False)
    assert page.hit is False
    assert holds_answer(page.documents, ["Jane Austen"])
    assert not holds_answer(page.documents, ["England"])
    assert holds_answer(page.documents, ["It is far away"])  # of a passage only the sentence that tells is lost


@pytest.mark.parametrize(("query", "quality"), [(SECOND, Quality.USEFUL), (EMMA.text, Quality.NOISY)])
def test_other_misses_tell_neither(tmp_path: Path, query: str, quality: Quality) -> None:
    page = find(tmp_path, FakeChat(obedient), query, hit=quality is Quality.NOISY, quality=quality)
    assert page.hit is False
    assert len(page.documents) == 3
    assert not holds_answer(page.documents, ["England", "Jane Austen"])


@pytest.mark.parametrize("rewrites", [0, 2])
def test_a_fact_that_is_not_written_is_put_in(tmp_path: Path, rewrites: int) -> None:
    chat = FakeChat(lambda call: "Lake: It is deep. It is cold.")
    page = find(tmp_path, chat, SECOND, hit=True, rewrites=rewrites)
    assert holds_answer(page.documents, ["England"])
    assert page.attempts == 1 + rewrites
    assert [d.title for d in page.documents].count("Lake") == 1  # one passage of a title
    (told,) = [d for d in page.documents if d.title == "Jane Austen"]
    assert FACTS[1] in told.text


TITLES = ("Jane Austen", "Steventon", "Hampshire")


@given(st.lists(st.booleans(), min_size=3, max_size=3), st.integers(1, 3), st.integers(1, 3), st.integers(0, 3))
def test_a_fact_is_put_in_only_where_no_passage_of_the_page_states_it(
    obeys: list[bool], count: int, tries: int, seed: int
) -> None:
    """`obeys`: whether the passage of each title states the fact, in other words, in its last writing."""
    told = [Statement(title, FACTS[1], (("England",),)) for title in TITLES[:count]]
    asked: dict[str, int] = {}

    async def tell(messages: Sequence[Message], number: int) -> str:
        order = messages[-1]["content"]
        title = order.partition("Title: ")[2].partition("\n")[0] or f"Other {number}"
        asked[title] = asked.get(title, 0) + 1
        states = title in TITLES and obeys[TITLES.index(title)] and asked[title] == tries
        return f"{title}: It is old. {'That is in England.' if states else 'That is far.'}"

    plan = PagePlan(True, SECOND, tuple(told))
    documents, written = asyncio.run(write_page(plan, SECOND, 3, tries, seed, tell))
    assert [d.title for d in documents[:count]] == list(TITLES[:count])
    assert len(documents) == 3
    assert written == count * (tries - 1)
    stated = ["That is in England." in d.text for d in documents[:count]]
    assert stated == obeys[:count]
    put_in = [FACTS[1] in d.text for d in documents[:count]]
    assert put_in == [False] * count if any(stated) else all(put_in[:1])
    assert plan.kept(documents)


def test_two_facts_are_both_on_the_page() -> None:
    told = (Statement("Ann", "Ann is 30.", (("30",),)), Statement("Bob", "Bob is 40.", (("40",),)))

    async def tell(messages: Sequence[Message], number: int) -> str:
        return "Ann is 30, they say." if "Ann" in messages[-1]["content"] else "Bob is young."

    documents, _ = asyncio.run(write_page(PagePlan(None, "ages", told), "ages", 2, 1, 0, tell))
    assert [d.text for d in documents] == ["Ann is 30, they say.", "Bob is young. Bob is 40."]


@given(st.text(max_size=60), st.booleans(), st.integers(0, 5))
def test_whatever_is_written_the_page_is_as_decided(
    tmp_path_factory: pytest.TempPathFactory, text: str, hit: bool, seed: int
) -> None:
    chat = FakeChat(lambda call: text)
    try:
        page = find(tmp_path_factory.mktemp("hits"), chat, SECOND, hit=hit, seed=seed)
    except EngineError:
        assert not hit
        return
    assert holds_answer(page.documents, ["England"]) == hit


def test_where_nothing_can_be_decided_nothing_is_stated(tmp_path: Path) -> None:
    chat = FakeChat(obedient)
    page = find(tmp_path, chat, "Emma", hit=True, question=None)
    assert (page.hit, len(page.documents)) == (None, 3)
    assert not any("Fact: " in call.messages[-1]["content"] for call in chat.calls)


def test_nothing_written_is_an_error_and_no_page(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no document"):
        find(tmp_path, FakeChat(lambda call: "..."), SECOND, hit=False)


def test_pages_that_nobody_decides_are_refused() -> None:
    with pytest.raises(ValidationError, match="hits"):
        SimulatedConfig(style="passages")


LONG = "The house was built in 1790. She was born in the rectory of Steventon in Hampshire, England, on a winter day."


def pages(count: int, facts: tuple[str, ...] = ()) -> list[RecordedPage]:
    asked = [replace(EMMA, id=str(n), text=f"{EMMA.text} {n}", facts=facts) for n in range(count)]
    held = (Document("Jane Austen", LONG), Document("Emma Lake", "A lake."), Document("", "Without a title."))
    missed = (Document("Emma", "A novel by Jane Austen. It is long."), Document("Emma", "A name."))
    return [RecordedPage(f"{q.text} {d[0].title}", d, question=q) for q in asked for d in (held, missed)]


def test_each_passage_is_learned_with_what_it_states() -> None:
    model = tiny_local_model(tiny_tokenizer())
    examples = passage_examples(model, pages(FEWEST), top_k=3, max_tokens=500)
    assert len(examples) == 4 * FEWEST  # those without a title teach nothing
    texts = [model.codec.decode(e.ids) for e in examples]
    learned = [model.codec.decode([i for i, m in zip(e.ids, e.mask, strict=True) if m]) for e in examples]
    facts = [t.partition("Fact: ")[2].partition("\n")[0] for t in texts if "Fact: " in t]
    assert len(facts) == 2 * FEWEST
    assert all("England" in fact or "Jane Austen" in fact for fact in facts)
    assert len({fact for fact in facts if "England" in fact}) == 2  # the sentence, or the words around the answer
    assert sum(text.startswith(f"Jane Austen: {LONG}") for text in learned) == FEWEST
    assert not any("Fact" in text or "Query" in text for text in learned)


def test_facts_of_the_question_are_what_its_passages_are_learned_from() -> None:
    model = tiny_local_model(tiny_tokenizer())
    texts = [model.codec.decode(e.ids) for e in passage_examples(model, pages(FEWEST, FACTS), top_k=3, max_tokens=500)]
    facts = {t.partition("Fact: ")[2].partition("\n")[0]: t for t in texts if "Fact: " in t}
    assert set(facts) == set(FACTS)
    assert facts[FACTS[1]].rpartition("Jane Austen: ")[2].startswith(LONG)  # in words of its own
    assert "A novel by Jane Austen." in facts[FACTS[0]]


def test_a_passage_with_another_answer_than_its_fact_is_not_learned_with_it() -> None:
    answers = ("England", "Hampshire")
    chance = Document("Hampshire", "A county of the south.")
    told = [replace(page, question=replace(page.question, golden_answers=answers)) for page in pages(FEWEST, FACTS)]
    told[::2] = [replace(page, documents=(*page.documents, chance)) for page in told[::2]]  # those with the answer
    model = tiny_local_model(tiny_tokenizer())
    texts = [model.codec.decode(e.ids) for e in passage_examples(model, told, top_k=4, max_tokens=500)]
    assert not any("A county of the south" in text for text in texts)
    assert sum("Fact: " in text for text in texts) == 2 * FEWEST


def test_what_the_fact_tells_counts_more_and_the_length_stays_the_length() -> None:
    model = tiny_local_model(tiny_tokenizer())

    def examples(weight: int, longest: int = 500) -> list[Example]:
        return passage_examples(model, pages(FEWEST, FACTS), top_k=3, max_tokens=longest, answer_weight=weight)

    even, more = examples(1), examples(5)
    assert [e.ids for e in even] == [e.ids for e in more]
    assert [[min(m, 1) for m in e.mask] for e in more] == [e.mask for e in even]
    weighted = {
        model.codec.decode([i for i, m in zip(e.ids, e.mask, strict=True) if m == 5]) for e in more if 5 in e.mask
    }
    assert {text.strip() for text in weighted} == {
        "rectory of Steventon in Hampshire, England",
        "Emma: A novel by Jane Austen",
    }
    assert {m for e in more for m in e.mask} == {0, 1, 5}
    assert [e.ids for e in examples(5, 40)] == [e.ids for e in examples(1, 40)]


def test_as_many_other_passages_are_learned() -> None:
    many = tuple(Document(f"Lake {n}", f"A lake, number {n}.") for n in range(4))
    more = [replace(page, documents=(*page.documents[:1], *many)) for page in pages(FEWEST, FACTS)]
    model = tiny_local_model(tiny_tokenizer())
    drawn = [
        [model.codec.decode(e.ids) for e in passage_examples(model, more, top_k=5, max_tokens=500, seed=seed)]
        for seed in (0, 0, 1)
    ]
    assert sum("Fact: " in text for text in drawn[0]) == sum("Fact: " not in text for text in drawn[0]) == 2 * FEWEST
    assert drawn[0] == drawn[1] != drawn[2]
    assert {f"number {n}." in " ".join(drawn[0]) for n in range(4)} == {True}


def test_too_few_passages_are_refused() -> None:
    with pytest.raises(DataError, match="needs 40"):
        passage_examples(tiny_local_model(tiny_tokenizer()), pages(FEWEST // 4), top_k=3, max_tokens=500)


def test_passages_longer_than_the_simulator_may_write_are_left_out() -> None:
    short = passage_examples(tiny_local_model(tiny_tokenizer()), pages(FEWEST), top_k=3, max_tokens=40)
    assert 0 < len(short) < 4 * FEWEST
    assert max(sum(example.mask) for example in short) <= 40


OLDER = Question(
    "older",
    "Who was born first, Ann Lee or Bob Ray?",
    ("Bob Ray",),
    2,
    facts=("Ann Lee (born 3 May 1946) is a French painter.", "Bob Ray (born 1 June 1941) is an Indian singer."),
)
SAME = replace(OLDER, id="same", text="Are Ann Lee and Bob Ray of the same nationality?", golden_answers=("no",))


@pytest.mark.parametrize("question", [OLDER, SAME])
def test_a_page_of_a_comparison_states_the_facts_of_the_things_that_are_found(
    tmp_path: Path, question: Question, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = {"Ann Lee": 0.0, "Bob Ray": 0.0}
    monkeypatch.setattr("zerosearch.simulator.decided._draw", lambda *parts: drawn[parts[-1]])
    page = find(tmp_path, FakeChat(obedient), question.text, hit=True, question=question)
    texts = {document.title: document.text for document in page.documents}
    assert all(fact in texts[fact[:7]] for fact in question.facts)
    assert (page.hit, len(page.documents)) == (None, 3)
    drawn["Bob Ray"] = 0.7  # found alone, and not beside another
    page = find(tmp_path, FakeChat(obedient), question.text, hit=True, question=question)
    assert not holds_answer(page.documents, ["Bob Ray"])
    assert holds_answer(page.documents, ["1946"])
    page = find(tmp_path, FakeChat(obedient), "Bob Ray born", hit=True, question=question)
    assert holds_answer(page.documents, ["1941"])
    assert not holds_answer(page.documents, ["Ann Lee"])
    page = find(tmp_path, FakeChat(obedient), question.text, hit=True, question=question, quality=Quality.NOISY)
    assert not holds_answer(page.documents, ["Ann Lee", "Bob Ray", "1946", "1941"])


def test_a_passage_that_leaves_out_its_fact_gets_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zerosearch.simulator.decided._draw", lambda *parts: 0.0)
    page = find(tmp_path, FakeChat("Some: A passage. Of other things."), OLDER.text, hit=True, question=OLDER)
    assert all(holds_answer(page.documents, [value]) for value in ("1946", "French", "1941", "Indian"))
    assert page.attempts == 1  # no rewrites are allowed here


def test_most_things_are_found_alone_and_fewer_together(tmp_path: Path) -> None:
    asked = [replace(OLDER, id=str(number)) for number in range(400)]
    both = [len(plan_comparison(q, q.text, noisy=False).states) for q in asked]
    alone = [len(plan_comparison(q, "Ann Lee", noisy=False).states) for q in asked]
    assert 0.6 < sum(both) / 800 < 0.74
    assert 0.76 < sum(alone) / 400 < 0.88
