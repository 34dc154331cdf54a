"""Tree search: Monte Carlo tree search over search and answer actions, the model its own prior and value.

Selection is PUCT (Rosin 2011; Silver et al. 2017, the successor of UCT, Kocsis and Szepesvari 2006). That a language
model proposes the actions and rates the states is RAP (Hao et al., EMNLP 2023) and LATS (Zhou et al., ICML 2024).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from zerosearch.episodes.protocol import Action
from zerosearch.episodes.scoring import normalize
from zerosearch.episodes.search import Document
from zerosearch.episodes.tasks import together
from zerosearch.evaluation.methods import prompts
from zerosearch.evaluation.methods.answers import STOP_ACTION, STOP_ANSWER, final_reply, parse_action, parse_rating
from zerosearch.evaluation.methods.session import Session

_UNRATED = 0.5  # what a state is worth that the model gave no number for
_ACTION_TOKENS, _RATING_TOKENS = 96, 8


@dataclass(frozen=True)
class TreeSettings:
    """`simulations` walks down the tree; each new state samples `width` actions at `temperature`. `exploration` is
    PUCT's constant."""

    simulations: int = 5
    width: int = 3
    temperature: float = 0.7
    exploration: float = 1.5


@dataclass
class Node:
    """A state: the documents found on the way to it. `action` led here (None: the root), with the prior of its parent.

    `children` is None until the node is expanded. `total` sums the values (in [0, 1]) of the `visits` through it.
    """

    action: Action | None
    prior: float = 1.0
    documents: tuple[Document, ...] = ()
    children: list[Node] | None = None
    visits: int = 0
    total: float = 0.0
    value: float | None = None

    @property
    def mean(self) -> float:
        return self.total / self.visits if self.visits else 0.0

    @property
    def answer(self) -> str | None:
        return self.action.text if self.action is not None and self.action.kind == "answer" else None


async def tree_search(session: Session, settings: TreeSettings | None = None) -> str | None:
    """The answer with the largest sum of values over its visits; without any, one that is asked for at the best state.

    Where no sample at the root is an action, the question itself is the query. All searches of the tree together are
    bounded by `max_searches`; afterwards search actions lead nowhere.
    """
    chosen = settings or TreeSettings()
    root = Node(None)
    for _ in range(chosen.simulations):
        await _simulate(session, root, chosen)
    answers = [node for node in _walk(root) if node.answer is not None]
    if answers:
        return best_answer(answers)
    state = max((n for n in _walk(root) if n.answer is None), key=lambda n: (n.visits, len(n.documents)))
    prompt = prompts.RAG.format(page=prompts.render_documents(state.documents), question=session.asked)
    return final_reply(await session.write(prompt, stop=STOP_ANSWER))


def select(node: Node, exploration: float) -> Node:
    """The child with the highest PUCT score: mean value + exploration x prior x sqrt(visits) / (1 + its visits).

    `node.visits` counts the walks that came here, its expansion included, so it is never 0. Ties go to the first.
    """
    assert node.children
    spread = exploration * math.sqrt(node.visits)
    return max(node.children, key=lambda child: child.mean + spread * child.prior / (1 + child.visits))


def best_answer(nodes: list[Node]) -> str | None:
    """The answer whose nodes, equal ones by SQuAD normalisation taken together, have the largest sum of values.

    Then more visits and a higher prior decide, then the order of discovery.
    """
    groups: dict[str, list[Node]] = defaultdict(list)
    for node in nodes:
        groups[normalize(node.answer or "")].append(node)

    def weight(group: list[Node]) -> tuple[float, int, float]:
        return sum(n.total for n in group), sum(n.visits for n in group), sum(n.prior for n in group)

    return max(groups.values(), key=weight)[0].answer


async def _simulate(session: Session, root: Node, settings: TreeSettings) -> None:
    path = [root]
    while path[-1].children:
        path.append(select(path[-1], settings.exploration))
    leaf = path[-1]
    if leaf.value is None:
        leaf.value = await _open(session, leaf, path[-2].documents if len(path) > 1 else (), settings)
    for node in path:
        node.visits += 1
        node.total += leaf.value


async def _open(session: Session, leaf: Node, known: tuple[Document, ...], settings: TreeSettings) -> float:
    """Make a leaf part of the tree: search or rate, propose what may follow. Returns its value."""
    question = session.asked
    if leaf.answer is not None:
        page = prompts.render_documents(known)
        prompt = prompts.RATE_ANSWER.format(page=page, question=question, answer=leaf.answer)
        return _rating(await _ask_rating(session, prompt))
    leaf.documents = known
    if leaf.action is not None:
        if session.searches_left < 1:
            return 0.0
        found = await session.search(leaf.action.text)
        leaf.documents = (*known, *(d for d in found if d not in known))
    page = prompts.render_documents(leaf.documents)
    prompt = prompts.TREE.format(page=page, question=question)
    proposals = [
        session.write(prompt, stop=STOP_ACTION, max_tokens=_ACTION_TOKENS, temperature=settings.temperature)
        for _ in range(settings.width)
    ]
    rating = _ask_rating(session, prompts.RATE_PAGES.format(page=page, question=question))
    *replies, rated = await together([*proposals, rating])
    actions = [parse_action(reply) for reply in replies]
    session.actions += [action.kind for action in actions]
    leaf.children = propose(actions)
    if not leaf.children and leaf.action is None and session.searches_left:
        # where no sample is an action, the tree begins with the one action that is always there
        leaf.children = [Node(Action("search", session.question.text, False))]
    return _rating(rated)


def propose(actions: list[Action]) -> list[Node]:
    """A child for each distinct valid action; its prior is its share of the valid ones (self-consistency)."""
    valid = [a for a in actions if a.kind != "invalid" and a.text]
    shares = Counter((a.kind, normalize(a.text)) for a in valid)
    first = {(a.kind, normalize(a.text)): a for a in reversed(valid)}
    return [Node(first[key], prior=count / len(valid)) for key, count in shares.items()]


def _ask_rating(session: Session, prompt: str) -> Coroutine[Any, Any, str]:
    return session.write(prompt, max_tokens=_RATING_TOKENS, temperature=0.0)


def _rating(reply: str) -> float:
    rating = parse_rating(reply)
    return _UNRATED if rating is None else rating


def _walk(node: Node) -> list[Node]:
    return [node, *(below for child in node.children or () for below in _walk(child))]
