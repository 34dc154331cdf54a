"""A policy behind a URL: any server with OpenAI's `/chat/completions` or `/completions`. To play with, never to train.

    generator = OpenAIGenerator("http://localhost:8000/v1", "Qwen/Qwen2.5-7B-Instruct", max_turn_tokens=500)
    episode = Episode(question, byte_codec().encode(prompt), byte_codec(), byte_limits(EpisodeLimits()))

No tokenizer is needed. An id is one byte of the episode's UTF-8 text, plus `OWN` where the policy wrote it: ids tell
its turns from what it was shown, and `bytes(i % OWN for i in trajectory.ids).decode()` is the episode.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal

from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Generation, GenerationStop, Sampling
from zerosearch.episodes.protocol import CONTROL_TEXTS, Message
from zerosearch.episodes.replies import close_tag, may_think_unseen, stop_end, thinking
from zerosearch.errors import EngineError, PolicyError
from zerosearch.models.client import PerLoop
from zerosearch.models.completions import LENGTH, Completion, CompletionServer
from zerosearch.models.config import RequestConfig
from zerosearch.models.retry import Retry, with_retry
from zerosearch.usage import UNPRICED, TokenPrices, Usage

log = logging.getLogger(__name__)

Endpoint = Literal["chat", "completions"]

OWN = 256
"""Added to the bytes that the policy wrote."""
BYTES_PER_TOKEN = 4
"""What a token is taken for where only the server could count: English prose has a little more bytes a token."""
RETRY = Retry(attempts=5, deadline_seconds=600.0, backoff_seconds=1.0, max_backoff_seconds=60.0)
_PATHS: dict[Endpoint, str] = {"chat": "/chat/completions", "completions": "/completions"}
_OWN_FIELDS = ("model", "messages", "prompt", "stream", "n", "stop", "max_tokens")


def byte_codec() -> Codec:
    """One id a byte. Half a character (a lone surrogate, or where a page was cut) is read as a replacement character.

    Which control tokens the endpoint's tokenizer has is not known: those of the common chat templates are neutralised.
    """

    def encode(text: str) -> list[int]:
        return list(text.encode("utf-8", "replace"))

    def decode(ids: Sequence[int]) -> str:
        return bytes(i % OWN for i in ids).decode("utf-8", "replace")

    return Codec(encode, decode, CONTROL_TEXTS)


def byte_limits(limits: EpisodeLimits) -> EpisodeLimits:
    """`limits` in tokens as limits in bytes, at `BYTES_PER_TOKEN`.

    The turn's is left to the context's: the server counts a turn's tokens itself, and exactly.
    """
    context = limits.max_context_tokens * BYTES_PER_TOKEN
    return replace(
        limits,
        max_turn_tokens=context,
        max_page_tokens=limits.max_page_tokens * BYTES_PER_TOKEN,
        max_context_tokens=context,
        answer_reserve_tokens=limits.answer_reserve_tokens * BYTES_PER_TOKEN,
    )


def as_messages(ids: Sequence[int]) -> list[Message]:
    """The episode so far as a chat: what the policy wrote is the assistant's, all else the user's.

    Put one after the other, the contents are the episode's text, to the letter. The split goes by the ids: no text that
    a policy or a page writes can move it.
    """
    decode = byte_codec().decode
    return [
        {"role": "assistant" if own else "user", "content": decode(list(part))}
        for own, part in groupby(ids, key=lambda i: i >= OWN)
    ]


class OpenAIGenerator:
    """A `Generator` over episodes of `byte_codec`. Temperature, top_p, seed and stop strings are sent as they are.

    `chat` works with every endpoint. `completions` sends the bare text, and its prompt must be in the model's own form.
    `max_turn_tokens` is sent as `max_tokens`; less where the episode's room, at `BYTES_PER_TOKEN`, is less. Servers cut
    a stop string off: it is put back. Where they ignore it, the text ends with it all the same. A server stops in a
    thought too (`replies`): a turn that was stopped in one is asked for once more without stop strings, and so is every
    turn of a model that may think unseen: the first of an episode, and all where a template opens its thoughts.

    The log-probs are NaN: those of the sampled bytes do not exist, and a learner refuses to train on NaN.

    A generation's `usage` is that of all its requests, at `prices`. `max_connections` bounds the requests under way;
    further ones wait, outside of their deadline. `options` change the request. `sleep` is for tests.

    A reply without text is a turn of nothing, as a local policy may have one too. They are counted, the first is told
    of, and where no reply has a text at all it is the server that is to be mended, not the policy.

    Raises `ConfigError` for an address that cannot be used or a key that is not set. `generate` raises `PolicyError`, a
    `RunError`, once the attempts or the deadline of `retry` are used up, or where no reply so far has had a text: an
    episode without its turn cannot go on.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        max_turn_tokens: int,
        endpoint: Endpoint = "chat",
        api_key_env: str | None = None,
        retry: Retry = RETRY,
        max_connections: int = 64,
        prices: TokenPrices = UNPRICED,
        options: RequestConfig | None = None,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.model = model
        self._endpoint = endpoint
        self._max_turn_tokens = max_turn_tokens
        self._retry, self._sleep = retry, sleep
        self.replies = self.silent = self._under_way = self._mute = 0
        self._spoken = False
        self._waiting: list[asyncio.Event] = []
        self._server = CompletionServer(
            base_url,
            _PATHS[endpoint],
            setting="model.base_url",
            api_key_env=api_key_env,
            options=options,
            own=_OWN_FIELDS,
            timeout_seconds=retry.deadline_seconds or 600.0,
            max_connections=max_connections,
            prices=prices,
        )
        self.url = self._server.url
        self._gate = PerLoop(lambda: asyncio.Semaphore(max_connections))

    def __repr__(self) -> str:
        return f"OpenAIGenerator({self.url!r}, model={self.model!r})"

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        """The policy's next turn, at most `sampling.max_tokens` bytes of it."""
        said = [m["content"] for m in as_messages(prompt_ids) if m["role"] == "assistant"]
        body = self._body(prompt_ids, sampling)
        unstopped = {name: value for name, value in body.items() if name != "stop"}
        told = bool(sampling.stop) and not may_think_unseen(said)
        silences: list[str] = []
        usage = Usage()

        async def ask(body: dict[str, Any]) -> Generation:
            nonlocal usage
            answer = await self._server.complete(body)
            usage += answer.usage
            silences.append(answer.silent)
            return self._read(answer, sampling)

        async def attempt(number: int) -> Generation:
            read = await ask(body if told else unstopped)
            if told and _undecided(read, sampling.stop):
                read = await ask(unstopped)
            ended = read.stop_reason == "stop" and _undecided(read, sampling.stop)
            return replace(read, stop_reason="eos") if ended else read

        try:
            async with self._gate.get():
                self._under_way += 1
                try:
                    generation, _ = await with_retry(attempt, self._retry, sleep=self._sleep)
                    await self._hear(silences[-1])
                finally:
                    self._under_way -= 1
                    self._wake()
        except EngineError as error:
            reason = str(error).removesuffix(".")
            hint = "; protocol.max_context_tokens may be too large for it" if "context" in reason.lower() else ""
            raise PolicyError(
                error.kind,
                f"the policy {self.model} gave no text in {error.attempts} attempt(s): {reason}{hint}. Nothing written "
                "so far is lost; mend the endpoint and run the same command again",
                usage=usage,
            ) from None
        return replace(generation, usage=usage)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The generator can be used again afterwards."""
        if self.silent > 1:
            log.warning("%d of %d replies of the policy %s came without text", self.silent, self.replies, self.model)
        await self._server.aclose()

    def _body(self, prompt_ids: list[int], sampling: Sampling) -> dict[str, Any]:
        told: dict[str, Any] = (
            {"messages": as_messages(prompt_ids)}
            if self._endpoint == "chat"
            else {"prompt": byte_codec().decode(prompt_ids)}
        )
        return {
            "model": self.model,
            **told,
            "max_tokens": max(1, min(self._max_turn_tokens, sampling.max_tokens // BYTES_PER_TOKEN)),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,  # 1 too: some servers would take the model's own default
            "top_k": sampling.top_k or None,  # not OpenAI's: sent only where it is asked for
            "seed": sampling.seed % 2**31,  # some servers keep 32 bits
            "stop": list(sampling.stop) or None,
            "stream": False,
        }

    def _read(self, answer: Completion, sampling: Sampling) -> Generation:
        text, reason = end_turn(answer.text, answer.choice, sampling.stop)
        written = text.encode("utf-8", "replace")
        if len(written) > sampling.max_tokens:
            written = written[: sampling.max_tokens].decode("utf-8", "ignore").encode()
            reason = "length"
        return Generation([OWN + byte for byte in written], [math.nan] * len(written), reason)

    async def _hear(self, silence: str) -> None:
        """Count a reply. Until one has a text, silence waits for what else is under way: it may be the server's.

        Raises `EngineError` where all of that came without text too.
        """
        self.replies += 1
        if not silence:
            self._spoken = True
            self._wake()
            return
        self.silent += 1
        if self.silent == 1:
            log.warning("the policy %s: a reply came without text: %s", self.model, silence)
        self._mute += 1
        self._wake()
        try:
            while not self._spoken and self._mute < self._under_way:
                woken = asyncio.Event()
                self._waiting.append(woken)
                await woken.wait()
        finally:
            self._mute -= 1
        if not self._spoken:
            raise EngineError("empty", f"{self.url}: no reply has a text: {silence}")

    def _wake(self) -> None:
        for woken in self._waiting:
            woken.set()
        self._waiting.clear()


def end_turn(text: str, choice: Mapping[str, Any], stop: Sequence[str]) -> tuple[str, GenerationStop]:
    """A turn as it would have been sampled: up to and with its stop string. `choice` is what the server says of it.

    Servers cut the stop string off. vLLM (`stop_reason`) and SGLang (`matched_stop`) tell which one it was, or that
    there was none; elsewhere a text that was stopped while a tag was open (`<search>`) was stopped by its end, whatever
    the server calls that (`stop`, `stop_sequence`, `end_turn`). A text that ended by itself inside of a tag cannot be
    told from that there, and counts as closed. A stop string in a thought ends nothing.

    >>> end_turn("<search> capital of Nepal ", {"finish_reason": "stop"}, ("</search>", "</answer>"))
    ('<search> capital of Nepal </search>', 'stop')
    """
    end = stop_end(text, stop)
    if end is not None:
        return text[:end], "stop"
    reason = str(choice.get("finish_reason") or "stop").lower()
    if reason in LENGTH:
        return text, "length"
    if "filter" in reason or "safety" in reason:
        return text, "eos"
    told = [choice[name] for name in ("stop_reason", "matched_stop", "stop_sequence") if name in choice]
    for name in told:
        if name in stop:
            return text + name, "stop"
    if any(not isinstance(name, str) for name in told):  # null, or the id of an end token
        return text, "eos"
    closed = close_tag(text, stop)
    return (closed, "eos" if closed == text else "stop")


def _undecided(read: Generation, stop: Sequence[str]) -> bool:
    """Whether a turn has done nothing yet: it ends in a thought or with a quotation, or nothing of it is seen."""
    text = byte_codec().decode(read.token_ids)
    stopped = read.stop_reason == "stop" and stop_end(text, stop) is None
    return stopped or (read.stop_reason != "length" and (not text.strip() or thinking(text)))
