"""BM25 over a corpus of your own: a real search engine that needs no key, no network and little memory.

    engine = BM25Engine.open(Path("corpus.jsonl"))          # builds the index once, then maps it into memory
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

Scores: BM25 as in Lucene (Robertson and Zaragoza, 2009, with Lucene's idf), computed by bm25s. k1 .9 and b .4 are the
values of Anserini and Pyserini for passages. Words are stemmed (Snowball English), English stop words are left out,
and a document's indexed text is its title, a line end, and its text. Scripts without blanks are cut into bigrams
(`scripts.py`), which are scored by themselves; the two scores are added.

The index lies in the cache folder (`engines/indexes.py`) and is mapped into memory from there.
"""

from __future__ import annotations

import importlib.metadata
import logging
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import Stemmer

from zerosearch.engines.indexes import IndexFolder, Passages, open_index, recipe_key
from zerosearch.engines.lexical import best, bm25s, tokenize
from zerosearch.engines.scripts import bigrams
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.errors import ConfigError, DataError
from zerosearch.files.identity import identity_of
from zerosearch.models.embedded import cache_dir

log = logging.getLogger(__name__)

Scores = npt.NDArray[np.float32]

_BIGRAMS = "bigrams"
LONGEST_WORD = 60  # letters
LAYOUT = 3  # raise it when the files of an index change: indexes of another layout are built again


class BM25Engine:
    """A `SearchEngine`. Pages hold the best documents that share a word with the query, ties in corpus order; of
    documents with the same title and text only the first.

    An empty query, or one without a word that the corpus knows, finds an empty page.

    `search` does not hand its work to a thread, although it is declared `async`: a search takes milliseconds, and this
    way a run with one seed always meets its pages in one order.
    """

    def __init__(self, folder: IndexFolder) -> None:
        notes = folder.notes
        self.name = f"bm25:{folder.name}"
        self.identity = identity_of(
            "bm25", corpus=folder.digest[:16], k1=float(notes["k1"]), b=float(notes["b"]), analyzer=LAYOUT
        )
        self._index = bm25s.BM25.load(folder.path, mmap=True)
        self._bigrams = bm25s.BM25.load(folder.path / _BIGRAMS, mmap=True) if notes["bigrams"] else None
        self._passages = folder.passages()
        self._stemmer = Stemmer.Stemmer("english")

    @classmethod
    def open(cls, corpus: Path, cache: Path | None = None, k1: float = 0.9, b: float = 0.4) -> BM25Engine:
        """Open `corpus` (`.jsonl` or `.jsonl.gz`), building its index if `cache` has none yet.

        `cache` is a folder, by default `bm25` in the package's cache folder. The corpus is recognised by size and
        modification time, and otherwise by its sha256.

        Raises `DataError` for a corpus that is missing, empty or malformed (with the line) and for a cache that cannot
        be written, `ConfigError` for k1 < 0 or b outside [0, 1].
        """
        if not k1 >= 0:
            raise ConfigError(f"bm25.k1 is {k1}; it must be 0 or more")
        if not 0 <= b <= 1:
            raise ConfigError(f"bm25.b is {b}; it lies between 0 and 1")
        corpus = Path(corpus)
        cache = Path(cache) if cache is not None else cache_dir() / "bm25"

        def build(work: Path, passages: Passages) -> dict[str, Any]:
            return _build(work, passages, corpus, k1, b)

        return cls(open_index(corpus, cache, _key(k1, b), build, what="BM25"))

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request.query`. Quality, question and seed are for simulators and ignored."""
        start = time.perf_counter()
        documents = self._find(request.query, request.top_k)
        return SearchPage(documents, self.name, seconds=time.perf_counter() - start)

    def search_many(self, queries: Sequence[str], top_k: int) -> list[tuple[Document, ...]]:
        """The documents for each query, in the order of `queries`: for data scripts outside an event loop."""
        return [self._find(query, top_k) for query in queries]

    def close(self) -> None:
        self._passages.close()

    def _find(self, query: str, top_k: int) -> tuple[Document, ...]:
        found = [self._scores(self._index, query)]
        if self._bigrams is not None and (cut := bigrams(query)):
            found.append(self._scores(self._bigrams, cut))
        known = [scores for scores in found if scores is not None]
        if not known:
            return ()
        scores = known[0] if len(known) == 1 else known[0] + known[1]
        count = top_k
        while True:
            places = best(scores, count)
            page: dict[tuple[str, str], Document] = {}
            for document in (self._passages[int(place)] for place in places):
                page.setdefault((document.title, document.text), document)
            if len(page) >= top_k or len(places) < count:
                return tuple(page.values())[:top_k]
            count *= 2  # a corpus may hold a passage many times

    def _scores(self, index: bm25s.BM25, text: str) -> Scores | None:
        words: list[str] = tokenize([text], self._stemmer, return_ids=False)[0]
        known: list[int] = index.get_tokens_ids(words)
        return index.get_scores_from_ids(known) if known else None


def _build(work: Path, passages: Passages, corpus: Path, k1: float, b: float) -> dict[str, Any]:
    unspaced: list[str] = []
    empty = 0

    def texts() -> Iterator[str]:
        nonlocal empty
        for document in passages():
            text = f"{document.title}\n{document.text}"
            empty += not text.strip()
            unspaced.append(bigrams(text, single=True))
            yield text

    stemmer = Stemmer.Stemmer("english")
    tokens = tokenize(texts(), stemmer, return_ids=True)
    if not tokens.vocab:
        raise DataError(f"{corpus}: holds no word that could be searched for")
    _say_what_cannot_be_found(corpus, tokens, unspaced, empty)
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.index(tokens, create_empty_token=False, show_progress=False)
    index.save(work)
    # An index of its own: so the scores of all other text are what they would be without it.
    if any(unspaced):
        cut = bm25s.BM25(k1=k1, b=b, method="lucene")
        words = tokenize(unspaced, stemmer, return_ids=True)
        cut.index(words, create_empty_token=False, show_progress=False)
        cut.save(work / _BIGRAMS)
    return {"k1": k1, "b": b, "bigrams": any(unspaced)}


def _say_what_cannot_be_found(corpus: Path, tokens: Any, unspaced: Sequence[str], empty: int) -> None:
    """Passages without a word, and runs of letters that are no words: a script that nobody here knows how to cut.

    The `empty` ones among them are left out here: they are told where the corpus is read.
    """
    wordless = sum(not len(ids) and not cut for ids, cut in zip(tokens.ids, unspaced, strict=True)) - empty
    if wordless:
        log.warning("%s: %d of %d passages hold no word: no query finds them", corpus, wordless, len(tokens.ids))
    long = ((word, place) for word, place in tokens.vocab.items() if len(word) > LONGEST_WORD and not word.isascii())
    uncut = {place for word, place in long if not bigrams(word)}
    if uncut:
        hit = sum(not uncut.isdisjoint(ids) for ids in tokens.ids)
        log.warning(
            "%s: %d of %d passages hold runs of more than %d letters without a blank: each is one word here, "
            "and found only as a whole",
            corpus, hit, len(tokens.ids), LONGEST_WORD,
        )  # fmt: skip


def _key(k1: float, b: float) -> str:
    """Versions too: another stemmer would silently miss the words of this one."""
    versions = [importlib.metadata.version(package) for package in ("bm25s", "PyStemmer")]
    return recipe_key(LAYOUT, float(k1), float(b), *versions)
