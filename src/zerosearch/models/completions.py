"""Differences between OpenAI-compatible servers: refused fields are dropped or renamed, replies are read or named.

    server = CompletionServer(Server("http://localhost:8000/v1"), "Qwen/Qwen2.5-7B-Instruct")
    reply = await server.write({"messages": [...]}, Sampling(max_tokens=500))

GPT-5 wants `max_completion_tokens`, Mistral refuses `seed`, Claude refuses `top_p` beside `temperature`, Gemma knows no
system role. Where a server says so, the request is mended once and for all, and one line says how.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from zerosearch.cleaning import clean
from zerosearch.episodes.generation import GenerationStop, Sampling
from zerosearch.episodes.protocol import Message
from zerosearch.episodes.replies import close_tag, may_think_unseen, stop_end, thinking
from zerosearch.errors import EngineError
from zerosearch.models.client import JsonClient, StatusError, checked_url, error_message, key_from, short_line
from zerosearch.models.config import Server
from zerosearch.models.retry import AttemptError
from zerosearch.usage import NOTHING, UNPRICED, TokenPrices, Usage

log = logging.getLogger(__name__)

LENGTH = frozenset(("length", "max_tokens", "max_length", "model_length", "max_output_tokens", "max_completion_tokens"))
_BROKEN_OFF = ("error", "abort", "aborted", "cancelled", "internal_error")
_COUNT = TypeAdapter(Annotated[int, Field(ge=0, le=2**53)])  # nobody wrote more tokens than that
_MAY_GO = ("top_p", "seed", "top_k", "temperature", "stop", "continue_final_message", "add_generation_prompt", "stream")
_REFUSED = re.compile(
    r"not (?:supported|permitted|allowed|available|recogni[sz]ed|accepted)|unsupported|unrecogni[sz]ed|unknown|"
    r"unexpected|forbidden|extra_forbidden|extra inputs|deprecated|does not support|cannot (?:both )?be|only one|"
    r"use '?\w+'? instead|only the default|invalid (?:parameter|argument|field|role)|not enabled|must alternate|"
    r"no longer|not implemented|immutable|only user and|should be '?\"?user",
    re.IGNORECASE,
)
_LOOK_SECONDS = 5.0  # a server that lives lists its models at once
_MEANS_REFUSED = (400, 422, 500, 501)  # llama.cpp answers 500 where a chat template knows no system role
_NO_SYSTEM = re.compile(
    r"system (?:role|messages?|prompts?|instructions?)\b|developer instructions?|role\b.{0,40}\bsystem\b|"
    r"roles must alternate|only (?:the )?user and (?:the )?(?:assistant|model)|should be '?\"?user\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Completion:
    """What a server answered. `silent`: why there is no text. `choice` is the server's own word of it, `truncated` that
    the text hit its limit. `counted` is False where the server does not tell all token counts: `usage` has 0 for them.
    """

    text: str
    choice: Mapping[str, Any]
    truncated: bool
    usage: Usage = NOTHING
    silent: str = ""
    counted: bool = True


class EmptyReply(AttemptError):
    """A reply without text; what it took is paid for all the same. `truncated`: its limit was spent on thoughts."""

    def __init__(self, url: str, answer: Completion) -> None:
        super().__init__("empty", f"{url}: the answer is empty: {answer.silent}")
        self.usage = answer.usage
        self.truncated = answer.truncated


class CompletionServer:
    """What `model` says at `server`: the one place that asks OpenAI's `/chat/completions` and `/completions`.

    Raises `ConfigError` for an address that cannot be used and a key variable that is not set.
    """

    def __init__(self, server: Server, model: str, path: str = "/chat/completions") -> None:
        self.address = checked_url(server.base_url, "base_url")
        self.url = str(self.address).rstrip("/") + path
        self._model, self._prices, self._extra = model, server.prices, server.request.extra
        self._dropped, self._renamed = set(server.request.drop), dict(server.request.rename)
        self._merged = False  # the system's text stands at the head of the user's message
        self._warned = False
        key = key_from(server.api_key_env)
        headers, most = {"Authorization": f"Bearer {key}"} if key else {}, server.max_connections
        seconds, models = server.timeout_seconds, str(self.address).rstrip("/") + "/models"
        self._client = JsonClient(self.url, headers=headers, timeout_seconds=seconds, max_connections=most)
        self._models = JsonClient(models, headers=headers, timeout_seconds=min(seconds, _LOOK_SECONDS))

    async def write(
        self, prompt: Mapping[str, Any], sampling: Sampling, said: Sequence[str] | None = None
    ) -> Completion:
        """The reply to `prompt`, the fields that hold a chat or a text, and others of that request.

        With `said`, what the model has written so far, its stop strings hold outside of thoughts and quotations alone.
        A server stops in a thought too: it is told where only once the model is known not to think unseen, and a reply
        that was stopped in a thought is asked for once more without. The usage, an error's too, is that of both.

        Raises as `JsonClient.post` and `read_completion` do.
        """
        request: dict[str, Any] = {
            "model": self._model,
            "max_tokens": sampling.max_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p if sampling.top_p < 1 else None,
            "top_k": sampling.top_k or None,  # not OpenAI's: sent only where it is asked for
            "seed": sampling.seed % 2**31,  # some servers keep 32 bits
            "stream": False,
            **prompt,
        }
        stop = sampling.stop
        told = bool(stop) and (said is None or not may_think_unseen(said))
        reply = await self._complete(request | ({"stop": list(stop)} if told else {}))
        if not told or said is None or not undecided(*end_turn(reply.text, reply.choice, stop), stop):
            return reply
        try:
            whole = await self._complete(request)
        except EngineError as error:
            error.usage = reply.usage + error.usage
            raise
        return replace(whole, usage=reply.usage + whole.usage)

    async def _complete(self, request: Mapping[str, Any]) -> Completion:
        reply = read_completion(await self._post(request), self.url, self._prices)
        if not reply.counted and not self._warned:
            self._warned = True
            what = "tokens are" if self._prices == TokenPrices() else "tokens and costs are"
            log.warning("%s does not tell how many tokens it used; %s counted as 0", self.url, what)
        return reply

    async def _post(self, request: Mapping[str, Any]) -> Any:
        while True:
            body = self._body(request)
            try:
                return await self._client.post(body)
            except StatusError as error:
                if error.status not in _MEANS_REFUSED:
                    raise
                if self._body(request) == body:  # else another request has been mended meanwhile
                    if not (how := self._mend(error.said, body)):
                        raise
                    log.warning("%s; %s", error, how)

    async def look(self) -> None:
        """Ask for the list of models. A server that has none answers too: only one that does not answer raises."""
        try:
            await self._models.get({})
        except StatusError as error:
            if error.kind == "http":
                raise

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._client.aclose()
        await self._models.aclose()

    def _body(self, request: Mapping[str, Any]) -> dict[str, Any]:
        told = {**request, **self._extra}
        if self._merged and "messages" in told:
            told["messages"] = without_system(told["messages"])
        return {
            self._renamed.get(name, name): value
            for name, value in told.items()
            if value is not None and name not in self._dropped
        }

    def _mend(self, said: str, body: Mapping[str, Any]) -> str:
        """Send further requests without what this one was refused for. Returns how; nothing where no way is known."""
        if not _REFUSED.search(said):
            return ""
        if any(m["role"] == "system" for m in body.get("messages", ())) and _NO_SYSTEM.search(said):
            self._merged = True
            return "the system's text now stands at the head of the user's message"
        if "max_tokens" in body and re.search(r"\bmax_(?:completion_)?tokens\b", said):
            self._renamed["max_tokens"] = "max_completion_tokens"
            return "max_tokens is now sent as max_completion_tokens"
        name = next((name for name in _MAY_GO if name in body and re.search(rf"\b{name}\b", said)), None)
        if name is None:
            return ""
        self._dropped.add(name)
        lost = {"seed": ": replies cannot be drawn again", "temperature": ": it takes its own"}.get(name, "")
        return f"{name} is no longer sent{lost}"


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


def undecided(text: str, reason: GenerationStop, stop: Sequence[str]) -> bool:
    """Whether a turn of `end_turn` has done nothing yet: it ends in a thought or a quotation, or none of it is seen."""
    stopped = reason == "stop" and stop_end(text, stop) is None
    return stopped or (reason != "length" and (not text.strip() or thinking(text)))


def without_system(messages: Sequence[Message]) -> list[Message]:
    """`messages` for a model that knows no system role: its text stands at the head of the first message after it."""
    told = "\n\n".join(m["content"] for m in messages if m["role"] == "system")
    rest = [dict(m) for m in messages if m["role"] != "system"]
    if not told:
        return rest
    if not rest or rest[0]["role"] != "user":
        return [{"role": "user", "content": told}, *rest]
    return [{**rest[0], "content": f"{told}\n\n{rest[0]['content']}"}, *rest[1:]]


def read_completion(answer: Any, url: str, prices: TokenPrices = UNPRICED) -> Completion:
    """The text of `answer`, whatever form it has; thoughts that stand in fields of their own are left out.

    Raises `AttemptError`: `malformed` where there is nothing to be read, `http` or `refused` for an error that came
    with HTTP 200, by its code.
    """
    choices = answer.get("choices") if isinstance(answer, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(choice, dict):
        if isinstance(answer, dict) and answer.get("error"):
            raise AttemptError(_kind(answer["error"]), f"{url}: an error instead of an answer: {error_message(answer)}")
        raise AttemptError("malformed", f"{url}: the answer has no choices: {error_message(answer)}")
    reason = str(choice.get("finish_reason") or "").lower()
    if choice.get("error"):
        raise AttemptError(_kind(choice["error"]), f"{url}: an error instead of an answer: {error_message(choice)}")
    if reason in _BROKEN_OFF:
        raise AttemptError("http", f"{url}: the server broke the reply off (finish_reason {reason})")
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    content = message.get("content", choice.get("text"))
    if "message" in choice and not message and "text" not in choice:
        raise AttemptError("malformed", f"{url}: the answer has no message: {error_message(answer)}")
    text = _text(content)
    if text is None:
        raise AttemptError("malformed", f"{url}: the content of the answer is {type(content).__name__}, not text")
    if not text.strip():
        text = _text(message.get("refusal")) or text
    counts = answer.get("usage")
    counts = counts if isinstance(counts, dict) else {}
    read, wrote = _count(counts.get("prompt_tokens")), _count(counts.get("completion_tokens"))
    return Completion(
        clean(text),
        choice,
        reason in LENGTH,
        prices.usage(read or 0, wrote or 0),
        "" if text.strip() else _why_silent(message, choice),
        counted=read is not None and wrote is not None,
    )


def _kind(told: Any) -> str:
    """The kind of an error that came with HTTP 200, by its code."""
    code = _count(told.get("code")) if isinstance(told, dict) else None
    if code is None:
        return "malformed"
    return "refused" if 400 <= code < 500 and code not in (408, 429) else "http"


def _text(content: Any) -> str | None:
    """Text, or a list of parts of which some are text; None where it is something else."""
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, dict):
        return content["text"] if isinstance(content.get("text"), str) else None
    if isinstance(content, list):
        parts = [part for part in content if not (isinstance(part, dict) and "text" not in part)]  # images, thoughts
        texts = [part if isinstance(part, str) else _text(part) for part in parts]
        return None if None in texts else "".join(t for t in texts if t)
    return None


def _why_silent(message: Mapping[str, Any], choice: Mapping[str, Any]) -> str:
    """Why a reply has no text, in the words of whoever set the server up."""
    reason = short_line(str(choice.get("finish_reason")))
    thought = next((n for n in ("reasoning_content", "reasoning", "thinking") if message.get(n)), None)
    if message.get("tool_calls") or message.get("function_call"):
        return f"the model calls tools instead of writing (finish_reason {reason}): start the server without tool calls"
    if thought is None:
        return f"finish_reason {reason}"
    took, do = "the server's reasoning parser took it", "start it without one"
    if reason.lower() in LENGTH:
        took, do = "the limit ended it", "allow more tokens"
    return (
        f"all that was written is in {thought} (finish_reason {reason}): {took}; {do}, or turn thoughts off in the "
        "`request` table"
    )


def _count(value: Any) -> int | None:
    """A number of tokens as servers tell it; None for what is none."""
    try:
        return None if isinstance(value, bool) else _COUNT.validate_python(value)
    except ValidationError:
        return None
