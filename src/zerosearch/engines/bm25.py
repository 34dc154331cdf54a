"""BM25 over a corpus of your own: a real search engine that needs no key, no network and little memory.

    engine = BM25Engine.open(Path("corpus.jsonl"))          # builds the index once, then maps it into memory
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

Scores: BM25 as in Lucene (Robertson and Zaragoza, 2009, with Lucene's idf), computed by bm25s. k1 .9 and b .4 are the
values of Anserini and Pyserini for passages. Words are stemmed (Snowball English), English stop words are left out,
and a document's indexed text is its title, a line end, and its text.

The index lies in the cache folder, under the sha256 of the corpus and everything that shapes it; nothing is written
beside the corpus. A `.jsonl.gz` corpus is unpacked there too, since passages are read by their place in the file.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import Stemmer

from zerosearch.embedded import cache_dir
from zerosearch.engines.corpus import PassageReader, scan, sha256_of, unpack, unreadable
from zerosearch.engines.lexical import bm25s
from zerosearch.errors import ConfigError, DataError, RunError
from zerosearch.runs import write_json
from zerosearch.search import Document, SearchPage, SearchRequest

log = logging.getLogger(__name__)
logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG and tells every step

LAYOUT = 1  # raise it when the files of an index change: indexes of another layout are built again
_META = "index.json"
_OFFSETS = "offsets.npy"
_UNPACKED = "corpus.jsonl"


class BM25Engine:
    """A `SearchEngine`. Pages hold the best documents that share a word with the query, ties in corpus order.

    An empty query, or one without a word that the corpus knows, finds an empty page.

    `search` does not hand its work to a thread, although it is declared `async`: a search takes milliseconds, and this
    way a run with one seed always meets its pages in one order.
    """

    def __init__(self, name: str, digest: str, index: bm25s.BM25, passages: PassageReader) -> None:
        self.name = name
        self.digest = digest
        self._index = index
        self._passages = passages
        self._stemmer = Stemmer.Stemmer("english")

    @classmethod
    def open(cls, corpus: Path, cache: Path | None = None, k1: float = 0.9, b: float = 0.4) -> BM25Engine:
        """Open `corpus` (`.jsonl` or `.jsonl.gz`), building its index where `cache` holds none yet.

        `cache` is a folder, by default `bm25` in the package's cache folder. The corpus is recognised by size and
        modification time, and otherwise by its sha256. `digest` of the engine is that sha256.

        Raises `DataError` for a corpus that is missing, empty or malformed (with the line) and for a cache that cannot
        be written, `ConfigError` for k1 < 0 or b outside [0, 1].
        """
        if not k1 >= 0:
            raise ConfigError(f"bm25.k1 is {k1}; it must be 0 or more")
        if not 0 <= b <= 1:
            raise ConfigError(f"bm25.b is {b}; it lies between 0 and 1")
        corpus = Path(corpus)
        cache = Path(cache) if cache is not None else cache_dir() / "bm25"
        before = _stat(corpus)
        digest = _digest(corpus, before, cache)
        folder = cache / f"{digest[:24]}-{_recipe_key(k1, b)}"
        if not _is_whole(folder):
            _build_into(folder, corpus, digest, k1, b)
            if _stat(corpus) != before:
                shutil.rmtree(folder, ignore_errors=True)
                raise DataError(f"{corpus}: was changed while it was being indexed; start again when it is complete")
        index = bm25s.BM25.load(folder, mmap=True)
        unpacked = folder / _UNPACKED
        source = unpacked if unpacked.exists() else corpus
        passages = PassageReader(source, np.load(folder / _OFFSETS, mmap_mode="r"))
        stem = corpus.name.removesuffix(".gz").removesuffix(".jsonl")
        return cls(f"bm25:{stem}", digest, index, passages)

    def __len__(self) -> int:
        """Documents in the corpus."""
        return len(self._passages)

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request.query`; quality, question and seed are for simulators and not looked at."""
        start = time.perf_counter()
        documents = self._find(request.query, request.top_k)
        return SearchPage(documents, self.name, seconds=time.perf_counter() - start)

    def search_many(self, queries: Sequence[str], top_k: int) -> list[tuple[Document, ...]]:
        """The documents for each query, in the order of `queries`: for data scripts outside an event loop."""
        return [self._find(query, top_k) for query in queries]

    def close(self) -> None:
        self._passages.close()

    def _find(self, query: str, top_k: int) -> tuple[Document, ...]:
        tokens: list[str] = _tokenize([query], self._stemmer, return_ids=False)[0]
        known: list[int] = self._index.get_tokens_ids(tokens)
        if not known:
            return ()
        return tuple(self._passages[int(i)] for i in best(self._index.get_scores_from_ids(known), top_k))


