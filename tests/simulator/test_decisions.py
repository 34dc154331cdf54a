"""Whether a useful page will hold the answer is decided first, at its own temperature, and kept for its rewrites."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from fakes import ChatCall, FakeChat

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig, SimulatedConfig
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Quality, SearchPage, SearchRequest
from zerosearch.errors import EngineError
from zerosearch.models.chat import Written, cut_anywhere
from zerosearch.parts import Parts
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.prompts import simulator_messages
from zerosearch.usage import Usage

NEPAL = Question("1", "Which capital?", ("Kathmandu", "Katmandu"))
USEFUL = SearchRequest("capital of Nepal", 1, NEPAL, Quality.USEFUL, seed=7)
HOLDS, LACKS = "[1] Nepal: Katmandu is the capital.", "[1] Nepal: A country with hills."
PLANNED = "1] Nepal: capital Katmandu</think>\n"


def scribe(decision: str, *pages: str) -> FakeChat:
    """Says one thing where it is asked to stop early, and writes one page after the other."""
    left = iter([*pages, *[pages[-1]] * 9])

    def say(call: ChatCall) -> Written:
        if call.stop:
            assert call.max_tokens < 20
            return Written(cut_anywhere(decision, call.stop), Usage(10, 2))
        return Written(next(left), Usage(10, 30))

    return FakeChat(say)


def decided(chat: FakeChat) -> list[ChatCall]:
    return [call for call in chat.calls if call.stop]


def written(chat: FakeChat) -> list[ChatCall]:
    return [call for call in chat.calls if not call.stop]


def search(chat: FakeChat, request: SearchRequest = USEFUL, plan_temperature: float | None = 0.0) -> SearchPage:
    told = SimulatedConfig(style="tuned", rewrites=2, plan_temperature=plan_temperature, temperature=0.7)
    return asyncio.run(SimulatedEngine(chat, told).search(request))


def test_an_answer_that_was_decided_on_is_written_until_it_is_there() -> None:
    chat = scribe("<think>[1] Nepal", PLANNED + LACKS, PLANNED + LACKS, PLANNED + HOLDS)
    page = search(chat)
    assert page.documents[0].text == "Katmandu is the capital."
    assert [(call.temperature, call.seed) for call in decided(chat)] == [(0.0, USEFUL.seed)]  # once for all rewrites
    assert [call.temperature for call in written(chat)] == [0.7] * 3
    assert len({call.seed for call in written(chat)}) == 3
    begun = [*simulator_messages(USEFUL, "tuned"), {"role": "assistant", "content": "<think>["}]
    assert all(call.messages == begun for call in written(chat))
    assert (page.attempts, page.usage) == (3, Usage(40, 92))  # the decision is paid for


def test_without_an_answer_decided_on_there_is_none() -> None:
    chat = scribe("<think>none</think>\n[1] Nepal", HOLDS, LACKS)
    assert search(chat).documents[0].text == "A country with hills."
    assert {call.text for call in written(chat)} == {"<think>none</think>\n"}


@pytest.mark.parametrize("said", ["[1] Nepal: Katmandu", "", "Sure, here they are:", "<think>Let me see.</think>"])
def test_a_simulator_without_plans_writes_as_if_it_had_not_been_asked(said: str) -> None:
    chat, plain = scribe(said, LACKS), scribe(said, LACKS)
    page = search(chat)
    undecided = search(plain, plan_temperature=None)
    assert replace(page, seconds=0.0, usage=Usage(10, 30)) == replace(undecided, seconds=0.0)
    assert written(chat) == written(plain)
    assert (len(decided(chat)), len(decided(plain))) == (1, 0)


@pytest.mark.parametrize(
    "change",
    [
        {"quality": Quality.NOISY},  # its word says it
        {"question": None},
        {"question": Question.asked("Which capital?")},
        {"question": Question("y", "Is it so?", ("yes",))},
    ],
)
def test_nothing_is_decided_where_nothing_is_to_be_decided(change: dict[str, Any]) -> None:
    chat = scribe("<think>[", LACKS)
    search(chat, replace(USEFUL, **change))
    assert decided(chat) == []
    assert chat.calls[0].messages[-1]["role"] == "user"


def test_a_decision_that_fails_is_a_failed_attempt() -> None:
    with pytest.raises(EngineError, match="the line is dead"):
        search(FakeChat(EngineError("connection", "the line is dead")))


def ask_server(simulator: dict[str, Any]) -> SearchPage:
    engine: Any = Parts(TrainConfig()).open_engine(EngineConfig.model_validate({"simulated": simulator}))

    async def ask() -> SearchPage:
        try:
            page: SearchPage = await engine.search(USEFUL)
            return page
        finally:
            await engine.aclose()

    return asyncio.run(ask())


def test_a_server_decides_first_and_goes_on_from_there(endpoint: Any, reply: Any, complete: Any) -> None:
    texts = ["<think>", PLANNED + LACKS, PLANNED + HOLDS]
    endpoint.script = [reply(body=complete(text)) for text in texts]
    simulator = {"base_url": endpoint.url, "model": "m", "style": "tuned", "plan_temperature": 0.0, "rewrites": 1}
    assert ask_server(simulator).documents[0].text == "Katmandu is the capital."
    decision, first, second = endpoint.requests
    assert (decision["temperature"], decision["stop"]) == (0.0, ["[", "\n"])
    assert (first["temperature"], first["continue_final_message"]) == (0.8, True)
    assert first["messages"][-1]["content"] == "<think>["
    assert second["messages"] == first["messages"]


def test_a_server_whose_simulator_has_no_plans_writes_its_page_all_the_same(
    endpoint: Any, reply: Any, complete: Any
) -> None:
    endpoint.script = [reply(body=complete("")), reply(body=complete(LACKS))]
    simulator = {"base_url": endpoint.url, "model": "m", "style": "tuned", "plan_temperature": 0.0, "rewrites": 1}
    page = ask_server(simulator)
    assert page.documents[0].text == "A country with hills."
    assert [request["messages"][-1]["role"] for request in endpoint.requests] == ["user", "user"]
    assert page.attempts == 1
