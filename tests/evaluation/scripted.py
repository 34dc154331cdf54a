"""A chat model that plays a script and an engine over a few documents: control flow without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from zerosearch.episodes.predictions import Prediction
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.questions import Question
from zerosearch.episodes.replies import cut_before
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.errors import EngineError
from zerosearch.evaluation.methods import PROMPTED, Errors, MethodSettings, Session
from zerosearch.evaluation.predictors import Prompted
from zerosearch.models.chat import Written
from zerosearch.usage import Usage

QUESTION = Question("q1", "What is the capital of Nepal?", ("Kathmandu",))
NEPAL = Document("Nepal", "Kathmandu is the capital of Nepal.")
PERU = Document("Peru", "Lima is the capital of Peru.")


@dataclass
class Call:
    """What the model was asked: all of it as one text, and how."""

    messages: list[Message]
    max_tokens: int
    temperature: float
    seed: int
    stop: tuple[str, ...]

    @property
    def text(self) -> str:
        return "\n".join(m["content"] for m in self.messages)


@dataclass
class ScriptedChat:
    """Answers with the script's texts in turn, or with what a function makes of a call. An error is raised."""

    script: Sequence[str | Exception] | Callable[[Call], str]
    model: str = "scripted"
    calls: list[Call] = field(default_factory=list)
    truncated: bool = False

    async def write(
        self,
        messages: Sequence[Message],
        *,
        max_tokens: int,
        temperature: float,
        seed: int,
        stop: tuple[str, ...] = (),
        outside_thoughts: bool = False,
    ) -> Written:
        call = Call(list(messages), max_tokens, temperature, seed, stop)
        self.calls.append(call)
        await asyncio.sleep(0)
        text = self.script(call) if callable(self.script) else self.script[len(self.calls) - 1]
        if isinstance(text, Exception):
            raise text
        return Written(cut_before(text, stop), Usage(10, 3), self.truncated)


@dataclass
class ScriptedEngine:
    """Finds documents by a function of the query; it keeps the requests that it got."""

    find: Callable[[str], Sequence[Document]] = lambda query: (NEPAL, PERU)
    name: str = "scripted"
    identity: str = "scripted"
    requests: list[SearchRequest] = field(default_factory=list)
    failing: bool = False

    async def search(self, request: SearchRequest) -> SearchPage:
        self.requests.append(request)
        await asyncio.sleep(0)
        if self.failing:
            raise EngineError("http", "down", attempts=3, usage=Usage(usd=0.5))
        return SearchPage(tuple(self.find(request.query))[: request.top_k], self.name)

    @property
    def queries(self) -> list[str]:
        return [request.query for request in self.requests]


def predict(
    method: str,
    chat: ScriptedChat,
    engine: ScriptedEngine | None = None,
    *,
    question: Question = QUESTION,
    errors: Errors | None = None,
    sample: int = 0,
    **settings: Any,
) -> Prediction:
    told, limits = MethodSettings(**settings), errors or Errors.limited(0.2)
    predictor = Prompted(PROMPTED[method], chat, engine or ScriptedEngine(), told, limits)
    return Prediction.of(question, asyncio.run(predictor.predict(question, sample)), "bench", method, sample)


def session(chat: ScriptedChat, engine: ScriptedEngine | None = None, **settings: Any) -> Session:
    return Session(QUESTION, chat, engine or ScriptedEngine(), MethodSettings(**settings), Errors.limited(1.0))
