"""Parse what a model wrote. Thoughts are removed first: nothing in them is an action or an answer.

    visible("<think>I write inside <answer> and </answer>.</think> <answer>Lima</answer>")   # " <answer>Lima</answer>"

A *thought* stands between `<think>` and `</think>` (or the like of other models). Its opening tag may be the chat
template's, and so no part of the text: then a closing tag ends a thought that began with the text, or where the last
one ended. A thought that never closes leaves nothing to be seen.

A *quotation* of the instructions, `<answer> and </answer>`, is no action either, wherever it stands.

Of several actions the first one outside of both counts, as in Search-R1, ZeroSearch and ReAct.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

_NAMES = r"(?:think|thinking|thought|thoughts|reasoning|seed:think)"
_THOUGHT = re.compile(
    rf"(?P<open><\s*{_NAMES}\s*>|\[THINK\]|◁think▷|<\|channel\|>\s*(?:analysis|commentary)\b[^<]*<\|message\|>)"
    rf"|<\s*/\s*{_NAMES}\s*>|\[/THINK\]|◁/think▷|<\|channel\|>\s*final\b[^<]*<\|message\|>",
    re.IGNORECASE,
)
_OPENS = re.compile(rf"(?:<\s*{_NAMES}\s*>|\[THINK\]|◁think▷)\s*\Z", re.IGNORECASE)
# What stands between two tags that are only spoken of: "inside <answer> and </answer>", "<search> your query </search>"
_SPOKEN_OF = (
    r"[\s`'\"“”*]*(?:and|or|to|,|/|\.{2,}|…|(?:(?:your|the|a|my|final|search|short)\s+)*(?:query|answer)(?:\s+here)?)"
    r"[\s`'\"“”*]*"
)
_QUOTATION = re.compile(
    rf"<\s*(?P<tag>think|search|information|answer)\s*>{_SPOKEN_OF}<\s*/\s*(?P=tag)\s*>"
    r"|(?:for example|e\.g\.|such as)[\s:,`'\"]*<\s*(?P<like>search|answer)\s*>[^<\n]*<\s*/\s*(?P=like)\s*>",
    re.IGNORECASE,
)
_LABEL = re.compile(
    r"^\W*(?:(?:the )?(?:final )?answer(?: to (?:the|this) question)?(?: is)?\W*:|(?:the )?final answer is\b)\W*",
    re.IGNORECASE,
)
_EXACT = {slash: re.compile(rf"<{slash}(search|answer)>") for slash in ("", "/")}
_LENIENT = {slash: re.compile(rf"<\s*{slash}\s*(search|answer)\s*>", re.IGNORECASE) for slash in ("", "/")}


@dataclass(frozen=True)
class Found:
    """An action as it stands in a text: `text[start:end]` from opening to closing tag, `body` between them."""

    tag: str
    body: str
    start: int
    end: int


def visible(text: str, *, opened: bool = False) -> str:
    """`text` without thoughts and quotations. `opened`: the prompt ended by opening a thought.

    >>> visible("<think>Lima or Quito?</think>Lima"), visible("Lima or Quito?</think>Lima"), visible("<think>Lima")
    (' Lima', ' Lima', ' ')
    """
    parts, at = [], 0
    for start, end in _hidden(text, opened)[0]:
        parts.append(text[at:start])
        at = end
    return " ".join([*parts, text[at:]])


def bare_line(text: str) -> str:
    """`text` without blanks and marks around it, and without a leading `Answer:` or the like.

    >>> bare_line("\\n**Answer:** Kathmandu"), bare_line("The answer is: **Lima**")
    ('Kathmandu', 'Lima')
    """
    return _LABEL.sub("", text.strip()).strip(" *\n\t")


def thinking(text: str, *, opened: bool = False) -> bool:
    """Whether `text` ends inside of a thought."""
    return _hidden(text, opened)[1]


def opens_thought(prompt: str) -> bool:
    """Whether what is written after `prompt` begins inside of a thought, as chat templates of reasoning models have it.

    >>> opens_thought("<|im_start|>assistant\\n<think>\\n"), opens_thought("Reason inside <think> and </think>.")
    (True, False)
    """
    return _OPENS.search(prompt) is not None


def may_think_unseen(replies: Sequence[str]) -> bool:
    """Whether a model behind a URL may open thoughts by its template, by its `replies` so far: none, or one that
    closes a thought which it did not open.

    A server's stop strings would end such a thought at a tag that it only speaks of: it is asked without them.
    """
    marks = (_THOUGHT.search(_without_quotations(reply)) for reply in replies)
    return not replies or any(mark is not None and mark["open"] is None for mark in marks)


def stop_end(text: str, stop: Sequence[str], *, opened: bool = False) -> int | None:
    """Where the first string of `stop` outside of thoughts and quotations ends; None where there is none.

    A text that a sampler stopped and that has no such end is not finished: its writer is asked to go on.
    """
    seen = _masked(text, opened)
    return min((place + len(s) for s in stop if (place := seen.find(s)) >= 0), default=None)


def cut_before(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first string of `stop` outside of thoughts and quotations, as a server returns it.

    >>> cut_before("<think>I write </answer></think><answer> Lima </answer>.", ["</answer>"])
    '<think>I write </answer></think><answer> Lima '
    """
    seen = _masked(text, False)
    return text[: min((place for s in stop if (place := seen.find(s)) >= 0), default=len(text))]


