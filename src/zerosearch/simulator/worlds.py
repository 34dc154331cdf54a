"""The facts that lead to an answer, one set for each question, so that its pages agree with each other.

What the first of two hops finds (the bridge) stands in the data of some sets (MuSiQue, 2WikiMultiHopQA, the Factbook).
Where it does not, the simulator's model names one, made up if need be: what counts is that the first page names it,
that a second query can ask for it, and that the second page keeps to it.

The made-up form that is asked for: `Unnamed: the bridge`, `Fact 1: ...`, `Fact 2: ...`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from zerosearch.episodes.protocol import Message, field_text, one_line
from zerosearch.episodes.questions import Question
from zerosearch.episodes.replies import visible
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.simulator.hits import anchors, stems

TRIES = 4
"""How often a model is asked for the facts of a question, at most."""
MAX_TOKENS = 96
_LONGEST = 8  # words of a bridge
_LINE = re.compile(r"^\W*(unnamed|fact 1|fact 2|fact)\W*:\s*(.+)$", re.IGNORECASE | re.MULTILINE)

_ONE = "You state the fact that answers a question in one sentence, as an encyclopaedia does."
_TWO = (
    "You split a question into the two facts that answer it, as an encyclopaedia states them. What the question leaves "
    "unnamed has a name; where you do not know it, make up a likely one."
)
_SHOTS_OF_ONE = (
    ("who wrote the novel Emma", "Jane Austen", "Fact: Emma is an 1815 novel by the English author Jane Austen."),
    ("When did Sony open its first shop?", "1962", "Fact: Sony opened its first shop, in Ginza, in 1962."),
)
_SHOTS_OF_TWO = (
    (
        "In which country was the author of Emma born?",
        "England",
        "Unnamed: Jane Austen\nFact 1: Emma is an 1815 novel by the author Jane Austen.\n"
        "Fact 2: Jane Austen was born in Steventon, a village in England.",
    ),
    (
        "When did the company that makes the Walkman open its first shop?",
        "1962",
        "Unnamed: Sony\nFact 1: The Walkman is a portable cassette player made by Sony.\n"
        "Fact 2: Sony opened its first shop, in Ginza, in 1962.",
    ),
    (
        "Who is the spouse of the director of film The Silent Harbour?",
        "Clara Voss",
        "Unnamed: Martin Hale\nFact 1: The Silent Harbour is a 1974 drama film directed by Martin Hale.\n"
        "Fact 2: Martin Hale was married to the actress Clara Voss.",
    ),
)


@dataclass(frozen=True)
class World:
    """The `facts` hop by hop, the last with the answer, and the `bridge` that the first of two names.

    Empty where they are not known, and could not be made up.
    """

    bridge: str = ""
    facts: tuple[str, ...] = ()


Write = Callable[[Sequence[Message], int, int], Awaitable[str]]
"""Messages, the most tokens and a seed: the text that a model writes."""


def world_messages(question: Question) -> list[Message]:
    """The chat that asks for the facts of a question, with examples."""
    several = (question.hops or 1) > 1
    messages: list[Message] = [{"role": "system", "content": _TWO if several else _ONE}]
    for asked, answer, said in _SHOTS_OF_TWO if several else _SHOTS_OF_ONE:
        messages += [
            {"role": "user", "content": f"Question: {asked}\nAnswer: {answer}"},
            {"role": "assistant", "content": said},
        ]
    lines = [f"Question: {field_text(question.text)}", f"Answer: {field_text(question.golden_answers[0])}"]
    lines += [f"Unnamed: {field_text(question.bridge)}"] if several and question.bridge else []
    return [*messages, {"role": "user", "content": "\n".join(lines)}]


def parse_world(text: str, question: Question) -> World | None:
    """The world that a model wrote; None where it is none.

    Of two hops: the bridge is new to the question and not the answer. The first fact tells it of what the question
    names, without the answer; the second tells the answer of it. Of one: the fact has the answer.

    >>> emma = Question("1", "Where was the author of Emma born?", ("England",), 2)
    >>> parse_world("Unnamed: Jane Austen\\nFact 1: Emma is by Jane Austen.\\nFact 2: Jane Austen is of England.", emma)
    World(bridge='Jane Austen', facts=('Emma is by Jane Austen.', 'Jane Austen is of England.'))
    """
    said = {key.lower(): one_line(value).strip() for key, value in _LINE.findall(visible(text))}
    answers = question.golden_answers
    if (question.hops or 1) < 2:
        fact = said.get("fact", "")
        return World(facts=(fact,)) if contains_answer(fact, answers) else None
    bridge = question.bridge or said.get("unnamed", "").strip(" .\"'")
    first, second = said.get("fact 1", ""), said.get("fact 2", "")
    if not fit_bridge(bridge, question):
        return None
    begins = anchors(question.text) & (stems(first) - stems(bridge))
    agree = bool(begins) and contains_answer(first, [bridge]) and contains_answer(second, [bridge])
    told = not contains_answer(first, answers) and contains_answer(second, answers)
    return World(bridge, (first, second)) if agree and told else None


def fit_bridge(bridge: str, question: Question) -> bool:
    """Whether a text can be what the first hop finds: a few words, new to the question, apart from the answer."""
    words = stems(bridge)
    short = 0 < len(bridge.split()) <= _LONGEST
    apart = not any(contains_answer(a, [bridge]) or contains_answer(bridge, [a]) for a in question.golden_answers)
    return short and bool(words - stems(question.text)) and apart


class Worlds:
    """The worlds of questions, each made once, whoever asks first; the others wait. `failed` counts those without.

    A world depends on its question alone: it is the same in each step of a run.
    """

    def __init__(self) -> None:
        self._made: dict[str, asyncio.Future[World]] = {}
        self.failed = 0

    async def of(self, question: Question, write: Write) -> World:
        """The facts that the data has, else those that `write` makes. Raises what `write` raises, for all who wait.

        A question of several hops that names its answer, or is answered by yes or no, compares two things. It has no
        chain of facts, and nobody is asked for one; its data may have a fact of each thing.
        """
        if question.facts and (question.bridge or (question.hops or 1) < 2):
            return World(question.bridge, question.facts)
        if (question.hops or 1) > 1 and question.compares:
            return World(question.bridge, question.facts)
        if question.id not in self._made:
            self._made[question.id] = asyncio.ensure_future(self._make(question, write))
        made = self._made[question.id]
        try:
            return await asyncio.shield(made)
        except BaseException:
            if made.done() and (made.cancelled() or made.exception()):
                self._made.pop(question.id, None)
            raise

    async def known(self, question: Question) -> World:
        """The world that was made, or that the data has; the empty one where there is none."""
        made = self._made.get(question.id)
        return await asyncio.shield(made) if made is not None else World(question.bridge, question.facts)

    async def _make(self, question: Question, write: Write) -> World:
        messages = world_messages(question)
        for number in range(TRIES):
            text = await write(messages, MAX_TOKENS, derive_seed("world", question.id, number))
            world = parse_world(text, question)
            if world is not None:
                return world
        self.failed += 1
        return World(question.bridge)
