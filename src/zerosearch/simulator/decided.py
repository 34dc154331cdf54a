"""A page whose content is decided before it is written: what it states, and what it must not contain.

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
from zerosearch.episodes.questions import Question, subject
from zerosearch.episodes.scoring import contains_answer
from zerosearch.episodes.search import Document, holds_answer
from zerosearch.episodes.seeds import derive_seed
from zerosearch.simulator.hits import QueryKind, stems
from zerosearch.simulator.style import SENTENCE_END
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
_NAMES = re.compile(r"(?<=[^.?!]\s)[\"'“]?[A-Z0-9][\w'’.-]*\w|(?<=[^.?!]\s)[A-Z0-9]")
_ANSWER_TITLES = 0.2
_DATE = re.compile(r"(?:January|February|March|April|May|June|July|August|September|October|November|December)\b")
_NAME_RUNS = re.compile(r"[A-Z][\w'’.-]*\w(?: (?:of |the |and )?[A-Z0-9][\w'’.-]*\w)*")
_YEAR = re.compile(r"\b\d{4}\b")
_FOUND_TOGETHER, _FOUND_ALONE = 0.67, 0.82
_AGAIN_ONE_HOP, _AGAIN = (0.73, 0.65), (0.56, 0.4)
"""How often a second and a third passage state the answer where the fact has names for their titles. With the facts of
3,104 training questions, of which half have one name, two passages do on .40 and three on .15 of the pages for
questions of one hop (.24 and .05 of the others): as often as on BM25's pages with the answer (3,360 and 2,318)."""
_FIRST_RANK = 0.6
"""How often the passage that states something is ranked first; else second, else third, by the same chance."""


@dataclass(frozen=True)
class Statement:
    """A passage about `title` that states `fact`; of each of the alternatives in `named` one must stand in it."""

    title: str
    fact: str
    named: tuple[tuple[str, ...], ...]

    def kept(self, documents: Sequence[Document]) -> bool:
        """Whether `documents` contain it."""
        return all(holds_answer(documents, alternatives) for alternatives in self.named)


@dataclass(frozen=True)
class PagePlan:
    """What a page shall be. `hit`: it contains a golden answer; None: that is not decided.

    Its best passages state something (often only one of them, or none). `absent` must not stand on the page. The
    other passages share words with `topic`.
    """

    hit: bool | None
    topic: str
    states: tuple[Statement, ...] = ()
    absent: tuple[str, ...] = ()

    def kept(self, documents: Sequence[Document]) -> bool:
        """Whether a page is as planned."""
        return all(told.kept(documents) for told in self.states) and not holds_answer(documents, self.absent)


def plan_page(question: Question, query: str, kind: QueryKind, world: World, *, hit: bool, noisy: bool) -> PagePlan:
    """The plan of the page for a query. A `noisy` page states nothing, and its answer is absent.

    A page that hits states the fact with the answer, in as many passages as BM25 has the answer in, if the fact has
    names enough for their titles. One that misses states the bridge, where the query is the whole question or a first
    hop, and nothing where it is a second one.
    """
    golds = absent = question.golden_answers
    facts, bridge = world.facts, world.bridge
    if hit and not noisy:
        fact = " ".join(facts) if kind == "whole_multi_hop" else facts[-1] if facts else ""
        titles = titles_of(fact, question, bridge if kind == "second_hop" else title_of(fact, question))
        two, three = _AGAIN_ONE_HOP if kind in ("whole", "part") else _AGAIN
        drawn = _draw("again", question.id, query)
        count = 3 if drawn < three else 2 if drawn < two else 1
        return PagePlan(True, query, tuple(Statement(title, fact, (golds,)) for title in titles[:count]))
    if not noisy and bridge and len(facts) > 1 and kind in ("whole_multi_hop", "first_hop"):
        told = Statement(subject(facts[0]), facts[0], ((bridge,),))
        return PagePlan(False, told.title or query, (told,), absent)
    return PagePlan(False, bridge if kind == "second_hop" else topic(query), absent=absent)


def plan_comparison(question: Question, query: str, *, noisy: bool) -> PagePlan:
    """The plan of a page for a question that compares the things which its facts begin with.

    The page has a passage of each thing that the query names and the engine finds. BM25 finds the passage of 40 of
    60 things with the whole question, and of 49 with the thing's name (training questions, three passages a page).
    A thing whose passage is not found is absent, so that no other passage says something else of it.
    """
    told = [Statement(subject(fact), fact, tuple((value,) for value in _values(fact))) for fact in question.facts]
    named = [one for one in told if contains_answer(query, [one.title])]
    share = _FOUND_ALONE if len(named) == 1 else _FOUND_TOGETHER
    found = [one for one in named if not noisy and _draw("found", question.id, one.title) < share]
    absent = tuple(one.title for one in told if one not in found)
    return PagePlan(None, topic(query), tuple(found), absent)


