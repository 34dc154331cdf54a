"""Rewards of the simulated arms: F1, less a price for each search after the first, so that stopping pays.

Without it a policy that searches twice everywhere loses nothing, and learns just that. An episode earns nothing less
than 0: a wrong answer after two searches is no worse than after one, or nobody would look further.
"""

from __future__ import annotations

from zerosearch.episodes.search import holds_answer
from zerosearch.episodes.trajectory import Trajectory


def reward(trajectory: Trajectory) -> float:
    """With a price of .05; in [0, 1]."""
    return priced(trajectory, 0.05)


def tenth(trajectory: Trajectory) -> float:
    """With a price of .1."""
    return priced(trajectory, 0.1)


def fifth(trajectory: Trajectory) -> float:
    """With a price of .2."""
    return priced(trajectory, 0.2)


def unneeded(trajectory: Trajectory) -> float:
    """With a price of .2 for each search after a page that holds the answer; the others are free.

    So looking further is never dearer than guessing, from the first step on. A page seldom shows the answer of a
    question that compares as such: there each search after the first costs .05.
    """
    return max(trajectory.scores.f1 - cost_of_unneeded(trajectory), 0.0)


def concise(trajectory: Trajectory) -> float:
    """As `unneeded`, of the mean of F1 and EM: an answer that holds more than the golden one earns less than its F1."""
    scores = trajectory.scores
    return max((scores.f1 + scores.em) / 2 - cost_of_unneeded(trajectory), 0.0)


def cost_of_unneeded(trajectory: Trajectory) -> float:
    question, searches = trajectory.question, trajectory.searches
    if question.compares:
        return 0.05 * max(len(searches) - 1, 0)
    held = [holds_answer(search.documents, question.golden_answers) for search in searches]
    return 0.2 * sum(any(held[:place]) for place in range(len(held)))


def priced(trajectory: Trajectory, price: float) -> float:
    return max(trajectory.scores.f1 - price * max(len(trajectory.searches) - 1, 0), 0.0)
