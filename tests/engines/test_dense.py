"""Dense retrieval with a real FAISS index and an encoder that counts words: what is near, what fits, what is built."""

from __future__ import annotations

import asyncio
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from engines.passages import write_corpus
from hypothesis import given
from hypothesis import strategies as st

from zerosearch.engines.dense import DenseEngine
from zerosearch.episodes.search import Document, Quality, SearchRequest
from zerosearch.errors import ConfigError, DataError, ModelError

faiss = pytest.importorskip("faiss")

PASSAGES = [
    ("nepal", "Nepal", "Kathmandu is the capital of Nepal."),
    ("peru", "Peru", "Lima is the capital of Peru and lies on the coast."),
    ("copper", "Peru: Economy", "Peru exports copper gold and fish."),
    ("chad", "Chad", "Lake Chad has shrunk."),
    ("twin-a", "Twin", "Zebra crossings painted overnight."),
    ("twin-b", "Twin", "Zebra crossings painted overnight."),
    ("laos", "Laos", "Vientiane is old.\nIt lies on the Mekong."),
]
DIMENSIONS = 256


class WordCounter:
    """An embedding is the count of each word, by its checksum. `asked` is every text that it was given."""

    def __init__(self, name: str = "words", dimensions: int = DIMENSIONS) -> None:
        self.name = self.identity = name
        self.dimensions = dimensions
        self.asked: list[list[str]] = []

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        self.asked.append(texts)
        found = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().replace(".", " ").replace(":", " ").split():
                found[row, zlib.crc32(word.encode()) % self.dimensions] += 1
        return found


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return write_corpus(tmp_path / "countries.jsonl", PASSAGES)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def ids(engine: DenseEngine, query: str, top_k: int = 3) -> list[str]:
    return [document.id for document in engine.search_many([query], top_k)[0]]


@pytest.mark.parametrize("kind", ["flat", "sq8"])
def test_a_page_holds_the_nearest_passages_first(corpus: Path, cache: Path, kind: str) -> None:
    engine = DenseEngine.open(corpus, WordCounter(), cache, kind=kind)  # type: ignore[arg-type]
    page = asyncio.run(engine.search(SearchRequest("the capital of Peru", 3, quality=Quality.NOISY)))
    assert [document.id for document in page.documents][:2] == ["peru", "nepal"]
    assert page.documents[0] == Document("Peru", "Lima is the capital of Peru and lies on the coast.", "peru")
    assert (page.engine, page.quality, page.cached, page.usage.usd) == ("dense:countries:words", None, False, 0.0)
    assert page.seconds > 0


