from __future__ import annotations

import asyncio
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
from engines.passages import write_corpus
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.bm25 import BM25Engine
from zerosearch.engines.lexical import best
from zerosearch.episodes.search import Quality, SearchRequest
from zerosearch.errors import ConfigError, DataError

PASSAGES = [
    ("nepal-0", "Nepal", "Kathmandu is the capital of Nepal."),
    ("nepal-1", "Nepal: Aviation", "The civil aircraft registration prefix of Nepal is 9N."),
    ("peru-0", "Peru", "Lima is the capital of Peru and lies on the Pacific coast."),
    ("peru-1", "Peru: Economy", "Peru exports copper, gold and fish meal."),
    ("chad-0", "Chad", "N'Djamena is the capital of Chad."),
    ("chad-1", "Chad: Geography", "Lake Chad has shrunk since the nineteen sixties."),
    ("mali-0", "Mali", "Bamako is the capital of Mali."),
    ("mali-1", "Mali: People", "Bambara is widely spoken."),
    ("oman-0", "Oman", "Muscat is the capital of Oman."),
    ("oman-1", "Oman: Energy", "Oman burns natural gas for nearly all its electricity."),
    ("cuba-0", "Cuba", "Havana is the capital of Cuba."),
    ("cuba-1", "Cuba: Economy", "Sugar was long the main export."),
    ("twin-a", "Twin", "Zebra crossings painted overnight."),
    ("twin-a2", "Twin", "Zebra crossings painted overnight."),
    ("twin-b", "Twin", "Zebra crossings painted yesterday."),
    ("twin-c", "Twin", "Zebra crossings painted recently."),
    ("fiji-0", "Fiji", "Suva is the capital of Fiji."),
    ("togo-0", "Togo", "Lomé is the capital of Togo."),
    ("iran-0", "Iran", "Tehran is the capital of Iran."),
    ("iraq-0", "Iraq", "Baghdad is the capital of Iraq."),
    ("laos-0", "Laos", "Vientiane is the capital of Laos.\nIt lies on the Mekong."),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> BM25Engine:
    folder = tmp_path_factory.mktemp("corpus")
    return BM25Engine.open(write_corpus(folder / "countries.jsonl", PASSAGES), cache=folder / "cache")


def ids(engine: BM25Engine, query: str, top_k: int = 5) -> list[str]:
    return [document.id for document in engine.search_many([query], top_k)[0]]


def files_of(cache: Path) -> dict[str, tuple[int, int]]:
    """Inode and modification time of everything in the cache: a build that happened again changes them."""
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in sorted(cache.rglob("*"))}


def test_finds_the_passage_that_shares_most_words(engine: BM25Engine) -> None:
    page = asyncio.run(engine.search(SearchRequest("aircraft prefix of Nepal", 3, quality=Quality.NOISY)))
    assert page.documents[0].id == "nepal-1"
    assert page.documents[0].title == "Nepal: Aviation"
    assert page.documents[0].text == "The civil aircraft registration prefix of Nepal is 9N."
    assert (page.engine, page.quality) == ("bm25:countries", None)  # a real engine knows no quality
    assert page.seconds > 0


def test_words_are_stemmed_and_titles_are_indexed(engine: BM25Engine) -> None:
    assert ids(engine, "exporting")[0] in ("peru-1", "cuba-1")
    assert set(ids(engine, "aviation")) == {"nepal-1"}


def test_passages_with_line_ends_and_accents_come_back_whole(engine: BM25Engine) -> None:
    (laos,), (togo,) = engine.search_many(["Vientiane", "Lomé"], 1)
    assert laos.text == "Vientiane is the capital of Laos.\nIt lies on the Mekong."
    assert togo.text == "Lomé is the capital of Togo."


@pytest.mark.parametrize(("top_k", "expected"), [(1, ["twin-a"]), (2, ["twin-a", "twin-b"])])
def test_equal_scores_come_in_corpus_order_also_where_the_page_cuts_them(
    engine: BM25Engine, top_k: int, expected: list[str]
) -> None:
    assert ids(engine, "zebra crossings", top_k) == expected


