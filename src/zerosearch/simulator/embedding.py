"""How far simulated pages lie from real ones in the space of a sentence encoder, where other words may mean the same.

Two figures. The cosine distance between the real and the simulated page of *one query*, beside that of real pages of
different questions: what "far" is here. And the maximum mean discrepancy (Gretton et al., 2012, *A Kernel Two-Sample
Test*, JMLR 13) between the two clouds: 0 where both are samples of one distribution.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from zerosearch.engines.encoders import Encoder
from zerosearch.episodes.search import Document
from zerosearch.simulator.fidelity import SIDES, Compared

Vectors = npt.NDArray[np.float64]


def page_vectors(pages: Sequence[Sequence[Document]], encoder: Encoder) -> Vectors:
    """`(pages, dimensions)`: of each page the mean of its documents' unit vectors, made a unit vector again.

    Every page needs a document. Texts are given to the encoder without any prefix.
    """
    texts = [f"{d.title}: {d.text}" if d.title else d.text for page in pages for d in page]
    documents = _unit(np.asarray(encoder.encode(texts), dtype=np.float64))
    ends = np.cumsum([len(page) for page in pages])
    return _unit(np.stack([part.mean(axis=0) for part in np.split(documents, ends[:-1])]))


def mmd2(x: Vectors, y: Vectors, apart: npt.NDArray[np.bool_], width: float) -> float | None:
    """Unbiased squared maximum mean discrepancy (Gretton et al., equation 4), kernel exp(-|a - b|^2 / (2 width^2)).

    x, y: (n, dimensions), unit vectors; row i of both belongs together. `apart` (n, n), symmetric, its diagonal False:
    the pairs that count, as what is of one query or one question is not independent. May be a little below 0. None
    without pairs.
    """
    if not apart.any():
        return None
    h = _kernel(x, x, width) + _kernel(y, y, width) - _kernel(x, y, width) - _kernel(y, x, width)
    return float(h[apart].mean())


def embedding_report(compared: Sequence[Compared], encoder: Encoder) -> dict[str, Any]:
    """The figures, JSON-ready, of the queries whose three pages have documents; None where there are too few.

    `distance`: mean cosine distance, in [0, 2], of `useful` and `noisy` pages from the real page of their query, and of
    real pages of `other_questions` from each other. `mmd2`: the squared discrepancy of each cloud from the real one,
    and of two halves of the real one (`real_halves`), which shows what chance makes of it. The kernel's width is the
    median distance of real pages of different questions, as Gretton et al. suggest.
    """
    whole = [c for c in compared if all(getattr(c, side) and getattr(c, side).documents for side in SIDES)]
    if len(whole) < 2:
        empty = {"useful": None, "noisy": None}
        return {
            "encoder": encoder.name,
            "queries": len(whole),
            "distance": {**empty, "other_questions": None},
            "mmd2": {**empty, "real_halves": None},
        }
    vectors = {side: page_vectors([getattr(c, side).documents for c in whole], encoder) for side in SIDES}
    real = vectors["real"]
    names = np.array([c.asked.question.id for c in whole])
    apart = names[:, None] != names[None, :]
    distances = _squared(real, real)[apart]
    width = float(np.sqrt(np.median(distances))) if distances.size else 0.0
    first, second = _halves(names)
    return {
        "encoder": encoder.name,
        "queries": len(whole),
        "distance": {
            **{side: float(np.mean(1 - np.sum(real * vectors[side], axis=1))) for side in SIDES[1:]},
            "other_questions": float(np.mean(distances / 2)) if distances.size else None,  # of unit vectors
        },
        "mmd2": {
            **{side: mmd2(real, vectors[side], apart, width) for side in SIDES[1:]},
            "real_halves": mmd2(real[first], real[second], apart[first][:, first] & apart[second][:, second], width),
        },
    }


def _halves(names: npt.NDArray[np.str_]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Two equal shares of the rows, with all rows of a question in one of them."""
    _, question = np.unique(names, return_inverse=True)
    first, second = np.flatnonzero(question % 2 == 0), np.flatnonzero(question % 2 == 1)
    count = min(len(first), len(second))
    return first[:count], second[:count]


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _squared(x: Vectors, y: Vectors) -> Vectors:
    """Squared distances of unit vectors, (n, n)."""
    return np.clip(2 - 2 * (x @ y.T), 0.0, None)


def _kernel(x: Vectors, y: Vectors, width: float) -> Vectors:
    return np.exp(-_squared(x, y) / (2 * max(width, 1e-12) ** 2))
