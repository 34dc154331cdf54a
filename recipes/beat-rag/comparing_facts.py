"""The facts of a question that compares two things, made by rule: what each of the two is, so that the answer follows.

Only questions that ask of the two themselves: who is older, died first or lived longer, which film or album came out
first, whether both are from one country. A question about their directors or parents has none; it is answered by one
of the two, or by yes or no, all the same.

>>> from zerosearch.episodes.questions import Question
>>> older = Question("q", "Who was born first, Ann Lee or Bob Ray?", ("Bob Ray",), 2)
>>> [fact.split(" (")[0] for fact in facts_of(older)]
['Ann Lee', 'Bob Ray']
"""

from __future__ import annotations

import random
import re

from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import normalize
from zerosearch.episodes.seeds import derive_seed

_HEAD = (
    r"(?:.*?(?:[,:?]|\bbetween|\bout of|--)\s*"
    r"|.*?\b(?:first|last|later|earlier|older|oldest|younger|longer|recently)\s+"
    r"|(?:was|is|were)\s+)"
)
_OR = re.compile(rf"^{_HEAD}(?P<a>\S.*?),? (?:or|and) (?P<b>.+?)(?P<rest> born \w+)?\s*\?*$", re.IGNORECASE)
_BOTH = re.compile(
    r"^(?:are|were|is|was|do|did|does)\s+(?:both\s+)?(?:the\s+)?(?:(?-i:[a-z ]+),?\s+)?(?P<a>(?-i:[A-Z0-9'\"]).*?),? "
    r"(?:and|have the same nationality as) (?P<b>.+?),?\s*(?:\bboth\s+)?(?:\b(?:located|based|situated|from|of|born"
    r"|originate|share|have)\b.*?\bsame (?:countr|nationalit).*)?\?*$",
    re.IGNORECASE,
)
_SAME = re.compile(r"\bsame (?:countr|nationalit)", re.IGNORECASE)
_INDIRECT = re.compile(
    r"\b(?:direct|produce|compos|perform|found|mother|father|whose|parent|own|writ|author|creat)(?:or|er|ed by)?s?\b",
    re.IGNORECASE,
)
_MADE = r"(?:released?|came out|come out|publish|found|formed|establish|start|open|premier|launch|built|creat)\w*\b.*?"
_RELATIONS = (
    ("lived", "lived longer", 1),
    ("died", "die[ds]? (?:first|earlier)", -1),
    ("died", "die[ds]? (?:later|last)", 1),
    ("born", r"\bolder\b|\boldest\b|born (?:first|earlier)", -1),
    ("born", r"\byounger\b|born (?:later|last)", 1),
    ("made", rf"{_MADE}(?:first|earlier)|first {_MADE}", -1),
    ("made", rf"{_MADE}(?:later|last|recently)", 1),
)
_MONTHS = "January February March April May June July August September October November December".split()  # noqa: SIM905
_COUNTRIES = (
    ("France", "French"), ("Germany", "German"), ("India", "Indian"), ("Iran", "Iranian"), ("Poland", "Polish"),
    ("Spain", "Spanish"),
    ("Italy", "Italian"), ("Japan", "Japanese"), ("Russia", "Russian"), ("Canada", "Canadian"), ("Brazil", "Brazilian"),
    ("the United States", "American"), ("Australia", "Australian"), ("Sweden", "Swedish"),
    ("Mexico", "Mexican"), ("Turkey", "Turkish"),
)  # fmt: skip
_WORK = ("politician", "footballer", "actor", "painter", "writer", "composer", "lawyer", "singer", "bishop")
_KINDS = ("drama", "comedy", "thriller", "adventure", "crime", "romantic")
_THING = re.compile(
    r"\b(film|movie|album|song|magazine|newspaper|band|compan(?:y|ies)|village|river|airport|school|universit(?:y|ies)"
    r"|hospital|building|mine|lake)s?\b",
    re.IGNORECASE,
)
_NOW = 2015