@pytest.mark.parametrize("query", ["", "   \n", "???", "the of and", "qwertzuiop", "\ud800", "<search>"])
def test_a_query_without_a_known_word_finds_an_empty_page(engine: BM25Engine, query: str) -> None:
    page = asyncio.run(engine.search(SearchRequest(query, top_k=5)))
    assert page.documents == ()


def test_documents_without_a_word_of_the_query_are_not_returned(engine: BM25Engine) -> None:
    assert sorted(ids(engine, "zebra qwertzuiop", 50)) == ["twin-a", "twin-b", "twin-c"]


def test_more_documents_asked_for_than_the_corpus_holds(engine: BM25Engine) -> None:
    assert len(ids(engine, "capital", 500)) == 11


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.5, 7.0]), max_size=40), st.integers(0, 45))
def test_best_is_a_stable_sort_without_the_zeros(scores: list[float], top_k: int) -> None:
    expected = sorted((i for i, s in enumerate(scores) if s > 0), key=lambda i: (-scores[i], i))[:top_k]
    assert best(np.array(scores, dtype=np.float32), top_k).tolist() == expected


def test_best_keeps_index_order_in_a_large_tie() -> None:
    scores = np.random.default_rng(0).integers(0, 3, 5000).astype(np.float32)
    expected = sorted(np.flatnonzero(scores).tolist(), key=lambda i: (-scores[i], i))
    for top_k in (1, 10, 1700, 2500):
        assert best(scores, top_k).tolist() == expected[:top_k]


def test_reopening_maps_the_index_and_builds_nothing(tmp_path: Path) -> None:
    corpus, cache = write_corpus(tmp_path / "c.jsonl", PASSAGES), tmp_path / "cache"
    first = BM25Engine.open(corpus, cache)
    before = files_of(cache)
    second = BM25Engine.open(corpus, cache)
    assert files_of(cache) == before
    assert isinstance(second._index.scores["data"], np.memmap)
    assert ids(second, "capital of Peru") == ids(first, "capital of Peru")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["c.jsonl", "cache"]  # nothing beside the corpus


def test_a_copy_of_the_corpus_elsewhere_uses_the_same_index(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = BM25Engine.open(write_corpus(tmp_path / "a.jsonl", PASSAGES), cache)
    built = [p.name for p in cache.iterdir()]
    second = BM25Engine.open(write_corpus(tmp_path / "b.jsonl", PASSAGES), cache)
    assert [p.name for p in cache.iterdir()] == built
    assert second.identity == first.identity
    assert ids(second, "Lima", 1) == ["peru-0"]


def test_a_changed_corpus_is_indexed_again(tmp_path: Path) -> None:
    corpus, cache = write_corpus(tmp_path / "c.jsonl", [("1", "T", "alpha")]), tmp_path / "cache"
    old = BM25Engine.open(corpus, cache)
    write_corpus(corpus, [("1", "T", "gamma")])  # of equal size, at another time
    os.utime(corpus, ns=(1, 1))
    new = BM25Engine.open(corpus, cache)
    assert ids(new, "gamma") == ["1"]
    assert new.identity != old.identity


def test_other_parameters_are_another_index(tmp_path: Path) -> None:
    corpus, cache = write_corpus(tmp_path / "c.jsonl", PASSAGES), tmp_path / "cache"
    short = BM25Engine.open(corpus, cache, b=1.0)
    flat = BM25Engine.open(corpus, cache, b=0.0)
    tokens = [[i for i in e._index.get_tokens_ids(["capit"])] for e in (short, flat)]
    scores = [e._index.get_scores_from_ids(t)[2] for e, t in zip((short, flat), tokens, strict=True)]
    assert scores[0] < scores[1]  # a long passage is only punished with b > 0


def test_a_page_holds_a_passage_once_however_often_the_corpus_does(tmp_path: Path) -> None:
    same = [(str(n), "Nepal", "Kathmandu is the capital.") for n in range(30)]
    corpus = write_corpus(tmp_path / "c.jsonl", [*same, ("x", "Nepal", "Kathmandu is its capital city of all.")])
    engine = BM25Engine.open(corpus, tmp_path / "cache")
    assert ids(engine, "Kathmandu capital", 2) == ["0", "x"]
    assert ids(engine, "Kathmandu capital", 1) == ["0"]


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        del data[-8:]
    elif how == "gone":
        path.unlink()
        return
    else:
        data[0 if how == "first" else len(data) // 2] ^= 0x41
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "gone", "first", "middle"])
def test_a_damaged_index_is_built_again(tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture) -> None:
    corpus, cache = write_corpus(tmp_path / "c.jsonl", [*PASSAGES, ("zh", "", "北京")]), tmp_path / "cache"
    BM25Engine.open(corpus, cache).close()
    files = sorted(path for path in cache.glob("*/**/*") if path.is_file() and path.parent.name != "digests")
    assert len(files) > 8
    for file in files:
        caplog.clear()
        damage(file, how)
        engine = BM25Engine.open(corpus, cache)
        assert ids(engine, "Lima", 1) == ["peru-0"]
        assert ids(engine, "北京", 1) == ["zh"]
        assert "is damaged and is built again" in caplog.text
        engine.close()


