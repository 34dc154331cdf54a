"""From recorded pages to the passages that `tune --by passages` learns to write, each from what it states or shares."""

from __future__ import annotations

import random
from collections.abc import Sequence

from zerosearch.engines.page_rows import RecordedPage
from zerosearch.episodes.examples import Example
from zerosearch.episodes.protocol import Message, one_line
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document, holds_answer
from zerosearch.errors import DataError
from zerosearch.models.local import LocalModel
from zerosearch.simulator.page_text import QUOTED_WORDS, answer_spans
from zerosearch.simulator.pairs import chat_example
from zerosearch.simulator.passages import SENTENCE, beside_messages, stating_messages
from zerosearch.spending.ledger import counted

FEWEST = 40
"""Passages of a kind that a tuning needs."""
_BEFORE, _AFTER = 8, 4
"""Words around the answer that are left of a sentence in half of the examples: facts are short and passages are not."""
_ALONE = 0.5


def passage_examples(
    model: LocalModel,
    pages: Sequence[RecordedPage],
    *,
    top_k: int,
    max_tokens: int,
    answer_weight: int = 1,
    seed: int = 0,
) -> list[Example]:
    """What `tune --by passages` learns from, the loss on the passage alone: each passage of the pages once a query.

    A passage with the answer, or on a page without it the one with the bridge, is asked for by its title and a fact;
    as many of the others, drawn at random, by the query. The fact is the question's own where it has `facts`: it says
    plainly what the passage may say in any other way, and so are the facts of training. Else it is the sentence of the
    passage. A passage that has another of several answers than the fact teaches to leave the fact out, and is left
    out. So are those of more than `max_tokens` tokens, which the simulator may not write. What the fact tells, with the
    words before it, counts `answer_weight` times in the loss. Raises `DataError` for fewer than `FEWEST` of a kind.
    """
    drawn = random.Random(seed)
    orders: dict[tuple[str, Document], tuple[list[Message], str, list[str]]] = {}
    for page in pages:
        answers = page.question.evident_answers
        documents = page.documents[:top_k]
        bridge = (page.question.bridge,) if page.question.bridge else ()
        held = holds_answer(documents, answers)
        wanted = answers if held else bridge
        plain = _plain_fact(page.question, held=held)
        for rank, document in enumerate(documents, start=1):
            if not answers or not document.title.strip():
                continue
            told: list[str] = []
            messages = beside_messages(page.query, rank)
            if wanted and holds_answer([document], wanted):
                fact = plain or _fact(document, wanted, drawn)
                told = [name for name in wanted if contains_answer(fact, [name])]
                if not contains_answer(document.text, told):
                    continue
                messages = stating_messages(page.query, document.title, fact)
            orders.setdefault((page.query, document), (messages, page.question.id, told))
    others = [place for place, (_, _, told) in orders.items() if not told]
    stated = len(orders) - len(others)
    if min(stated, len(others)) < FEWEST:
        raise DataError(
            f"{counted(stated, 'passage')} with an answer or a bridge and {len(others)} without: "
            f"tuning needs {FEWEST} of each"
        )
    left_out = set(drawn.sample(others, max(len(others) - stated, 0)))
    made = [
        _example(model, messages, place[1], key, told, answer_weight)
        for place, (messages, key, told) in orders.items()
        if place not in left_out
    ]
    return [example for example in made if sum(map(bool, example.mask)) <= max_tokens]


def _plain_fact(question: Question, *, held: bool) -> str:
    """The fact that tells the answer (`held`), or the one that tells the bridge; empty where the data has none."""
    facts = question.facts
    if held:
        return facts[-1] if facts and contains_answer(facts[-1], question.evident_answers) else ""
    return facts[0] if len(facts) > 1 and contains_answer(facts[0], [question.bridge]) else ""


def _fact(document: Document, wanted: Sequence[str], drawn: random.Random) -> str:
    """The sentence of `document` that has what is `wanted`, or the words around it; empty where its text has none."""
    sentence = next((s for s in SENTENCE.split(document.text) if contains_answer(s, wanted)), "")
    words = sentence.split()
    if not words or drawn.random() < _ALONE:
        return sentence
    holds = [n for n in range(len(words)) if contains_answer(" ".join(words[n:]), wanted)]
    start = holds[-1]  # the last place from which on it still stands there
    end = next(n for n in range(start + 1, len(words) + 1) if contains_answer(" ".join(words[start:n]), wanted))
    return " ".join(words[max(start - _BEFORE, 0) : end + _AFTER])


def _example(
    model: LocalModel, messages: Sequence[Message], document: Document, key: str, told: Sequence[str], weight: int
) -> Example:
    text = f"{one_line(document.title)}: {one_line(document.text)}"
    return chat_example(model, messages, text, key, answer_spans(text, told, before=QUOTED_WORDS), weight)
