"""Scripted trajectories over Factbook questions: the warm start that teaches a small model the protocol.

The scripts know the protocol and how to read a page, and search badly on purpose: most two-hop questions are thrown at
the engine whole, in one search that finds the answer in about 1 % of cases, and answered with a guess from its first
document. The others (`two_search_share`) find the country first and then the answer. Which of the two pays is left
to reinforcement learning to find out.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.snippets import cut
from zerosearch.episodes.episode import Codec, Done, Episode, EpisodeLimits, Generate, Search
from zerosearch.episodes.generation import Generation
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document
from zerosearch.factbook.questions import FactbookQuestion

_OPENING = (
    "I do not know this. I will look it up.",
    "I need to search for this.",
    "Let me look this up.",
    "This is a fact to look up.",
    "I should search for it first.",
)
_FIND_COUNTRY = (
    "First I have to find out which country is meant.",
    "I must find the country first.",
    "Which country is it? I will look for that first.",
    "Step one is the country.",
)
_NEXT = (
    "It is {country}. Now I need the rest.",
    "The country is {country}. Next I look for the fact itself.",
    "So it is {country}. One more search.",
    "{country} it is. Now the fact about it.",
)
_FOUND = ("The pages say it.", "There it is.", "I have found it.", "That answers the question.")
_GUESS = ("I do not see it clearly. I will guess.", "The pages do not say it. I take a guess.", "This may be it.")


@dataclass(frozen=True)
class Script:
    """What a scripted policy writes, turn by turn, and the pages it is shown in between."""

    question: Question
    turns: tuple[str, ...]
    pages: tuple[tuple[Document, ...], ...]


Find = Callable[[str], tuple[Document, ...]]


def finder(engine: BM25Engine, top_k: int, snippet_words: int) -> Find:
    """A page for a query: the engine's `top_k` documents as snippets."""

    def find(query: str) -> tuple[Document, ...]:
        (documents,) = engine.search_many([query], top_k)
        return tuple(cut(document, query, snippet_words) for document in documents)

    return find


def scripts(
    questions: Iterable[FactbookQuestion], find: Find, *, two_search_share: float = 0.25, seed: int = 0
) -> list[Script]:
    """One script a question; questions whose gold pages do not hold what the script needs are left out."""
    made = []
    for question in questions:
        rng = random.Random(f"{seed}-{question.id}")
        if question.hops == 1:
            script = _one_hop(question, find, rng)
        elif rng.random() < two_search_share:
            script = _two_searches(question, find, rng)
        else:
            script = _whole_question(question, find, rng)
        if script is not None:
            made.append(script)
    return made


def encode_script(
    script: Script, prompt: Callable[[str], list[int]], codec: Codec, limits: EpisodeLimits
) -> tuple[list[int], list[int]] | None:
    """Ids and mask of the episode that the script plays, made by `Episode` itself; None where it does not fit."""
    episode = Episode(script.question, prompt(script.question.text), codec, limits)
    pages = iter(script.pages)
    for turn in script.turns:
        ids = codec.encode(turn)
        step = episode.next()
        if not isinstance(step, Generate) or len(ids) > step.max_tokens:
            return None
        episode.feed_generation(Generation(ids, [0.0] * len(ids), "stop"))
        if isinstance(episode.next(), Search):  # not on the last turn, where a search is refused
            episode.feed_page(next(pages))
    return (episode.ids, episode.mask) if episode.next() == Done("answer") else None


def held_answer(golden_answers: Sequence[str], documents: Sequence[Document]) -> str | None:
    """The first golden answer that the page shows, if any."""
    text = "\n".join(f"{d.title}: {d.text}" for d in documents)
    return next((answer for answer in golden_answers if contains_answer(text, [answer])), None)


def _one_hop(question: FactbookQuestion, find: Find, rng: random.Random) -> Script | None:
    query = question.queries[0] if rng.random() < 0.7 else question.question
    page = find(query)
    answer = held_answer(question.golden_answers, page)
    if answer is None:
        return None
    turns = (_search(rng.choice(_OPENING), query), _answer(rng.choice(_FOUND), answer))
    return Script(question.plain, turns, (page,))


def _two_searches(question: FactbookQuestion, find: Find, rng: random.Random) -> Script | None:
    first, second = find(question.queries[0]), find(question.queries[1])
    country = question.bridge_country or ""
    answer = held_answer(question.golden_answers, second)
    if answer is None or held_answer([country], first) is None:
        return None
    turns = (
        _search(rng.choice(_FIND_COUNTRY), question.queries[0]),
        _search(rng.choice(_NEXT).format(country=country), question.queries[1]),
        _answer(rng.choice(_FOUND), answer),
    )
    return Script(question.plain, turns, (first, second))


def _whole_question(question: FactbookQuestion, find: Find, rng: random.Random) -> Script | None:
    page = find(question.question)
    if not page:
        return None
    answer = held_answer(question.golden_answers, page)
    thought = rng.choice(_FOUND if answer else _GUESS)
    turns = (
        _search(rng.choice(_OPENING), question.question.rstrip("?.")),
        _answer(thought, answer or guess(page[0])),
    )
    return Script(question.plain, turns, (page,))


def guess(document: Document) -> str:
    """What a lazy reader takes from a document: the value after its first colon, four words of it at most."""
    value = document.text.split(": ", 1)[-1].split(". ")[0]
    return " ".join(value.split()[:4]).strip(" ,;.") or document.title.split(":")[0]


def _search(thought: str, query: str) -> str:
    return f"<think> {thought} </think>\n<search> {query.rstrip('?.')} </search>"


def _answer(thought: str, answer: str) -> str:
    return f"<think> {thought} </think>\n<answer> {answer} </answer>"
