"""The short facts of a country that questions can ask for.

An attribute names one place in the source and says how to read a short answer out of its text; what does not parse
cleanly, or is not the one right answer (a tie, two dates), gives no fact.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from string import capwords

from recipes.factbook.corpus import Country, Key
from recipes.factbook.words import normalize

Parser = Callable[[str], list[str]]

MAX_ANSWER_WORDS = 5
_PAREN = re.compile(r"\s*[(\[]([^()\[\]]*)[)\]]")
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
_DATE = re.compile(rf"(?<![-\d])\b(\d{{1,2}}) ({_MONTHS})(?: (\d{{4}}))?")
_PARTNERS = {
    "USA": ["United States"],
    "UK": ["United Kingdom"],
    "UAE": ["United Arab Emirates"],
    "NZ": ["New Zealand"],
    "DRC": ["Democratic Republic of the Congo"],
}


@dataclass(frozen=True)
class Attribute:
    """A place in the source and the way to read answers (the best first, aliases after it) from its text."""

    name: str
    key: Key
    parse: Parser


@dataclass(frozen=True)
class Fact:
    """One attribute of one country. `text` is the Factbook's wording, `answers` never empty."""

    country: Country
    attribute: Attribute
    answers: tuple[str, ...]
    text: str


def facts_of(country: Country) -> list[Fact]:
    """Every fact of `country` that has a short answer which its name does not give away."""
    facts = []
    for attribute in ATTRIBUTES:
        text = country.texts.get(attribute.key)
        answers = _acceptable(attribute.parse(text)) if text else []
        own = name_stems(country, local=attribute.name != "local_name")
        if answers and (attribute.name in _MAY_ECHO or not stems(" ".join(answers)) & own):
            facts.append(Fact(country, attribute, tuple(answers), text or ""))
    return facts


def stems(text: str) -> set[str]:
    """First four letters, without accents, of each word of four letters or more that is not a common word.

    Coarse on purpose: "Hungarian" and "Hungary" share a stem, so one gives the other away.
    """
    words = normalize(without_accents(text)).split()
    return {word[:4] for word in words if len(word) >= 4 and word not in _COMMON}


def name_stems(country: Country, *, local: bool = True) -> set[str]:
    """Stems of every name of the country, its own (`local`) ones too, and of the word for its people."""
    fields = ("Country name", "Nationality")
    skip = ("etymology", "former", "note", *(() if local else ("local long form", "local short form")))
    names = [text for (_, field, sub), text in country.texts.items() if field in fields and sub not in skip]
    return stems(" ".join([country.name, *names]))


def without_accents(text: str) -> str:
    """The text with plain letters: "Brasília" becomes "Brasilia"."""
    return "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))


def _acceptable(answers: list[str]) -> list[str]:
    kept: dict[str, None] = {}
    for answer in answers:
        trimmed = answer.strip(" \"'“”‘’;:,")
        variants = [trimmed, *trimmed.split(" / ")] if " / " in trimmed else [trimmed]
        for form in (form for variant in variants for form in (variant, without_accents(variant))):
            if 1 <= len(form.split()) <= MAX_ANSWER_WORDS and normalize(form) not in _EMPTY:
                kept[form] = None
    return list(kept)


def _unbracket(text: str) -> str:
    """The text without its brackets, nested ones too."""
    while (shorter := _PAREN.sub("", text)) != text:
        text = shorter
    return text.strip()


def _plain(text: str) -> str:
    """The text up to its first ";" or note, without brackets."""
    return _unbracket(re.split(r";|\bnote\b", text)[0])


def _single(text: str) -> list[str]:
    """The text where it is one value; nothing where it lists several or explains."""
    return [] if re.search(r"[,;/\[:]| and ", _unbracket(text)) else re.split(" or ", _plain(text).split(" in ")[0])


def _either(text: str) -> list[str]:
    return re.split(r" or |, ", _plain(text))


def _token(text: str) -> list[str]:
    return [text] if re.fullmatch(r"\.?[A-Z0-9a-z]+(-[A-Z0-9]+)?", text) else []


def _items(text: str, separator: str = ",") -> list[str]:
    return [_plain(item) for item in _unbracket(text).split(separator)]


