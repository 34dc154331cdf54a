"""Questions for the arm with simulated pages alone: python simulated_questions.py TRAIN_FOLDER OUT

TRAIN_FOLDER holds nq.jsonl.gz, multihop_mix.jsonl.gz and musique.jsonl.gz. No engine is asked: the hit predictor says
what one would find. OUT gets

simulated-train.jsonl  questions of two hops, where the whole question misses and the right second hop hits, so that a
                       second search pays; and of one hop that hit at once, so that stopping pays. About
                       half of each once simulated_worlds.py has made their facts. With them some that compare:
                       a choice between two, yes or no (comparing_facts.py makes their facts). A policy that
                       meets none answers them with anything but one of the two
simulated-warm.jsonl   others of these kinds, for the warm start
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from comparing_facts import facts_of
from script import arguments, run

from zerosearch.episodes.questions import Question, load_questions
from zerosearch.episodes.scoring import contains_answer
from zerosearch.simulator.hits import Asked, HitPredictor, chance

KEPT = {"simulated-train": (2600, 1300, 480), "simulated-warm": (500, 230, 80)}
"""Questions of two hops, of one, and that compare. Facts can be made for one of two of the first and most of the
second. The last are one in seven then."""
SHARES = {"choice": 0.35, "yes": 0.2, "no": 0.2, "without facts": 0.25}
"""Of those that compare. Those without facts ask about the directors of two films; in the data *no* is far more often
right than *yes*, so that a policy would learn the word."""
SECOND = 0.6
"""Second hops of a chosen question have a draw below this: most that are right hit."""
CHOICE = re.compile(r"\b(?:or|both|same|mutual|first|older|younger|earlier|later)\b", re.IGNORECASE)
NESTED = re.compile(r"\b(?:of|that|which|who|whose|where|in|by|from|with)\b", re.IGNORECASE)


def plain(question: Question) -> bool:
    """Whether a question can be played: a short text, a short answer that it does not name, not yes or no."""
    answers = question.golden_answers
    short = 5 <= len(question.text.split()) <= 18 and all(len(answer.split()) <= 4 for answer in answers)
    readable = not CHOICE.search(question.text) and not any("`" in answer for answer in answers)
    return short and readable and not question.yes_or_no and not contains_answer(question.text, answers)


def short_comparison(question: Question) -> bool:
    """Whether a question compares, in a text and with answers that can be played."""
    answers = question.golden_answers
    short = 5 <= len(question.text.split()) <= 25 and all(len(answer.split()) <= 8 for answer in answers)
    return short and question.compares


def comparison(question: Question) -> str:
    """The kind of a question that compares."""
    if not question.facts:
        return "without facts"
    return question.golden_answers[0].lower() if question.yes_or_no else "choice"


def of_two_hops(question: Question) -> bool:
    """A guess from the words: sets of several hops have questions of three and four too, which nest deeper."""
    return 1 <= len(NESTED.findall(question.text)) <= 3 and any(word[0].isupper() for word in question.text.split()[1:])


def main() -> None:
    folder, out = map(Path, arguments(__doc__, 2))
    out.mkdir(parents=True, exist_ok=True)
    rng, hits = random.Random(11), HitPredictor.open("default")

    def read(name: str, hops: int, kind: Callable[[Question], bool] = plain) -> list[Question]:
        found = load_questions(str(folder / f"{name}.jsonl.gz"))
        return [Question(q.id, q.text, q.golden_answers, hops) for q in found if kind(q)]

    two = [q for name in ("multihop_mix", "musique") for q in read(name, 2) if of_two_hops(q)]
    two = [q for q in two if chance(q, second_hop=True) < SECOND]
    two = [q for q in two if not hits.decide(Asked(q, q.text))]
    one = [q for q in read("nq", 1) if q.evident_answers and chance(q, second_hop=False) < 0.5]
    one = [q for q in one if hits.decide(Asked(q, q.text))]
    comparing = [replace(q, facts=facts_of(q)) for q in read("multihop_mix", 2, short_comparison)]
    print(f"{len(two)} questions of two hops miss whole and hit on the second; {len(one)} of one hop hit")
    for questions in (two, one, comparing):
        rng.shuffle(questions)
    compared = {kind: [q for q in comparing if comparison(q) == kind] for kind in SHARES}
    print(f"{len(comparing)} compare: " + ", ".join(f"{len(found)} {kind}" for kind, found in compared.items()))
    for name, (of_two, of_one, of_comparing) in KEPT.items():
        chosen, two, one = two[:of_two] + one[:of_one], two[of_two:], one[of_one:]
        for kind, share in SHARES.items():
            count = round(share * of_comparing)
            chosen += compared[kind][:count]
            del compared[kind][:count]
        rng.shuffle(chosen)
        lines = (json.dumps(question.as_row(), ensure_ascii=False) + "\n" for question in chosen)
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{out / name}.jsonl: {len(chosen)}")


if __name__ == "__main__":
    run(main)
