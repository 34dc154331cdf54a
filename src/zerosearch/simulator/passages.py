"""Pages whose passages are written one by one, all at once, by a model tuned on an engine's passages.

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
from zerosearch.episodes.seeds import derive_seed
from zerosearch.simulator.decided import PagePlan, Statement, without

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
    """The documents of a page as planned, those that state something first, and how many passages were written anew.

    A passage that does not state its fact is written `tries` - 1 times more, all at once, and the first that does is
    taken. What no passage states then stands as a sentence of its own in the passage that was to state it, at a
    place that `seed` draws. Such a sentence tells a fact more plainly than an engine's passages do. So a passage that
    leaves out what another one of the page states stays as it is. Sentences with what must be absent are taken out; a
    passage that is left empty is left out, as is a second one of the same title.
    """
    told = plan.states[:top_k]
    written = 0

    async def writing(place: int, number: int) -> Document:
        nonlocal written
        said = told[place]
        text = await tell(stating_messages(query, said.title, said.fact or said.named[0][0]), place * tries + number)
        written += 1
        (document,) = without(plan.absent, [_passage(text, said.title)]) or (Document(said.title, ""),)
        return document

    async def stating(place: int) -> Document:
        document = await writing(place, 0)
        if told[place].kept([document]) or tries == 1:
            return document
        more = await asyncio.gather(*(writing(place, number) for number in range(1, tries)))
        return next((document for document in more if told[place].kept([document])), more[-1])

    async def beside(rank: int) -> Document:
        return _passage(await tell(beside_messages(query, rank), rank * tries), "")

    places, ranks = range(len(told)), range(len(told) + 1, top_k + 1)
    stated, others = await asyncio.gather(asyncio.gather(*map(stating, places)), asyncio.gather(*map(beside, ranks)))
    for place, said in enumerate(told):
        if not said.kept(stated):
            stated[place] = _with_fact(stated[place], said, derive_seed("fact", place, seed) if place else seed)
    stated = [document for document in stated if _WORD.search(document.text)]
    titles = {document.title for document in stated}
    kept = [document for document in _distinct(others) if document.title not in titles]
    return (*stated, *without(plan.absent, kept)), written - len(told)


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


def _with_fact(document: Document, said: Statement, seed: int) -> Document:
    fact = said.fact or f"{said.named[0][0]}."
    sentences = [s for s in SENTENCE.split(document.text) if s]
    sentences.insert(random.Random(seed).randint(0, len(sentences)), fact)
    return Document(said.title or document.title, " ".join(sentences))
