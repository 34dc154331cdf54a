"""Label the pages of trajectories and recordings: useful or noisy. Four ways, and how far they agree.

- `outcome` (ZeroSearch, first version): pages of a trajectory that ends right are useful, of one that ends wrong noisy.
- `judge` (second version): a language model says of each document whether it has what the query asks for, and a page
  with one that has it is useful; see `judge.py`.
- `containment`: the page holds a golden answer. Free; a fallback for the judge, and a check on it. Blind to first hops,
  whose pages are useful without the final answer.
- `evidence`: the page holds a golden answer or, for a question of several hops, is about something that the query
  names. Free too, and not blind to first hops.

What makes a label is the first `top_k` documents, the page that a policy sees; those behind it are kept for `tune`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from zerosearch.engines.page_rows import RecordedPage, parse_page_row
from zerosearch.episodes.questions import Question
from zerosearch.episodes.scoring import contains_answer, normalize
from zerosearch.episodes.search import Document, Quality, holds_answer
from zerosearch.episodes.trajectory import Trajectory
from zerosearch.errors import DataError
from zerosearch.files.formats import read_jsonl
from zerosearch.files.jsonl import read_rows, shown, write_jsonl
from zerosearch.spending.ledger import counted

VERSION = 3
OUTCOME, JUDGE, CONTAINMENT, EVIDENCE = "outcome", "judge", "containment", "evidence"
_BRACKETS = re.compile(r"\(.*?\)")
_SITE = re.compile(r"(?<=\S)\s+(?:[-–—|·•»]|::)\s+\S+(?:\s+\S+){0,3}$")  # " - Wikipedia", " | Britannica"
WAYS = (OUTCOME, JUDGE, CONTAINMENT, EVIDENCE)


def label_pages(trajectories: Iterable[Trajectory], *, top_k: int | None = None) -> list[RecordedPage]:
    """Every page that was found, with all labels but the judge's. Failed and empty searches hold no page.

    A trajectory ends right where its F1 is 1. A query that several rollouts of a question asked gives one page for
    each, since their outcomes may differ.
    """
    pages = []
    for t in trajectories:
        outcome = Quality.USEFUL if t.scores.f1 == 1.0 else Quality.NOISY
        for turn, search in enumerate(t.searches):
            documents = tuple(d for d in search.documents if d.title.strip() or d.text.strip())  # as a row is read
            if not documents:  # nothing was found, or the search failed
                continue
            labels = free_labels(t.question, search.query, documents[:top_k])
            if t.valid:  # one whose last search failed did not end wrong by its pages' fault
                labels[OUTCOME] = outcome
            pages.append(
                RecordedPage(
                    search.query, documents, search.engine,
                    question=t.question, turn=turn, rollout=t.rollout, labels=labels,
                )
            )  # fmt: skip
    return pages


def label_recorded(pages: Iterable[RecordedPage], *, top_k: int | None = None) -> list[RecordedPage]:
    """The pages of a recording, which no trajectory's outcome speaks about. Empty ones are left out."""
    return [
        replace(page, labels=free_labels(page.question, page.query, page.documents[:top_k]))
        for page in pages
        if page.documents
    ]


def free_labels(question: Question, query: str, documents: Sequence[Document]) -> dict[str, Quality]:
    """`containment` and `evidence`; neither where the answer is yes or no, a word that any page may hold.

    A page about something that the query names is evidence of a first hop. Not so where the query names the answer too
    (*who is younger, A or B?*): there a page without it tells of the other one alone.
    """
    if question.yes_or_no:
        return {}
    held = holds_answer(documents, question.golden_answers)
    first_hop = (question.hops or 1) > 1 and not contains_answer(query, question.golden_answers)
    step = first_hop and any(named(document, query) for document in documents)
    return {
        CONTAINMENT: Quality.USEFUL if held else Quality.NOISY,
        EVIDENCE: Quality.USEFUL if held or step else Quality.NOISY,
    }


def named(document: Document, query: str) -> bool:
    """Whether the query names what the document is about: holds its title, without what stands in brackets, and
    without the names of sites at its end.

    >>> named(Document("Paris (film) - Wikipedia | Facts", "..."), "who directed the film Paris")
    True
    """
    asked, title = f" {normalize(query)} ", document.title.strip()
    while True:
        bare = normalize(_BRACKETS.sub(" ", title))
        if len(bare) > 2 and f" {bare} " in asked:
            return True
        if not (site := _SITE.search(title)):
            return False
        title = title[: site.start()]


