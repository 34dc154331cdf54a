"""Dense retrieval over a corpus of your own: passages and queries become vectors, a page holds the nearest ones.

    encoder = SentenceTransformerEncoder("intfloat/e5-base-v2", cache=folder)
    engine = DenseEngine.open(Path("corpus.jsonl"), encoder, query_prefix="query: ", passage_prefix="passage: ")
    page = await engine.search(SearchRequest("capital of Nepal", top_k=5))

Search is exhaustive: every query is compared with every passage, by the inner product of unit vectors (FAISS). `flat`
keeps float32, `sq8` one byte a dimension: a quarter of the memory, and scores that are rounded. The index lies in
the cache folder (`engines/indexes.py`) and is mapped into memory, so that several processes share one copy of it.

Needs the extra `dense`.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from zerosearch.engines.encoders import INSTALL, Encoder
from zerosearch.engines.indexes import IndexFolder, Passages, open_index, recipe_key
from zerosearch.engines.page_rows import whole_text
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.errors import ConfigError, DataError, ModelError
from zerosearch.files.identity import identity_of
from zerosearch.models.client import PerLoop
from zerosearch.models.embedded import cache_dir
from zerosearch.process.runtime import memory

log = logging.getLogger(__name__)

DenseIndex = Literal["flat", "sq8"]
Vectors = npt.NDArray[np.float32]

LAYOUT = 1  # raise it when the files of an index change: indexes of another layout are built again
_INDEX = "passages.faiss"
_VECTORS = "vectors.f32"
_CHUNK = 512  # passages handed to the encoder at once; it makes its own batches of them
_TRAINING_ROWS = 262_144  # what the ranges of sq8 are read from
_SAY_SECONDS = 30.0
_BYTES = {"flat": 4, "sq8": 1}  # a dimension
_WORD = re.compile(r"\w")


class DenseEngine:
    """A `SearchEngine`. Searches run in a thread; those that come while one runs are answered together by the next.

    A query without a word in it finds an empty page. Any other finds `top_k` documents, however far away.
    """

    def __init__(self, folder: IndexFolder, encoder: Encoder, query_prefix: str) -> None:
        faiss = _faiss()
        notes = folder.notes
        self.name = f"dense:{folder.name}:{encoder.name}"
        self.identity = identity_of(
            "dense", corpus=folder.digest[:16], encoder=encoder.identity, index=notes["kind"],
            query_prefix=query_prefix or None, passage_prefix=notes["passage_prefix"] or None,
        )  # fmt: skip
        # IO_FLAG_MMAP maps inverted lists only; this one maps the codes of flat and scalar-quantised indexes.
        self._index = faiss.read_index(str(folder.path / _INDEX), faiss.IO_FLAG_MMAP_IFC)
        self._passages = folder.passages()
        self._encoder = encoder
        self._query_prefix = query_prefix
        self._lane = PerLoop(_Lane)

    @classmethod
    def open(
        cls,
        corpus: Path,
        encoder: Encoder,
        cache: Path | None = None,
        *,
        kind: DenseIndex = "flat",
        query_prefix: str = "",
        passage_prefix: str = "",
    ) -> DenseEngine:
        """Open `corpus` (`.jsonl` or `.jsonl.gz`), embedding its passages where `cache` holds no index of them yet.

        The text of a passage is `passage_prefix`, its title, a line end, and its text. `cache` is a folder, by default
        `dense` in the package's cache folder; while an index is built its float32 vectors lie there too.

        Raises `DataError` for an index larger than the machine's free memory and for whatever is wrong with the corpus
        or the cache, `ConfigError` where FAISS is missing, `ModelError` for an encoder whose vectors cannot be used.
        """
        if kind not in get_args(DenseIndex):
            raise ConfigError(f"engine.dense.index is {kind!r}; use one of {', '.join(get_args(DenseIndex))}")
        faiss = _faiss()
        corpus = Path(corpus)
        cache = Path(cache) if cache is not None else cache_dir() / "dense"
        available = memory()[1]

        def build(work: Path, passages: Passages) -> dict[str, Any]:
            rows = sum(1 for _ in passages())  # and a malformed line is found now, not after hours of embedding
            probe = _unit(encoder.encode([f"{passage_prefix}probe"]), 1, encoder)
            _check_memory(corpus, rows, probe.shape[1], kind, available)
            vectors = _embedded(work / _VECTORS, passages, (rows, probe.shape[1]), encoder, passage_prefix)
            _write_index(faiss, work / _INDEX, vectors, kind)
            (work / _VECTORS).unlink()
            return {
                "dimensions": probe.shape[1], "kind": kind, "encoder": encoder.name, "passage_prefix": passage_prefix
            }  # fmt: skip

        key = recipe_key(LAYOUT, encoder.identity, kind, passage_prefix)
        folder = open_index(corpus, cache, key, build, what="dense")
        _check_memory(corpus, folder.documents, int(folder.notes["dimensions"]), kind, available)
        return cls(folder, encoder, query_prefix)

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request.query`; quality, question and seed are for simulators and not looked at."""
        started = time.perf_counter()
        documents: tuple[Document, ...] = ()
        if _WORD.search(request.query) and request.top_k > 0:
            documents = await self._lane.get().find(self, request)
        return SearchPage(documents, self.name, seconds=time.perf_counter() - started)

    def search_many(self, queries: Sequence[str], top_k: int) -> list[tuple[Document, ...]]:
        """The documents for each query, in the order of `queries`, embedded and searched for in one batch."""
        asked = [place for place, query in enumerate(queries) if _WORD.search(query)]
        pages: list[tuple[Document, ...]] = [()] * len(queries)
        if asked and top_k > 0:
            texts = [self._query_prefix + whole_text(queries[place]) for place in asked]
            vectors = _unit(self._encoder.encode(texts), len(texts), self._encoder)
            scores, rows = self._index.search(vectors, min(top_k, len(self._passages)))
            for place, found_scores, found in zip(asked, scores, rows, strict=True):
                order = np.lexsort((found, -found_scores))  # ties in corpus order
                pages[place] = tuple(self._passages[int(row)] for row in found[order] if row >= 0)
        return pages

    def close(self) -> None:
        self._passages.close()


