"""Whoever asks the embedded simulator about something else than the Factbook's countries is told."""

from __future__ import annotations

import pytest

from zerosearch.episodes.questions import Question
from zerosearch.factbook.known import embedded_warning, known_share

VILLAGE = [Question(str(n), f"Who is the smith of Lower Ploughton {n}?", ("Old Tom",)) for n in range(10)]
COUNTRIES = [Question(str(n), "What is the capital of Côte d'Ivoire?", ("Yamoussoukro",)) for n in range(10)]


def test_a_question_is_known_by_a_country_that_it_or_its_answer_names() -> None:
    asked = [*VILLAGE[:2], COUNTRIES[0], Question("a", "Which country has llamas?", ("Peru",))]
    assert known_share(asked, ["Peru", "Côte d'Ivoire", "Chad"]) == 0.5
    assert known_share([], ["Peru"]) == 0.0


@pytest.mark.parametrize(
    ("model", "adapter", "source", "questions", "said"),
    [
        ("smollm2-135m", "embedded:simulator", "mine.jsonl", VILLAGE, "and 0% of the questions of mine.jsonl name one"),
        ("smollm2-135m", "embedded:simulator", "mine.jsonl", COUNTRIES, None),
        ("smollm2-135m", "embedded:simulator", "hub:my/questions", [], "nothing else: on other questions"),
        ("smollm2-135m", "embedded:simulator", "factbook:train", VILLAGE, None),
        ("smollm2-135m", "my/adapter", "mine.jsonl", VILLAGE, None),
        ("smollm2-135m", None, "factbook:train", COUNTRIES, "has no adapter"),
        ("org/larger", None, "mine.jsonl", VILLAGE, None),
        (None, None, "mine.jsonl", VILLAGE, None),
    ],
)
def test_own_questions_and_the_embedded_simulator(
    model: str | None, adapter: str | None, source: str, questions: list[Question], said: str | None
) -> None:
    warning = embedded_warning(model, adapter, source, questions)
    assert (warning is None) is (said is None)
    assert said is None or said in (warning or "")
