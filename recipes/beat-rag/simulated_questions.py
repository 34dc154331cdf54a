"""Questions for the arm with simulated pages alone: python simulated_questions.py TRAIN_FOLDER OUT

TRAIN_FOLDER holds nq.jsonl.gz, multihop_mix.jsonl.gz and musique.jsonl.gz. No engine is asked: the hit predictor says
what one would find. OUT gets

simulated-train.jsonl  questions of two hops, where the whole question misses and the right second hop hits, so that a
                       second search pays; and of one hop that hit at once, so that stopping pays. About
                       half of each once simulated_worlds.py has made their facts
simulated-warm.jsonl   others of the same two kinds, for the warm start
"""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path

from zerosearch.episodes.questions import Question, load_questions
from zerosearch.episodes.scoring import contains_answer
from zerosearch.simulator.hits import Asked, HitPredictor, chance

KEPT = {"simulated-train": (2600, 1300), "simulated-warm": (500, 230)}
"""Questions of two hops and of one: facts can be made for about one in three and two in three of them."""
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


def of_two_hops(question: Question) -> bool:
    """A guess from the words: sets of several hops have questions of three and four too, which nest deeper."""
    return 1 <= len(NESTED.findall(question.text)) <= 3 and any(word[0].isupper() for word in question.text.split()[1:])


def main() -> None:
    folder, out = map(Path, sys.argv[1:])
    out.mkdir(parents=True, exist_ok=True)
    rng, hits = random.Random(11), HitPredictor.open("default")

    def read(name: str, hops: int) -> list[Question]:
        found = load_questions(str(folder / f"{name}.jsonl.gz"))
        return [Question(q.id, q.text, q.golden_answers, hops) for q in found if plain(q)]

    two = [q for name in ("multihop_mix", "musique") for q in read(name, 2) if of_two_hops(q)]
    two = [q for q in two if chance(q, second_hop=True) < SECOND]
    two = [q for q in two if not hits.decide(Asked(q, q.text))]
    one = [q for q in read("nq", 1) if q.evident_answers and chance(q, second_hop=False) < 0.5]
    one = [q for q in one if hits.decide(Asked(q, q.text))]
    print(f"{len(two)} questions of two hops miss whole and hit on the second; {len(one)} of one hop hit")
    rng.shuffle(two)
    rng.shuffle(one)
    for name, (of_two, of_one) in KEPT.items():
        chosen, two, one = two[:of_two] + one[:of_one], two[of_two:], one[of_one:]
        rng.shuffle(chosen)
        lines = (json.dumps(question.as_row(), ensure_ascii=False) + "\n" for question in chosen)
        (out / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")
        print(f"{out / name}.jsonl: {len(chosen)}")


if __name__ == "__main__":
    main()
