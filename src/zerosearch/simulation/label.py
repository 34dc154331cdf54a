"""Label the pages of collected trajectories: useful or noisy. Three ways, and how far they agree.

- `outcome` (ZeroSearch, first version): pages of a trajectory that ends right are useful, of one that ends wrong noisy.
- `judge` (second version): a language model says whether a page suffices for its query; see `judge.py`.
- `containment`: the page holds a golden answer. Free; a fallback for the judge, and a check on it. Blind to first hops,
  whose pages are useful without the final answer.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from zerosearch.errors import DataError
from zerosearch.questions import Question, read_jsonl
from zerosearch.runs import atomic_write
from zerosearch.search import Document, Quality
from zerosearch.simulation.fidelity import holds_answer
from zerosearch.trajectory import Trajectory

VERSION = 1
OUTCOME, JUDGE, CONTAINMENT = "outcome", "judge", "containment"


@dataclass(frozen=True)
class LabelledPage:
    """A page that an engine returned for `query`, and its labels by the way they were made.

    A label is missing where its way could not tell: a judge that answered prose, a trajectory whose search failed.
    """

    question: Question
    query: str
    documents: tuple[Document, ...]
    engine: str
    rollout: int
    turn: int
    labels: Mapping[str, Quality] = field(default_factory=dict)

    def with_label(self, way: str, quality: Quality | None) -> LabelledPage:
        return self if quality is None else replace(self, labels={**self.labels, way: quality})


def label_pages(trajectories: Iterable[Trajectory], *, right: float = 1.0) -> list[LabelledPage]:
    """Every page that was found, with its `outcome` and `containment`. Failed and empty searches hold no page.

    A trajectory ends right where its F1 is at least `right`. A query that several rollouts of a question asked gives
    one page for each, since their outcomes may differ.
    """
    pages = []
    for t in trajectories:
        outcome = Quality.USEFUL if t.scores.f1 >= right else Quality.NOISY
        for turn, search in enumerate(t.searches):
            if not search.documents:  # nothing was found, or the search failed
                continue
            held = holds_answer(search.documents, t.question.golden_answers)
            labels = {CONTAINMENT: Quality.USEFUL if held else Quality.NOISY}
            if t.valid:  # one whose last search failed did not end wrong by its pages' fault
                labels[OUTCOME] = outcome
            pages.append(
                LabelledPage(t.question, search.query, search.documents, search.engine, t.rollout, turn, labels)
            )
    return pages


def cohens_kappa(pairs: Sequence[tuple[Quality, Quality]]) -> float | None:
    """Agreement beyond chance (Cohen, 1960): 1 is full, 0 what chance gives. None without pairs, or where both always
    say the same one word: then chance explains everything.
    """
    if not pairs:
        return None
    observed = sum(a == b for a, b in pairs) / len(pairs)
    first, second = (Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(first[q] * second[q] for q in Quality) / len(pairs) ** 2
    return None if chance == 1.0 else (observed - chance) / (1 - chance)


@dataclass(frozen=True)
class Agreement:
    """Two ways on the pages that both have labelled."""

    first: str
    second: str
    pages: int
    alike: float
    kappa: float | None


def agreements(pages: Sequence[LabelledPage]) -> list[Agreement]:
    """Each pair of ways that were used."""
    ways = [way for way in (OUTCOME, JUDGE, CONTAINMENT) if any(way in p.labels for p in pages)]
    out = []
    for i, first in enumerate(ways):
        for second in ways[i + 1 :]:
            both = [(p.labels[first], p.labels[second]) for p in pages if first in p.labels and second in p.labels]
            alike = sum(a == b for a, b in both) / len(both) if both else 0.0
            out.append(Agreement(first, second, len(both), alike, cohens_kappa(both)))
    return out


def balance(pages: Sequence[LabelledPage], way: str) -> dict[Quality, int]:
    """How many pages of each class `way` made."""
    counts = Counter(p.labels[way] for p in pages if way in p.labels)
    return {quality: counts[quality] for quality in Quality}


def write_labels(path: Path, pages: Iterable[LabelledPage]) -> None:
    """One JSON line a page, whole or not at all."""
    lines = "".join(json.dumps(_row(page), ensure_ascii=False) + "\n" for page in pages)
    atomic_write(path, lines.encode("utf-8", "replace"))


def read_labels(path: Path) -> Iterator[LabelledPage]:
    """Raises `DataError`, naming the line, for a row of another version or without what a page has."""
    for number, row in read_jsonl(path):
        where = f"{path}:{number}"
        if not isinstance(row, dict) or row.get("version") != VERSION:
            version = row.get("version") if isinstance(row, dict) else None
            raise DataError(f"{where}: labels of version {version!r}; this release reads {VERSION}")
        try:
            q = row["question"]
            yield LabelledPage(
                Question(q["id"], q["question"], tuple(q["golden_answers"])),
                row["query"],
                tuple(Document(**document) for document in row["documents"]),
                row["engine"],
                row["rollout"],
                row["turn"],
                {way: Quality(label) for way, label in row["labels"].items()},
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: not a labelled page ({error})") from None


def _row(page: LabelledPage) -> dict[str, Any]:
    return {
        "version": VERSION,
        "question": page.question.as_dict(),
        "query": page.query,
        "documents": [asdict(document) for document in page.documents],
        "engine": page.engine,
        "rollout": page.rollout,
        "turn": page.turn,
        "labels": {way: str(quality) for way, quality in page.labels.items()},
    }
