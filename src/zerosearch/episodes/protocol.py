"""The text format of an episode: the prompt, the tags, the stop strings, and how a turn is read.

The policy reasons in `<think>`, asks in `<search>`, is shown pages in `<information>` and answers in `<answer>` (the
tags of Search-R1 and ZeroSearch). Whatever else the world writes into an episode is *neutralised* first: a page cannot
speak the protocol.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from zerosearch.episodes.replies import find_action
from zerosearch.episodes.search import Document
from zerosearch.errors import ConfigError

Message = dict[str, str]
"""A message of a chat: its role and its content."""

TAGS = ("think", "search", "information", "answer")
STOP_STRINGS = ("</search>", "</answer>")

# Control texts of common chat templates. A server's tokenizer would turn them into control ids, and the query comes
# from a policy: it may hold anything.
CONTROL_TEXTS = ("<|", "<｜", "<s>", "</s>", "<bos>", "<eos>", "<start_of_turn>", "<end_of_turn>", "[INST]", "[/INST]")

PROMPT = """Answer the question below. You may look things up before you answer.
Reason inside <think> and </think>, first of all and again whenever you learn something new. If you are missing a \
fact, write a query inside <search> and </search>: the pages found are then shown between <information> and \
</information>. Search as often as you need, one fact at a time. Once you know enough, write only the answer itself \
inside <answer> and </answer>, for example <answer> Lake Titicaca </answer>.
Question: {question}
"""

PROMPT_WITHOUT_SEARCH = """Answer the question below.
Reason inside <think> and </think> first. Then write only the answer itself inside <answer> and </answer>, for example \
<answer> Lake Titicaca </answer>.
Question: {question}
"""

LAST_TURN_NOTE = "No searches are left. Give the answer now, inside <answer> and </answer>.\n"
INVALID_TURN_NOTE = (
    "\nThat was neither a search nor an answer. Write a query inside <search> and </search>, or the answer inside "
    "<answer> and </answer>.\n"
)

_TAG = re.compile(r"<(\s*/?\s*(?:" + "|".join(TAGS) + r")\s*/?\s*)>", re.IGNORECASE)
_WELL_FORMED = re.compile(
    r"\s*<think>(?P<thought>.*?)</think>\s*<(?P<tag>search|answer)>(?P<body>.*)</(?P=tag)>\s*", re.DOTALL
)

ActionKind = Literal["search", "answer", "invalid"]


@dataclass(frozen=True)
class Action:
    """What one turn does. `text` is the query or the answer, stripped; empty for an invalid turn.

    `well_formed` says whether the turn was a thought followed by one action and nothing else.
    """

    kind: ActionKind
    text: str
    well_formed: bool


def chat(system: str, user: str) -> list[Message]:
    """A chat of two messages, the second of which is to be answered."""
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def render_prompt(question: str, *, template: str = PROMPT) -> str:
    """The instructions with the question in them. `template` must hold `{question}` once."""
    if template.count("{question}") != 1:
        raise ConfigError("protocol.prompt must hold {question} exactly once")
    return template.replace("{question}", question)


def parse_turn(text: str, *, opened: bool = False) -> Action:
    """Read one turn of the policy: its first action outside of thoughts and quotations (`replies.find_action`).

    `opened`: the prompt has opened the thought that the turn begins with, which is then as well formed as its own.

    >>> parse_turn("<think>Which country?</think><search> capital Kathmandu </search>")
    Action(kind='search', text='capital Kathmandu', well_formed=True)
    """
    found = find_action(text, opened=opened, exact=True)
    if found is None:
        return Action("invalid", "", False)
    body = found.body.strip()
    match = _WELL_FORMED.fullmatch("<think>" * opened + text[: found.end])
    tidy = match is not None and not _TAG.search(match["thought"]) and not _TAG.search(match["body"])
    if found.tag == "search":
        return Action("search", body, tidy)
    return Action("answer", body, tidy) if body else Action("invalid", "", False)


def neutralize(text: str, special_tokens: Sequence[str] = ()) -> str:
    """Make `text` unable to speak the protocol or the chat template: `<answer>` becomes `[answer]`.

    Text that is a tag or a control token only once it is normalised (NFKC: `＜answer＞`), as some tokenizers do, is
    normalised first. See `break_tokens` for `special_tokens`, and `encoding.harmless` where the tokenizer is at hand.
    """
    text = text.encode("utf-8", "replace").decode()
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", text)
        if (holds_tag(plain) and not holds_tag(text)) or any(t in plain and t not in text for t in special_tokens):
            text = plain
    return break_tokens(_TAG.sub(r"[\1]", text), special_tokens)


def holds_tag(text: str) -> bool:
    """Whether a tag of the protocol stands in `text`."""
    return _TAG.search(text) is not None


def break_tokens(text: str, special_tokens: Sequence[str]) -> str:
    """Make `text` unable to speak the chat template; the protocol's tags stay as they are.

    `special_tokens` are the tokenizer's own (`<|im_end|>`, ...): a tokenizer would turn their text into control ids.
    White space around one is not part of it. Half a character (a lone surrogate, as JSON can hold), which no tokenizer
    takes, becomes `?`.
    """
    text = text.encode("utf-8", "replace").decode()
    for token in map(str.strip, special_tokens):  # a space at an end would let the loop make what it removes
        while token and token in text:
            text = text.replace(token, token[:1] + " " + token[1:] if len(token) > 1 else " ")
    return text


def render_document(document: Document, rank: int, clean: Callable[[str], str] = neutralize) -> str:
    """One line of a result page: `[1] Title: text`, neutralised by `clean`, white space squeezed."""
    body = f"{document.title}: {document.text}" if document.title else document.text
    return f"[{rank}] {' '.join(clean(' '.join(body.split())).split())}"


def one_line(text: str) -> str:
    """`text` with all white space, line ends too, squeezed to single spaces; lone surrogates become `?`."""
    return " ".join(text.split()).encode("utf-8", "replace").decode("utf-8")


def field_text(text: str) -> str:
    """`text` as it may stand in a prompt: on one line, and without tags or control texts that a model would obey."""
    return neutralize(one_line(text), CONTROL_TEXTS)