def best(scores: npt.NDArray[np.float32], top_k: int) -> npt.NDArray[np.intp]:
    """Indices of the `top_k` highest of `scores` (documents,), highest first, ties in index order; none scores 0."""
    hits = np.flatnonzero(scores > 0)
    if top_k < 1:
        return hits[:0]
    if len(hits) > top_k:
        found = scores[hits]
        threshold = np.partition(found, len(found) - top_k)[len(found) - top_k]
        hits = hits[found >= threshold]
    return hits[np.argsort(-scores[hits], kind="stable")[:top_k]]


def _tokenize(texts: Any, stemmer: Any, *, return_ids: bool) -> Any:
    # One function for passages and queries: words of the two are only ever equal if they were cut and stemmed alike.
    return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=return_ids, show_progress=False)


def _recipe_key(k1: float, b: float) -> str:
    """Everything besides the corpus that shapes an index: another stemmer would silently miss the words of this one."""
    versions = [importlib.metadata.version(package) for package in ("bm25s", "PyStemmer")]
    recipe = json.dumps([LAYOUT, float(k1), float(b), *versions])
    return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def _stat(corpus: Path) -> list[int]:
    try:
        stat = corpus.stat()
    except OSError as error:
        raise unreadable(corpus, error) from None
    return [stat.st_size, stat.st_mtime_ns]


def _digest(corpus: Path, stat: list[int], cache: Path) -> str:
    """sha256 of the corpus, remembered by its path, size and modification time."""
    place = str(corpus.resolve())
    note = cache / "digests" / f"{hashlib.sha256(place.encode()).hexdigest()[:24]}.json"
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["path"] == place and known["stat"] == stat:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note yet, or one that cannot be used: the file itself is asked
    digest = sha256_of(corpus)
    try:
        write_json(note, {"path": place, "stat": stat, "sha256": digest})
    except (OSError, RunError) as error:  # a cache that others filled may be read-only to us
        log.warning("%s: the digest of the corpus is not remembered (%s)", note, error)
    return digest


def _is_whole(folder: Path) -> bool:
    """Whether every file that the build wrote is there in its full size. The list of them is written last."""
    try:
        sizes = json.loads((folder / _META).read_text(encoding="utf-8"))["files"]
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _build_into(folder: Path, corpus: Path, digest: str, k1: float, b: float) -> None:
    """Build beside `folder` and rename: a kill leaves no half index, and two processes may build at once."""
    work = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
    try:
        work.mkdir(parents=True)
        _build(work, corpus, digest, k1, b)
        if folder.exists() and not _is_whole(folder):
            shutil.rmtree(folder)
        try:
            os.rename(work, folder)
        except OSError:
            if not _is_whole(folder):  # else another process was first, with the same index
                raise
    except OSError as error:
        raise _unwritable(folder.parent, error) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _build(work: Path, corpus: Path, digest: str, k1: float, b: float) -> None:
    log.info("building the BM25 index of %s (once)", corpus)
    start = time.perf_counter()
    source = corpus
    if corpus.suffix == ".gz":
        source = work / _UNPACKED
        unpack(corpus, source)
    offsets: list[int] = []

    def texts() -> Any:
        for offset, document in scan(source, corpus):
            offsets.append(offset)
            yield f"{document.title}\n{document.text}"

    tokens = _tokenize(texts(), Stemmer.Stemmer("english"), return_ids=True)
    if not offsets:
        raise DataError(f"{corpus}: holds no passages")
    if not tokens.vocab:
        raise DataError(f"{corpus}: holds no word that could be searched for")
    index = bm25s.BM25(k1=k1, b=b, method="lucene")
    index.index(tokens, create_empty_token=False, show_progress=False)
    index.save(work)
    np.save(work / _OFFSETS, np.array([*offsets, source.stat().st_size], dtype=np.int64))
    sizes = {file.name: file.stat().st_size for file in sorted(work.iterdir())}
    write_json(work / _META, {"corpus": str(corpus), "sha256": digest, "documents": len(offsets), "files": sizes})
    log.info("indexed %d passages in %.1f s", len(offsets), time.perf_counter() - start)


def _unwritable(cache: Path, error: OSError) -> DataError:
    return DataError(f"{cache}: the search index could not be written ({error.strerror or error})")