def evidence_note(pages: Sequence[RecordedPage]) -> str:
    """What `evidence` can tell apart on these pages, in one line; empty where it was not used.

    A question whose row does not say how many hops it takes counts as one of one hop: `containment` and `evidence`
    are then the same.
    """
    both = [page for page in pages if CONTAINMENT in page.labels and EVIDENCE in page.labels]
    if not both:
        return ""
    unsaid = sum(page.question.hops is None for page in both)
    several = sum((page.question.hops or 1) > 1 for page in both)
    found = sum(page.labels[CONTAINMENT] != page.labels[EVIDENCE] for page in both)
    falls_back = f" ({counted(unsaid, 'page')} of questions without `hops`: there evidence falls back to containment)"
    return (
        f"evidence differs from containment on {found} of {counted(len(both), 'page')}; "
        f"of questions of several hops: {several}" + (falls_back if unsaid else "")
    )


def cohens_kappa(pairs: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """Agreement beyond chance (Cohen, 1960): 1 is full, 0 what chance gives. None without pairs, or where both always
    say the same one word: then chance explains everything.
    """
    if not pairs:
        return None
    observed = sum(a == b for a, b in pairs) / len(pairs)
    first, second = (Counter(side) for side in zip(*pairs, strict=True))
    chance = sum(first[value] * second[value] for value in first) / len(pairs) ** 2
    return None if chance == 1.0 else (observed - chance) / (1 - chance)


@dataclass(frozen=True)
class Agreement:
    """Two ways on the pages that both have labelled."""

    first: str
    second: str
    pages: int
    alike: float
    kappa: float | None


def agreements(pages: Sequence[RecordedPage]) -> list[Agreement]:
    """Each pair of ways that were used."""
    ways = [way for way in WAYS if any(way in p.labels for p in pages)]
    out = []
    for i, first in enumerate(ways):
        for second in ways[i + 1 :]:
            both = [(p.labels[first], p.labels[second]) for p in pages if first in p.labels and second in p.labels]
            alike = sum(a == b for a, b in both) / len(both) if both else 0.0
            out.append(Agreement(first, second, len(both), alike, cohens_kappa(both)))
    return out


def balance(pages: Sequence[RecordedPage], way: str) -> dict[Quality, int]:
    """How many pages of each class `way` made."""
    counts = Counter(p.labels[way] for p in pages if way in p.labels)
    return {quality: counts[quality] for quality in Quality}


def write_labels(path: Path, pages: Iterable[RecordedPage]) -> None:
    """One JSON line a page (see `engines/page_rows.py`), whole or not at all."""
    write_jsonl(path, ({"version": VERSION, **page.as_row(), "labels": dict(page.labels)} for page in pages))


def holds_labels(path: Path) -> bool:
    """Whether the first line of a file is a labelled page (of any version)."""
    try:
        first = next(read_rows(path), None)
    except DataError:
        return False
    return first is not None and {"version", "labels", "query"} <= first.keys()


def read_labels(path: Path) -> Iterator[RecordedPage]:
    """Raises `DataError`, naming the line, for a row of another version or without what a labelled page has.

    A label is missing where its way could not tell: a judge that answered prose, a trajectory whose search failed.
    """
    for where, row in read_jsonl(path):
        if not isinstance(row, dict) or "version" not in row:
            raise DataError(f"{where}: not a labelled page; `zerosearch label` makes them, of recorded pages too")
        if row["version"] != VERSION:
            theirs = shown(row["version"])
            raise DataError(f"{where}: labels of version {theirs}; this release reads {VERSION}. Label the pages again")
        try:
            page = replace(parse_page_row(row, where), question=Question.from_row(row))
            if type(row["rollout"]) is not int or type(row["turn"]) is not int:
                raise TypeError("a rollout or turn that is no whole number")
            labels = {way: Quality(label) for way, label in row["labels"].items()}
            verdicts = tuple(None if said is None else Quality(said) for said in row.get("verdicts", ()))
            if len(verdicts) > len(page.documents):
                raise ValueError(f"{counted(len(verdicts), 'verdict')} on {counted(len(page.documents), 'document')}")
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{where}: not a labelled page ({str(error)[:200]})") from None
        yield replace(page, turn=row["turn"], rollout=row["rollout"], labels=labels, verdicts=verdicts)
