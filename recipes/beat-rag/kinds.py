"""Two evaluations by kind of question: python kinds.py FOLDER:METHOD[,FOLDER:METHOD...] FOLDER:METHOD

The first may be several seeds: a question's score is their mean.

Questions of several hops fall in two: those that training chose (`simulated_questions.plain`), and those that it left
out: a choice between two, or yes or no. By kind: EM of both, the difference with its 95 % interval (bootstrap over
questions) and p of the sign-flip permutation test, searches, how often a page held the answer, and how often it was
right where one did.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from simulated_questions import CHOICE

from zerosearch.episodes.questions import Question
from zerosearch.episodes.statistics import average, paired_p_value

ONE_HOP = {"nq", "triviaqa", "popqa"}
Rows = dict[tuple[str, str], dict[str, Any]]


def read(spec: str) -> Rows:
    folder, _, method = spec.rpartition(":")
    rows: Rows = {}
    for file in sorted(Path(folder).glob(f"*/{method}.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines()[1:]:
            row = json.loads(line)
            rows[file.parent.name, row["id"]] = row
    return rows


def left_out(row: dict[str, Any]) -> bool:
    question = Question(row["id"], row["question"], tuple(row["golden_answers"]))
    return question.yes_or_no or CHOICE.search(question.text) is not None


def line(name: str, places: Sequence[tuple[str, str]], ours: Sequence[Rows], theirs: Rows) -> str:
    scores = np.mean([[rows[place]["em"] for place in places] for rows in ours], axis=0)
    gains = 100 * (scores - np.array([theirs[place]["em"] for place in places]))
    interval, p = average([gains]), paired_p_value([gains])
    won, lost = int((gains > 0).sum()), int((gains < 0).sum())

    def told(runs: Sequence[Rows]) -> str:
        asked = [rows[place] for rows in runs for place in places]
        saw = [row for row in asked if row["saw_answer"]]
        right = sum(row["em"] for row in saw) / max(len(saw), 1)
        searches = sum(len(row["searches"]) for row in asked) / len(asked)
        em = sum(row["em"] for row in asked) / len(asked)
        return (
            f"EM {em:5.1%}  searches {searches:.2f}  held {len(saw) / len(asked):5.1%}  right where held {right:5.1%}"
        )

    change = f"{interval.value:+.1f} [{interval.low:+.1f}, {interval.high:+.1f}], p {p:.2g}"
    return f"{name} ({len(places)}): {change} ({won} won, {lost} lost)\n   A  {told(ours)}\n   B  {told([theirs])}"


def main() -> None:
    ours, theirs = [read(spec) for spec in sys.argv[1].split(",")], read(sys.argv[2])
    both = sorted(theirs.keys() & set.intersection(*(set(rows) for rows in ours)))
    kinds: dict[str, Callable[[tuple[str, str]], bool]] = {
        "all": lambda place: True,
        "one hop": lambda place: place[0] in ONE_HOP,
        "several hops": lambda place: place[0] not in ONE_HOP,
        "several hops, as in training": lambda place: place[0] not in ONE_HOP and not left_out(theirs[place]),
        "several hops, left out": lambda place: place[0] not in ONE_HOP and left_out(theirs[place]),
        "all but those left out": lambda place: place[0] in ONE_HOP or not left_out(theirs[place]),
    }
    for name, of in kinds.items():
        print(line(name, [place for place in both if of(place)], ours, theirs))


if __name__ == "__main__":
    main()
