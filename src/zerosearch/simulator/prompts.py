"""The prompts of a simulator: the job, the query with its question, and the requested documents.

Two styles. `instruct` explains the job to any instruct model. `tuned` is the short form that a tuned simulator learns
and is asked with: it is all overhead in a small model's context, so it spends no word twice.

A simulator sees the golden answer, and is tempted to print it whatever the query says; a policy trained with such pages
learns to search once with the whole question. The `instruct` style therefore ties every document to the *query*.
"""

from __future__ import annotations

from typing import Literal

from zerosearch.episodes.protocol import Message, chat, field_text
from zerosearch.episodes.search import Quality, SearchRequest

PromptStyle = Literal["instruct", "tuned", "passages"]

MAX_ANSWERS_SHOWN = 3
WORDS_PER_DOCUMENT = 30

_INSTRUCT_SYSTEM = (
    "You play a web search engine. Given a query, you write the page of results that such an engine would return: "
    "short excerpts of documents in the sober style of encyclopaedias, news and reference sites."
)
_MEANING = {
    Quality.USEFUL: (
        "Useful means: the documents state, correctly and concretely, facts that this query asks for, as the best "
        "pages of the web would."
    ),
    Quality.NOISY: (
        "Noisy means: the documents look like results for this query and share its words or its subject, but none of "
        "them holds the facts it asks for. They mislead by being beside the point, not by being nonsense."
    ),
}
_IN_THE_END = (
    "The question and its golden answer below only tell you what the searcher wants in the end; the query may be one "
    "step on the way there, or miss the point."
)
_FIT_THE_QUERY = (
    f"Every document must fit the query. {_IN_THE_END} Let the golden answer appear only where a real document found "
    "with this very query would state it, and never in a noisy document."
)
_FIT_THE_QUERY_ALONE = (
    "Every document must fit the query. The question below only tells you what the searcher wants in the end; the "
    "query may be one step on the way there, or miss the point."
)
_TUNED_SYSTEM = "You write search results."


def simulator_messages(
    request: SearchRequest, style: PromptStyle = "instruct", words: int = WORDS_PER_DOCUMENT
) -> list[Message]:
    """The chat that asks a simulator for the page of `request`: a system and a user message. `words` are those of a
    document, for `instruct`.

    Query, question and golden answers are put on one line each and neutralised, so that none of them can add a line,
    a protocol tag or a turn of the chat. At most `MAX_ANSWERS_SHOWN` golden answers are shown. Without a question
    (`request.question is None`) only the query is, and a question without golden answers comes without their line.
    """
    return (
        chat(_TUNED_SYSTEM, _tuned(request)) if style == "tuned" else chat(_INSTRUCT_SYSTEM, _instruct(request, words))
    )


def _tuned(request: SearchRequest) -> str:
    # The query and the order stand last, next to the page: a small model heeds best what it read last.
    lines = []
    if request.question is not None:
        lines = [f"Question: {field_text(request.question.text)}"]
        lines += [f"Answer: {_answers(request)}"] if request.question.golden_answers else []
    lines += [f"Query: {field_text(request.query)}", f"Write {request.top_k} {request.quality} documents."]
    return "\n".join(lines)


def _instruct(request: SearchRequest, words: int) -> str:
    count = request.top_k
    noun = "document" if count == 1 else "documents"
    shape = "\n".join(f"[{rank}] Title: text" for rank in range(1, count + 1))
    paragraphs = [f"Write {count} {request.quality} {noun} for the query below. {_MEANING[request.quality]}"]
    if request.question is not None:
        paragraphs.append(_FIT_THE_QUERY if request.question.golden_answers else _FIT_THE_QUERY_ALONE)
    paragraphs.append(
        f"Give each document one line of about {words} words, in exactly this form, with nothing before, "
        f"between or after:\n{shape}"
    )
    lines = [f"Query: {field_text(request.query)}"]
    if request.question is not None:
        lines += [f"Question: {field_text(request.question.text)}"]
        lines += [f"Golden answer: {_answers(request)}"] if request.question.golden_answers else []
    return "\n\n".join([*paragraphs, "\n".join(lines)])


def _answers(request: SearchRequest) -> str:
    golden = request.question.golden_answers if request.question is not None else ()
    return "; ".join(field_text(answer) for answer in golden[:MAX_ANSWERS_SHOWN])
