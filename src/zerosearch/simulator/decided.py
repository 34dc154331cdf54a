"""A page whose content is decided before it is written: what it states, and what it lacks.

A model that has seen the answer writes it, whatever it is told. So it sees no question, and of the answer only the fact
that the page shall state: a page that misses is written by a model that does not know what is asked, and cannot answer
it wrongly either. What is stated is checked; sentences that hold the answer by chance are taken out.
"""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from zerosearch.episodes.protocol import Message, field_text
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document, holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.simulator.hits import QueryKind
from zerosearch.simulator.worlds import World

_SYSTEM = "You write passages of an encyclopaedia, in its sober style. A search engine shows them."
_STATING = (
    "Passage [1] is about Emma (novel) and states this: Emma is an 1815 novel by the author Jane Austen.\n"
    "The others are about other subjects, whose names share words with: who wrote Emma",
    "[1] Emma (novel): Emma is an 1815 novel by the author Jane Austen, about youthful pride and the misread "
    "affairs of the heart. It is set in the village of Highbury and follows Emma Woodhouse, who is fond of "
    "making matches among her neighbours. It was the last of her novels to be finished and published while she "
    "was alive.\n"
    "[2] Emma of Normandy: Emma of Normandy was a queen of England by two marriages, first to Æthelred the "
    "Unready and then to Cnut. She was born about 984 and died in 1052. Two of her sons became kings of "
    "England, and a book in her praise was written in Flanders.\n"
    "[3] Emma Lake: Emma Lake is a lake in the province of Saskatchewan, Canada, north of the city of Prince "
    "Albert. It is known for the workshops of painters that were held on its shore each summer from 1936 on. "
    "Its three basins are joined by narrow channels.",
)
_BESIDE = (
    "They are about other subjects, whose names share words with: Silent Harbour director",
    "[1] The Silent Partner: The Silent Partner is a stage play in three acts about two brothers who own a "
    "printing house. It was first performed in 1931 and ran for a hundred nights. Critics praised its dialogue "
    "and found the last act too long; it has been revived twice since.\n"
    "[2] Harbour Bridge: Harbour Bridge is a steel arch bridge that carries road, rail and foot traffic "
    "between the two shores of a natural harbour. Building it took eight years and some 1,400 workers. It was "
    "opened in March, and a toll was charged until 1988.\n"
    "[3] Managing director: A managing director leads the daily business of a company and answers to its "
    "board. The title is common in the United Kingdom and in countries of the Commonwealth. In smaller firms "
    "the same person is often the owner as well.",
)
_SUBJECT = re.compile(r"^(.{2,80}?)(?: (?:is|was|are|were|has|had|stars|starred)\b|,| \()")
_NAMES = re.compile(r"(?<=[^.?!]\s)[\"'“]?[A-Z0-9][\w'’.-]*\w|(?<=[^.?!]\s)[A-Z0-9]")
_ANSWER_TITLES = 0.2
_DATE = re.compile(r"(?:January|February|March|April|May|June|July|August|September|October|November|December)\b")
_NAME_RUNS = re.compile(r"[A-Z][\w'’.-]*\w(?: (?:of |the |and )?[A-Z0-9][\w'’.-]*\w)*")
_SENTENCE = re.compile(r"(?<=[.!?;])\s+")
_LONGEST_TITLE = 8  # words
_FIRST_RANK = 0.6
"""How often the passage that states something is ranked first; else second, else third, by the same chance."""


@dataclass(frozen=True)
class PagePlan:
    """What a page shall be. `hit`: it holds a golden answer.

    Its best passage is about `title` and `states` a fact (empty: none does); one of `named` must stand on the page.
    `absent` must not. The other passages share words with `topic`.
    """

    hit: bool
    topic: str
    title: str = ""
    states: str = ""
    named: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()

    def kept(self, documents: Sequence[Document]) -> bool:
        """Whether a page is as planned."""
        there = not self.named or holds_answer(documents, self.named)
        return there and not holds_answer(documents, self.absent)


