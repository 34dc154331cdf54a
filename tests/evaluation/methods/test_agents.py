"""ReAct and Search-o1: turns, observations, and a last turn that can only answer."""

from __future__ import annotations

import pytest
from evaluation.scripted import NEPAL, QUESTION, atlas, predict
from fakes import FakeChat

SEARCH = {
    "react": "Thought: hm\nAction: Search[capital of Nepal]",
    "search-o1": "Hm. <search> capital of Nepal </search>",
}
ANSWER = {"react": "Thought: so\nAction: Finish[Kathmandu]", "search-o1": "So <answer> Kathmandu </answer>"}
AGENTS = ["react", "search-o1"]


def script(method: str, *turns: str) -> list[str]:
    """`search`, `answer` or a text, one a turn; Search-o1 condenses each page with a call of its own."""
    replies: list[str] = []
    for turn in turns:
        replies.append({"search": SEARCH[method], "answer": ANSWER[method]}.get(turn, turn))
        if turn == "search" and method == "search-o1":
            replies.append("The capital of Nepal is Kathmandu.")
    return replies


def test_react_shows_the_page_itself_as_the_observation() -> None:
    chat, engine = FakeChat(*script("react", "search", "answer")), atlas()
    row = predict("react", chat, engine)
    assert engine.queries == ["capital of Nepal"]
    assert [m["role"] for m in chat.calls[1].messages] == ["user", "assistant", "user"]
    assert chat.calls[1].messages[1]["content"] == SEARCH["react"]
    assert chat.calls[1].messages[2]["content"].startswith(f"Observation: [1] Nepal: {NEPAL.text}")
    assert (row.em, row.turns, row.valid_actions, row.stop_reason) == (1.0, 2, 1.0, "answer")


def test_react_is_stopped_before_it_makes_up_an_observation() -> None:
    made_up = SEARCH["react"] + "\nObservation: [1] Nepal: Pokhara.\nAction: Finish[Pokhara]"
    chat = FakeChat(made_up, ANSWER["react"])
    row = predict("react", chat)
    assert row.answer == "Kathmandu"
    assert "Pokhara" not in chat.calls[1].whole


def test_search_o1_reasons_in_the_documents_and_shows_only_what_came_of_it() -> None:
    chat, engine = FakeChat(*script("search-o1", "search", "answer")), atlas()
    row = predict("search-o1", chat, engine)
    condense, last = chat.calls[1], chat.calls[2]
    assert NEPAL.text in condense.text
    assert "Query: capital of Nepal" in condense.text
    assert f"Reasoning so far: {SEARCH['search-o1']}" in condense.text
    assert NEPAL.text not in last.whole
    assert last.messages[-1]["content"].startswith("Found for capital of Nepal: The capital of Nepal is Kathmandu.")
    assert (row.em, row.turns, row.valid_actions, len(row.searches)) == (1.0, 3, 1.0, 1)


@pytest.mark.parametrize("method", AGENTS)
def test_the_last_turn_cannot_search(method: str) -> None:
    chat, engine = FakeChat(*script(method, *["search"] * 3)), atlas()
    row = predict(method, chat, engine, max_searches=2)
    assert len(engine.requests) == len(row.searches) == 2
    assert (row.answer, row.stop_reason) == (None, "refused_search")
    turns = [call for call in chat.calls if "Read the documents" not in call.text]
    assert ["No searches are left" in call.text for call in turns] == [False, False, True]


@pytest.mark.parametrize("method", AGENTS)
def test_without_searches_the_first_turn_is_the_last(method: str) -> None:
    chat, engine = FakeChat(*script(method, "search")), atlas()
    assert predict(method, chat, engine, max_searches=0).stop_reason == "refused_search"
    assert engine.requests == []
    assert "No searches are left" in chat.calls[0].text


@pytest.mark.parametrize("method", AGENTS)
def test_a_turn_that_does_nothing_is_told_so_and_uses_up_a_turn(method: str) -> None:
    chat = FakeChat(*script(method, "Hm.", "", "Hm."))
    row = predict(method, chat, max_searches=2)
    assert (row.answer, row.turns, row.valid_actions, row.stop_reason) == (None, 3, 0.0, "no_answer")
    observed = chat.calls[1].messages[-1]["content"]
    assert "Search[query]" in observed or "inside <search>" in observed
    assert all(m["content"].strip() for m in chat.calls[2].messages)  # some templates refuse an empty message


@pytest.mark.parametrize("method", AGENTS)
def test_every_call_has_a_seed_of_its_own_that_only_its_place_decides(method: str) -> None:
    def seeds(sample: int, seed: int) -> list[int]:
        chat = FakeChat(*script(method, "search", "answer"))
        predict(method, chat, sample=sample, seed=seed)
        return chat.seeds

    assert seeds(0, 1) == seeds(0, 1)
    assert len({*seeds(0, 1), *seeds(1, 1), *seeds(0, 2)}) == 3 * len(seeds(0, 1))


@pytest.mark.parametrize("method", AGENTS)
def test_the_transcript_tells_what_was_written_and_searched_in_order(method: str) -> None:
    row = predict(method, FakeChat(*script(method, "search", "answer")))
    lines = [line.partition(":")[0] for line in row.text.splitlines() if line.startswith(("model:", "search:"))]
    assert lines == (["model", "search", "model"] if method == "react" else ["model", "search", "model", "model"])
    assert QUESTION.text not in row.text
