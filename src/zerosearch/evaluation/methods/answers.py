"""Reading what a model wrote: the answer, a query, an action, a rating. Nothing is read from a prompt or a document."""

from __future__ import annotations

import re
from typing import Literal

from zerosearch.protocol import Action

STOP_ANSWER = ("</answer>",)
STOP_ACTION = ("</search>", "</answer>")
STOP_OBSERVATION = ("\nObservation",)

_BARE_WORDS = 12  # more is a sentence, not an answer
_CLOSING = re.compile(r"<\s*/\s*(search|answer)\s*>", re.IGNORECASE)
_REACT = re.compile(r"action\s*\d*\s*:\s*\**\s*(search|finish)\s*\[([^\n]*)", re.IGNORECASE)
_SENTENCE = re.compile(r".+?(?:[.!?](?=\s|$)|$)", re.DOTALL)
_FINAL = re.compile(r"\banswer is\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def extract_answer(text: str) -> str | None:
    """What stands in the first closed `<answer>…</answer>`, white space squeezed; None where there is none.

    The opening tag is the nearest before the first closing one. An answer that was never closed (the model ran out of
    tokens in it) or is empty is no answer.

    >>> extract_answer("It is Lima. <answer> Lima </answer>")
    'Lima'
    """
    return _enclosed(text, "answer")


def final_reply(text: str) -> str | None:
    """The answer of a reply that was to give one: the tagged one or, without any tag, a bare line of a few words.

    Small models that are told to write nothing but the answer often leave the tags out; that is no lack of knowledge.
    Policies that speak the protocol are held to their tags (`zerosearch/protocol.py`).

    >>> final_reply("Lima"), final_reply("I do not know.\\nIt may be Lima.")
    ('Lima', None)
    """
    answer = extract_answer(text)
    bare = text.strip()
    if bare and "<" not in bare and "\n" not in bare and len(bare.split()) <= _BARE_WORDS:
        return " ".join(bare.split())
    return answer


def parse_action(text: str) -> Action:
    """The first closed `<search>…</search>` or `<answer>…</answer>` of a text; `invalid` where there is none.

    `well_formed`: nothing follows it.
    """
    closing = _CLOSING.search(text)
    if closing is not None:
        tag: Literal["search", "answer"] = "search" if closing[1].lower() == "search" else "answer"
        body = _enclosed(text, tag)
        if body is not None:
            return Action(tag, body, not text[closing.end() :].strip())
    return Action("invalid", "", False)


def parse_react(text: str) -> Action:
    """The first `Action: Search[query]` or `Action: Finish[answer]` of a text (ReAct, Yao et al. 2023).

    The brackets close with the line's last `]`, or with the line where there is none. `<answer>…</answer>` is taken for
    a Finish where there is no action at all.
    """
    match = _REACT.search(text)
    if match is None:
        answer = extract_answer(text)
        return Action("answer", answer, False) if answer else Action("invalid", "", False)
    body, bracket, rest = match[2].rpartition("]")
    body = " ".join((body if bracket else rest).split())
    if not body:
        return Action("invalid", "", False)
    kind: Literal["search", "answer"] = "search" if match[1].lower() == "search" else "answer"
    return Action(kind, body, bool(bracket) and not rest.strip() and not text[match.end() :].strip())


def first_sentence(text: str) -> str:
    """The first sentence of the first line that is not blank; empty for blank text."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    match = _SENTENCE.match(line)
    return match[0].strip() if match else ""


def is_final(sentence: str) -> bool:
    """Whether a sentence of a chain of thought says the answer (IRCoT stops at "answer is")."""
    return _FINAL.search(sentence) is not None


def parse_rating(text: str) -> float | None:
    """The first number of a text, of 0 to 10, as a share in [0, 1]; None where there is none or it is larger."""
    match = _NUMBER.search(text)
    if match is None or not 0 <= float(match[0]) <= 10:
        return None
    return float(match[0]) / 10


def close_tags(text: str, stop: tuple[str, ...]) -> str:
    """Put back the closing tag that a model was stopped at: servers return the text before it.

    Only where the text holds its opening tag, and no closing one after that.
    """
    closing = [s for s in stop if s.startswith("</") and text.rfind(f"<{s[2:]}") > text.rfind(s)]
    return text + max(closing, key=lambda s: text.rfind(f"<{s[2:]}")) if closing else text


def _enclosed(text: str, tag: str) -> str | None:
    closing = re.search(rf"<\s*/\s*{tag}\s*>", text, re.IGNORECASE)
    if closing is None:
        return None
    openings = list(re.finditer(rf"<\s*{tag}\s*>", text[: closing.start()], re.IGNORECASE))
    if not openings:
        return None
    return " ".join(text[openings[-1].end() : closing.start()].split()) or None
