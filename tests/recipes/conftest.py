"""A small world of invented countries with its BM25 engine, for the tests of scripts and pairs."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.factbook.questions import FactbookQuestion

# name, capital, president, currency, port, tree
ROWS = [
    ("Arvenia", "Tolmes", "Ilse Marn", "crowns", "Quay Nine", "cedar"),
    ("Bostrand", "Kivelle", "Odo Fesk", "thalers", "Saltmouth", "birch"),
    ("Cadmor", "Whitmere", "Ana Lour", "marls", "Greyhaven", "rowan"),
    ("Dunmarch", "Sollin", "Petr Vann", "pounds", "Ironpier", "larch"),
    ("Elgaria", "Porvik", "Mira Taub", "lirens", "Nettledock", "elm"),
    ("Fenwick", "Oldbridge", "John Hale", "florins", "Wharfton", "yew"),
    ("Gondria", "Zamast", "Sami Dakk", "dinars", "Bellharbour", "olive"),
    ("Hestia", "Calloway", "Lena Orde", "hesters", "Shoreham", "maple"),
]
FACTS = (("capital", 1), ("president", 2), ("currency", 3), ("port", 4), ("tree", 5))


def passages() -> Iterator[dict[str, str]]:
    for row in ROWS:
        name, code = row[0], row[0][:2].lower()
        texts = {
            "Government": f"Capital: {row[1]}. Government type: republic. Chief of state - president: {row[2]}.",
            "Economy": f"Exchange rates - currency: {row[3]}. Industries: textiles, food and some mining in the hills.",
            "Transportation": f"Key port: {row[4]}. Railways: total 120 km of narrow gauge. Roads: paved in part.",
            "Environment": f"National tree: {row[5]}. Climate: mild with rain in most months of the year.",
            "Military": "Branches: land forces and a coast guard. Service: voluntary from the age of eighteen.",
        }
        for number, (section, text) in enumerate(texts.items()):
            yield {"id": f"{code}-{number:03d}", "title": f"{name}: {section}", "text": f"{name}. {text}"}


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BM25Engine]:
    folder = tmp_path_factory.mktemp("world")
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps(row) + "\n" for row in passages()))
    engine = BM25Engine.open(corpus, cache=folder / "cache")
    yield engine
    engine.close()


def one_hop(row: tuple[str, ...], fact: str, place: int) -> FactbookQuestion:
    return FactbookQuestion(
        f"1-{row[0]}-{fact}", f"What is the {fact} of {row[0]}?", (row[place],), 1, row[0], fact, {},
        {"queries": [f"{row[0]} {fact}"], "passages": ["x"], "facts": ["y"]},
    )  # fmt: skip


def two_hop(row: tuple[str, ...], fact: str, place: int) -> FactbookQuestion:
    bridge = {"country": row[0], "attribute": "capital", "value": row[1]}
    return FactbookQuestion(
        f"2-{row[0]}-{fact}", f"What is the {fact} of the country whose capital is {row[1]}?", (row[place],), 2, row[0],
        fact, bridge,
        {"queries": [f"country whose capital is {row[1]}", f"{row[0]} {fact}"], "passages": [], "facts": []},
    )  # fmt: skip


@pytest.fixture(scope="session")
def one_hop_questions() -> list[FactbookQuestion]:
    return [one_hop(row, fact, place) for row in ROWS for fact, place in FACTS]


@pytest.fixture(scope="session")
def two_hop_questions() -> list[FactbookQuestion]:
    """Their answers stand on no page of the first query: those of the same passage as the capital are left out."""
    return [two_hop(row, fact, place) for row in ROWS for fact, place in FACTS[2:]]