def facts_of(question: Question) -> tuple[str, ...]:
    """A fact of each of the two things, in the question's order; none where it does not ask of the two themselves."""
    drawn = random.Random(derive_seed("comparing facts", question.id))
    found = (_BOTH if question.yes_or_no else _OR).match(question.text)
    if _INDIRECT.search(question.text) or not found:
        return ()
    names = found["a"].strip(" ,"), found["b"].strip(" ,?")
    thing = _THING.search(question.text)
    kind = re.sub("ies$", "y", thing[1].lower()).replace("movie", "film") if thing else ""
    answer = normalize(question.golden_answers[0])
    if question.yes_or_no:
        return (
            _of_one_country(names, answer == "yes", kind, question.text, drawn) if _SAME.search(question.text) else ()
        )
    if answer not in map(normalize, names):
        return ()
    for name, words, wanted in _RELATIONS:
        if re.search(words, question.text[: found.start("a")] + (found["rest"] or ""), re.IGNORECASE):
            born = "made" if kind and name == "born" else name
            return _of_time(born, (wanted > 0) is (normalize(names[0]) == answer), names, kind, drawn)
    return ()


def _of_time(relation: str, later: bool, names: tuple[str, str], kind: str, drawn: random.Random) -> tuple[str, ...]:
    """`later`: the first of `names` comes later, or lived longer."""
    early = drawn.randint(1860, 1970) if relation != "made" else drawn.randint(1912, 1990)
    years = early, min(early + drawn.choice((1, 2, 4, 7, 11, 18, 25, 33)), _NOW)
    years = years[::-1] if later else years
    if relation == "lived":
        short = drawn.randint(30, 66)
        ages = short, short + drawn.randint(3, 25)
        spans = [(drawn.randint(1850, 1910), age) for age in (ages[::-1] if later else ages)]
        return tuple(_person(name, drawn, *span) for name, span in zip(names, spans, strict=True))
    if relation == "died":
        ages = drawn.randint(40, 88), drawn.randint(40, 88)
        return tuple(_person(name, drawn, year - age, age) for name, year, age in zip(names, years, ages, strict=True))
    if relation == "born":
        return tuple(_person(name, drawn, year) for name, year in zip(names, years, strict=True))
    return tuple(_made(name, drawn, year, kind) for name, year in zip(names, years, strict=True))


def _person(name: str, drawn: random.Random, born: int, age: int | None = None, people: str = "") -> str:
    def day(year: int) -> str:
        return f"{drawn.randint(1, 28)} {drawn.choice(_MONTHS)} {year}"

    if age is None and born < 1935:
        age = drawn.randint(40, 80)
    life, verb = (f"born {day(born)}", "is") if age is None else (f"{day(born)} – {day(born + age)}", "was")
    return f"{name} ({life}) {verb} {_a(people or drawn.choice(_COUNTRIES)[1])} {drawn.choice(_WORK)}."


def _made(name: str, drawn: random.Random, year: int, kind: str) -> str:
    people = drawn.choice(_COUNTRIES)[1]
    if kind == "film":
        return f"{name} is {_a(str(year))} {people} {drawn.choice(_KINDS)} film."
    verb = "released" if kind in ("album", "song") else "founded"
    return f"{name} is {_a(people)} {kind or 'company'} {verb} in {year}."


def _of_one_country(names: tuple[str, str], same: bool, kind: str, text: str, drawn: random.Random) -> tuple[str, ...]:
    first, second = drawn.sample(_COUNTRIES, 2)

    def fact(name: str, country: tuple[str, str]) -> str:
        if kind == "film":
            return f"{name} is {_a(str(drawn.randint(1925, 2012)))} {country[1]} {drawn.choice(_KINDS)} film."
        if kind or re.search(r"\b(?:located|situated)\b", text):
            return f"{name} is {_a(kind or 'place')} in {country[0]}."
        return _person(name, drawn, drawn.randint(1860, 1975), people=country[1])

    return fact(names[0], first), fact(names[1], first if same else second)


def _a(word: str) -> str:
    return f"{'an' if word[0] in 'AEIOaeio' or word.startswith('18') else 'a'} {word}"