def _with_alias(text: str) -> list[str]:
    """ "Federal Parliament (Sanghiya Sansad)" gives both names, "Parlement - Parliament" too."""
    head = re.split(r";|\bnote\b", text)[0]
    inner = [match.split(" or ")[0] for match in _PAREN.findall(head)]
    outer = re.split(r" [-–—] | or |/", _unbracket(head))
    return [*outer, *(name for name in inner if not re.search(r"\d|established|includes", name))]


def _peak(text: str) -> list[str]:
    match = re.match(r"(.+?),? (?:about )?-?[\d,.]+ m\b", _unbracket(text.split(";")[0]))
    name = re.split(r",| on | in | at ", match[1])[0] if match else ""
    return [] if "unnamed" in name or "location" in name or not name[:1].isupper() else [name]


def _leads(text: str, measure: str) -> bool:
    """Whether the first figure outside brackets is larger than every later one: the source is not always in order."""
    figures = [float(figure.replace(",", "")) for figure in re.findall(measure, _unbracket(text)) if figure.strip(".,")]
    return bool(figures) and all(figures[0] > other for other in figures[1:])


def _water(text: str) -> list[str]:
    if not _leads(text, r"[-–] ([\d,]+)(?:-[\d,]+)? (?:sq )?km"):
        return []
    name = re.split(r" [-–] ", _unbracket(text.split(";")[0]))[0]
    name = re.sub(r"\s*\b(?:river|mouth|source|and)\b| [\d,]+ sq km", "", name).strip()
    alias = re.match(r"[^(]+\(([A-Z][\w' -]+)\)", text)
    shared = alias and not re.search(r"shared|source|mouth", alias[1])
    return [name, *([alias[1]] if alias and shared else [])]


def _currency(text: str) -> list[str]:
    name = re.split(r" per |\(", text)[0].strip()
    singular = re.sub(r"(?<=[a-z]{3})s$", "", name)
    return [name, singular] if name.endswith("s") else [name]


def _currency_code(text: str) -> list[str]:
    match = re.search(r"\(([A-Z]{3})\)", text)
    return [match[1]] if match else []


def _day(text: str) -> list[str]:
    dates = {match[0]: f"{match[2]} {match[1]}" for match in _DATE.finditer(text)}
    return [form for pair in dates.items() for form in pair] if len(dates) == 1 else []


def _independence(text: str) -> list[str]:
    match = _DATE.match(text)
    if (
        not match
        or not match[3]
        or len(_DATE.findall(text)) > 1
        or not re.match(r" \((?:from|declared)", text[match.end() :])
    ):
        return []
    return [f"{match[1]} {match[2]} {match[3]}", f"{match[2]} {match[1]}, {match[3]}"]


def _largest_share(text: str) -> list[str]:
    match = re.match(r"([A-Z][\w'’. -]*?)(?: \([^()]*\))* [\d.]+%", text)
    return [] if not match or "/" in match[1] or not _leads(text, r"([\d.]+)%") else [match[1]]


def _official_language(text: str) -> list[str]:
    names = re.findall(r"([A-Z][\w'’-]+(?: [A-Z][\w'’-]+)?)(?: [\d.]+%)? \(official\)", text)
    return names if len(names) == 1 and text.count("official") == 1 else []


def _city(text: str) -> list[str]:
    match = re.match(r"[\d.,]+(?: million)? ([^,;(]+)", text)
    sizes = [
        float(n.replace(",", "")) * (1e6 if m else 1) for n, m in re.findall(r"([\d.,]*\d)( million)? [^\d]", text)
    ]
    name = match[1].strip() if match and sizes[0] >= max(sizes) else ""
    return [capwords(name) if name.isupper() else name]


def _partner(text: str) -> list[str]:
    match = re.match(r"([A-Z][\w'’. -]*?) \d+%", text) if _leads(text, r"(\d+)%") else None
    return [match[1], *_PARTNERS.get(match[1], [])] if match else []


def _ranked(text: str) -> list[str]:
    """The first of a list that is ranked: those carry a year at their end, the others are in no order."""
    return _items(text)[:1] if re.search(r"\(\d{4}\)$", text) and ";" not in text else []


def _number(text: str) -> list[str]:
    """A count of two digits or more: one digit stands in too many passages to mean anything."""
    match = re.match(r"([\d,]{2,})(?: km)?(?: \(|;|$)", text)
    return [match[1]] if match and match[1] != "0" else []


