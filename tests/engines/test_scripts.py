"""Text without blanks is searched, counted and cut as any other; and other text is cut as it ever was."""

from __future__ import annotations

import logging
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from engines.passages import write_corpus
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.page_rows import RecordedPage
from zerosearch.engines.recorded import RecordedEngine
from zerosearch.engines.scripts import bigrams, count_words, first_words, spaced
from zerosearch.engines.snippets import snippet
from zerosearch.episodes.search import Document
from zerosearch.evaluation.methods.session import fit

PASSAGES = {
    "zh": ("尼泊尔", "加德满都是尼泊尔的首都，位于谷地之中。"),
    "zh2": ("秘鲁", "利马是秘鲁的首都。"),
    "ja": ("ネパール", "ネパールの首都はカトマンズである。"),
    "ja2": ("ペルー", "ペルーの首都はリマで、太平洋に面する。"),
    "ko": ("네팔", "카트만두는 네팔의 수도이다."),
    "ko2": ("페루", "리마는 페루의 수도이다."),
    "th": ("ประเทศเนปาล", "กรุงกาฐมาณฑุเป็นเมืองหลวงของประเทศเนปาล"),
    "th2": ("ประเทศเปรู", "กรุงลิมาเป็นเมืองหลวงของประเทศเปรู"),
    "hi": ("नेपाल", "नेपाल की राजधानी काठमांडू है।"),
    "en": ("Nepal", "Kathmandu is the capital of Nepal."),
    "mixed": ("Mercury", "The element 水銀 is liquid."),
}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> BM25Engine:
    folder = tmp_path_factory.mktemp("scripts")
    path = write_corpus(folder / "c.jsonl", ((name, *passage) for name, passage in PASSAGES.items()))
    return BM25Engine.open(path, folder / "cache")


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("尼泊尔的首都是哪里？", "zh"),
        ("秘鲁首都", "zh2"),
        ("谷", "zh"),  # a single character
        ("ﾈﾊﾟｰﾙ の 首都", "ja"),  # half-width
        ("太平洋", "ja2"),
        ("페루의 수도는 어디인가?", "ko2"),
        ("네팔", "ko"),
        ("เมืองหลวงของเปรู", "th2"),
        ("काठमांडू", "hi"),
        ("capital of 尼泊尔", "zh"),
        ("水銀 element", "mixed"),
        ("Kathmandu", "en"),
    ],
)
def test_a_question_in_any_script_finds_its_passage(engine: BM25Engine, query: str, first: str) -> None:
    (page,) = engine.search_many([query], 3)
    assert page[0].id == first


def test_a_query_without_a_pair_that_the_corpus_has_finds_nothing(engine: BM25Engine) -> None:
    assert engine.search_many(["東西南北", "ไก่", "。"], 3) == [(), (), ()]


@given(st.text(st.characters(max_codepoint=0x8FF, exclude_categories=["Cs"])))
def test_text_with_blanks_is_left_as_it_is(text: str) -> None:
    assert spaced(text, single=True) == text
    assert bigrams(text) == ""
    if max(map(len, text.split()), default=0) < 100:
        assert count_words(text) == len(text.split())
        assert first_words(text, 3) == " ".join(text.split()[:3])


@given(st.text(st.sampled_from("北京ไก่कि한국 ka水.、\U00020000")), st.integers(0, 9))
def test_counting_and_cutting_agree_in_every_script(text: str, count: int) -> None:
    assert count_words(first_words(text, count)) == min(count, count_words(text))
    assert spaced(text).strip() or not text.strip()


def test_fifteen_words_are_short_in_every_script() -> None:
    for text in ("北京是中国的首都，" * 900, "เมืองหลวงของประเทศไทย" * 400, "x" * 7000, "ネパールの首都は" * 900):
        assert len(snippet(text, "北京", 15)) <= 20 * 100
        assert len(fit([Document("t", text), Document("t", text)], 100)) == 1
    assert len(snippet("北京是中国的首都，" * 900, "北京", 15)) <= 45
    assert len(fit([Document("", "北京是中国的首都，" * 900)], 30)[0].text) <= 70


def test_the_sentence_that_fits_the_query_is_shown() -> None:
    text = "利马是秘鲁的首都和最大城市，人口众多，工业发达。加德满都是尼泊尔的首都。东京是日本的首都，人口很多。"
    assert snippet(text, "尼泊尔的首都", 8) == "加德满都是尼泊尔的首都。"


@pytest.mark.parametrize("query", ["Réunion", unicodedata.normalize("NFD", "Réunion"), "ＲＥＵＮＩＯＮ"])
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_letter_is_one_however_it_is_coded(tmp_path: Path, query: str, form: Any) -> None:
    texts = ["Saint-Denis is the capital of Réunion.", "Reunion means that people meet.", "Lima."]
    rows = [(str(n), "", unicodedata.normalize(form, t)) for n, t in enumerate(texts)]
    path = write_corpus(tmp_path / "c.jsonl", rows)
    engine = BM25Engine.open(path, tmp_path / "cache")
    (page,) = engine.search_many([query], 3)
    assert [document.id for document in page] == ["1" if query.isupper() else "0"]


def test_recorded_queries_are_found_by_their_words_in_every_script() -> None:
    pages = [RecordedPage(q, (Document("", q),)) for q in ("尼泊尔的首都", "秘鲁的首都", "capital of Chad")]
    engine = RecordedEngine(pages, name="recorded:x", match="nearest", min_overlap=0.2)
    assert engine._nearest is not None
    assert engine._nearest("秘鲁的首都是哪里") == "秘鲁的首都"
    assert engine._nearest("日本") is None


def test_what_cannot_be_found_is_said_on_indexing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    texts = ["Kathmandu is a city.", "!!!", "\ua992\ua9a4" * 40, "北京", "  "]  # Javanese, which nobody here can cut
    path = write_corpus(tmp_path / "c.jsonl", [(str(n), "", text) for n, text in enumerate(texts)])
    with caplog.at_level(logging.WARNING):
        BM25Engine.open(path, tmp_path / "cache")
    said = " ".join(record.getMessage() for record in caplog.records)
    assert "1 of 5 passages hold no word" in said
    assert "1 of 5 passages hold runs of more than 60 letters" in said
    assert "1 of 5 passages are empty (first: passage 5)" in said  # said once
