"""Two evaluations by kind of question: python kinds.py FOLDER:METHOD[,FOLDER:METHOD...] FOLDER:METHOD

The first may be several seeds: a question's score is their mean.

Questions of several hops fall in two: those that training chose (`simulated_questions.plain`), and those that it left
out: a choice between two, or yes or no. By kind: EM of both, the difference with its 95 % interval (bootstrap over
questions) and p of the sign-flip permutation test, searches, how often a page held the answer, and how often it was
right where one did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from script import arguments, run
from simulated_questions import CHOICE

from zerosearch.episodes.predictions import Prediction
from zerosearch.episodes.questions import Question
from zerosearch.episodes.statistics import average, paired_p_value
from zerosearch.errors import DataError
from zerosearch.evaluation.results import runs_of

ONE_HOP = {"nq", "triviaqa", "popqa"}
Tries = Mapping[tuple[str, str], Sequence[Prediction]]


def read(spec: str) -> Tries:
    """Benchmark and id of each question, with what all runs answered."""
    return {(name, one): tries for name, file in runs_of(spec).items() for one, tries in file.by_question.items()}


def left_out(row: Prediction) -> bool:
    question = Question(row.id, row.question, row.golden_answers)
    return question.yes_or_no or CHOICE.search(question.text) is not None


def line(name: str, places: Sequence[tuple[str, str]], ours: Tries, theirs: Tries) -> str:
    scores = [np.array([np.mean([row.em for row in rows[place]]) for place in places]) for rows in (ours, theirs)]
    gains = 100 * (scores[0] - scores[1])
    interval, p = average([gains]), paired_p_value([gains])
    won, lost = int((gains > 0).sum()), int((gains < 0).sum())

    def told(rows: Tries) -> str:
        asked = [row for place in places for row in rows[place]]
        saw = [row for row in asked if row.saw_answer]
        right = sum(row.em for row in saw) / max(len(saw), 1)
        searches = sum(len(row.searches) for row in asked) / len(asked)
        em = sum(row.em for row in asked) / len(asked)
        return (
            f"EM {em:5.1%}  searches {searches:.2f}  held {len(saw) / len(asked):5.1%}  right where held {right:5.1%}"
        )

    change = f"{interval.value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}], p {p:.2g}"
    return f"{name} ({len(places)}): {change} ({won} won, {lost} lost)\n   A  {told(ours)}\n   B  {told(theirs)}"


def main() -> None:
    ours, theirs = map(read, arguments(__doc__, 2))
    both = sorted(ours.keys() & theirs.keys())
    if not both:
        raise DataError("the two have no question in common")
    kinds: dict[str, Callable[[tuple[str, str]], bool]] = {
        "all": lambda place: True,
        "one hop": lambda place: place[0] in ONE_HOP,
        "several hops": lambda place: place[0] not in ONE_HOP,
        "several hops, as in training": lambda place: place[0] not in ONE_HOP and not left_out(theirs[place][0]),
        "several hops, left out": lambda place: place[0] not in ONE_HOP and left_out(theirs[place][0]),
        "all but those left out": lambda place: place[0] in ONE_HOP or not left_out(theirs[place][0]),
    }
    for name, of in kinds.items():
        places = [place for place in both if of(place)]
        print(line(name, places, ours, theirs) if places else f"{name}: no questions")


if __name__ == "__main__":
    run(main)