def test_passages_are_found_between_blank_lines_and_line_ends_of_windows(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", PASSAGES)
    corpus.write_bytes(b"\r\n  \r\n".join(corpus.read_bytes().splitlines()))  # and no line end at the end
    engine = BM25Engine.open(corpus, tmp_path / "cache")
    queries = [f"{title} {text}" for _, title, text in PASSAGES]
    found = [(page[0].id, page[0].title, page[0].text) for page in engine.search_many(queries, 1)]
    twins = {"twin-a2"}  # it is found as twin-a
    assert [f for f, p in zip(found, PASSAGES, strict=True) if p[0] not in twins] == [
        p for p in PASSAGES if p[0] not in twins
    ]


def test_a_corpus_that_cannot_be_searched_is_said(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match="no such file"):
        BM25Engine.open(tmp_path / "missing.jsonl", cache)
    with pytest.raises(DataError, match="is a folder, not a file"):
        BM25Engine.open(tmp_path, cache)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(DataError, match="holds no passages"):
        BM25Engine.open(tmp_path / "empty.jsonl", cache)
    with pytest.raises(DataError, match="holds no word"):
        BM25Engine.open(write_corpus(tmp_path / "stop.jsonl", [("1", "", "of the")]), cache)
    (tmp_path / "cut.jsonl.gz").write_bytes(gzip.compress(b'{"id": 1, "text": "x"}\n' * 100)[:-12])
    with pytest.raises(DataError, match="not a whole gzip file"):
        BM25Engine.open(tmp_path / "cut.jsonl.gz", cache)


def test_a_cache_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DataError, match="the search index could not be written"):
        BM25Engine.open(write_corpus(tmp_path / "c.jsonl", PASSAGES), tmp_path / "cache")


def test_a_corpus_cut_short_while_it_is_open_is_an_error_not_another_passage(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "c.jsonl", PASSAGES)
    engine = BM25Engine.open(corpus, tmp_path / "cache")
    corpus.write_bytes(corpus.read_bytes()[:300])
    with pytest.raises(DataError, match="changed after it was opened"):
        engine.search_many(["Vientiane"], 1)


@pytest.mark.parametrize(("k1", "b"), [(-1, 0.4), (0.9, 1.5), (float("nan"), 0.4)])
def test_parameters_out_of_range_are_refused(tmp_path: Path, k1: float, b: float) -> None:
    with pytest.raises(ConfigError, match="bm25"):
        BM25Engine.open(write_corpus(tmp_path / "c.jsonl", PASSAGES), tmp_path / "cache", k1=k1, b=b)
