"""Whether a useful page will hold the answer is decided first, at its own temperature, and kept for its rewrites."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from zerosearch.config import TrainConfig
from zerosearch.engines.config import EngineConfig
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Noise, Quality, SearchPage, SearchRequest
from zerosearch.errors import EngineError
from zerosearch.models.chat import Written, cut_anywhere
from zerosearch.parts import Parts
from zerosearch.simulator.engine import SimulatedEngine
from zerosearch.simulator.prompts import PromptStyle, simulator_messages
from zerosearch.usage import Usage

NEPAL = Question("1", "Which capital?", ("Kathmandu", "Katmandu"))
USEFUL = SearchRequest("capital of Nepal", 1, NEPAL, Quality.USEFUL, seed=7)
HOLDS, LACKS = "[1] Nepal: Katmandu is the capital.", "[1] Nepal: A country with hills."
PLANNED = "1] Nepal: capital Katmandu</think>\n"


class Scribe:
    """Says one thing where it is asked to stop early, writes one page after the other; keeps how it was asked."""

    model = "scribe"

    def __init__(self, decision: str, *pages: str) -> None:
        self.decision, self.pages = decision, list(pages)
        self.asked: list[tuple[Sequence[Message], float, int]] = []
        self.decided: list[tuple[float, int]] = []

    async def write(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int, stop: tuple[str, ...] = ()
    ) -> Written:
        if stop:
            assert max_tokens < 20
            self.decided.append((temperature, seed))
            return Written(cut_anywhere(self.decision, stop), Usage(10, 2))
        self.asked.append((messages, temperature, seed))
        return Written(self.pages.pop(0) if len(self.pages) > 1 else self.pages[0], Usage(10, 30))


def search(
    scribe: Scribe, request: SearchRequest = USEFUL, temperature: float | None = 0.0, style: PromptStyle = "tuned"
) -> SearchPage:
    engine = SimulatedEngine(scribe, style=style, rewrites=2, plan_temperature=temperature, temperature=0.7)
    return asyncio.run(engine.search(request))


def test_an_answer_that_was_decided_on_is_written_until_it_is_there() -> None:
    scribe = Scribe("<think>[1] Nepal", PLANNED + LACKS, PLANNED + LACKS, PLANNED + HOLDS)
    page = search(scribe)
    assert page.documents[0].text == "Katmandu is the capital."
    assert scribe.decided == [(0.0, USEFUL.seed)]  # once for all rewrites
    assert [temperature for _, temperature, _ in scribe.asked] == [0.7] * 3
    assert len({seed for *_, seed in scribe.asked}) == 3
    begun = [*simulator_messages(USEFUL, "tuned"), {"role": "assistant", "content": "<think>["}]
    assert all(list(messages) == begun for messages, *_ in scribe.asked)
    assert (page.attempts, page.usage) == (3, Usage(40, 92))  # the decision is paid for


def test_without_an_answer_decided_on_there_is_none() -> None:
    scribe = Scribe("<think>none</think>\n[1] Nepal", HOLDS, LACKS)
    assert search(scribe).documents[0].text == "A country with hills."
    assert {messages[-1]["content"] for messages, *_ in scribe.asked} == {"<think>none</think>\n"}


@pytest.mark.parametrize("said", ["[1] Nepal: Katmandu", "", "Sure, here they are:", "<think>Let me see.</think>"])
def test_a_simulator_without_plans_writes_as_if_it_had_not_been_asked(said: str) -> None:
    scribe, plain = Scribe(said, LACKS), Scribe(said, LACKS)
    page = search(scribe)
    assert replace(page, seconds=0.0, usage=Usage(10, 30)) == replace(search(plain, temperature=None), seconds=0.0)
    assert scribe.asked == plain.asked
    assert (len(scribe.decided), len(plain.decided)) == (1, 0)


@pytest.mark.parametrize(
    ("request_", "style"),
    [
        (replace(USEFUL, quality=Quality.NOISY), "tuned"),  # its word says it
        (replace(USEFUL, question=None), "tuned"),
        (replace(USEFUL, question=Question.asked("Which capital?")), "tuned"),
        (replace(USEFUL, question=Question("y", "Is it so?", ("yes",))), "tuned"),
        (USEFUL, "instruct"),
    ],
)
def test_nothing_is_decided_where_nothing_is_to_be_decided(request_: SearchRequest, style: PromptStyle) -> None:
    scribe = Scribe("<think>[", LACKS)
    search(scribe, request_, style=style)
    assert scribe.decided == []
    assert scribe.asked[0][0][-1]["role"] == "user"


def test_the_useful_half_of_a_mixed_page_is_decided_on() -> None:
    mixed = SearchRequest("capital of Nepal", 2, NEPAL, "mixed", 7, (Quality.USEFUL, Noise.PLAIN))
    scribe = Scribe("<think>none", "[1] Nepal: Hills.\n[2] Peru: Lima.")
    search(scribe, mixed)
    assert len(scribe.decided) == 1


def test_a_decision_that_fails_is_a_failed_attempt() -> None:
    class Broken(Scribe):
        async def write(self, messages: Sequence[Message], *, stop: tuple[str, ...] = (), **options: object) -> Written:
            raise EngineError("connection", "the line is dead")

    with pytest.raises(EngineError, match="the line is dead"):
        search(Broken("", LACKS))


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
    assert (first["temperature"], first["continue_final_message"], first["messages"][-1]["content"]) == (
        0.8,
        True,
        "<think>[",
    )
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