class _Waiting:
    """A search that waits; `documents` is filled in by whichever batch takes it along."""

    def __init__(self, request: SearchRequest) -> None:
        self.request = request
        self.documents: tuple[Document, ...] | None = None


class _Lane:
    """The searches of one event loop: one batch at a time, made of all that wait."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._waiting: list[_Waiting] = []

    async def find(self, engine: DenseEngine, request: SearchRequest) -> tuple[Document, ...]:
        mine = _Waiting(request)
        self._waiting.append(mine)
        async with self._lock:
            if mine.documents is None:
                # `mine` may be out of the list: the search that took it along was cancelled or failed
                batch = [mine, *(other for other in self._waiting if other is not mine)]
                self._waiting = []
                await asyncio.to_thread(_answer, engine, batch)
        assert mine.documents is not None
        return mine.documents


def _answer(engine: DenseEngine, batch: Sequence[_Waiting]) -> None:
    top_k = max(waiting.request.top_k for waiting in batch)
    pages = engine.search_many([waiting.request.query for waiting in batch], top_k)
    for waiting, page in zip(batch, pages, strict=True):
        waiting.documents = page[: waiting.request.top_k]


def _check_memory(corpus: Path, rows: int, dimensions: int, kind: DenseIndex, available: int | None) -> None:
    """Raises `DataError` for an index of more than `available` bytes; logs how large it is."""
    needed = rows * dimensions * _BYTES[kind]
    said = f"{rows:,} passages x {dimensions} dimensions x {_BYTES[kind]} bytes ({kind}) = {_size(needed)}"
    if available is not None and needed > available:
        smaller = rows * dimensions
        fits = f"; engine.dense.index = 'sq8' takes {_size(smaller)}" if kind == "flat" and smaller <= available else ""
        raise DataError(f"{corpus}: index larger than memory: {said}, and {_size(available)} are free{fits}")
    log.info("dense index of %s: %s of memory", corpus, said)


def _embedded(file: Path, passages: Passages, shape: tuple[int, int], encoder: Encoder, prefix: str) -> Any:
    """The unit vectors of all passages, (rows, dimensions), in a file that is mapped into memory."""
    vectors: Any = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
    done, started = 0, time.monotonic()
    said = started
    stream = iter(passages())
    while chunk := list(islice(stream, _CHUNK)):
        texts = [f"{prefix}{document.title}\n{document.text}" for document in chunk]
        vectors[done : done + len(chunk)] = _unit(encoder.encode(texts), len(chunk), encoder)
        done += len(chunk)
        if time.monotonic() - said > _SAY_SECONDS:
            said = time.monotonic()
            left = (said - started) / done * (shape[0] - done)
            log.info("embedded %d of %d passages, about %d minutes left", done, shape[0], round(left / 60))
    return vectors


def _write_index(faiss: Any, file: Path, vectors: Any, kind: DenseIndex) -> None:
    rows, dimensions = vectors.shape
    if kind == "flat":
        index = faiss.IndexFlatIP(dimensions)
    else:
        index = faiss.IndexScalarQuantizer(dimensions, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
        step = -(-rows // _TRAINING_ROWS)
        index.train(np.ascontiguousarray(vectors[::step]))
    index.add(vectors)  # at once: FAISS takes exactly the memory that was said, where growing would take twice of it
    faiss.write_index(index, str(file))


def _unit(vectors: Vectors, rows: int, encoder: Encoder) -> Vectors:
    """Unit vectors `(rows, dimensions)`. Raises `ModelError` for another shape, and for NaN, infinity or zero."""
    found = np.asarray(vectors, dtype=np.float32)
    if found.ndim != 2 or found.shape[0] != rows or not found.shape[1]:
        raise ModelError(f"{encoder.name}: made vectors of shape {found.shape} of {rows} texts")
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    if not np.all(np.isfinite(lengths) & (lengths > 0)):
        raise ModelError(f"{encoder.name}: made a vector that is zero, infinite or no number")
    return np.ascontiguousarray(found / lengths, dtype=np.float32)


def _size(count: int) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ConfigError(f"dense retrieval needs faiss-cpu: {INSTALL} ({error})") from None
    return faiss
