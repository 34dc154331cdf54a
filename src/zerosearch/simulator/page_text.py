"""The text of a result page, `[1] Title: text` line by line: written by simulators, parsed here.

Models drift from the form they were shown, so `parse_page` also understands the other ways in which they number
documents. Whatever was not in the form asked for is marked, and what cannot be told apart stays one document: a page
is never made up.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zerosearch.episodes.protocol import field_text, one_line
from zerosearch.episodes.replies import visible
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document, SearchPage

_PLAN = re.compile(r"\s*<think>(?P<held>none|\[\d+\].*?)</think>", re.DOTALL)
_FENCE = re.compile(r"^[ \t]*(?:```\w*|</?information>)[ \t]*$", re.MULTILINE)
_WORD = re.compile(r"\w")
_MARK = re.compile(r"\[\d+\] ")
_EXACT = re.compile(r"\[(\d{1,3})\] (\S.*)")
# Where a document may begin, each with its number, and a title where the style marks one. Tried in this order.
_LEAD = r"^[ \t>#*_-]*"
_BARE = re.compile(_LEAD + r"(\d{1,2})[.)][*_]*[ \t]+", re.MULTILINE)
_STYLES = (
    re.compile(_LEAD + r"\[(?:Doc(?:ument)?\s*)?(\d{1,3})\][*_:.]*[ \t]*", re.MULTILINE | re.IGNORECASE),
    re.compile(
        _LEAD + r"Doc(?:ument)?\s*(\d{1,3})\s*\(\s*Title:\s*[\"“]?(?P<title>.*?)[\"”]?\s*\)[*_:.]*[ \t]*",
        re.MULTILINE | re.IGNORECASE,
    ),
    re.compile(_LEAD + r"Doc(?:ument)?\s*(\d{1,3})[*_]*\s*[:.)-][*_]*[ \t]*", re.MULTILINE | re.IGNORECASE),
    _BARE,
)

PLAN_BEGIN = "<think>"
NO_PLAN = "<think>none</think>\n"
"""The plan of a page that will not hold the answer. That of a page that will begins with `PLAN_BEGIN` and `[`."""
QUOTED_WORDS = 5
"""How many words before an answer a plan quotes with it."""


def format_page(documents: Sequence[Document]) -> str:
    """One line a document, `[1] Title: text`; without a title `[1] text`. Documents without a word are left out."""
    bodies = filter(_WORD.search, map(_body, documents))
    return "\n".join(f"[{rank}] {body}" for rank, body in enumerate(bodies, start=1))


def _body(document: Document) -> str:
    return one_line(f"{document.title}: {document.text}" if document.title.strip() else document.text)


def format_plan(documents: Sequence[Document], golden_answers: Sequence[str]) -> str:
    """What a tuned simulator notes before it writes a page: which documents hold the answer, and in which words.

    Whether a page holds the answer is then one decision at its beginning, which the word in the prompt is right before,
    instead of a few words somewhere in three hundred. The answer is quoted with the `QUOTED_WORDS` before it: words
    that lead to it are easier to keep to than the bare answer. `parse_page` leaves the note out of the page.

    >>> format_plan([Document("Nepal", "A country."), Document("Nepal", "Its capital is Kathmandu.")], ["Kathmandu"])
    '<think>[2] Nepal: Its capital is Kathmandu</think>\\n'
    """
    held = []
    for rank, document in enumerate(documents, start=1):
        text = _body(document)
        if contains_answer(text, golden_answers):
            spans = answer_spans(text, golden_answers, before=QUOTED_WORDS)
            # one that only normalisation finds ("U.S." for "US") cannot be quoted: then as the question has it
            start, end = spans[0] if spans else (0, 0)
            answer = next(a for a in golden_answers if contains_answer(text, [a]))
            held.append(f"[{rank}] {field_text(text[start:end] or answer)}")
    return f"{PLAN_BEGIN}{'; '.join(held)}</think>\n" if held else NO_PLAN


def answer_spans(text: str, golden_answers: Sequence[str], *, before: int = 0) -> list[tuple[int, int]]:
    """Where golden answers stand in `text`, as (start, end): their words in order, whatever parts them, in any case.

    Each begins up to `before` words earlier, on the same line and behind its number.

    >>> answer_spans("In New  York, new-york.", ["New York"])
    [(3, 12), (14, 22)]
    >>> answer_spans("In New  York, new-york.", ["New York"], before=1)
    [(0, 12), (8, 22)]
    """
    found = []
    for answer in golden_answers:
        words = [re.escape(word) for word in re.findall(r"\w+", answer)]
        if words:
            pattern = r"(?<!\w)" + r"\W+".join(words) + r"(?!\w)"
            found += [match.span() for match in re.finditer(pattern, text, re.IGNORECASE)]
    return sorted({(_words_back(text, start, before), end) for start, end in found})


def _words_back(text: str, place: int, count: int) -> int:
    line = text.rfind("\n", 0, place) + 1
    mark = _MARK.match(text, line, place)
    line = mark.end() if mark else line
    words = [match.start() for match in re.finditer(r"\S+", text[line:place])]
    return line + words[-count:][0] if words and count else place


def announces_answer(text: str) -> bool | None:
    """Whether the plan before a page says that a document will hold the answer; None where there is no plan."""
    plan = _PLAN.match(text)
    return None if plan is None else plan["held"].startswith("[")


def parse_page(text: str, top_k: int) -> SearchPage:
    """Read the page that a simulator wrote when it was asked for `top_k` documents; the page names no engine.

    `parsed`: the text was exactly `top_k` lines of the form `[n] Title: text`, numbered from 1. More documents are cut,
    fewer are kept. Text without any numbering is one document; empty text none. Thoughts are no part of the page
    (`replies.visible`), and one that never ends leaves nothing: they hold the golden answer.

    >>> parse_page("[1] Nepal: Kathmandu is the capital of Nepal.", 1).documents
    (Document(title='Nepal', text='Kathmandu is the capital of Nepal.', id=''),)
    """
    text = visible(text)
    exact = _read_exact(text)
    if exact is not None:
        return SearchPage(exact[:top_k], "", parsed=len(exact) == top_k)
    text = _FENCE.sub("", text)
    for style in _STYLES:
        documents = _read_marked(text, style)
        if documents is not None:
            return SearchPage(documents[:top_k], "", parsed=False)
    whole = one_line(text)
    return SearchPage((Document("", whole),) if _WORD.search(whole) else (), "", parsed=False)


def _read_exact(text: str) -> tuple[Document, ...] | None:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    documents = []
    for rank, line in enumerate(lines, start=1):
        match = _EXACT.fullmatch(line)
        if match is None or int(match[1]) != rank or not _WORD.search(match[2]):
            return None
        documents.append(_document(match[2]))
    return tuple(documents) or None


def _read_marked(text: str, style: re.Pattern[str]) -> tuple[Document, ...] | None:
    """The documents between the marks of one style, None without a mark.

    A bare "7. " may begin a line of a document by chance: there the numbers must run on from 1.
    """
    marks: list[re.Match[str]] = []
    for mark in style.finditer(text):
        if style is not _BARE or int(mark[1]) == (int(marks[-1][1]) + 1 if marks else 1):
            marks.append(mark)
    if not marks:
        return None
    documents = []
    ends = [mark.start() for mark in marks[1:]] + [len(text)]
    for mark, end in zip(marks, ends, strict=True):
        body, title = one_line(text[mark.end() : end]), one_line(mark.groupdict().get("title") or "")
        if _WORD.search(body):
            documents.append(Document(title, body) if title else _document(body))
    return tuple(documents)


def _document(body: str) -> Document:
    title, colon, text = one_line(body).partition(": ")
    return Document(title, text) if colon else Document("", title)
