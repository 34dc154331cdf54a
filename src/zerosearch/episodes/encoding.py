"""Encode text for a local model: one encoder for policy, simulator and prompted methods.

A base model gets its BOS token, a chat template always the same date. A tokenizer that normalises its text (NFKC:
`＜answer＞` is `<answer>`) can make a tag or a control token of what was none: text from elsewhere is looked at as the
model will see it.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache, partial
from typing import Any, Literal, Protocol

from zerosearch.episodes.episode import Codec
from zerosearch.episodes.protocol import Message, break_tokens, holds_tag, neutralize, one_line
from zerosearch.errors import ConfigError, ModelError

Chat = Literal["auto", "always", "never"]


class ChatTokenizer(Protocol):
    """The part of a Hugging Face tokenizer that prompts need."""

    chat_template: Any
    all_special_tokens: Any

    def __hash__(self) -> int: ...
    def encode(self, text: str, *, add_special_tokens: bool = ...) -> Any: ...
    def decode(self, token_ids: Any, **kwargs: Any) -> Any: ...
    def apply_chat_template(self, conversation: Any, **kwargs: Any) -> Any: ...
    def convert_tokens_to_ids(self, tokens: Any) -> Any: ...


TEMPLATE_DATE = datetime(2024, 7, 26)
"""What templates are told for today: the date that Llama's own templates fall back on."""

_LOOKS_LIKE_CONTROL = re.compile(r"<\S+>|\[[A-Z_/]+\]")
_CLOCK = re.compile(r"""strftime_now\(\s*(?P<quote>['"])(?P<format>[^'"]*)(?P=quote)\s*\)""")
_ROUNDS = 4

log = logging.getLogger(__name__)


@lru_cache(maxsize=16)
def special_texts(tokenizer: Any) -> tuple[str, ...]:
    """The texts of all special tokens: those that the tokenizer names (EOS, ...) and those that it only marks so."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    return tuple(sorted({t.content for t in added if t.special} | set(tokenizer.all_special_tokens)))


@lru_cache(maxsize=16)
def control_tokens(tokenizer: Any) -> tuple[str, ...]:
    """The texts that a tokenizer turns into control ids: all of its special tokens, not the named ones only, and of
    the other added ones those that look like control (`<tool_call>`), but for the protocol's own tags."""
    added = getattr(tokenizer, "added_tokens_decoder", {}).values()
    found = {t.content for t in added if _LOOKS_LIKE_CONTROL.fullmatch(t.content)}
    return tuple(sorted(t for t in found | set(special_texts(tokenizer)) if not holds_tag(t)))


@lru_cache(maxsize=16)
def _control_ids(tokenizer: Any) -> frozenset[int]:
    named = {tokenizer.convert_tokens_to_ids(token) for token in control_tokens(tokenizer)}
    return frozenset(named - {getattr(tokenizer, "unk_token_id", None)})


def harmless(text: str, tokenizer: Any, *, keep_tags: bool = False) -> str:
    """`text` from elsewhere, changed as little as it takes that its ids hold no control token and, decoded, no tag.

    `keep_tags` leaves the protocol's tags as they are.
    """
    tokens = control_tokens(tokenizer)

    def clean(part: str) -> str:
        return break_tokens(part, tokens) if keep_tags else neutralize(part, tokens)

    text = clean(text)
    for _ in range(_ROUNDS):
        ids = tokenizer.encode(text, add_special_tokens=False)
        seen = tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if _control_ids(tokenizer).isdisjoint(ids) and (keep_tags or not holds_tag(seen)):
            return text
        text = clean(seen)  # as the tokenizer normalises it
    return re.sub(r"[^\w\s.,]", " ", text)  # a tokenizer that makes tags of anything


def codec_of(tokenizer: Any) -> Codec:
    """Text to ids and back by a Hugging Face tokenizer."""

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    def decode(ids: Sequence[int]) -> str:
        return str(tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    return Codec(encode, decode, control_tokens(tokenizer), partial(harmless, tokenizer=tokenizer))


@lru_cache(maxsize=16)
def opening_ids(tokenizer: Any) -> tuple[int, ...]:
    """What the tokenizer puts before a text (BOS, with Llama, Gemma and Mistral), without what it puts after one."""
    whole, plain = (tokenizer.encode("a", add_special_tokens=special) for special in (True, False))
    places = range(len(whole) - len(plain) + 1)
    return tuple(whole[: next((p for p in places if whole[p : p + len(plain)] == plain), 0)])


def encode_plain(text: str, tokenizer: Any) -> list[int]:
    """The ids of a prompt without a chat template, after what the tokenizer begins a text with; never two of it."""
    ids, opening = list(tokenizer.encode(text, add_special_tokens=False)), list(opening_ids(tokenizer))
    return ids if ids[: len(opening)] == opening else [*opening, *ids]


def encode_prompt(prompt: str, tokenizer: ChatTokenizer, *, chat: Chat = "auto") -> list[int]:
    """What a policy is shown: the prompt as a user's message where there is a chat template, else as it is.

    Raises `ConfigError` for `chat="always"` without a template, `ModelError` for a template that fails.
    """
    if not has_template(tokenizer, chat, "protocol.chat"):
        return encode_plain(prompt, tokenizer)
    return encode_chat([{"role": "user", "content": prompt}], tokenizer)


def has_template(tokenizer: ChatTokenizer, chat: Chat, setting: str) -> bool:
    """Whether the chat template is used. Raises `ConfigError` where `chat` is `always` and there is none."""
    if chat == "always" and not tokenizer.chat_template:
        raise ConfigError(f"{setting} is 'always' but the model's tokenizer has no chat template")
    return chat != "never" and bool(tokenizer.chat_template)


def _date(tokenizer: ChatTokenizer) -> dict[str, str]:
    """What makes a template write `TEMPLATE_DATE`, whether it takes a date or reads the clock."""
    template = tokenizer.chat_template
    if not isinstance(template, str) or "strftime_now" not in template:
        return {"date_string": TEMPLATE_DATE.strftime("%d %b %Y")}
    return {"date_string": TEMPLATE_DATE.strftime("%d %b %Y"), "chat_template": _without_clock(template)}


@lru_cache(maxsize=16)
def _without_clock(template: str) -> str:
    template = _CLOCK.sub(lambda match: repr(TEMPLATE_DATE.strftime(match["format"])), template)
    if "strftime_now(" in template:
        log.warning("the model's chat template writes today's date: a run resumed on another day has other prompts")
    return template


def encode_chat(messages: Sequence[Message], tokenizer: ChatTokenizer) -> list[int]:
    """The ids of a chat, up to where the model's own text goes on. The template writes BOS and all else itself.

    A template that knows no system role (Gemma's) gets its text at the head of the user's message. Raises `ModelError`
    for one that fails on that too.
    """
    merged = [{"role": "user", "content": "\n\n".join(m["content"] for m in messages)}]
    failure = ""
    for conversation in (list(messages), merged):
        try:
            text = tokenizer.apply_chat_template(
                conversation,
                tokenize=False,
                add_generation_prompt=True,
                **_date(tokenizer),
            )
        except Exception as error:  # templates are programs of their own and raise what they like
            failure = failure or one_line(str(error)) or type(error).__name__
        else:
            return list(tokenizer.encode(str(text), add_special_tokens=False))
    raise ModelError(f"the model's chat template fails on a prompt ({failure})")
