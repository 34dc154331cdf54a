"""The Factbook's questions, by the name `factbook:SPLIT[:one-hop|two-hop]`.

A one-hop question names its country. A two-hop question describes it by another fact, the clue ("the country whose
capital is Kathmandu"): a searcher has to find the country first, then the answer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from zerosearch.episodes.questions import Question
from zerosearch.errors import ConfigError
from zerosearch.factbook.shipped import SPLITS, unpacked

PREFIX = "factbook:"
_HOPS = {"one-hop": 1, "two-hop": 2}


@dataclass(frozen=True)
class FactbookQuestion:
    """One row of `train.jsonl`, `dev.jsonl` or `test.jsonl`.

    `subject` is the country asked about, named in the question (one hop) or described by `bridge` (two hops:
    `{"country", "attribute", "value"}`; empty for one hop). `supporting` holds, hop by hop, `queries` that a good
    searcher would write, the ids of the `passages` that answer them, and `facts`, their sentences.
    """

    id: str
    question: str
    golden_answers: tuple[str, ...]
    hops: int
    subject: str
    attribute: str
    bridge: Mapping[str, str]
    supporting: Mapping[str, Sequence[str]]

    @property
    def bridge_country(self) -> str | None:
        """The country that the first hop has to find; None for one hop."""
        return self.bridge.get("country")

    @property
    def queries(self) -> tuple[str, ...]:
        return tuple(self.supporting["queries"])

    @property
    def plain(self) -> Question:
        """Id, text and golden answers alone."""
        return Question(self.id, self.question, self.golden_answers)


def read_questions(lines: bytes) -> list[FactbookQuestion]:
    """The questions of a file that `recipes/factbook` made."""
    rows = map(json.loads, lines.splitlines())
    return [FactbookQuestion(**{**row, "golden_answers": tuple(row["golden_answers"])}) for row in rows]


def factbook_rows(source: str) -> list[FactbookQuestion]:
    """The questions that `source` names, in the order of the file. Raises `ConfigError` for a name that is none."""
    split, _, hops = source.removeprefix(PREFIX).partition(":")
    if split not in SPLITS or (hops and hops not in _HOPS) or source.endswith(":"):
        raise ConfigError(
            f"{source}: write factbook:train, :dev or :test, and :one-hop or :two-hop after it if you like"
        )
    rows = read_questions(unpacked(f"{split}.jsonl"))
    return [row for row in rows if not hops or row.hops == _HOPS[hops]]
