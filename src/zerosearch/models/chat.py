"""Chat models that write a simulator's pages or an answer: local, or over HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol

from zerosearch.episodes.encoding import ChatTokenizer, encode_chat, encode_plain, harmless, has_template, special_texts
from zerosearch.episodes.generation import Generator, Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.replies import cut_before, opens_thought, plain_marks, stop_end
from zerosearch.episodes.seeds import derive_seed
from zerosearch.errors import EngineError
from zerosearch.files.identity import address_of, digest_of, identity_of
from zerosearch.models.completions import CompletionServer, EmptyReply
from zerosearch.models.config import RequestConfig, Server
from zerosearch.spending.ledger import Ledger
from zerosearch.spending.meter import Meter
from zerosearch.usage import NOTHING, Usage

_TAIL = 32
"""This many of a prompt's last ids tell whether it opens a thought."""
# vLLM and SGLang go on with the assistant's message only if told so; the llama.cpp server does it by itself
_GO_ON = {"continue_final_message": True, "add_generation_prompt": False}


@dataclass(frozen=True)
class Written:
    """A finished text. `truncated`: it hit `max_tokens`."""

    text: str
    usage: Usage = NOTHING
    truncated: bool = False


class ChatModel(Protocol):
    """Writes the assistant's message of a chat.

    `model` names the model in trajectories, `identity` says what its texts depend on (`files/identity.py`).

    Where the last message is the assistant's already, it is continued: only what comes after it is returned. The text
    ends before the first stop string; with `outside_thoughts` before the first that stands neither in a thought nor in
    a quotation (`episodes/replies.py`).

    Raises `EngineError`; whoever calls decides about trying again.
    """

    @property
    def model(self) -> str: ...
    @property
    def identity(self) -> str: ...

    async def write(
        self, messages: Sequence[Message], sampling: Sampling, *, outside_thoughts: bool = False
    ) -> Written: ...


class OpenAIWriter:
    """Any server with OpenAI's `/chat/completions`: vLLM, SGLang, the llama.cpp server, hosted APIs.

    Redirects are not followed: they would carry the key elsewhere. A server on this machine is never asked through a
    proxy. Raises `ConfigError` for an address that cannot be used or a key variable that is not set. `write` raises
    `AttemptError` of kind `connection`, `deadline` (silence), `refused` (4xx, another try is of no use), `http` (429,
    5xx), `malformed` or `empty`.
    """

    def __init__(self, server: Server, model: str) -> None:
        self.model = model
        self._server = CompletionServer(server, model)
        changed = digest_of(server.request.model_dump()) if server.request != RequestConfig() else None
        self.identity = identity_of("openai", model=model, address=address_of(self._server.address), options=changed)

    async def write(
        self, messages: Sequence[Message], sampling: Sampling, *, outside_thoughts: bool = False
    ) -> Written:
        said = [m["content"] for m in messages if m["role"] == "assistant"]
        reply = await self._server.write(
            {"messages": list(messages), **(_GO_ON if messages[-1]["role"] == "assistant" else {})},
            sampling,
            said if outside_thoughts else None,
        )
        if reply.silent:
            raise EmptyReply(self._server.url, reply)
        cut = cut_before if outside_thoughts else cut_anywhere
        return Written(cut(reply.text, sampling.stop), reply.usage, reply.truncated)

    @property
    def address(self) -> str:
        """Where it is asked, without what may be a secret."""
        return address_of(self._server.address)

    async def look(self) -> None:
        """Ask the server for its models: raises `AttemptError` where it does not answer."""
        await self._server.look()

    async def aclose(self) -> None:
        """Close the connections of the running event loop. The writer can be used again afterwards."""
        await self._server.aclose()