def close_tag(text: str, stop: Sequence[str]) -> str:
    """Put back the closing tag that a model was stopped at: servers return the text before it.

    Only where the text outside of thoughts and quotations holds its opening tag, and no closing one after that.
    """
    seen = _masked(text, False)
    begun = {seen.rfind(f"<{s[2:]}"): s for s in stop if s.startswith("</") and seen.rfind(f"<{s[2:]}") > seen.rfind(s)}
    return text + begun[max(begun)] if begun else text


def without_marks(text: str) -> str:
    """`text` with its thoughts, and without what marks them as such."""
    return _THOUGHT.sub("", text).strip()


def plain_marks(text: str) -> str:
    """`text` with every model's marks of a thought written as `<think>` and `</think>`."""
    return _THOUGHT.sub(lambda mark: "</think>" if mark["open"] is None else "<think>", text)


def find_action(
    text: str, *, opened: bool = False, exact: bool = False, only: Literal["answer"] | None = None
) -> Found | None:
    """The first closed `<search>…</search>` or `<answer>…</answer>` outside of thoughts and quotations.

    The first closing tag decides, and its opening tag is the nearest before it; None where it has none. `exact`: tags
    are lower case and without spaces, as a policy's stop strings are; else `</ Answer >` is one too. `only`: as if the
    other tag were text.
    """
    seen = _masked(text, opened)
    tags = _EXACT if exact else _LENIENT
    closing = next((m for m in tags["/"].finditer(seen) if only in (None, m[1].lower())), None)
    if closing is None:
        return None
    tag = closing[1].lower()
    openings = [m for m in tags[""].finditer(seen, 0, closing.start()) if m[1].lower() == tag]
    if not openings:
        return None
    return Found(tag, seen[openings[-1].end() : closing.start()], openings[-1].start(), closing.end())


def _masked(text: str, opened: bool) -> str:
    """`text` with spaces for all that is hidden, so that places stay what they are."""
    parts, at = [], 0
    for start, end in _hidden(text, opened)[0]:
        parts += [text[at:start], " " * (end - start)]
        at = end
    return "".join([*parts, text[at:]])


def _without_quotations(text: str) -> str:
    return _QUOTATION.sub(lambda match: " " * len(match[0]), text)


def _hidden(text: str, opened: bool) -> tuple[list[tuple[int, int]], bool]:
    """The spans that hold thoughts and quotations, in order and apart, and whether the last thought is still open."""
    quotations = [match.span() for match in _QUOTATION.finditer(text)]
    spans: list[tuple[int, int]] = []
    begun: int | None = 0 if opened else None
    ended = 0
    for mark in _THOUGHT.finditer(_without_quotations(text)):
        if mark["open"] is not None:
            begun = mark.start() if begun is None else begun
            continue
        spans.append((ended if begun is None else begun, mark.end()))
        begun, ended = None, mark.end()
    if begun is not None:
        spans.append((begun, len(text)))
    spans += [span for span in quotations if not any(start <= span[0] < end for start, end in spans)]
    return sorted(spans), begun is not None