def _leader(*titles: str) -> Parser:
    pattern = re.compile(rf"(?:{'|'.join(titles)}) ([^(;,]+) \(since")

    def parse(text: str) -> list[str]:
        match = pattern.match(text)
        return [match[1]] if match and "represented by" not in text and "vacant" not in match[1] else []

    return parse


def _author(part: int) -> Parser:
    def parse(text: str) -> list[str]:
        halves = _unbracket(text).split("/")
        if (
            len(halves) > 2
            or len(halves) < part + 1
            or re.search(r"unknown|lyrics|disputed|collective|traditional|arranged| and |,|;", halves[part])
        ):
            return []
        return [halves[part]]

    return parse


def _at(name: str, section: str, place: str, parse: Parser) -> Attribute:
    field, _, sub = place.partition("|")
    return Attribute(name, (section, field, sub), parse)


ATTRIBUTES: tuple[Attribute, ...] = (
    _at("capital", "Government", "Capital|name", _single),
    _at("former_name", "Government", "Country name|former", _single),
    _at("local_name", "Government", "Country name|local short form", _single),
    _at("independence", "Government", "Independence", _independence),
    _at("national_day", "Government", "National holiday", _day),
    _at("anthem", "Government", "National anthem(s)|title", _with_alias),
    _at("anthem_lyrics", "Government", "National anthem(s)|lyrics/music", _author(0)),
    _at("anthem_music", "Government", "National anthem(s)|lyrics/music", _author(1)),
    _at("symbol", "Government", "National symbol(s)", _items),
    _at(
        "heritage_site",
        "Government",
        "National heritage|selected World Heritage Site locales",
        lambda t: _items(t, ";"),
    ),
    _at("legislature", "Government", "Legislative branch|legislature name", _with_alias),
    _at("lower_chamber", "Government", "Legislative branch - lower chamber|chamber name", _with_alias),
    _at("president", "Government", "Executive branch|chief of state", _leader("President")),
    _at("prime_minister", "Government", "Executive branch|head of government", _leader("Prime Minister", "Premier")),
    _at("internet_code", "Communications", "Internet country code", _token),
    _at("aircraft_prefix", "Transportation", "Civil aircraft registration country code prefix", _token),
    _at("port", "Transportation", "Ports|key ports", _items),
    _at("airports", "Transportation", "Airports", _number),
    _at("highest_point", "Geography", "Elevation|highest point", _peak),
    _at("lowest_point", "Geography", "Elevation|lowest point", _peak),
    _at("coastline", "Geography", "Coastline", _number),
    _at("river", "Geography", "Major rivers (by length in km)", _water),
    _at("lake", "Geography", "Major lakes (area sq km)|fresh water lake(s)", _water),
    _at("demonym", "People and Society", "Nationality|adjective", _either),
    _at("ethnic_group", "People and Society", "Ethnic groups", _largest_share),
    _at("religion", "People and Society", "Religions", _largest_share),
    _at("language", "People and Society", "Languages", _official_language),
    _at("largest_city", "People and Society", "Major urban areas - population", _city),
    _at("currency", "Economy", "Exchange rates|Currency", _currency),
    _at("currency_code", "Economy", "Exchange rates|Currency", _currency_code),
    _at("export_partner", "Economy", "Exports - partners", _partner),
    _at("import_partner", "Economy", "Imports - partners", _partner),
    _at("export_good", "Economy", "Exports - commodities", _ranked),
    _at("crop", "Economy", "Agricultural products", _ranked),
)

# A demonym or currency often echoes the country's name: useless as a clue, fair as an answer to a two-hop question.
_MAY_ECHO = frozenset(
    ("demonym", "currency", "currency_code", "internet_code", "aircraft_prefix", "language", "ethnic_group")
)
_EMPTY = frozenset(("", "none", "na", "unknown", "other", "unspecified", "not available", "varies", "national anthem"))
# Whole words, not stems: "singular" must not hide "Singapore".
_COMMON_WORDS = (
    "republic island islands kingdom state states united federation federal democratic people peoples saint north "
    "northern south southern east eastern west western central territory territories commonwealth union national "
    "singular plural french british english dutch with from city great grand"
)
_COMMON = frozenset(_COMMON_WORDS.split())