@given(st.lists(st.sampled_from(["peru", "chad", "laos", "nepal", "lima"]), min_size=1, max_size=6).map(" ".join))
def test_the_flat_index_finds_what_comparing_with_every_passage_finds(query: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        corpus = write_corpus(Path(folder) / "c.jsonl", PASSAGES)
        encoder = WordCounter()
        engine = DenseEngine.open(corpus, encoder, Path(folder) / "cache")
        vectors = encoder.encode([f"{title}\n{text}" for _, title, text in PASSAGES])
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        wanted = encoder.encode([query])[0]
        scores = vectors @ (wanted / np.linalg.norm(wanted))
        found = ids(engine, query, len(PASSAGES))
        assert sorted(found) == sorted(i for i, _, _ in PASSAGES)
        by_id = {i: score for (i, _, _), score in zip(PASSAGES, scores, strict=True)}
        assert [by_id[i] for i in found] == pytest.approx(sorted(scores, reverse=True), abs=1e-6)
        engine.close()


@pytest.mark.parametrize("query", ["", " \n", "?!"])
def test_a_query_without_a_word_finds_an_empty_page(corpus: Path, cache: Path, query: str) -> None:
    engine = DenseEngine.open(corpus, WordCounter(), cache)
    assert asyncio.run(engine.search(SearchRequest(query, 3))).documents == ()
    assert [len(page) for page in engine.search_many([query, "peru", query], 3)] == [0, 3, 0]


def test_ties_come_in_corpus_order_and_a_page_is_no_longer_than_the_corpus(corpus: Path, cache: Path) -> None:
    engine = DenseEngine.open(corpus, WordCounter(), cache)
    assert ids(engine, "zebra crossings", 2) == ["twin-a", "twin-b"]
    assert sorted(ids(engine, "capital", 500)) == sorted(i for i, _, _ in PASSAGES)
    assert ids(engine, "capital", 0) == []


def test_half_a_character_does_not_reach_the_encoder(corpus: Path, cache: Path) -> None:
    encoder = WordCounter()
    engine = DenseEngine.open(corpus, encoder, cache)
    assert ids(engine, "peru \ud83d")[0] in ("peru", "copper")
    assert encoder.asked[-1] == ["peru ?"]


def test_prefixes_are_put_before_queries_and_passages(corpus: Path, cache: Path) -> None:
    encoder = WordCounter()
    engine = DenseEngine.open(corpus, encoder, cache, query_prefix="query: ", passage_prefix="passage: ")
    assert encoder.asked[-1][0] == "passage: Nepal\nKathmandu is the capital of Nepal."
    ids(engine, "Lima")
    assert encoder.asked[-1] == ["query: Lima"]


def test_reopening_embeds_nothing_and_maps_the_index(corpus: Path, cache: Path) -> None:
    DenseEngine.open(corpus, WordCounter(), cache)
    encoder = WordCounter()
    engine = DenseEngine.open(corpus, encoder, cache)
    assert encoder.asked == []
    assert ids(engine, "Kathmandu", 1) == ["nepal"]
    assert sorted(p.name for p in corpus.parent.iterdir()) == ["cache", "countries.jsonl"]
    if sys.platform == "linux":
        assert "passages.faiss" in Path("/proc/self/maps").read_text()


def test_what_shapes_the_vectors_is_another_index_and_the_query_prefix_is_not(corpus: Path, cache: Path) -> None:
    def built(encoder: WordCounter, **settings: str) -> bool:
        DenseEngine.open(corpus, encoder, cache, **settings)  # type: ignore[arg-type]
        return bool(encoder.asked)

    assert built(WordCounter())
    assert not built(WordCounter(), query_prefix="query: ")
    assert built(WordCounter(), passage_prefix="passage: ")
    assert built(WordCounter(), kind="sq8")
    assert built(WordCounter("other"))
    write_corpus(corpus, PASSAGES[:3])
    assert built(WordCounter())


def test_identity_tells_engines_apart_that_answer_differently(corpus: Path, cache: Path) -> None:
    settings = [{}, {"query_prefix": "q "}, {"passage_prefix": "p "}, {"kind": "sq8"}]
    engines = [DenseEngine.open(corpus, WordCounter(), cache, **s) for s in settings]  # type: ignore[arg-type]
    assert len({engine.identity for engine in engines}) == 4
    assert len({engine.name for engine in engines}) == 1


def test_sq8_takes_a_quarter_of_the_memory(tmp_path: Path, cache: Path) -> None:
    passages = [(str(n), "", f"word{n} word{n + 1} word{n + 2}") for n in range(400)]
    corpus = write_corpus(tmp_path / "c.jsonl", passages)
    sizes = {}
    for kind in ("flat", "sq8"):
        engine = DenseEngine.open(corpus, WordCounter(), cache, kind=kind)  # type: ignore[arg-type]
        assert ids(engine, "word7 word8 word9", 1) == ["7"]
        (file,) = [p for p in cache.glob("*/passages.faiss") if p.stat().st_size not in sizes.values()]
        sizes[kind] = file.stat().st_size
        assert sizes[kind] == pytest.approx(400 * DIMENSIONS * {"flat": 4, "sq8": 1}[kind], rel=0.05)
    assert sizes["sq8"] < 0.27 * sizes["flat"]
    assert not list(cache.rglob("*.f32"))  # what was written on the way is gone


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Lets the machine have so many bytes free."""
    return lambda size: monkeypatch.setattr("zerosearch.engines.dense.memory", lambda: (size, size))


def test_an_index_larger_than_memory_is_refused_before_anything_is_embedded(
    corpus: Path, cache: Path, free: Callable[[int], None]
) -> None:
    encoder = WordCounter()
    flat, sq8 = 7 * 256 * 4, 7 * 256
    free(flat - 1)
    with pytest.raises(DataError, match=r"index larger than memory: 7 passages x 256 dimensions x 4 bytes") as caught:
        DenseEngine.open(corpus, encoder, cache)
    assert "'sq8' takes" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert [len(texts) for texts in encoder.asked] == [1]
    free(sq8 - 1)
    with pytest.raises(DataError, match="index larger than memory") as caught:
        DenseEngine.open(corpus, encoder, cache)
    assert "'sq8' takes" not in str(caught.value)
    assert not list(cache.glob("*/passages.faiss"))
    free(flat)
    DenseEngine.open(corpus, encoder, cache)
    free(sq8)
    DenseEngine.open(corpus, encoder, cache, kind="sq8")


def test_an_index_that_no_longer_fits_is_refused_when_it_is_opened(
    corpus: Path, cache: Path, free: Callable[[int], None]
) -> None:
    DenseEngine.open(corpus, WordCounter(), cache)
    free(100)
    with pytest.raises(DataError, match="index larger than memory"):
        DenseEngine.open(corpus, WordCounter(), cache)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda found: found[:, 0], "made vectors of shape"),
        (lambda found: found[:0], "made vectors of shape"),
        (lambda found: found * np.nan, "zero, infinite or no number"),
        (lambda found: found * 0, "zero, infinite or no number"),
    ],
)
def test_vectors_that_cannot_be_compared_are_an_error_and_leave_no_index(
    corpus: Path, cache: Path, broken: object, said: str
) -> None:
    class Broken(WordCounter):
        def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
            return broken(super().encode(texts))  # type: ignore[operator, no-any-return]

    with pytest.raises(ModelError, match=said):
        DenseEngine.open(corpus, Broken(), cache)
    assert not list(cache.glob("*/passages.faiss"))


def test_an_unknown_kind_of_index_is_refused(corpus: Path, cache: Path) -> None:
    with pytest.raises(ConfigError, match=r"engine\.dense\.index is 'hnsw'; use one of flat, sq8"):
        DenseEngine.open(corpus, WordCounter(), cache, kind="hnsw")  # type: ignore[arg-type]


class Held(WordCounter):
    """The batch of queries with the number `hold` (from 0; None: no one) waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.started, self.released = threading.Event(), threading.Event()
        self.hold: int | None = None

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        found = super().encode(texts)
        if len(self.asked) - 1 == self.hold:
            self.started.set()
            self.released.wait(30)
        return found


@pytest.fixture
def held(corpus: Path, cache: Path) -> tuple[DenseEngine, Held]:
    encoder = Held()
    engine = DenseEngine.open(corpus, encoder, cache)
    encoder.asked.clear()
    encoder.hold = 0
    return engine, encoder


QUERIES = {"Kathmandu": "nepal", "Lima": "peru", "copper": "copper", "Vientiane": "laos"}


@pytest.mark.parametrize("first_gives_up", [False, True])
def test_searches_that_wait_are_answered_in_one_batch_each_with_its_own_page(
    held: tuple[DenseEngine, Held], first_gives_up: bool
) -> None:
    engine, encoder = held

    async def at_once() -> list[str]:
        tasks = [asyncio.create_task(engine.search(SearchRequest(q, 1 + n))) for n, q in enumerate(QUERIES)]
        await asyncio.to_thread(encoder.started.wait)
        if first_gives_up:
            tasks[0].cancel()
            await asyncio.gather(tasks[0], return_exceptions=True)
        encoder.released.set()
        pages = await asyncio.gather(*tasks[int(first_gives_up) :])
        assert [len(page.documents) for page in pages] == list(range(1 + first_gives_up, 5))
        return [page.documents[0].id for page in pages]

    assert asyncio.run(at_once()) == list(QUERIES.values())[int(first_gives_up) :]
    assert [len(texts) for texts in encoder.asked] == [1, 3]
    assert asyncio.run(engine.search(SearchRequest("Lima", 1))).documents[0].id == "peru"  # in another event loop


def test_one_who_was_taken_along_by_a_search_that_gave_up_still_gets_a_page(held: tuple[DenseEngine, Held]) -> None:
    engine, encoder = held
    encoder.hold = 1

    async def leader_gives_up() -> list[str]:
        tasks = [asyncio.create_task(engine.search(SearchRequest(query, 1))) for query in QUERIES]
        await asyncio.to_thread(encoder.started.wait)  # the second search leads a batch of all but the first
        tasks[1].cancel()
        await asyncio.gather(tasks[1], return_exceptions=True)
        pages = [await asyncio.wait_for(task, 30) for task in (tasks[0], *tasks[2:])]
        return [page.documents[0].id for page in pages]

    try:
        assert asyncio.run(asyncio.wait_for(leader_gives_up(), 60)) == ["nepal", "copper", "laos"]
    finally:
        encoder.released.set()
