"""EM and F1 are those of public SQuAD scorers, on every recorded pair but the kind where we differ on purpose.

The record is made by `scripts/record_scores.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from zerosearch.scoring import exact_match, normalize, token_f1

RECORD: dict[str, Any] = json.loads((Path(__file__).parent / "oracles" / "squad-scores.json").read_text("utf-8"))
PAIRS: list[dict[str, Any]] = RECORD["pairs"]
SCORERS = ("transformers", "torchmetrics")


def differs_on_purpose(pair: dict[str, Any]) -> bool:
    """A prediction and a golden answer that both normalise to nothing ("the" and "?").

    SQuAD's scorers call that a match: there, an empty answer means "no answer". Our questions all have answers, so
    nothing is never right (rule 7 of scoring: an empty normalised golden answer matches nothing).
    """
    return normalize(pair["prediction"]) == "" and any(normalize(gold) == "" for gold in pair["golden"])


def test_the_record_is_what_it_should_be() -> None:
    texts = [pair["prediction"] for pair in PAIRS] + [gold for pair in PAIRS for gold in pair["golden"]]
    assert len({json.dumps([pair["prediction"], pair["golden"]]) for pair in PAIRS}) == len(PAIRS) >= 500
    assert RECORD["packages"] == {"torchmetrics": "1.9.0", "transformers": "4.57.6"}
    assert sum(not text.isascii() for text in texts) > 200
    assert sum(any(c.isdigit() for c in text) for text in texts) > 100
    assert texts.count("") > 10
    # Neither all wrong nor all right, and many in between: else agreement would say little.
    ordinary = [pair["transformers"] for pair in PAIRS if not differs_on_purpose(pair)]
    assert sum(em == 1 for em, _ in ordinary) > 60
    assert sum(0 < f1 < 1 for _, f1 in ordinary) > 60
    assert sum(f1 == 0 for _, f1 in ordinary) > 60


def test_normalisation_agrees() -> None:
    assert [pair["prediction"] for pair in PAIRS if normalize(pair["prediction"]) != pair["normalized"]] == []


@pytest.mark.parametrize("scorer", SCORERS)
def test_em_and_f1_agree(scorer: str) -> None:
    tolerance = 1e-9 if scorer == "transformers" else 1e-6  # torchmetrics computes in float32
    compared = 0
    for pair in PAIRS:
        if not differs_on_purpose(pair):
            em, f1 = pair[scorer]
            assert exact_match(pair["prediction"], pair["golden"]) == em, pair
            assert token_f1(pair["prediction"], pair["golden"]) == pytest.approx(f1, abs=tolerance), pair
            compared += 1
    assert compared >= 500


@pytest.mark.parametrize("scorer", SCORERS)
def test_nothing_is_never_right_which_is_where_we_differ(scorer: str) -> None:
    different = [pair for pair in PAIRS if differs_on_purpose(pair)]
    assert len(different) > 100
    for pair in different:
        assert pair[scorer] == [1.0, 1.0], pair
        assert exact_match(pair["prediction"], pair["golden"]) == token_f1(pair["prediction"], pair["golden"]) == 0
