"""A chat model, a search engine and a generator that say what a script says, and keep what they were asked.

    chat = FakeChat("not a page", "[1] Nepal: Kathmandu.")       # one after the other, the last one for ever
    engine = FakeEngine(lambda request: EngineError("http", "down"))
    generator = FakeGenerator(byte_codec, lambda prompt, sampling: "<answer>Lima</answer>")

A script is one thing or several to say, or a function of the call; an exception in it is raised.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.replies import cut_before
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.models.chat import Written, cut_anywhere
from zerosearch.usage import NOTHING, Usage


async def _said(script: Sequence[Any], number: int, *call: Any) -> Any:
    """What the script says to call `number`, counted from 0."""
    said = script[min(number, len(script) - 1)]
    if callable(said):
        said = said(*call)
    if inspect.isawaitable(said):
        said = await said
    if isinstance(said, BaseException):
        raise said
    return said


@dataclass(frozen=True)
class ChatCall:
    messages: list[Message]
    max_tokens: int
    temperature: float
    seed: int
    stop: tuple[str, ...]

    @property
    def text(self) -> str:
        """The last message."""
        return self.messages[-1]["content"]

    @property
    def whole(self) -> str:
        """All messages."""
        return "\n".join(message["content"] for message in self.messages)


class FakeChat:
    """A `ChatModel`. The script gives texts, or whole `Written`s; a text costs `usage`."""

    def __init__(self, *script: Any, usage: Usage = NOTHING, model: str = "fake") -> None:
        self.script, self.usage, self.model, self.identity = script, usage, model, f"fake:{model}"
        self.calls: list[ChatCall] = []

    async def write(
        self, messages: Sequence[Message], sampling: Sampling, *, outside_thoughts: bool = False
    ) -> Written:
        call = ChatCall(list(messages), sampling.max_tokens, sampling.temperature, sampling.seed, sampling.stop)
        self.calls.append(call)
        await asyncio.sleep(0)
        said = await _said(self.script, len(self.calls) - 1, call)
        if isinstance(said, Written):
            return said
        return Written((cut_before if outside_thoughts else cut_anywhere)(said, sampling.stop), self.usage)

    @property
    def seeds(self) -> list[int]:
        return [call.seed for call in self.calls]


class FakeEngine:
    """A `SearchEngine`. The script gives pages, or the documents of one, of which the first `top_k` are taken."""

    def __init__(self, *script: Any, name: str = "test", usage: Usage = NOTHING) -> None:
        self.script, self.name, self.identity, self.usage = script, name, name, usage
        self.requests: list[SearchRequest] = []

    async def search(self, request: SearchRequest) -> SearchPage:
        self.requests.append(request)
        said = await _said(self.script, len(self.requests) - 1, request)
        if isinstance(said, SearchPage):
            return said
        documents: tuple[Document, ...] = tuple(said)[: request.top_k]
        return SearchPage(documents, self.name, usage=self.usage)

    @property
    def queries(self) -> list[str]:
        return [request.query for request in self.requests]


class FakeGenerator:
    """A `Generator`. The script gives texts, or whole `Generation`s, of the prompt's text and the sampling."""

    def __init__(self, codec: Codec, *script: str | Callable[[str, Sampling], Any], usage: Usage | None = None) -> None:
        self.codec, self.script, self.usage = codec, script, usage
        self.asked: list[tuple[str, Sampling]] = []

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        prompt = self.codec.decode(prompt_ids)
        self.asked.append((prompt, sampling))
        said = await _said(self.script, len(self.asked) - 1, prompt, sampling)
        if isinstance(said, Generation):
            return said
        ids = self.codec.encode(said)
        return Generation(ids, [-0.5] * len(ids), "stop", self.usage)
