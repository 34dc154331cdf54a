"""The numbers of the adapters' model card are those of their own cards and of the fidelity report."""

from __future__ import annotations

import json
import re
from pathlib import Path

from zerosearch.models.adapters import read_card, shipped_adapters

ROOT = Path(__file__).parents[2]
CARD = (ROOT / "docs" / "cards" / "adapters.md").read_text(encoding="utf-8")


def test_how_they_were_made_is_what_their_own_cards_say() -> None:
    policy, simulator = (read_card(shipped_adapters()[f"embedded:{name}"]) for name in ("policy", "simulator"))
    texts = " | ".join(
        f"{card['texts']:,} ({card['tokens'] / 1e6:.1f} million tokens), {card['result']['steps']} steps"
        for card in (policy, simulator)
    )
    assert f"| training texts | {texts} |" in CARD
    losses = f"{policy['result']['validation_loss']:.4f} | {simulator['result']['best_validation_loss']:.3f}"
    assert f"| validation loss | {losses.replace('0.', '.')} |" in CARD
    seconds = [f"{card['result']['seconds']:.0f} seconds" for card in (policy, simulator)]
    assert f"| {seconds[0]} | {seconds[1]} |" in CARD


def test_how_good_the_simulator_is_stands_in_its_report() -> None:
    report = json.loads((ROOT / "docs" / "results" / "fidelity-embedded.json").read_text(encoding="utf-8"))
    rows = re.findall(r"^\| .* \| (\d+) \| ([\d.]+) \| (\.\d+) \| (\.\d+) \|$", CARD, re.MULTILINE)
    wrong = report["kinds"]["wrong_country"]
    expected = [
        (report["findable"], 1.0, report["control"]),
        (report["leak"]["queries"], 0.0, report["leak"]),
        (wrong["queries"], wrong["real"], wrong),
    ]
    assert len(rows) == len(expected)
    for row, (queries, real, found) in zip(rows, expected, strict=True):
        wanted = [f"{value:.3f}" for value in (real, found["useful"], found["noisy"])]
        assert [row[0], *(f"{float(cell):.3f}" for cell in row[1:])] == [str(queries), *wanted]
    assert f"{report['whole_pages']:.1%}".replace("%", " %") in CARD
