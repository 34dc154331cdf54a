"""Reading what a model wrote: the answer, a query, an action, a rating. Nothing is read from a prompt or a document."""

from __future__ import annotations

import re
from typing import Literal

from zerosearch.episodes.protocol import Action
from zerosearch.episodes.replies import bare_line, find_action, visible

STOP_ANSWER = ("</answer>",)
STOP_ACTION = ("</search>", "</answer>")
STOP_OBSERVATION = ("\nObservation",)

_BARE_WORDS = 12  # more is a sentence, not an answer
_WORD = re.compile(r"\w")
_FORM = re.compile(  # how the prompt writes an action
    r"(?:a short query for one fact|only the answer itself, as short as possible"
    r"|(?:your |the )?(?:query|answer)|\.{2,}|…)?",
    re.IGNORECASE,
)
_REACT = re.compile(r"action\s*\d*\s*:\s*\**\s*(search|finish)\s*\[([^\n]*)", re.IGNORECASE)
_FINAL = re.compile(
    r"\banswer is\b(?!\W*(?:not|still|yet|un\w+|missing|needed|to be|in the|somewhere)\b)", re.IGNORECASE
)
_NUMBER = re.compile(r"(?<![\w.-])\d+(?:\.\d+)?(?![\w-])")
_SCALE = re.compile(r"(?:from\s+)?\b[01]\s*(?:to|-|–|and|through)\s*10\b|(?:/|\bout of|\bof)\s*10\b", re.IGNORECASE)


def extract_answer(text: str) -> str | None:
    """What stands in the first closed `<answer>…</answer>`, white space squeezed; None where there is none.

    An answer that was never closed (the model ran out of tokens in it) or is empty is no answer.

    >>> extract_answer("<think>I use <answer> and </answer>.</think> It is Lima. <answer> Lima </answer>")
    'Lima'
    """
    found = find_action(text, only="answer")
    return (" ".join(found.body.split()) or None) if found is not None else None


def final_reply(text: str) -> str | None:
    """The answer of a reply that was to give one: the tagged one or, without any tag, a bare line of a few words.

    Small models that are told to write nothing but the answer often leave the tags out, and so do models that think.

    >>> final_reply("<think>Lima or Quito?</think>\\n\\n**Answer:** Lima"), final_reply("I do not know.\\nMaybe Lima.")
    ('Lima', None)
    """
    bare = bare_line(visible(text))
    if bare and "<" not in bare and "\n" not in bare and len(bare.split()) <= _BARE_WORDS:
        return " ".join(bare.split())
    return extract_answer(text)


def parse_action(text: str) -> Action:
    """The first closed `<search>…</search>` or `<answer>…</answer>` of a text; `invalid` where there is none.

    `well_formed`: nothing follows it.
    """
    found = find_action(text)
    body = " ".join(found.body.split()) if found is not None else ""
    if found is None or not body:
        return Action("invalid", "", False)
    kind: Literal["search", "answer"] = "search" if found.tag == "search" else "answer"
    return Action(kind, body, not text[found.end :].strip())


def parse_react(text: str) -> Action:
    """The first `Action: Search[query]` or `Action: Finish[answer]` of a text (ReAct, Yao et al. 2023).

    One that begins its line goes before one that only ends it. The form itself (`Search[query]`) is no action. The
    brackets close with the line's last `]`, or with the line. Without any action `<answer>…</answer>` is a Finish.
    """
    seen = visible(text)
    found = [m for m in _REACT.finditer(seen) if not _FORM.fullmatch(_in_brackets(m[2]))]
    lines = [m for m in found if not _WORD.search(seen[seen.rfind("\n", 0, m.start()) + 1 : m.start()])]
    match = next(iter(lines or [m for m in found if m[2].rstrip(" .*`").endswith("]")]), None)
    if match is None:
        answer = extract_answer(text)
        return Action("answer", answer, False) if answer else Action("invalid", "", False)
    _, bracket, rest = match[2].rpartition("]")
    body = _in_brackets(match[2])
    if not body:
        return Action("invalid", "", False)
    kind: Literal["search", "answer"] = "search" if match[1].lower() == "search" else "answer"
    return Action(kind, body, bool(bracket) and not rest.strip() and not seen[match.end() :].strip())


def _in_brackets(rest: str) -> str:
    body, bracket, open_end = rest.rpartition("]")
    return " ".join((body if bracket else open_end).split())


def is_final(sentence: str) -> bool:
    """Whether a sentence of a chain of thought says the answer (IRCoT stops at "answer is").

    >>> is_final("So the answer is: Lima."), is_final("The answer is not known yet.")
    (True, False)
    """
    return _FINAL.search(sentence) is not None


def parse_rating(text: str) -> float | None:
    """The rating that a text gives on a scale of 0 to 10, as a share in [0, 1]; None where it gives none.

    The last number that is no part of the scale itself: neither `0 to 10` nor the 10 of `8/10` and `8 out of 10`.

    >>> parse_rating("8"), parse_rating("On a scale of 0 to 10, I would say 8."), parse_rating("7 out of 10")
    (0.8, 0.8, 0.7)
    """
    numbers = [float(number) for number in _NUMBER.findall(_SCALE.sub(" ", visible(text)))]
    return numbers[-1] / 10 if numbers and 0 <= numbers[-1] <= 10 else None
