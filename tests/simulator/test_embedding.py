"""Distances of pages in an encoder's space: known vectors give known figures, and each yardstick is a fair one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from simulator.pages import compared

from zerosearch.episodes.questions import Question
from zerosearch.episodes.search import Document
from zerosearch.simulator.embedding import _halves, embedding_report, mmd2, page_vectors
from zerosearch.simulator.fidelity import Compared


class Table:
    """An encoder whose vectors stand in a table; one that is not there is drawn from its text."""

    name = identity = "table"

    def __init__(self, vectors: dict[str, list[float]] | None = None, dimensions: int = 8) -> None:
        self.vectors, self.dimensions = vectors or {}, dimensions

    def encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        return np.array([self.vectors.get(t) or self._draw(t) for t in texts], dtype=np.float32)

    def _draw(self, text: str) -> list[float]:
        topic, _, rest = text.partition(" ")
        seeds = (list(part.encode()) or [0] for part in (topic, rest))
        far, near = (np.random.default_rng(seed).normal(size=self.dimensions) for seed in seeds)
        return list(far + 0.3 * near)


def question(name: str) -> Question:
    return Question(name, f"{name}?", ("x",))


def apart(n: int) -> npt.NDArray[np.bool_]:
    return ~np.eye(n, dtype=bool)


def cloud(rng: np.random.Generator, n: int, shift: float) -> npt.NDArray[np.float64]:
    x = rng.normal(size=(n, 3)) + np.array([shift, 0, 0])
    return np.asarray(x / np.linalg.norm(x, axis=1, keepdims=True))


def test_a_page_is_the_mean_of_its_documents_directions() -> None:
    encoder = Table({"a": [5.0, 0.0], "b": [0.0, 0.1], "T: c": [0.0, -2.0]})
    pages = [(Document("", "a"), Document("", "b")), (Document("T", "c"),)]
    assert page_vectors(pages, encoder) == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0.0, -1.0]]))


def test_distances_are_of_one_query_and_the_yardstick_of_different_questions() -> None:
    vectors = {"east": [1.0, 0.0], "north": [0.0, 1.0], "west": [-1.0, 0.0]}
    rows = [
        compared(question("p"), "east", "east", "west"),
        compared(question("q"), "north", "east", "north"),
        compared(question("q"), "north", "north", "north"),  # as far from its sister as from itself: no yardstick
    ]
    report = embedding_report(rows, Table(vectors))
    assert (report["encoder"], report["queries"]) == ("table", 3)
    assert report["distance"] == {
        "useful": pytest.approx(1 / 3),
        "noisy": pytest.approx(2 / 3),
        "other_questions": pytest.approx(1.0),
    }


def test_mmd_is_the_mean_over_pairs_of_different_rows() -> None:
    """Against the definition, written out with loops (Gretton et al. 2012, equation 4)."""
    rng = np.random.default_rng(0)
    x, y = cloud(rng, 5, 0.0), cloud(rng, 5, 1.0)

    def k(a: Any, b: Any) -> float:
        return float(np.exp(-((a - b) ** 2).sum() / (2 * 0.7**2)))

    pairs = [(i, j) for i in range(5) for j in range(5) if i != j]
    said = sum(k(x[i], x[j]) + k(y[i], y[j]) - k(x[i], y[j]) - k(x[j], y[i]) for i, j in pairs) / 20
    assert mmd2(x, y, apart(5), 0.7) == pytest.approx(said)


def test_mmd_of_one_distribution_is_0_on_average_and_grows_with_the_distance() -> None:
    rng = np.random.default_rng(1)
    values = {
        shift: np.mean([mmd2(cloud(rng, 40, 0.0), cloud(rng, 40, shift), apart(40), 1.0) for _ in range(60)])
        for shift in (0.0, 0.5, 2.0)
    }
    assert abs(values[0.0]) < 0.005 < values[0.5] < values[2.0]


@given(st.integers(2, 12), st.integers(0, 99))
def test_a_cloud_is_at_no_distance_from_itself(n: int, seed: int) -> None:
    x = cloud(np.random.default_rng(seed), n, 0.0)
    assert mmd2(x, x, apart(n), 0.5) == pytest.approx(0.0, abs=1e-12)


def test_pages_of_the_same_kind_are_near_and_those_of_another_are_not() -> None:
    def row(n: int) -> Compared:
        return compared(question(f"q{n}"), f"facts {n}", f"facts {n}!", f"adverts {n}")

    report = embedding_report([row(n) for n in range(40)], Table())
    assert report["distance"]["useful"] < report["distance"]["noisy"]
    assert abs(report["mmd2"]["useful"]) < 0.05 < report["mmd2"]["noisy"]
    assert abs(report["mmd2"]["real_halves"]) < 0.05


@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=20))
def test_the_halves_are_equal_and_share_no_question(names: list[str]) -> None:
    """Halves that shared one would look nearer than chance makes them."""
    first, second = _halves(np.array(names))
    assert len(first) == len(second)
    assert not {names[i] for i in first} & {names[i] for i in second}
    assert bool(len(first)) == (len(set(names)) > 1)


def test_queries_without_a_document_on_every_side_are_left_out() -> None:
    rows = [
        compared(question("a"), "x", "y", "z"),
        compared(question("b"), "", "y", "z"),
        compared(question("c"), "x", None, "z"),
    ]
    report = embedding_report(rows, Table())
    assert report["queries"] == 1
    assert report["distance"] == {"useful": None, "noisy": None, "other_questions": None}
    assert report["mmd2"] == {"useful": None, "noisy": None, "real_halves": None}
    one_question = embedding_report([compared(question("a"), "x", "y", "z")] * 3, Table())
    assert one_question["distance"]["other_questions"] is None
    assert one_question["mmd2"]["useful"] is None
