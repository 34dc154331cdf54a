"""Pages of passages that are written each on its own, all at once, by a model tuned on an engine's passages.

    stating_messages(query, "Emma (novel)", "Emma is an 1815 novel by Jane Austen.")    # asks for a passage with a fact
    beside_messages(query, 2)                                                           # asks for another one

`tune --by passages` makes such a model from recorded pages: given a title and a sentence of a passage, it learns to
write the whole passage, so that the fact stands among others, where the engine's passages have it. The other
passages are those that the engine found with the query and that do not hold the answer. The passages of a page are
written side by side, so a page takes the time of one passage.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Sequence

from zerosearch.episodes.protocol import Message, field_text, one_line
from zerosearch.episodes.replies import visible
from zerosearch.episodes.search import Document
from zerosearch.simulator.decided import PagePlan, without

_SYSTEM = "You write the passages that a search engine finds."
SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[\"'“(A-Z0-9])")
_WORD = re.compile(r"\w")

Tell = Callable[[Sequence[Message], int], Awaitable[str]]
"""Messages and the number of the writing, from 0: the text that a model writes."""


def stating_messages(query: str, title: str, fact: str) -> list[Message]:
    """The chat that asks for the passage about `title` that states `fact`."""
    lines = [f"Query: {field_text(query)}", f"Title: {field_text(title)}", f"Fact: {field_text(fact)}"]
    return _messages("\n".join([*lines, "Write the passage."]))


def beside_messages(query: str, rank: int) -> list[Message]:
    """The chat that asks for another passage that an engine finds with `query`, at a `rank` from 1."""
    return _messages(f"Query: {field_text(query)}\nWrite another passage, number {rank}.")


def _messages(order: str) -> list[Message]:
    return [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": order}]


async def write_page(
    plan: PagePlan, query: str, top_k: int, tries: int, seed: int, tell: Tell
) -> tuple[tuple[Document, ...], int]:
    """The documents of a page as planned, that which states its fact first, and how many passages were written anew.

    A passage that does not state its fact in `tries` writings gets the fact as a sentence of its own, at a place that
    `seed` draws. Sentences with what must be absent are taken out; a passage that is left empty is left out, as is a
    second one of the same title.
    """
    written = 0

    async def stating() -> Document:
        nonlocal written
        document = Document(plan.title, "")
        for number in range(tries):
            text = await tell(stating_messages(query, plan.title, plan.states or plan.named[0]), number)
            written += 1
            document = _passage(text, plan.title)
            (document,) = without(plan.absent, [document]) or (Document(plan.title, ""),)
            if plan.kept([document]):
                return document
        return _with_fact(document, plan, seed)

    async def beside(rank: int) -> Document:
        return _passage(await tell(beside_messages(query, rank), rank * tries), "")

    if not plan.named:
        documents = await asyncio.gather(*(beside(rank) for rank in range(1, top_k + 1)))
        return without(plan.absent, _distinct(documents)), 0
    first, *others = await asyncio.gather(stating(), *(beside(rank) for rank in range(2, top_k + 1)))
    kept = [document for document in _distinct(others) if document.title != first.title]
    return (first, *without(plan.absent, kept)), written - 1


def _distinct(documents: Sequence[Document]) -> list[Document]:
    """Those with words, the first of each title."""
    kept: dict[str, Document] = {}
    for document in documents:
        if _WORD.search(document.text):
            kept.setdefault(document.title, document)
    return list(kept.values())


def _passage(text: str, title: str) -> Document:
    """`Title: text` as it was written; under `title` where that is given."""
    own, colon, body = one_line(visible(text)).partition(": ")
    return Document(title or own, body) if colon and _WORD.search(body) else Document(title, own)


def _with_fact(document: Document, plan: PagePlan, seed: int) -> Document:
    fact = plan.states or f"{plan.named[0]}."
    sentences = [s for s in SENTENCE.split(document.text) if s]
    sentences.insert(random.Random(seed).randint(0, len(sentences)), fact)
    return Document(plan.title or document.title, " ".join(sentences))
