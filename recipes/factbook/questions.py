"""Questions over Factbook facts: their wording, the two-hop pairs, and what a scripted searcher would do.

A one-hop question names its country. A two-hop question describes it by another fact, the clue ("the country whose
capital is Kathmandu"): a searcher has to find the country first, then the answer.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recipes.factbook.corpus import Country, Key, Passage
from recipes.factbook.facts import Fact, facts_of, name_stems, stems, without_accents
from recipes.factbook.words import contains_answer, normalize
from zerosearch.factbook.questions import FactbookQuestion

# Wording by kind of fact: (questions, clauses that describe a country); "|" parts the variants, {n} is the fact's noun,
# {c} the country or the words that describe it, {v} the clue.
_FRAMES: dict[str, tuple[str, str]] = {
    "what": (
        "What is the {n} of {c}?|Name the {n} of {c}.|Give the {n} of {c}.|Tell me the {n} of {c}.",
        "whose {n} is {v}|with {v} as its {n}|that has {v} as its {n}",
    ),
    "who": (
        "Who is the {n} of {c}?|Name the {n} of {c}.|Which person is the {n} of {c}?",
        "whose {n} is {v}|with {v} as its {n}|that has {v} as its {n}",
    ),
    "one": (
        "Name a {n} of {c}.|What is one {n} of {c}?|Which {n} does {c} have?",
        "that has the {n} {v}|with the {n} {v}|with {v} as a {n}",
    ),
    "when": (
        "When was the {n} of {c}?|What is the date of the {n} of {c}?|Give the date of the {n} of {c}.",
        "whose {n} dates from {v}|with {n} on {v}|that dates its {n} from {v}",
    ),
    "day": ("On what date is the {n} of {c}?|What is the date of the {n} of {c}?|When does {c} celebrate its {n}?", ""),
    "count": ("How many {n} does {c} have?|What is the number of {n} of {c}?|Give the number of {n} in {c}.", ""),
    "km": (
        "How long in km is the {n} of {c}?|What is the length of the {n} of {c} in km?|Give the km of {n} of {c}.",
        "",
    ),
}

# attribute: (kind of fact, nouns, the Factbook's own label, which a good search query uses, how it serves as a clue:
# not at all, plain, or quoted, which titles, codes and common nouns need)
_WORDING: dict[str, tuple[str, str, str, str]] = {
    "capital": ("what", "capital|capital city", "capital name", "plain"),
    "former_name": ("what", "former name|former country name", "country name former", "plain"),
    "local_name": (
        "what",
        "local short name|local short form of the country name",
        "country name local short form",
        "plain",
    ),
    "independence": ("when", "independence", "independence", "plain"),
    "national_day": ("day", "national holiday", "national holiday", ""),
    "anthem": ("what", "national anthem|title of the national anthem", "national anthem title", "quoted"),
    "anthem_lyrics": (
        "who",
        "lyricist of the national anthem|author of the anthem lyrics",
        "national anthem lyrics/music",
        "plain",
    ),
    "anthem_music": (
        "who",
        "composer of the national anthem|author of the anthem music",
        "national anthem lyrics/music",
        "plain",
    ),
    "symbol": ("one", "national symbol", "national symbol", "quoted"),
    "heritage_site": ("one", "World Heritage Site", "World Heritage Site locales", "quoted"),
    "legislature": ("what", "legislature name|legislature|legislative branch", "legislature name", "quoted"),
    "lower_chamber": ("what", "lower chamber of the legislature|lower chamber", "lower chamber name", "quoted"),
    "president": ("who", "president|president and chief of state", "chief of state president", "plain"),
    "prime_minister": (
        "who",
        "prime minister|prime minister and head of government",
        "head of government prime minister",
        "plain",
    ),
    "internet_code": ("what", "Internet country code|Internet code", "Internet country code", "quoted"),
    "aircraft_prefix": (
        "what",
        "civil aircraft registration prefix|aircraft registration code prefix",
        "civil aircraft registration country code prefix",
        "quoted",
    ),
    "port": ("one", "key port", "key ports", "plain"),
    "airports": ("count", "airports", "airports", ""),
    "highest_point": ("what", "highest point|highest elevation", "elevation highest point", "plain"),
    "lowest_point": ("what", "lowest point|lowest elevation", "elevation lowest point", "plain"),
    "coastline": ("km", "coastline", "coastline", ""),
    "river": ("what", "longest major river|major river listed first by length", "major rivers by length", ""),
    "lake": ("what", "largest fresh water lake|major fresh water lake", "major lakes fresh water", ""),
    "demonym": ("what", "nationality adjective|adjective for the nationality", "nationality adjective", ""),
    "ethnic_group": ("what", "largest ethnic group|main ethnic group", "ethnic groups", "plain"),
    "religion": ("what", "largest religious group|main religion", "religions", ""),
    "language": ("what", "official language|only official language", "languages official", ""),
    "largest_city": ("what", "most populous urban area|largest urban area", "major urban areas population", "plain"),
    "currency": ("what", "currency|national currency", "exchange rates currency", ""),
    "currency_code": ("what", "currency code|three-letter currency code", "exchange rates currency", "quoted"),
    "export_partner": ("what", "main export partner|top partner for exports", "exports partners", ""),
    "import_partner": ("what", "main import partner|top partner for imports", "imports partners", ""),
    "export_good": ("what", "top export commodity|leading commodity of the exports", "exports commodities", ""),
    "crop": ("what", "top agricultural product|leading agricultural product", "agricultural products", ""),
}
_FIRST_QUERIES = "country whose {n} is {v}|{n} {v}|{label} {v}|{v} {label}"
_SECOND_QUERIES = "{c} {label}|{label} of {c}|{c} {n}"

_NOT_COUNTRIES = ("ay", "gz", "we", "wi")  # Antarctica, Gaza Strip, West Bank, Western Sahara

# Names that want an article inside a sentence ("the Netherlands").
_ARTICLE = re.compile(
    r"^(?=.*(?:Islands|Republic|Kingdom|States|Emirates|Netherlands|Philippines|Maldives|Strip|Bank|See|Lands|Union|"
    r"Territory|Refuges)$|(?:Republic of|Democratic Republic|Federated|Isle of) )"
)

# Pairs (either way round) where one gives the other away although they share no word.
_TELLING = {
    frozenset(pair)
    for pair in (
        ("internet_code", "currency_code"), ("internet_code", "currency"), ("currency_code", "currency"),
        ("anthem", "language"), ("local_name", "language"), ("local_name", "demonym"), ("local_name", "ethnic_group"),
        ("ethnic_group", "language"), ("ethnic_group", "demonym"), ("president", "prime_minister"),
        ("independence", "national_day"), ("anthem_lyrics", "anthem_music"), ("legislature", "lower_chamber"),
        ("former_name", "demonym"), ("currency_code", "demonym"), ("internet_code", "demonym"),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Located:
    """A fact and where the corpus says it: the first passage, and the sentence in it, that holds a form of it."""

    fact: Fact
    passage: Passage
    sentence: str


class QuestionMaker:
    """Makes every question of a set of countries; `dropped` counts what was left out, by reason."""

    def __init__(self, passages: Mapping[str, Sequence[Passage]], countries: Sequence[Country], seed: int) -> None:
        self.seed = seed
        self.dropped: Counter[str] = Counter()
        self._passages = passages
        self._facts = {country.code: self._located(country) for country in countries}
        self._by_key: dict[Key, list[str]] = {}
        for country in countries:
            for key, text in country.texts.items():
                self._by_key.setdefault(key, []).append(f" {plain(text)} ")

    def facts(self, country: Country) -> list[Located]:
        return self._facts[country.code]

    def one_hop(self, country: Country) -> Iterator[FactbookQuestion]:
        """One question for each fact of `country`."""
        for located in self.facts(country):
            name = located.fact.attribute.name
            identifier = f"factbook-1-{country.code}-{name}"
            text = self._ask(name, _ARTICLE.sub(r"the \g<0>", country.name), identifier)
            if contains_answer(text, located.fact.answers):
                self.dropped["one-hop: the question holds its answer"] += 1
                continue
            yield self._question(identifier, text, country, {}, [self._query(name, country, identifier)], [located])

    def two_hop(self, country: Country) -> Iterator[FactbookQuestion]:
        """One question for each pair of a clue that points at `country` alone and a fact it does not give away."""
        dependent = ("Government", "Dependency status", "") in country.texts or country.code in _NOT_COUNTRIES
        kind = "territory" if dependent else "country"
        for clue, value in self.clues(country):
            for target in self.facts(country):
                clue_name, name = clue.fact.attribute.name, target.fact.attribute.name
                if name == clue_name or frozenset((name, clue_name)) in _TELLING:
                    continue
                identifier = f"factbook-2-{country.code}-{clue_name}-{name}"
                text = self._ask(name, f"the {kind} {self._clause(clue_name, value, identifier)}", identifier)
                if contains_answer(text, [country.name]):
                    self.dropped["two-hop: the question names the country"] += 1
                elif stems(value) & stems(" ".join(target.fact.answers)) or contains_answer(text, target.fact.answers):
                    self.dropped["two-hop: the clue gives the answer away"] += 1
                elif contains_answer(clue.passage.title + " " + clue.passage.text, target.fact.answers):
                    self.dropped["two-hop: one passage holds clue and answer"] += 1
                else:
                    bridge = {"country": country.name, "attribute": clue_name, "value": value}
                    queries = [self._first_query(clue_name, value, identifier), self._query(name, country, identifier)]
                    yield self._question(identifier, text, country, bridge, queries, [clue, target])

    def clues(self, country: Country) -> Iterator[tuple[Located, str]]:
        """Facts of `country` that no other entity shares and that do not echo its name: (fact, its words)."""
        own = name_stems(country)
        for located in self.facts(country):
            attribute = located.fact.attribute
            if not _WORDING[attribute.name][3]:
                continue
            values = [v for v in located.fact.answers if self._usable(v, located, own)]
            if values:
                yield located, min(values, key=lambda v: digest(self.seed, country.code, attribute.name, v))
            else:
                self.dropped["clue: shared, or echoes the country's name"] += 1

    def _usable(self, value: str, located: Located, own: set[str]) -> bool:
        holders = sum(f" {plain(value)} " in text for text in self._by_key[located.fact.attribute.key])
        return holders == 1 and not stems(value) & own and contains_answer(located.sentence, [value])

    def _located(self, country: Country) -> list[Located]:
        found = []
        for fact in facts_of(country):
            place = next(
                (
                    Located(fact, passage, sentence)
                    for passage in self._passages[country.code]
                    for key, sentence in passage.items
                    if key == fact.attribute.key and contains_answer(sentence, fact.answers)
                ),
                None,
            )
            if place is None:
                self.dropped[f"fact: no passage holds it ({fact.attribute.name})"] += 1
            else:
                found.append(place)
        return found

    def _question(
        self,
        identifier: str,
        text: str,
        country: Country,
        bridge: dict[str, str],
        queries: list[str],
        hops: list[Located],
    ) -> FactbookQuestion:
        target = hops[-1]
        passages = [hop.passage.id for hop in hops]
        supporting = {"queries": queries, "passages": passages, "facts": [hop.sentence for hop in hops]}
        return FactbookQuestion(
            identifier,
            text,
            target.fact.answers,
            len(hops),
            country.name,
            target.fact.attribute.name,
            bridge,
            supporting,
        )

    def _ask(self, attribute: str, whom: str, identifier: str) -> str:
        kind, nouns, _, _ = _WORDING[attribute]
        frame = self._pick(_FRAMES[kind][0], identifier, "frame")
        return frame.format(n=self._pick(nouns, identifier, "noun"), c=whom)

    def _clause(self, attribute: str, value: str, identifier: str) -> str:
        kind, nouns, _, _ = _WORDING[attribute]
        frame = self._pick(_FRAMES[kind][1], identifier, "clause")
        quoted = f'"{value}"' if _WORDING[attribute][3] == "quoted" else value
        return frame.format(n=self._pick(nouns, identifier, "clue"), v=quoted)

    def _first_query(self, attribute: str, value: str, identifier: str) -> str:
        _, nouns, label, _ = _WORDING[attribute]
        frame = self._pick(_FIRST_QUERIES, identifier, "first")
        return frame.format(n=self._pick(nouns, identifier, "clue"), label=label, v=value)

    def _query(self, attribute: str, country: Country, identifier: str) -> str:
        _, nouns, label, _ = _WORDING[attribute]
        frame = self._pick(_SECOND_QUERIES, identifier, "query")
        return frame.format(n=self._pick(nouns, identifier, "noun"), label=label, c=country.name)

    def _pick(self, variants: str, *what: str) -> str:
        options = variants.split("|")
        return options[int(digest(self.seed, *what), 16) % len(options)]


def plain(text: str) -> str:
    """Normalised text without accents: "Río Paraná" in one country is "Rio Parana" in the next."""
    return normalize(without_accents(text))


def digest(seed: int, *what: str) -> str:
    """A seeded hash in hex: what order and wording are drawn from, so that neither depends on what else is there."""
    return hashlib.sha256("\x1f".join((str(seed), *what)).encode()).hexdigest()
