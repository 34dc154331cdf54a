"""A policy behind a URL: any server with OpenAI's `/chat/completions` or `/completions`. Not for training.

    generator = OpenAIGenerator(Server("http://localhost:8000/v1"), "Qwen/Qwen2.5-7B-Instruct", max_turn_tokens=500)
    episode = Episode(question, byte_codec().encode(prompt), byte_codec(), byte_limits(EpisodeLimits()))

No tokenizer is needed. An id is one byte of the episode's UTF-8 text, plus `OWN` where the policy wrote it: ids tell
its turns from what it was shown, and `bytes(i % OWN for i in trajectory.ids).decode()` is the episode.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any, Literal

from zerosearch.episodes.episode import Codec, EpisodeLimits
from zerosearch.episodes.generation import Generation, Sampling
from zerosearch.episodes.protocol import CONTROL_TEXTS, Message
from zerosearch.errors import EngineError, PolicyError
from zerosearch.models.client import PerLoop
from zerosearch.models.completions import Completion, CompletionServer, end_turn, undecided
from zerosearch.models.config import Server
from zerosearch.models.retry import PATIENT, Retry, with_retry
from zerosearch.spending.ledger import counted
from zerosearch.usage import Usage

log = logging.getLogger(__name__)

Endpoint = Literal["chat", "completions"]

OWN = 256
"""Added to the bytes that the policy wrote."""
BYTES_PER_TOKEN = 4
"""What a token is taken for where only the server could count: English prose has a little more bytes a token."""
_PATHS: dict[Endpoint, str] = {"chat": "/chat/completions", "completions": "/completions"}


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


def generation_of(text: str, choice: Mapping[str, Any], sampling: Sampling, usage: Usage | None = None) -> Generation:
    """A turn that was written elsewhere, as `byte_codec` has it: up to and with its stop string, at most
    `sampling.max_tokens` bytes. `choice` is what is said of how it ended (`end_turn`). The log-probs are NaN."""
    text, reason = end_turn(text, choice, sampling.stop)
    written = text.encode("utf-8", "replace")
    if len(written) > sampling.max_tokens:
        written = written[: sampling.max_tokens].decode("utf-8", "ignore").encode()
        reason = "length"
    if reason == "stop" and undecided(text, reason, sampling.stop):
        reason = "eos"
    return Generation([OWN + byte for byte in written], [math.nan] * len(written), reason, usage)


class OpenAIGenerator:
    """A `Generator` over episodes of `byte_codec`. Temperature, top_p, seed and stop strings are sent as they are.

    `chat` works with every endpoint. `completions` sends the bare text, and its prompt must be in the model's own form.
    `max_turn_tokens` is sent as `max_tokens`; less where the episode's room, at `BYTES_PER_TOKEN`, is less. A turn ends
    with its stop string, whether the server cuts it off, leaves it in or ignores it. Requests beyond the server's
    `max_connections` wait, outside of their deadline.

    The log-probs are NaN: those of the sampled bytes do not exist, and a learner refuses to train on NaN. The usage is
    that of all requests of a turn.

    A reply without text is a turn of nothing, as a local policy may have one too. They are counted, the first is told
    of, and where no reply has a text at all it is the server that is to be mended, not the policy.

    Raises `ConfigError` for an address that cannot be used or a key that is not set. `generate` raises `PolicyError`, a
    `RunError`, once the attempts or the deadline of `retry` are used up, or where no reply so far has had a text: an
    episode without its turn cannot go on.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        *,
        max_turn_tokens: int,
        endpoint: Endpoint = "chat",
        retry: Retry = PATIENT,
    ) -> None:
        self.model = model
        self._endpoint = endpoint
        self._max_turn_tokens = max_turn_tokens
        self._retry = retry
        self.replies = self.silent = self._under_way = self._mute = 0
        self._spoken = False
        self._changed = asyncio.Event()
        self._server = CompletionServer(server, model, _PATHS[endpoint])
        self._gate = PerLoop(lambda: asyncio.Semaphore(server.max_connections))

    async def generate(self, prompt_ids: list[int], sampling: Sampling) -> Generation:
        """The policy's next turn, at most `sampling.max_tokens` bytes of it."""
        shown = as_messages(prompt_ids)
        said = [m["content"] for m in shown if m["role"] == "assistant"]
        prompt: dict[str, Any] = {
            **({"messages": shown} if self._endpoint == "chat" else {"prompt": byte_codec().decode(prompt_ids)}),
            "top_p": sampling.top_p,  # 1 too: some servers would take the model's own default
        }
        room = max(1, min(self._max_turn_tokens, sampling.max_tokens // BYTES_PER_TOKEN))
        usage = Usage()

        async def attempt(number: int) -> Completion:
            nonlocal usage
            try:
                reply = await self._server.write(prompt, replace(sampling, max_tokens=room), said)
            except EngineError as error:
                usage += error.usage
                raise
            usage += reply.usage
            return reply

        try:
            async with self._gate.get():
                self._under_way += 1
                try:
                    reply, _ = await with_retry(attempt, self._retry)
                    await self._hear(reply.silent)
                finally:
                    self._under_way -= 1
                    self._wake()
        except EngineError as error:
            why = str(error).removesuffix(".")
            hint = "; protocol.max_context_tokens may be too large for it" if "context" in why.lower() else ""
            tries = counted(error.attempts, "attempt")
            raise PolicyError(
                error.kind,
                f"the policy {self.model} gave no text in {tries}: {why}{hint}. Nothing written "
                "so far is lost; mend the endpoint and run the same command again",
                usage=usage,
            ) from None
        return generation_of(reply.text, reply.choice, sampling, usage)

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The generator can be used again afterwards."""
        if self.silent > 1:
            log.warning("%d of %d replies of the policy %s came without text", self.silent, self.replies, self.model)
        await self._server.aclose()

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
                await self._changed.wait()
        finally:
            self._mute -= 1
        if not self._spoken:
            raise EngineError("empty", f"{self._server.url}: no reply has a text: {silence}")

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
