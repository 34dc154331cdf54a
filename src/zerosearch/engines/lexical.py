"""bm25s, imported without JAX.

    from zerosearch.engines.lexical import bm25s

bm25s starts JAX wherever that is installed, and JAX takes three quarters of a GPU's memory as it starts: nothing would
be left for a model. What this package needs of bm25s needs no JAX.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


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

__all__ = ["bm25s"]
