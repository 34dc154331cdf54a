"""Facts made by rule for questions that compare: the answer follows from them."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.episodes.questions import Question

sys.path.insert(0, str(Path(__file__).parents[2] / "recipes" / "beat-rag"))
from comparing_facts import facts_of

EARLIER = [
    "Who was born first, {a} or {b}?",
    "Who is older, {a} or {b}?",
    "Who died first, {a} or {b}?",
    "Was {a} or {b} born first?",
    "Which film came out earlier, {a} or {b}?",
    "Which magazine was started first {a} or {b}?",
]
LATER = [
    "Who is younger, {a} or {b}?",
    "Who died later, {a} or {b}?",
    "Which film was released more recently, {a} or {b}?",
]
SAME = [
    "Are both {a} and {b} located in the same country?",
    "Were {a} and {b} of the same nationality?",
    "Are both films, {a} and {b}, from the same country?",
    "Does {a} have the same nationality as {b}?",
]


def years(fact: str) -> list[int]:
    return [int(year) for year in re.findall(r"\d{4}", fact)]


@given(st.integers(), st.booleans(), st.sampled_from(EARLIER + LATER))
def test_years_lead_to_the_answer(number: int, first: bool, form: str) -> None:
    a, b = "Ann Lee", "Bob Ray (1941 Film)" if "film" in form else "Bob Ray, Jr."
    text = form.format(a=a, b=b)
    one, other = facts_of(Question(str(number), text, (a if first else b,), 2))
    assert one.startswith(a)
    assert other.startswith(b)
    place = -1 if "died" in form else 0
    early, late = years(one)[place], years(other.removeprefix(b))[place]
    assert (early < late) is (first is (form in EARLIER))
    assert max(years(one) + years(other)) < 2030


@given(st.integers(), st.booleans())
def test_ages_lead_to_the_answer(number: int, first: bool) -> None:
    asked = Question(str(number), "Who lived longer, Ann Lee or Bob Ray?", ("Ann Lee" if first else "Bob Ray",), 2)
    spans = [years(fact)[1] - years(fact)[0] for fact in facts_of(asked)]
    assert (spans[0] > spans[1]) is first


@given(st.integers(), st.booleans(), st.sampled_from(SAME))
def test_countries_lead_to_the_answer(number: int, same: bool, form: str) -> None:
    text = form.format(a="Ann Lee", b="Bob Ray")
    facts = facts_of(Question(str(number), text, ("yes" if same else "no",), 2))
    words = [set(re.findall(r"\b[A-Z][a-z]+", fact)) for fact in facts]
    months = set(re.findall(r"\d ([A-Z][a-z]+) \d", " ".join(facts)))
    assert bool(words[0] & words[1] - months) is same


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("Which film has the director who was born first, Ghost Town Law or Fate?", "Fate"),
        ("Are the directors of Ghost Town Law and Fate from the same country?", "no"),
        ("Who has a wider scope of profession, Ann Lee or Bob Ray?", "Ann Lee"),
        ("Where was the author of Emma born?", "England"),
    ],
)
def test_questions_of_another_kind_have_none(text: str, answer: str) -> None:
    assert facts_of(Question("q", text, (answer,), 2)) == ()
