"""What writes a simulator's text: a chat goes in, text comes out, from a local model or over HTTP."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import httpx

from zerosearch.engines.retry import AttemptError, parse_retry_after
from zerosearch.errors import ConfigError, ModelError
from zerosearch.generation import Sampling
from zerosearch.generators.base import Generator
from zerosearch.prompts import Message, one_line
from zerosearch.protocol import Tokenizer, neutralize

MAX_BODY_BYTES = 4 << 20  # a page is a few kilobytes; more is a broken server, and a run must survive it
_RETRYABLE_4XX = frozenset((408, 409, 425, 429))
_RESERVED_FIELDS = ("model", "messages", "stream", "n")


@dataclass(frozen=True)
class Written:
    """A finished text. Token counts are None where the server does not tell; `truncated`: it hit `max_tokens`."""

    text: str
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    truncated: bool = False


class Writer(Protocol):
    """Writes the assistant's message of a chat. `model` names the model in trajectories.

    Raises `EngineError`; whoever calls decides about trying again.
    """

    @property
    def model(self) -> str: ...

    async def write(
        self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int
    ) -> Written: ...


class ChatTokenizer(Tokenizer, Protocol):
    """The part of a Hugging Face tokenizer that a local writer uses."""

    all_special_tokens: Any

    def decode(self, token_ids: Any, **kwargs: Any) -> Any: ...


class OpenAIWriter:
    """Any server with OpenAI's `/chat/completions`: vLLM, SGLang, the llama.cpp server, hosted APIs.

    `base_url` usually ends in `/v1`. The key is read from the environment variable named `api_key_env` and kept out of
    `repr`, logs and error texts. `timeout_seconds` is the longest silence of the server that is waited out;
    `extra_body` are further request fields (None takes a field out). Redirects are not followed: they would carry the
    key elsewhere. A server on this machine is never asked through a proxy.

    Raises `ConfigError` for an address that cannot be used or a key variable that is not set. `write` raises
    `AttemptError` of kind `connection`, `deadline` (silence), `refused` (4xx, another try is of no use), `http` (429,
    5xx), `malformed` or `empty`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_env: str | None = None,
        timeout_seconds: float = 60.0,
        extra_body: Mapping[str, Any] | None = None,
        max_connections: int = 256,
    ) -> None:
        self.model = model
        self._url = _checked_url(base_url)
        self._key = _key_from(api_key_env)
        self._timeout_seconds = timeout_seconds
        self._extra_body = dict(extra_body or {})
        self._max_connections = max_connections
        for name in _RESERVED_FIELDS:
            if name in self._extra_body:
                raise ConfigError(f"extra_body must not set {name!r}: the simulator sets it itself")
        self._session: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient] | None = None

    def __repr__(self) -> str:
        return f"OpenAIWriter({self._url!r}, model={self.model!r})"

    async def write(self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int) -> Written:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": list(messages),
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed % 2**31,  # some servers keep 32 bits
            "stream": False,
            **self._extra_body,
        }
        body = json.dumps({name: value for name, value in request.items() if value is not None})
        try:
            async with self._client().stream("POST", self._url, content=body) as response:
                payload = await self._read(response)
        except httpx.TimeoutException:
            raise AttemptError("deadline", f"{self._url}: silent for {self._timeout_seconds:g} s") from None
        except httpx.HTTPError as error:
            reason = self._clean(str(error)) or type(error).__name__
            raise AttemptError("connection", f"{self._url}: {reason}") from None
        if response.status_code != 200:
            raise self._status_error(response, payload)
        return self._parse(payload)

    async def aclose(self) -> None:
        """Close the connections. The writer can be used again afterwards."""
        session, self._session = self._session, None
        if session is not None:
            await session[1].aclose()

    def _client(self) -> httpx.AsyncClient:
        # Connections belong to an event loop: a second asyncio.run needs a client of its own.
        loop = asyncio.get_running_loop()
        if self._session is None or self._session[0] is not loop:
            headers = {"Content-Type": "application/json"}
            if self._key:
                headers["Authorization"] = f"Bearer {self._key}"
            client = httpx.AsyncClient(
                headers=headers,
                # Waiting for a free connection is not the server's silence: the search's deadline bounds it.
                timeout=httpx.Timeout(self._timeout_seconds, pool=None),
                limits=httpx.Limits(max_connections=self._max_connections),
                trust_env=not _is_loopback(self._url),
            )
            self._session = (loop, client)
        return self._session[1]

    async def _read(self, response: httpx.Response) -> bytes:
        payload = bytearray()
        async for chunk in response.aiter_bytes():
            payload += chunk
            if len(payload) > MAX_BODY_BYTES:
                raise AttemptError("malformed", f"{self._url}: answered with more than {MAX_BODY_BYTES >> 20} MiB")
        return bytes(payload)

    def _status_error(self, response: httpx.Response, payload: bytes) -> AttemptError:
        status = response.status_code
        kind = "http" if status >= 500 or status in _RETRYABLE_4XX else "refused"
        detail = self._clean(_error_text(payload))
        message = f"{self._url}: HTTP {status}{': ' if detail else ''}{detail}"
        return AttemptError(kind, message, retry_after=parse_retry_after(response.headers.get("retry-after")))

    def _parse(self, payload: bytes) -> Written:
        try:
            answer = json.loads(payload)
        except (ValueError, RecursionError):
            raise AttemptError("malformed", f"{self._url}: the answer is not JSON") from None
        try:
            choice = answer["choices"][0]
            text = choice["message"]["content"]
            usage = answer.get("usage") or {}
            counts = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
        except (LookupError, TypeError, AttributeError):
            detail = self._clean(_error_text(payload))
            raise AttemptError("malformed", f"{self._url}: the answer has no choices: {detail}") from None
        if text is not None and not isinstance(text, str):
            raise AttemptError(
                "malformed", f"{self._url}: the content of the answer is {type(text).__name__}, not text"
            )
        prompt_tokens, completion_tokens = (n if type(n) is int and n >= 0 else None for n in counts)
        if not text or not text.strip():
            empty = AttemptError("empty", f"{self._url}: the answer is empty ({choice.get('finish_reason')})")
            # a model that thought until its limit wrote nothing to be seen, and is paid for all the same
            empty.prompt_tokens, empty.completion_tokens = prompt_tokens or 0, completion_tokens or 0
            raise empty
        return Written(text, prompt_tokens, completion_tokens, choice.get("finish_reason") == "length")

    def _clean(self, text: str) -> str:
        """A server may repeat the key in what it answers: it goes no further."""
        return text.replace(self._key, "[key]") if self._key else text