def plan_page(question: Question, query: str, kind: QueryKind, world: World, *, hit: bool, noisy: bool) -> PagePlan:
    """The plan of the page for a query. A `noisy` page states nothing, and its answer is absent.

    A page that hits states the fact with the answer; one that misses the bridge, where the query is the whole question
    or a first hop, and nothing where it is a second one.
    """
    golds = absent = question.golden_answers
    facts, bridge = world.facts, world.bridge
    if hit and not noisy:
        states = " ".join(facts) if kind == "whole_multi_hop" else facts[-1] if facts else ""
        title = bridge if kind == "second_hop" else title_of(states, question)
        return PagePlan(True, query, title, states, golds)
    if not noisy and bridge and len(facts) > 1 and kind in ("whole_multi_hop", "first_hop"):
        return PagePlan(False, subject(facts[0]) or query, subject(facts[0]), facts[0], (bridge,), absent)
    return PagePlan(False, bridge if kind == "second_hop" else topic(query), absent=absent)


def topic(query: str) -> str:
    """The names in a query, else the query: a whole question would be answered, and wrongly.

    >>> topic("When was the author of Emma born?")
    'Emma'
    """
    return " ".join(_NAMES.findall(query)) or query


def subject(fact: str) -> str:
    """What a sentence is about, as a title; empty where that is not plain.

    >>> subject("Emma is an 1815 novel by Jane Austen.")
    'Emma'
    """
    found = _SUBJECT.match(fact)
    return found[1].strip() if found and len(found[1].split()) <= _LONGEST_TITLE else ""


def title_of(fact: str, question: Question) -> str:
    """The title of a passage that states `fact`: its subject or, where that has an answer, mostly another name.

    On BM25's pages with the answer to a question of one hop, a title has it in 17.5 % (2,847 pages). Subjects of facts
    do in 64 %, and a policy that learns from such pages answers with titles.

    >>> power = Question("p", "who wrote the theme of power rangers", ("Ron Wasserman",))
    >>> title_of("Ron Wasserman wrote the theme of Power Rangers for the BBC.", power)
    'Power Rangers'
    """
    title, answers = subject(fact), question.golden_answers
    kept = derive_seed("title", question.id) / 2**63 < _ANSWER_TITLES
    if title and (kept or not contains_answer(title, answers)):
        return title
    names = [name for name in _NAME_RUNS.findall(fact) if not contains_answer(name, answers) and not _DATE.match(name)]
    return max(names, key=len, default=title or answers[0])


def decided_messages(plan: PagePlan, top_k: int, words: int) -> list[Message]:
    """The chat that asks for the page, with an example of three passages."""
    order = "Write {} passages of about {} words each, on a line each."
    example, page = _STATING if plan.named else _BESIDE
    lines = [order.format(top_k, words)]
    others = f"about other subjects, whose names share words with: {field_text(plan.topic)}"
    if plan.named:
        about, fact = field_text(plan.title), field_text(plan.states or plan.named[0])
        lines += [f"Passage [1] is about {about} and states this: {fact}"]
        lines += [f"The others are {others}"] if top_k > 1 else []
    else:
        lines += [f"They are {others}"]
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"{order.format(3, 50)}\n{example}"},
        {"role": "assistant", "content": page},
        {"role": "user", "content": "\n".join(lines)},
    ]


def beginning(plan: PagePlan, *, forced: bool) -> str:
    """How the page begins; `forced` with the very fact, so that it stands there."""
    if not forced or not plan.named:
        return "[1]"
    title, states = field_text(plan.title), field_text(plan.states)
    return f"[1] {title}: {states}".rstrip() if title else f"[1] {states}"


def without(answers: Sequence[str], documents: Sequence[Document]) -> tuple[Document, ...]:
    """`documents` without the sentences that hold one of `answers`, and without documents named so or left empty."""
    kept = []
    for document in documents:
        sentences = _SENTENCE.split(document.text)
        text = " ".join(s for s in sentences if not contains_answer(s, answers))
        changed = document if text == document.text else replace(document, text=text)
        if text and not holds_answer([changed], answers):
            kept.append(changed)
    return tuple(kept)


def ranked(plan: PagePlan, documents: Sequence[Document], seed: int) -> tuple[Document, ...]:
    """`documents` with the first, which states something, where an engine might rank it."""
    drawn, order = random.Random(seed), list(documents)
    place = 0
    while plan.named and place < len(order) - 1 and drawn.random() > _FIRST_RANK:
        place += 1
    order.insert(place, order.pop(0))
    return tuple(order)
