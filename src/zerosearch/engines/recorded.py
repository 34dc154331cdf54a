"""Replay recorded pages of another engine, for example of a paid one.

    engine = RecordedEngine.open(Path("pages.sqlite"))                      # a cache that `cache.py` filled
    engine = RecordedEngine.open(Path("traces.jsonl.gz"), match="nearest")  # rows of your own

A row of a JSONL file (`page_rows.py`) is at least `{"query", "results": [{"title", "snippet" or "text"}, ...]}`.
All pages are kept in memory.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Literal

import Stemmer

from zerosearch.engines.cache_file import PageStore, normalise_query
from zerosearch.engines.lexical import Lexicon, tokenize
from zerosearch.engines.page_rows import RecordedPage, parse_page_row, whole_text
from zerosearch.engines.scripts import spaced
from zerosearch.episodes.search import Document, SearchPage, SearchRequest
from zerosearch.errors import ConfigError, DataError
from zerosearch.files.folders import listed
from zerosearch.files.formats import read_jsonl, reading
from zerosearch.files.identity import differences, digest_of, identity_of

Match = Literal["exact", "nearest"]

_CANDIDATES = 20


class RecordedEngine:
    """A `SearchEngine`. A page is the first `top_k` documents of a recorded one, at no cost.

    `match` is `exact` (the query as recorded, but for whitespace) or `nearest`: the recorded query that shares most
    with it (`NearestQuery`), at least `min_overlap`. A query that nothing was recorded for is a miss: it gets an empty
    page that says so (`missed`). One without a word gets an empty page too, as from any engine, and is no miss.

    Of two recordings of one query the one with more documents is kept.
    """

    def __init__(
        self,
        pages: Sequence[RecordedPage],
        *,
        name: str,
        match: Match = "exact",
        min_overlap: float = 0.5,
    ) -> None:
        if not 0 < min_overlap <= 1:
            raise ConfigError(f"min_overlap is {min_overlap}; it lies above 0 and is at most 1")
        self.name = name
        self._pages: dict[str, tuple[Document, ...]] = {}
        for page in pages:
            query = whole_text(normalise_query(page.query))
            if query not in self._pages or len(page.documents) > len(self._pages[query]):
                self._pages[query] = page.documents
        held = [[query, [[d.title, d.text, d.id] for d in found]] for query, found in sorted(self._pages.items())]
        self.identity = identity_of(
            "recorded", pages=digest_of(held), match=match,
            min_overlap=float(min_overlap) if match == "nearest" else None,
        )  # fmt: skip
        self._nearest = NearestQuery(list(self._pages), min_overlap) if match == "nearest" else None

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        source: str | None = None,
        match: Match = "exact",
        min_overlap: float = 0.5,
    ) -> RecordedEngine:
        """Read a file of recordings: `.jsonl`, `.jsonl.gz`, or SQLite as written by `Cached`.

        `source` is the name or the identity of the engine to replay, where the file holds pages of several.

        Raises `DataError` for a file that cannot be read, a malformed row (with its line), a file without recordings
        (of `source`), one of several engines without `source`, and one whose engines differ although their names agree.
        """
        path = Path(path)
        found = list(read_recordings(path))
        replayed = _replayed(path, {(page.engine, page.identity) for page in found}, source)
        kept = [page for page in found if (page.engine, page.identity) in replayed]
        name = f"recorded:{kept[0].engine or path.name.split('.')[0]}"
        return cls(kept, name=name, match=match, min_overlap=min_overlap)

    async def search(self, request: SearchRequest) -> SearchPage:
        """The page for `request.query`; quality, question and seed are for simulators and not looked at."""
        started = time.perf_counter()
        query = whole_text(normalise_query(request.query))
        documents = self._pages.get(query)
        if documents is None and self._nearest is not None:
            nearest = self._nearest(query)
            documents = self._pages[nearest] if nearest is not None else None
        missed = documents is None and any(character.isalnum() for character in query)
        found = (documents or ())[: request.top_k]
        return SearchPage(found, self.name, seconds=time.perf_counter() - started, missed=missed)


class NearestQuery:
    """Finds the one of `queries` that is most like another, None where all are too far away.

    BM25 proposes 20 candidates; of these the one with the largest overlap is taken, ties in BM25's order, then in
    theirs. The overlap of two queries is the weight of the words in both, as a share of the weight of the words in
    either. Words are stemmed and weigh as much as they are rare (Lucene's idf over the queries), so that a name counts
    for more than "who directed": 1 is the same set of words, 0 none in common.
    """

    def __init__(self, queries: Sequence[str], min_overlap: float) -> None:
        self._queries = queries
        self._min_overlap = min_overlap
        self._stemmer = Stemmer.Stemmer("english")
        self._words = [frozenset(words) for words in self._cut(list(queries))]
        counts = Counter(word for words in self._words for word in words)
        self._idf = {word: _idf(count, len(queries)) for word, count in counts.items()}
        self._rarest = _idf(0, len(queries))
        self._lexicon = Lexicon(queries)

    def __call__(self, query: str) -> str | None:
        (words,) = self._cut([query])
        wanted = frozenset(words)
        overlaps: dict[int, float] = {}
        for place in self._lexicon.nearest(query, _CANDIDATES):
            other = self._words[place]
            overlaps[place] = self._weight(wanted & other) / self._weight(wanted | other)
        nearest = max(overlaps, key=overlaps.__getitem__, default=None)  # of equals the first
        return self._queries[nearest] if nearest is not None and overlaps[nearest] >= self._min_overlap else None

    def _weight(self, words: frozenset[str]) -> float:
        return math.fsum(self._idf.get(word, self._rarest) for word in words)

    def _cut(self, texts: list[str]) -> list[list[str]]:
        words: list[list[str]] = tokenize([spaced(text) for text in texts], self._stemmer, return_ids=False)
        return words


def read_recordings(path: Path) -> Iterator[RecordedPage]:
    """The recordings of a file, in its order. Raises `DataError`: see `RecordedEngine.open`."""
    with reading(path), path.open("rb") as file:
        sqlite = file.read(16) == b"SQLite format 3\0"
    if sqlite:
        with PageStore(path, readonly=True) as store:
            yield from store.rows()
        return
    if not path.name.endswith((".jsonl", ".jsonl.gz")):
        raise DataError(f"{path}: unknown kind of recording (use .jsonl, .jsonl.gz, or a file that engine.cache wrote)")
    for where, row in read_jsonl(path):
        yield parse_page_row(row, where)


def count_recordings(path: Path, source: str | None = None) -> int:
    """How many pages of a file `RecordedEngine.open` would replay, read one after the other. Raises what that does."""
    counts = Counter((page.engine, page.identity) for page in read_recordings(path))
    return sum(counts[engine] for engine in _replayed(path, counts, source))


def _replayed(path: Path, engines: Collection[tuple[str, str]], source: str | None) -> list[tuple[str, str]]:
    """Which of `engines`, names with identities, are replayed: those of one identity. Raises `DataError`."""
    if not engines:
        raise DataError(f"{path}: holds no recorded pages")
    names = sorted({name or "no name" for name, _ in engines})
    kept = sorted(engines)
    if source is not None:
        kept = [engine for engine in kept if source in engine]
        if not kept:
            raise DataError(f"{path}: holds no page of {source!r}, but of {listed(names)}")
    elif len(names) > 1:
        raise DataError(
            f"{path}: holds pages of {len(names)} engines ({listed(names)}): say which to replay "
            "(engine.recorded.source)"
        )
    one, *others = sorted({identity for _, identity in kept})
    if others:
        what = ", ".join(differences(one, others[0]))
        raise DataError(
            f"{path}: its pages of {kept[0][0]!r} are of {len(others) + 1} engines, which differ in {what}: "
            f"say which to replay, engine.recorded.source = {one!r} or {others[0]!r}"
        )
    return kept


def _idf(count: int, queries: int) -> float:
    return math.log(1 + (queries - count + 0.5) / (count + 0.5))
