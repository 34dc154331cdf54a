"""EM and F1 are those of public SQuAD scorers, on every recorded pair but the three kinds where we differ on purpose.

The record is made by `scripts/record_scores.py`.
"""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest

from zerosearch.episodes.scoring import exact_match, normalize, token_f1

RECORD: dict[str, Any] = json.loads((Path(__file__).parent / "oracles" / "squad-scores.json").read_text("utf-8"))
PAIRS: list[dict[str, Any]] = RECORD["pairs"]
SCORERS = ("transformers", "torchmetrics")


def beyond_squad(text: str) -> bool:
    """Whether `text` holds what SQuAD's normalisation does not know: punctuation, scripts and codings beyond ASCII."""
    kinds = ("CJK", "KATAKANA", "HIRAGANA", "FULLWIDTH", "ZERO WIDTH SPACE", "SOFT HYPHEN", "MINUS SIGN")
    special = (unicodedata.category(c)[0] == "P" or unicodedata.name(c, "").startswith(kinds) for c in text if c > "~")
    return text != unicodedata.normalize("NFC", text) or any(special)


def both_nothing(pair: dict[str, Any]) -> bool:
    """A prediction and a golden answer that both normalise to nothing ("the" and "?").

    SQuAD's scorers call that a match: there, an empty answer means "no answer". Our questions all have answers, so
    nothing is right only where it is the very same text (vitamin "A").
    """
    return normalize(pair["prediction"]) == "" and any(normalize(gold) == "" for gold in pair["golden"])


def yes_or_no(pair: dict[str, Any]) -> bool:
    """HotpotQA's rule: a share of the word yes or no earns nothing."""
    return any(normalize(text) in ("yes", "no") for text in (pair["prediction"], *pair["golden"]))


def differs_on_purpose(pair: dict[str, Any]) -> bool:
    return both_nothing(pair) or any(map(beyond_squad, (pair["prediction"], *pair["golden"])))


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
    plain = [pair for pair in PAIRS if not beyond_squad(pair["prediction"])]
    assert [pair["prediction"] for pair in plain if normalize(pair["prediction"]) != pair["normalized"]] == []
    assert sum(not pair["prediction"].isascii() for pair in plain) > 100
    assert all(pair["prediction"].isascii() is False for pair in PAIRS if pair not in plain)


@pytest.mark.parametrize("scorer", SCORERS)
def test_em_and_f1_agree(scorer: str) -> None:
    tolerance = 1e-9 if scorer == "transformers" else 1e-6  # torchmetrics computes in float32
    compared = 0
    for pair in PAIRS:
        if not differs_on_purpose(pair):
            em, f1 = pair[scorer]
            assert exact_match(pair["prediction"], pair["golden"]) == em, pair
            if not yes_or_no(pair):
                assert token_f1(pair["prediction"], pair["golden"]) == pytest.approx(f1, abs=tolerance), pair
            compared += 1
    assert compared >= 500


@pytest.mark.parametrize("scorer", SCORERS)
def test_nothing_is_never_right_which_is_where_we_differ(scorer: str) -> None:
    different = [pair for pair in PAIRS if both_nothing(pair) and not any(map(beyond_squad, pair["golden"]))]
    assert len(different) > 80
    for pair in different:
        same = any(pair["prediction"].split() == gold.split() != [] for gold in pair["golden"])
        if pair["prediction"].isascii():
            assert pair[scorer] == [1.0, 1.0], pair
        assert exact_match(pair["prediction"], pair["golden"]) == token_f1(pair["prediction"], pair["golden"]) == same


def test_what_squad_tells_apart_by_its_coding_alone_is_one_answer() -> None:
    """Each of the recorded pairs that SQuAD's scorers call wrong and that ours call right is one text coded twice."""
    found = [p for p in PAIRS if exact_match(p["prediction"], p["golden"]) and not p["transformers"][0]]
    assert len(found) > 5
    for pair in found:
        folded = [letters(text) for text in (pair["prediction"], *pair["golden"])]
        assert folded[0] in folded[1:], pair
    lost = [p for p in PAIRS if not exact_match(p["prediction"], p["golden"]) and p["transformers"][0]]
    assert all(map(both_nothing, lost))


def letters(text: str) -> str:
    """The letters, digits and signs of a text, without articles."""
    words = unicodedata.normalize("NFKC", text).casefold().split()
    kept = [c for word in words if word.strip(".") not in ("a", "an", "the") for c in word]
    return "".join(c for c in kept if unicodedata.category(c)[0] not in "PCZ" and c not in "−`$+<=>^|~")
