"""Import bm25s without JAX, and cut text into words for it, in one place.

    from zerosearch.engines.lexical import bm25s, tokenize

bm25s starts JAX wherever that is installed, and JAX takes three quarters of a GPU's memory as it starts: nothing would
be left for a model. What this package needs of bm25s needs no JAX.
"""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import Stemmer

from zerosearch.engines.scripts import spaced


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Make `import package` fail, unless somebody has imported it already."""
    hide = package not in sys.modules
    if hide:
        sys.modules[package] = None  # type: ignore[assignment]  # what Python itself takes for "not there"
    try:
        yield
    finally:
        if hide:
            del sys.modules[package]


with _hidden("jax"):
    import bm25s

logging.getLogger("bm25s").setLevel(logging.WARNING)  # it sets itself to DEBUG and tells every step

__all__ = ["Lexicon", "best", "bm25s", "tokenize"]


def tokenize(texts: Any, stemmer: Any, *, return_ids: bool) -> Any:
    """What bm25s.tokenize returns for `texts`, without English stop words, stemmed by `stemmer`.

    One function for all that is indexed and asked: words of the two are only ever equal if they were cut alike, and if
    a letter is one however it is coded (NFKC: with its accent apart, as macOS writes it, or of full width).
    """
    alike = (text if text.isascii() else unicodedata.normalize("NFKC", text) for text in texts)
    return bm25s.tokenize(
        list(alike) if isinstance(texts, list) else alike,
        stopwords="en",
        stemmer=stemmer,
        return_ids=return_ids,
        show_progress=False,
    )


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


class Lexicon:
    """BM25 over a few thousand short texts, in memory: which of them are most like another?"""

    def __init__(self, texts: Sequence[str]) -> None:
        self._stemmer = Stemmer.Stemmer("english")
        self._index = bm25s.BM25(k1=0.9, b=0.4, method="lucene")
        tokens = tokenize([spaced(text, single=True) for text in texts], self._stemmer, return_ids=True)
        self._empty = not tokens.vocab
        if not self._empty:
            self._index.index(tokens, create_empty_token=False, show_progress=False)

    def nearest(self, text: str, count: int) -> list[int]:
        """Places of at most `count` texts that share a word with `text`, the most alike first, ties in their order."""
        words: list[str] = [] if self._empty else tokenize([spaced(text)], self._stemmer, return_ids=False)[0]
        known = self._index.get_tokens_ids(words) if words else []
        return [int(place) for place in best(self._index.get_scores_from_ids(known), count)] if known else []