class GeneratorWriter:
    """A local model behind a `Generator`: the text is a function of the chat and the seed.

    `chat`: `auto` uses the tokenizer's chat template where it has one. `model` is the name that is recorded.
    """

    def __init__(
        self,
        generator: Generator,
        tokenizer: ChatTokenizer,
        *,
        model: str,
        chat: Literal["auto", "always", "never"] = "auto",
    ) -> None:
        self.model = model
        self._generator = generator
        self._tokenizer = tokenizer
        self._chat = chat

    async def write(self, messages: Sequence[Message], *, max_tokens: int, temperature: float, seed: int) -> Written:
        prompt_ids = render_messages(messages, self._tokenizer, chat=self._chat)
        sampling = Sampling(temperature=temperature, max_tokens=max_tokens, seed=seed)
        generation = await self._generator.generate(prompt_ids, sampling)
        text = str(
            self._tokenizer.decode(
                list(generation.token_ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
            )
        )
        return Written(text, len(prompt_ids), len(generation.token_ids), generation.stop_reason == "length")


def render_messages(
    messages: Sequence[Message], tokenizer: ChatTokenizer, *, chat: Literal["auto", "always", "never"] = "auto"
) -> list[int]:
    """The ids that a model is shown for a chat, up to where its own text begins. Tuning and asking both use this.

    Control tokens written out in a message are neutralised. A base model is shown the contents, line by line. A
    template that knows no system role (Gemma's) gets its text at the head of the user's message.

    Raises `ConfigError` for `chat="always"` without a chat template, `ModelError` for a template that fails.
    """
    special_tokens = tuple(tokenizer.all_special_tokens)
    safe = [{**m, "content": neutralize(m["content"], special_tokens)} for m in messages]
    if chat == "never" or (chat == "auto" and not tokenizer.chat_template):
        return list(tokenizer.encode("\n".join(m["content"] for m in safe) + "\n", add_special_tokens=True))
    if not tokenizer.chat_template:
        raise ConfigError("the simulator's chat setting is 'always' but its tokenizer has no chat template")
    text = _apply_template(safe, tokenizer)
    return list(tokenizer.encode(text, add_special_tokens=False))  # the template writes the special tokens itself


def _apply_template(messages: list[Message], tokenizer: ChatTokenizer) -> str:
    merged = [{"role": "user", "content": "\n\n".join(m["content"] for m in messages)}]
    failure = ""
    for conversation in (messages, merged):
        try:
            return str(tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # templates are programs of their own and raise what they like
            failure = failure or one_line(str(error))
    raise ModelError(f"the simulator's chat template does not take a system and a user message ({failure})")


def _checked_url(base_url: str) -> str:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise ConfigError(f"base_url cannot be used ({error}); write for example http://localhost:8000/v1") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise ConfigError(f"base_url {base_url!r} is not an http address; write for example http://localhost:8000/v1")
    if url.userinfo or url.query:
        raise ConfigError(f"base_url for {url.host} must hold no password or query: name the key in api_key_env")
    return str(url).rstrip("/") + "/chat/completions"


def _key_from(variable: str | None) -> str:
    if variable is None:
        return ""
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ConfigError(f"the environment variable {variable} is not set; export the key in it")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConfigError(f"the environment variable {variable} does not hold a key: spaces or odd characters in it")
    return key


def _is_loopback(url: str) -> bool:
    host = httpx.URL(url).host
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _error_text(payload: bytes) -> str:
    """What a server says went wrong, in one short line."""
    text = payload[:4096].decode("utf-8", "replace")
    try:
        error = json.loads(payload)
        error = error.get("error", error.get("message", error.get("detail", text)))
        text = error.get("message", text) if isinstance(error, dict) else error
    except (ValueError, AttributeError, RecursionError):
        pass  # not the usual form: the text itself is shown
    return one_line(str(text))[:200]