class GeneratorWriter:
    """A local model behind a `Generator`: the text is a function of the chat and the seed.

    `chat`: `auto` uses the tokenizer's chat template where it has one. `model` is the name that is recorded, `identity`
    what tells its weights from others of that name. See `render_messages` for `keep_tags`.
    """

    def __init__(
        self,
        generator: Generator,
        tokenizer: ChatTokenizer,
        *,
        model: str,
        chat: Literal["auto", "always", "never"] = "auto",
        keep_tags: bool = False,
        identity: str | None = None,
    ) -> None:
        self.model = model
        self.identity = identity or identity_of("local", model=model)
        self._generator = generator
        self._tokenizer = tokenizer
        self._chat = chat
        self._keep_tags = keep_tags

    async def write(
        self, messages: Sequence[Message], sampling: Sampling, *, outside_thoughts: bool = False
    ) -> Written:
        prompt_ids = render_messages(messages, self._tokenizer, chat=self._chat, keep_tags=self._keep_tags)
        opened = messages[-1]["role"] != "assistant" and opens_thought(self._decode(prompt_ids[-_TAIL:], whole=True))
        ids: list[int] = []
        while True:
            seed = derive_seed(sampling.seed, "piece", len(ids)) if ids else sampling.seed
            piece = replace(sampling, max_tokens=sampling.max_tokens - len(ids), seed=seed)
            generation = await self._generator.generate([*prompt_ids, *ids], piece)
            ids += generation.token_ids
            text = ("<think>" if opened else "") + self._decode(ids)
            decided = not outside_thoughts or stop_end(text, sampling.stop) is not None
            if generation.stop_reason != "stop" or len(ids) >= sampling.max_tokens or decided:
                break  # else it was stopped in a thought, and goes on
        truncated = generation.stop_reason == "length"
        cut = cut_before if outside_thoughts else cut_anywhere
        return Written(cut(text, sampling.stop), Usage(len(prompt_ids), len(ids)), truncated)

    def _decode(self, ids: Sequence[int], *, whole: bool = False) -> str:
        """The text of `ids` without control tokens (`whole`: with them), but for those that mark a thought."""
        text = str(self._tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))
        for token in () if whole else special_texts(self._tokenizer):
            text = plain_marks(text).replace(token, "")
        return text


class MeteredChat:
    """A chat model whose every reply is counted by `meter`, those that came to nothing included."""

    def __init__(self, chat: ChatModel, meter: Meter) -> None:
        self.chat, self.meter = chat, meter
        self.model, self.identity = chat.model, chat.identity

    async def write(
        self, messages: Sequence[Message], sampling: Sampling, *, outside_thoughts: bool = False
    ) -> Written:
        """Raises `EngineError`, as the model does, and `BudgetError`."""
        try:
            written = await self.chat.write(messages, sampling, outside_thoughts=outside_thoughts)
        except EngineError as error:
            self.meter.count(Ledger.of_usage(error.usage))
            raise
        self.meter.count(Ledger.of_usage(written.usage))
        return written


def cut_anywhere(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first of the strings `stop`, as OpenAI's servers return it; some leave it in."""
    places = [text.find(string) for string in stop]
    return text[: min((place for place in places if place >= 0), default=len(text))]


def render_messages(
    messages: Sequence[Message],
    tokenizer: ChatTokenizer,
    *,
    chat: Literal["auto", "always", "never"] = "auto",
    keep_tags: bool = False,
) -> list[int]:
    """The ids that a model is shown for a chat, up to where its own text goes on. Tuning and asking both use this.

    Control tokens written out in a message are neutralised, and the protocol's tags with them: a simulator has no use
    for these. `keep_tags` leaves the tags, for prompts that ask for them. What the assistant has begun to write keeps
    them too. A base model is shown the contents, line by line. A template that knows no system role (Gemma's) gets its
    text at the head of the user's message.

    Raises `ConfigError` for `chat="always"` without a chat template, `ModelError` for a template that fails.
    """
    if messages[-1]["role"] == "assistant":
        begun = tokenizer.encode(harmless(messages[-1]["content"], tokenizer, keep_tags=True), add_special_tokens=False)
        return [*render_messages(messages[:-1], tokenizer, chat=chat, keep_tags=keep_tags), *begun]
    safe: list[Message] = [{**m, "content": harmless(m["content"], tokenizer, keep_tags=keep_tags)} for m in messages]
    if has_template(tokenizer, chat, "the simulator's chat setting"):
        return encode_chat(safe, tokenizer)
    return encode_plain("\n".join(m["content"] for m in safe) + "\n", tokenizer)
