"""Asking with a listener: told everything in its order, by generators that stream and by those that do not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fakes import FakeEngine, FakeGenerator

from zerosearch.asking import Answered, NobodyListens, ask
from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.questions import Question
from zerosearch.episodes.rollout import RolloutSettings
from zerosearch.episodes.search import Document, Quality, SearchPage
from zerosearch.errors import EngineError
from zerosearch.usage import Usage

TURNS = (
    "<think>Which city?</think>\n<search>capital of Nepal</search>",
    "<think>There.</think>\n<answer>Kathmandu</answer><|im_end|>",
)
PAGE = SearchPage((Document("Nepal", "Kathmandu is its capital.", "7"),), "library", seconds=0.5, usage=Usage(usd=0.25))


class Notebook:
    def __init__(self) -> None:
        self.events: list[tuple[str, Any]] = []

    def wrote(self, piece: Any) -> None:
        if self.events and self.events[-1][0] == piece.kind:
            self.events[-1] = (piece.kind, self.events[-1][1] + piece.text)
        else:
            self.events.append((piece.kind, piece.text))

    def searching(self, query: str) -> None:
        self.events.append(("searching", query))

    def found(self, page: SearchPage) -> None:
        self.events.append(("found", page))

    def failed(self, error: EngineError) -> None:
        self.events.append(("failed", error.kind))


@dataclass
class Streaming:
    """A generator that writes the first turn token by token, as a local model does, and then the second."""

    codec: Codec
    on_token: Callable[[int], None] | None = None

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        assert self.on_token is not None
        ids = self.codec.encode(TURNS["<information>" in self.codec.decode(prompt_ids)])
        for token in ids:
            self.on_token(token)
        return Generation(ids, [0.0] * len(ids), "stop")


def put(codec: Codec, engine: FakeEngine, *, streaming: bool = True) -> tuple[Answered, Notebook]:
    settings = RolloutSettings(codec, codec.encode, EpisodeLimits(), Sampling(temperature=0.0))
    notebook = Notebook()
    question = Question.asked("Capital of Nepal?")
    generator = Streaming(codec) if streaming else FakeGenerator(codec, *TURNS)
    return asyncio.run(ask(question, generator, engine, settings, notebook)), notebook


@pytest.mark.parametrize("streaming", [True, False])
def test_the_listener_hears_all_of_it_in_order(byte_codec: Codec, streaming: bool) -> None:
    engine = FakeEngine(PAGE)
    asked, notebook = put(byte_codec, engine, streaming=streaming)
    assert notebook.events == [
        ("think", "Which city?"),
        ("text", "\n"),
        ("search", "capital of Nepal"),
        ("searching", "capital of Nepal"),
        ("found", PAGE),
        ("think", "There."),
        ("text", "\n"),
        ("answer", "Kathmandu"),
    ]
    assert asked.trajectory.answer == "Kathmandu"
    [request] = engine.requests
    assert request.quality is Quality.USEFUL
    assert request.question is not None
    assert request.question.golden_answers == ()


def test_the_json_holds_answer_pages_text_and_timings(byte_codec: Codec) -> None:
    asked, _ = put(byte_codec, FakeEngine(PAGE))
    row = json.loads(json.dumps(asked.as_dict()))
    assert (row["question"], row["answer"], row["stop_reason"]) == ("Capital of Nepal?", "Kathmandu", "answer")
    [search] = row["searches"]
    assert search["query"] == "capital of Nepal"
    assert search["documents"] == [{"title": "Nepal", "text": "Kathmandu is its capital.", "id": "7"}]
    assert row["text"].startswith(TURNS[0] + "\n<information>\n[1] Nepal: Kathmandu is its capital.\n</information>\n")
    assert row["text"].endswith(TURNS[1])
    assert row["policy_tokens"] == sum(len(byte_codec.encode(turn)) for turn in TURNS)
    assert row["cost_usd"] == 0.25
    assert 0 <= row["seconds"]["writing"] + row["seconds"]["searching"] <= row["seconds"]["total"] + 0.002
    assert row["error"] is None
    assert not any(key in row for key in ("f1", "em", "reward", "scores"))  # nobody knows the answer


def test_a_failed_search_is_told_and_ends_the_episode(byte_codec: Codec) -> None:
    asked, notebook = put(byte_codec, FakeEngine(EngineError("connection", "nobody there", usage=Usage(usd=0.5))))
    assert notebook.events[-2:] == [("searching", "capital of Nepal"), ("failed", "connection")]
    row = asked.as_dict()
    assert row["answer"] is None
    assert row["stop_reason"] == "engine_error"
    assert row["error"] == {"kind": "connection", "message": "nobody there"}
    assert row["cost_usd"] == 0.5


def test_once_a_question_is_given_up_nothing_more_is_told_of_it(byte_codec: Codec) -> None:
    notebook, said = Notebook(), []

    class Slow(Streaming):
        async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
            said.append(self.on_token)
            await asyncio.Event().wait()
            raise AssertionError

    async def give_up() -> None:
        settings = RolloutSettings(byte_codec, byte_codec.encode, EpisodeLimits(), Sampling())
        question = Question.asked("Why?")
        task = asyncio.create_task(ask(question, Slow(byte_codec), FakeEngine(PAGE), settings, notebook))
        while not said:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    with pytest.raises(NobodyListens):  # what ends the decoding thread
        said[0](ord("x"))
    assert notebook.events == []