def _values(fact: str) -> list[str]:
    """What a fact tells: its years and its last name.

    >>> _values("Ann Lee (born 3 May 1876) is a French painter.")
    ['1876', 'French']
    """
    return _YEAR.findall(fact) + _NAME_RUNS.findall(fact)[-1:]


def _draw(*parts: str) -> float:
    """A number from 0 to 1, the same for the same `parts`."""
    return derive_seed(*parts) / 2**63


def topic(query: str) -> str:
    """The names in a query, else the query: a whole question would be answered, and wrongly.

    >>> topic("When was the author of Emma born?")
    'Emma'
    """
    return " ".join(_NAMES.findall(query)) or query


def title_of(fact: str, question: Question) -> str:
    """The title of a passage that states `fact`: its subject or, where that has an answer, mostly another name.

    On BM25's pages with the answer to a question of one hop, a title has it in 17.5 % (2,847 pages). Subjects of facts
    do in 64 %, and a policy that learns from such pages answers with titles.

    >>> power = Question("p", "who wrote the theme of power rangers", ("Ron Wasserman",))
    >>> title_of("Ron Wasserman wrote the theme of Power Rangers for the BBC.", power)
    'Power Rangers'
    """
    title, answers = subject(fact), question.golden_answers
    kept = _draw("title", question.id) < _ANSWER_TITLES
    if title and (kept or not contains_answer(title, answers)):
        return title
    names = [name for name in _NAME_RUNS.findall(fact) if not contains_answer(name, answers) and not _DATE.match(name)]
    return max(names, key=len, default=title or answers[0])


def titles_of(fact: str, question: Question, first: str) -> list[str]:
    """`first`, then the other names in `fact` that are not an answer: what further passages with the fact are about.

    >>> power = Question("p", "who wrote the theme of power rangers", ("Ron Wasserman",))
    >>> titles_of("Ron Wasserman wrote the theme of Power Rangers for the BBC.", power, "Power Rangers")
    ['Power Rangers', 'BBC']
    """
    titles = [first]
    for name in _NAME_RUNS.findall(fact):
        other = stems(name) and not any(stems(name) & stems(title) for title in titles)
        if other and not contains_answer(name, question.golden_answers) and not _DATE.match(name):
            titles.append(name)
    return titles


def decided_messages(plan: PagePlan, top_k: int, words: int) -> list[Message]:
    """The chat that asks for the page, with an example of three passages."""
    order = "Write {} passages of about {} words each, on a line each."
    example, page = _STATING if plan.states else _BESIDE
    lines = [order.format(top_k, words)]
    others = f"about other subjects, whose names share words with: {field_text(plan.topic)}"
    for place, told in enumerate(plan.states[:top_k], start=1):
        fact = field_text(told.fact or told.named[0][0])
        lines += [f"Passage [{place}] is about {field_text(told.title)} and states this: {fact}"]
    if len(plan.states) < top_k:
        lines += [f"The others are {others}" if plan.states else f"They are {others}"]
    return [
        {"role": "system", "content": _SYSTEM},
        {"role": "user", "content": f"{order.format(3, 50)}\n{example}"},
        {"role": "assistant", "content": page},
        {"role": "user", "content": "\n".join(lines)},
    ]


def beginning(plan: PagePlan, *, forced: bool) -> str:
    """How the page begins; `forced` with the very fact, so that it stands there."""
    if not forced or not plan.states:
        return "[1]"
    title, fact = field_text(plan.states[0].title), field_text(plan.states[0].fact)
    return f"[1] {title}: {fact}".rstrip() if title else f"[1] {fact}"


def without(answers: Sequence[str], documents: Sequence[Document]) -> tuple[Document, ...]:
    """`documents` without the sentences that hold one of `answers`, and without documents named so or left empty."""
    kept = []
    for document in documents:
        sentences = SENTENCE_END.split(document.text)
        text = " ".join(s for s in sentences if not contains_answer(s, answers))
        changed = document if text == document.text else replace(document, text=text)
        if text and not holds_answer([changed], answers):
            kept.append(changed)
    return tuple(kept)


def ranked(plan: PagePlan, documents: Sequence[Document], seed: int) -> tuple[Document, ...]:
    """`documents` with the first, which state something, where an engine might rank them: several in any order."""
    drawn, order = random.Random(seed), list(documents)
    if len(plan.states) > 1:
        drawn.shuffle(order)
        return tuple(order)
    place = 0
    while plan.states and place < len(order) - 1 and drawn.random() > _FIRST_RANK:
        place += 1
    order.insert(place, order.pop(0))
    return tuple(order)
