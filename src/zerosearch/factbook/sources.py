"""`factbook:SPLIT[:one-hop|two-hop]`: the Factbook's questions by name."""

from __future__ import annotations

from zerosearch.errors import ConfigError, DataError
from zerosearch.factbook.build import build
from zerosearch.factbook.questions import FactbookQuestion, load_factbook_questions

PREFIX = "factbook:"
_SPLITS = ("train", "dev", "test")
_HOPS = {"one-hop": 1, "two-hop": 2}


def factbook_rows(source: str) -> list[FactbookQuestion]:
    """The questions that `source` names, built at first use. Raises `ConfigError` for a name that is none."""
    parts = source.removeprefix(PREFIX).split(":")
    if len(parts) > 2 or parts[0] not in _SPLITS or (len(parts) == 2 and parts[1] not in _HOPS):
        raise ConfigError(
            f"{source}: write factbook:train, :dev or :test, and :one-hop or :two-hop after it if you like"
        )
    rows = load_factbook_questions(build().folder / f"{parts[0]}.jsonl")
    chosen = [row for row in rows if len(parts) == 1 or row.hops == _HOPS[parts[1]]]
    if not chosen:
        raise DataError(f"{source}: holds no questions")
    return chosen
