"""bm25s, imported without JAX, and the one way in which this package cuts text into words for it.

    from zerosearch.engines.lexical import bm25s, tokenize

bm25s starts JAX wherever that is installed, and JAX takes three quarters of a GPU's memory as it starts: nothing would
be left for a model. What this package needs of bm25s needs no JAX.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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

__all__ = ["bm25s", "tokenize"]


def tokenize(texts: Any, stemmer: Any, *, return_ids: bool) -> Any:
    """What bm25s.tokenize returns for `texts`, without English stop words, stemmed by `stemmer`.

    One function for all that is indexed and asked: words of the two are only ever equal if they were cut alike.
    """
    return bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, return_ids=return_ids, show_progress=False)
