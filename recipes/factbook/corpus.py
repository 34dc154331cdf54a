"""Read the countries of the CIA World Factbook, and cut their texts into passages as short as search snippets.

A source file is `{section: {field: {"text": ...} or {subfield: {"text": ...}}}}`, with HTML in the texts.

A passage begins with the country's name, its title holds name and section, and its sentences are the Factbook's own
words after the field's own label. `MAX_WORDS` keeps three to five of them inside the context of a 135M model.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

Key = tuple[str, str, str]  # section, field, subfield ("" where the field has no subfields)

TARGET_WORDS = 40  # a passage is closed before it grows past this
MAX_WORDS = 60  # no passage is longer, its name at the start counted
ITEM_WORDS = 38  # a longer text is cut at a sentence, a semicolon, a comma, in this order
MAX_PIECES = 3  # of one long text; the rest (election tables, lists of parties) is left out

# Addresses, samples in other scripts, and footnotes that repeat word for word in every country.
_SKIPPED_SUBS = frozenset(("major-language sample(s)", "email address and website", "mailing address", "FAX"))
_SKIPPED_NOTES = frozenset(("Economy", "Energy", "Terrorism"))
_TAG = re.compile(r"<[^>]+>")
_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]")
_RIVER_NOTE = re.compile(r";?\s*note: \[s\] after country name.*$")  # the same words in 81 countries
_NAMES = {"ee": "European Union", "xx": "World", "gz": "Gaza Strip", "um": "US Pacific Island Wildlife Refuges"}
_LONG_NAME = (
    "cf",
    "cg",
    "dr",
)  # short forms "Congo (Brazzaville)", "DRC" and "The Dominican" are no names to ask about
_YEAR = re.compile(r"^(.*?)\s*((?:19|20)\d\d)$")
_BOUNDARIES = (r"(?<=[.!?]) (?=[A-Z])", r"(?<=;) ", r"(?<=,) ", r" ")


@dataclass(frozen=True)
class Country:
    """One entity of the Factbook; `texts` are its clean, non-empty texts in the order of the source."""

    code: str
    name: str
    texts: Mapping[Key, str]


@dataclass(frozen=True)
class Passage:
    """One document of the corpus. `items` are the sentences of its text with the places they come from."""

    id: str
    title: str
    text: str
    items: tuple[tuple[Key, str], ...] = field(repr=False)

    def as_dict(self) -> dict[str, str]:
        return {"id": self.id, "title": self.title, "text": self.text}


def clean(text: str) -> str:
    """Plain text of a Factbook value: no tags, no entities, single spaces; a line break becomes "; "."""
    text = re.sub(r"(?:\s*<br\s*/?>\s*)+|</p>\s*<p>", "; ", text)
    text = html.unescape(_TAG.sub("", text)).replace("\xa0", " ")
    text = re.sub(r"\s+", " ", text)
    text = re.sub(r"(?<=[^\s\d/:])/(?=[^\W\d_])(?=\S*[A-Z])", " / ", text)  # "RAI/Ambar" would normalise to one word
    text = re.sub(r"(?:\s*;)+\s*(?=;|$)|^[;\s]+", "", text)
    return re.sub(r"\s+([,;.])", r"\1", re.sub(r"([.:]);", r"\1", text)).strip()


def read_country(code: str, source: Mapping[str, Any]) -> Country:
    """Flatten one source file. Raises ValueError where no name can be found."""
    texts: dict[Key, str] = {}
    for key, text in _walk(source):
        cleaned = _RIVER_NOTE.sub("", clean(text))
        if cleaned and cleaned.lower() not in ("none", "na", "n/a"):
            texts[key] = cleaned
    return Country(code, _name(code, texts), texts)


def passages_of(country: Country) -> list[Passage]:
    """The passages of one country, ids `<code>-000` onwards, in the order of the source."""
    passages: list[Passage] = []
    section, words = "", 0
    held: list[tuple[Key, str]] = []
    start = _count(country.name)

    def close() -> None:
        if held:
            text = f"{country.name}. " + " ".join(sentence for _, sentence in held)
            number = f"{country.code}-{len(passages):03d}"
            passages.append(Passage(number, f"{country.name}: {section}", text, tuple(held)))

    for key, sentence in _sentences(country):
        size = _count(sentence)
        if held and (key[0] != section or start + words + size > TARGET_WORDS):
            close()
            held, words = [], 0
        section = key[0]
        held.append((key, sentence))
        words += size
    close()
    return passages


def _sentences(country: Country) -> Iterator[tuple[Key, str]]:
    seen: set[tuple[str, str, str]] = set()  # some fields stand in two sections, word for word
    latest = _latest_years(country.texts)
    for key, text in country.texts.items():
        section, name, sub = key
        repeated = (name, sub, text)
        outdated = (year := _YEAR.match(sub)) and latest[section, name, year[1]] != year[2]
        boilerplate = sub == "note" and section in _SKIPPED_NOTES
        if sub in _SKIPPED_SUBS or outdated or boilerplate or repeated in seen:
            continue
        seen.add(repeated)
        label = _label(name, sub)
        body = _without_label(text, sub)
        room = max(ITEM_WORDS - _count(label), 12)
        for piece in _pieces(body, room)[: 1 if sub == "note" else MAX_PIECES]:
            ending = "" if piece.endswith((".", "!", "?")) else "."
            yield key, f"{label}: {piece.rstrip(' ;,-')}{ending}"


def _latest_years(keys: Iterable[Key]) -> dict[Key, str]:
    """Series ("Exports 2024", "Exports 2023") are told by their newest year alone."""
    latest: dict[Key, str] = {}
    for section, name, sub in keys:
        if year := _YEAR.match(sub):
            place = (section, name, year[1])
            latest[place] = max(latest.get(place, ""), year[2])
    return latest


def _label(name: str, sub: str) -> str:
    if not sub or sub.lower().startswith(name.lower()):
        return sub or name
    return f"{name} - {sub}"


def _without_label(text: str, sub: str) -> str:
    """Texts such as "arable land: 12.6%" and "note: ..." say their label a second time."""
    lead = re.match(r"([^:;.]{1,40}):\s*", text)
    return text[lead.end() :] if lead and sub and sub.lower().endswith(lead[1].strip().lower()) else text


def _pieces(text: str, room: int) -> list[str]:
    """Cut `text` into pieces of at most `room` words, at the strongest boundary that serves."""
    if _count(text) <= room:
        return [text]
    pieces: list[str] = []
    for part in _parts(text, room, 0):
        if pieces and _count(pieces[-1]) + _count(part) <= room:
            pieces[-1] += f" {part}"
        else:
            pieces.append(part)
    return pieces


def _parts(text: str, room: int, level: int) -> Iterator[str]:
    for part in re.split(_BOUNDARIES[level], text):
        if _count(part) <= room or level + 1 == len(_BOUNDARIES):
            yield part
        else:
            yield from _parts(part, room, level + 1)


def _walk(source: Mapping[str, Any]) -> Iterator[tuple[Key, str]]:
    for section, fields in source.items():
        for name, value in fields.items():
            for sub, inner in value.items():
                if isinstance(inner, str):
                    yield (section, name.strip(), "" if sub == "text" else sub.strip()), inner
                elif isinstance(inner.get("text"), str):
                    # "Languages" stands either at the field or below it, under its own name: one place for both
                    yield (section, name.strip(), "" if sub == name else sub.strip()), inner["text"]


def _name(code: str, texts: Mapping[Key, str]) -> str:
    short = texts.get(("Government", "Country name", "conventional short form"))
    long = texts.get(("Government", "Country name", "conventional long form"))
    name = _NAMES.get(code) or (long if code in _LONG_NAME else None) or short or long
    if not name:
        raise ValueError(f"factbook entity {code!r} has no name")
    return name if code == "ck" else _BRACKETS.sub("", name).strip()


def _count(text: str) -> int:
    return len(text.split())
