"""Where the text of a model that thinks ends: at a stop string outside of its thoughts."""

from __future__ import annotations

import asyncio
import copy
from typing import Any

import pytest

from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.replies import visible
from zerosearch.models.chat import GeneratorWriter, OpenAIWriter, Written
from zerosearch.models.config import Server

MESSAGES: list[Message] = [{"role": "user", "content": "Query: Nepal"}]


@pytest.fixture
def writer(endpoint: Any) -> OpenAIWriter:
    return OpenAIWriter(Server(endpoint.url, timeout_seconds=30.0), "tiny")


THINKS = "<think>I write <answer> and </answer>. Lima?</think><answer>Lima</answer> and more"


@pytest.mark.parametrize(("said", "stops"), [("Hm.", [True, False]), ("Hm.</think> Yes.", [False]), (None, [False])])
@pytest.mark.parametrize("reasoning_parser", [False, True])
def test_a_stop_outside_of_thoughts_holds_whatever_the_thought_says(
    writer: OpenAIWriter, endpoint: Any, reply: Any, complete: Any, said: str | None, stops: Any, reasoning_parser: bool
) -> None:
    def thinks(request: dict[str, Any]) -> Any:
        end = min((THINKS.find(stop) for stop in request.get("stop", ())), default=len(THINKS))
        text = THINKS[:end]
        usage = {"prompt_tokens": 5, "completion_tokens": 7}
        return reply(body=complete(text.partition("</think>")[2] if reasoning_parser else text, usage=usage))

    async def written() -> Written:
        chat = MESSAGES if said is None else [*MESSAGES, {"role": "assistant", "content": said}, MESSAGES[-1]]
        try:
            return await writer.write(
                chat, max_tokens=50, temperature=0.0, seed=1, stop=("</answer>",), outside_thoughts=True
            )
        finally:
            await writer.aclose()

    endpoint.answer = thinks
    found = asyncio.run(written())
    assert visible(found.text).strip() == "<answer>Lima"
    assert ["stop" in request for request in endpoint.requests] == stops
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (5 * len(stops), 7 * len(stops))


@pytest.mark.parametrize("opened", [False, True])
def test_a_local_model_that_is_stopped_in_a_thought_goes_on(tiny_tokenizer: Any, opened: bool) -> None:
    pieces = ["<think>" * (not opened) + "I write <answer> and </answer>", ". Lima?</think><answer>Lima</answer>"]
    asked: list[tuple[int, int, int]] = []

    class Stopping:
        async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
            asked.append((len(prompt_ids), sampling.max_tokens, sampling.seed))
            ids = list(tiny_tokenizer.encode(pieces[len(asked) - 1], add_special_tokens=False))
            return Generation(ids, [0.0] * len(ids), "stop")

    tokenizer = copy.deepcopy(tiny_tokenizer)
    tokenizer.chat_template += "<think>\n" * opened
    local = GeneratorWriter(Stopping(), tokenizer, model="tiny")
    call = local.write(MESSAGES, max_tokens=99, temperature=0.0, seed=1, stop=("</answer>",), outside_thoughts=True)
    written = asyncio.run(call)
    assert visible(written.text).strip() == "<answer>Lima"
    (first, all_of_it, _), (second, left, _) = asked
    assert second - first == all_of_it - left > 0
    assert len({seed for *_, seed in asked}) == 2
