"""Tree search: PUCT by hand, priors from samples, values from ratings, and the answer that gathers most of them."""

from __future__ import annotations

import asyncio

import pytest
from evaluation.scripted import NEPAL, PERU, QUESTION, atlas, predict, session
from fakes import ChatCall, FakeChat, FakeEngine

from zerosearch.episodes.protocol import Action
from zerosearch.errors import EngineError
from zerosearch.evaluation.methods.tree import Node, TreeSettings, best_answer, propose, select, tree_search


def answer(text: str) -> Action:
    return Action("answer", text, True)


def rated(rating: str, *actions: str) -> FakeChat:
    """Proposes `actions` in turn and rates everything alike."""
    number = iter(range(1000))

    def written(call: ChatCall) -> str:
        return rating if "whole number" in call.text else actions[next(number) % len(actions)]

    return FakeChat(written)


def test_a_tree_whose_first_samples_are_no_actions_searches_with_the_question() -> None:
    engine = atlas()
    row = predict("tree-search", rated("9", "Hm.", "So.", "Well.", "<answer> Kathmandu </answer>"), engine)
    assert engine.queries == [QUESTION.text]
    assert row.answer == "Kathmandu"
    silent = atlas()
    assert predict("tree-search", rated("9", "Hm."), silent, max_searches=0).searches == ()
    assert silent.queries == []


def test_puct_by_hand() -> None:
    """mean + c x prior x sqrt(parent's visits) / (1 + visits): 0.5 + 0.3 x 2 / 2 = 0.8 against 0 + 0.45 x 2 = 0.9."""
    seen = Node(answer("a"), prior=0.3, visits=1, total=0.5)
    fresh = Node(answer("b"), prior=0.45)
    parent = Node(None, children=[seen, fresh], visits=4)
    assert select(parent, 1.0) is fresh
    fresh.prior = 0.35
    assert select(parent, 1.0) is seen
    assert select(parent, 0.0) is seen  # no exploration: the better mean


def test_the_prior_is_the_share_of_the_samples_that_say_the_same() -> None:
    actions = [answer("The Kathmandu"), Action("search", "x", True), answer("kathmandu."), Action("invalid", "", False)]
    children = propose(actions)
    assert [(c.action.kind, c.action.text, c.prior) for c in children if c.action] == [
        ("answer", "The Kathmandu", pytest.approx(2 / 3)),
        ("search", "x", pytest.approx(1 / 3)),
    ]
    assert propose([Action("invalid", "", False)]) == []


def test_equal_answers_add_up_their_values() -> None:
    nodes = [
        Node(answer("Pokhara"), visits=1, total=0.9),
        Node(answer("Kathmandu"), visits=1, total=0.5),
        Node(answer("the Kathmandu"), visits=2, total=0.6),
    ]
    assert best_answer(nodes) == "Kathmandu"


def test_an_answer_nobody_has_visited_counts_by_its_prior() -> None:
    assert best_answer([Node(answer("a"), prior=0.3), Node(answer("b"), prior=0.7)]) == "b"


def test_it_finds_the_answer_that_only_a_search_makes_likely() -> None:
    def written(call: ChatCall) -> str:
        page = "Kathmandu is the capital" in call.text
        if "Proposed answer" in call.text:
            return "9" if page and "Proposed answer: Kathmandu" in call.text else "1"
        if "whole number" in call.text:
            return "8" if page else "2"
        if page:
            return "<answer> Kathmandu </answer>"
        return "<search> capital of Nepal </search>" if call.seed % 2 else "<answer> Pokhara </answer>"

    engine = FakeEngine(lambda request: (NEPAL,))
    row = predict("tree-search", FakeChat(written), engine)
    assert (row.answer, row.em) == ("Kathmandu", 1.0)
    assert engine.queries == ["capital of Nepal"]
    assert row.valid_actions == 1.0


def test_it_makes_no_more_searches_than_it_may() -> None:
    number = iter(range(1000))
    chat = FakeChat(
        lambda call: (
            "5"
            if "whole number" in call.text
            else f"<search> query {next(number)} </search>"
            if "next step" in call.text
            else "<answer> Kathmandu </answer>"
        )
    )
    engine = atlas()
    row = predict("tree-search", chat, engine, max_searches=2)
    assert len(engine.requests) == 2
    assert row.answer == "Kathmandu"  # asked for in the end: no branch had an answer


def test_the_calls_are_bounded_by_the_simulations() -> None:
    chat = rated("5", "<search> a </search>", "<answer> b </answer>", "<answer> c </answer>")
    chosen = TreeSettings(simulations=4, width=3)
    asyncio.run(tree_search(session(chat, max_searches=5), chosen))
    assert len(chat.calls) <= 4 * (3 + 1)
    assert {call.temperature for call in chat.calls} == {0.0, 0.7}


def test_it_is_the_same_whatever_order_replies_come_in() -> None:
    def tried(slow: int) -> tuple[str | None, str, list[str]]:
        async def written(call: ChatCall) -> str:
            for _ in range(call.seed % slow):
                await asyncio.sleep(0)
            if "whole number" in call.text:
                return str(call.seed % 11)
            return f"<answer> {call.seed % 3} </answer>" if call.seed % 5 else f"<search> {call.seed % 7} </search>"

        engine = FakeEngine(lambda request: (PERU,))
        row = predict("tree-search", FakeChat(written), engine)
        return row.answer, row.text, engine.queries

    assert tried(1) == tried(2) == tried(7)


def test_a_failed_reply_ends_the_try_and_leaves_no_task_behind() -> None:
    def written(call: ChatCall) -> str:
        if "next step" in call.text:
            raise EngineError("http", "down")
        return "5"

    row = predict("tree-search", FakeChat(written))
    assert (row.error, row.stop_reason, row.answer) == ("http", "model_error", None)


def test_the_question_and_its_documents_are_shown_and_nothing_golden() -> None:
    chat = rated("5", "<answer> b </answer>")
    predict("tree-search", chat)
    assert all(QUESTION.text in call.text for call in chat.calls)
    assert all("Kathmandu" not in call.text for call in chat.calls)
