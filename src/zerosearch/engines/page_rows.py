"""A page that an engine returned for a query, as a row of a file: for caches, recordings and labels.

    {"query", "engine", "identity", "id", "question", "golden_answers", "turn", "rollout",
     "results": [{"title", "text" or "snippet", "id" or "url"}, ...], "labels": {"judge": "useful"},
     "verdicts": ["useful", "noisy", null]}

Only `query` and `results` must be there: search traces from elsewhere have little more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from zerosearch.episodes.questions import Question, parse_question
from zerosearch.episodes.search import Document, Quality
from zerosearch.errors import DataError
from zerosearch.files.formats import names_of

NO_QUESTION = Question("", "", ())


@dataclass(frozen=True)
class RecordedPage:
    """The documents that `engine` gave for `query`, all that were recorded, in its order.

    `question` is the one that the query was asked for, and `NO_QUESTION` where nobody noted it; `turn` counts the
    searches before it in rollout `rollout`. Name and identity of the engine are empty where nobody noted them.
    `labels` say by the way they were made (`simulator/label.py`) whether the page is useful, `verdicts` what the judge
    said of its first documents, one each; None: nothing clear.
    """

    query: str
    documents: tuple[Document, ...]
    engine: str = ""
    identity: str = ""
    question: Question = NO_QUESTION
    turn: int = 0
    rollout: int = 0
    labels: Mapping[str, Quality] = field(default_factory=dict)
    verdicts: tuple[Quality | None, ...] = ()

    def with_label(self, way: str, quality: Quality | None) -> RecordedPage:
        return self if quality is None else replace(self, labels={**self.labels, way: quality})

    def as_row(self) -> dict[str, Any]:
        """JSON-ready. `parse_page_row` and `with_question` give the page back."""
        return {
            "query": self.query,
            "engine": self.engine,
            "identity": self.identity,
            **(self.question.as_row() if self.question.text else {}),
            "turn": self.turn,
            "rollout": self.rollout,
            "results": [asdict(document) for document in self.documents],
            **({"labels": {way: str(quality) for way, quality in self.labels.items()}} if self.labels else {}),
            **({"verdicts": list(self.verdicts)} if self.verdicts else {}),
        }


def parse_page_row(row: Any, where: str) -> RecordedPage:
    """The query, the documents and the engine of a row; `where` (file and line) begins every complaint.

    A result's text is its `text` or `snippet`, its id its `id` or `url`. Results without any text or title are left
    out. Raises `DataError`.
    """
    if not isinstance(row, dict) or not {"query", "results"} <= row.keys():
        found = f"fields {names_of(row)}" if isinstance(row, dict) else type(row).__name__
        raise DataError(f"{where}: not a recorded page: expected an object with 'query' and 'results', found {found}")
    query, results = row.get("query"), row.get("results")
    if not isinstance(query, str):
        raise DataError(f"{where}: the field 'query' must be text, found {type(query).__name__}")
    if not isinstance(results, list):
        raise DataError(f"{where}: the field 'results' must be a list, found {type(results).__name__}")
    documents = []
    for number, result in enumerate(results, start=1):
        if not isinstance(result, dict):
            raise DataError(f"{where}: result {number} must be an object, found {type(result).__name__}")
        title, text, identifier = (
            _text(result, names, f"{where}: result {number}")
            for names in (("title",), ("text", "snippet"), ("id", "url"))
        )
        if title.strip() or text.strip():
            documents.append(Document(title, text, identifier))
    for name in ("engine", "identity"):
        if not isinstance(row.get(name, ""), str | None):
            raise DataError(f"{where}: the field {name!r} must be text, found {type(row[name]).__name__}")
    return RecordedPage(query, tuple(documents), row.get("engine") or "", row.get("identity") or "")


def with_question(page: RecordedPage, row: Mapping[str, Any], where: str) -> RecordedPage | None:
    """`page` with the question, the turn and the rollout of its row; None where the row has no question or no golden
    answers. Raises `DataError` for a question that cannot be read."""
    if not isinstance(row.get("question"), str) or not row.get("golden_answers"):
        return None
    kept = {key: row[key] for key in ("question", "golden_answers", "hops", "bridge", "facts") if key in row}
    question = parse_question({**kept, "id": row.get("id", row.get("qid"))}, where)
    turn, rollout = (row[name] if type(row.get(name)) is int else 0 for name in ("turn", "rollout"))
    return replace(page, question=question, turn=turn, rollout=rollout)


def _text(result: dict[str, Any], names: tuple[str, ...], where: str) -> str:
    """The first of the fields `names` that is there."""
    for name in names:
        value = result.get(name)
        if value is None:
            continue
        if name == "id" and isinstance(value, int):
            return str(value)
        if not isinstance(value, str):
            raise DataError(f"{where}: the field {name!r} must be text, found {type(value).__name__}")
        return whole_text(value)
    return ""


def whole_text(text: str) -> str:
    """JSON can spell half a character (a lone surrogate), which no tokenizer and no file takes: it becomes `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")
